"""What the operator says of a node: name, address, labels, taints, capacity, and when it is short of something.

The parsers take the values of flags as the kubelet's of Kubernetes does; each raises ValueError.
Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery import names, quantity

DEFAULT_PORT = 10250
DEFAULT_PODS_MAX = 110
DEFAULT_EVICTION = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
)
ENFORCEABLE = (
    "pods",
    *("kube-reserved", "kube-reserved-compressible", "system-reserved", "system-reserved-compressible"),
    "none",
)
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
SIGNALS = (
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
)
_OWN_LABELS = {
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
}
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")

Taint = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit below which the node is short of something: an amount, or a share of the whole (0.1 for 10%)."""

    amount: int = 0
    share: float = 0.0

    def of(self, whole: int) -> int:
        """The limit, where there is this much in all."""
        return self.amount or int(whole * self.share)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One node as its flags describe it.

    `labels` and `taints` are given to the Node when it is first registered. `capacity` (of cpu, memory,
    ephemeral-storage) stands in place of the machine's; `reserved` and `system_reserved` are kept from pods.
    `enforced` says who is held to what they have (allocatable.py): pods, and the groups of what is reserved.
    """

    name: str
    address: str
    port: int = DEFAULT_PORT
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    pods_max: int = DEFAULT_PODS_MAX
    capacity: Mapping[str, str] = field(default_factory=dict)
    reserved: Mapping[str, str] = field(default_factory=dict)
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    enforced: Sequence[str] = ("pods",)
    kube_reserved_group: str = ""
    system_reserved_group: str = ""
    eviction: Mapping[str, Threshold] = field(default_factory=lambda: parse_thresholds(DEFAULT_EVICTION))


def parse_labels(text: str) -> dict[str, str]:
    """--node-labels: `key=value,key=value`. A node may give itself only some labels below kubernetes.io."""
    labels = {}
    for term in filter(None, text.split(",")):
        key, _, value = term.partition("=")
        problems = names.qualified_name(key) + names.label_value(value)
        if problems:
            raise ValueError(f"invalid node label {term!r}: {'; '.join(problems)}")
        domain = key.rpartition("/")[0]
        is_kubernetes = any(domain == d or domain.endswith(f".{d}") for d in ("kubernetes.io", "k8s.io"))
        allowed = key in _OWN_LABELS or any(domain == d or domain.endswith(f".{d}") for d in _OWN_DOMAINS)
        if is_kubernetes and not allowed:
            raise ValueError(f"unknown 'kubernetes.io' or 'k8s.io' label {key!r}: a node can't give it to itself")
        labels[key] = value
    return labels


def parse_taints(text: str) -> list[Taint]:
    """--register-with-taints: `key=value:Effect,key:Effect`."""
    taints: list[Taint] = []
    for term in filter(None, text.split(",")):
        pair, _, effect = term.rpartition(":")
        key, _, value = pair.partition("=")
        problems = names.qualified_name(key) + names.label_value(value)
        if problems:
            raise ValueError(f"invalid taint {term!r}: {'; '.join(problems)}")
        if effect not in TAINT_EFFECTS:
            raise ValueError(f"invalid taint effect {effect!r} in {term!r}: one of {', '.join(TAINT_EFFECTS)}")
        taints.append({"key": key, **({"value": value} if value else {}), "effect": effect})
    return taints


def parse_thresholds(text: str) -> dict[str, Threshold]:
    """--eviction-hard: `memory.available<100Mi,nodefs.available<10%`; an empty text is no threshold at all."""
    thresholds = {}
    for term in filter(None, text.split(",")):
        signal, _, value = term.partition("<")
        if signal not in SIGNALS:
            raise ValueError(f"unknown eviction signal {signal!r}: one of {', '.join(SIGNALS)}")
        if value.endswith("%"):
            share = float(value[:-1]) / 100
            if not 0 <= share < 1:
                raise ValueError(f"eviction threshold {term!r} must be from 0% to below 100%")
            thresholds[signal] = Threshold(share=share)
        else:
            thresholds[signal] = Threshold(amount=quantity.value(value))
    return thresholds


def parse_resources(text: str) -> dict[str, str]:
    """--kube-reserved and its like: `cpu=500m,memory=1Gi`, in canonical form."""
    resources: dict[str, Any] = {}
    for term in filter(None, text.split(",")):
        name, equals, value = term.partition("=")
        if not equals or name not in ("cpu", "memory", "ephemeral-storage", "pid"):
            raise ValueError(f"{term!r} is no amount of cpu, memory, ephemeral-storage or pid, such as cpu=500m")
        resources[name] = quantity.canonical(value)
    return resources


def parse_enforced(text: str) -> list[str]:
    """--enforce-node-allocatable: `pods,kube-reserved,system-reserved`, or none of them."""
    terms = list(filter(None, text.split(",")))
    if "none" in terms and len(terms) > 1:
        raise ValueError("'none' can't be enforced together with something")
    if unknown := [term for term in terms if term not in ENFORCEABLE]:
        raise ValueError(f"{unknown[0]!r} can't be enforced: one of {', '.join(ENFORCEABLE)}")
    return [term for term in terms if term != "none"]


def check(settings: NodeSettings) -> NodeSettings:
    """The settings, if they fit together. Raises ValueError."""
    groups = {"kube-reserved": settings.kube_reserved_group, "system-reserved": settings.system_reserved_group}
    for term in settings.enforced:
        name = term.removesuffix("-compressible")
        if name in groups and not groups[name]:
            raise ValueError(f"--{name}-cgroup must be given when {term} is enforced")
        if term != name and name in settings.enforced:
            raise ValueError(f"{term} can't be enforced together with {name}")
    return settings
