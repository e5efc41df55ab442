"""What a Node says of itself, decided from the machine, the settings and what is wrong. Pure.

Sources: https://kubernetes.io/docs/reference/node/node-status/,
https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/,
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.time import rfc3339
from kubelet.images import Image
from kubelet.node.machine import Machine, Usage
from kubelet.node.node_settings import NodeSettings, Threshold

KUBELET_VERSION = "v1.35.0+wherry"
IMAGES_MAX, NAMES_PER_IMAGE_MAX = 50, 5
# What pods may count on here (Node.status.features).
FEATURES = {"supplementalGroupsPolicy": True}

Condition = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Pressure:
    """A shortage: its condition, and Kubernetes' words for having it or not."""

    type: str
    bad: tuple[str, str]
    good: tuple[str, str]


PRESSURES = (
    _Pressure(
        "MemoryPressure",
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ),
    _Pressure(
        "DiskPressure",
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ),
    _Pressure(
        "PIDPressure",
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ),
)


def new_node(settings: NodeSettings, machine: Machine, status: Object) -> Object:
    """The Node to register."""
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": {**settings.labels, **default_labels(settings, machine)}},
        "spec": {},
        "status": status,
    }
    if settings.taints:
        node["spec"]["taints"] = [dict(taint) for taint in settings.taints]
    return node


def default_labels(settings: NodeSettings, machine: Machine) -> dict[str, str]:
    """The labels that every node gives itself; they are put right at every start, all others are the users'."""
    return {
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }


def capacity(settings: NodeSettings, machine: Machine, usage: Usage) -> dict[str, str]:
    """All that the node has, as quantities in the form in which they come back from the API."""
    return {
        "cpu": quantity.canonical(f"{machine.cpu_milli}m"),
        "ephemeral-storage": _binary(usage.node_disk.bytes),
        **{name: _binary(amount) for name, amount in machine.hugepages.items()},
        "memory": _binary(machine.memory_bytes),
        **{name: quantity.canonical(text) for name, text in settings.capacity.items()},
        "pods": str(settings.pods_max),
    }


def allocatable(settings: NodeSettings, whole: Mapping[str, str]) -> dict[str, str]:
    """What pods may ask for: less what is reserved, what the eviction thresholds keep free, and huge pages."""
    amounts = {name: quantity.parse(text) for name, text in whole.items()}
    zero = quantity.parse("0")
    for reserved in (settings.reserved, settings.system_reserved):
        for name, text in reserved.items():
            if name != "pid":  # which no pod asks for
                amounts[name] = amounts.get(name, zero) - quantity.parse(text)
    for name, signal in (("memory", "memory.available"), ("ephemeral-storage", "nodefs.available")):
        threshold = settings.eviction.get(signal, Threshold())
        kept = threshold.of(quantity.value(whole[name]))
        amounts[name] = amounts[name] - quantity.parse(kept)
    for name, amount in list(amounts.items()):
        if name.startswith("hugepages-"):
            amounts["memory"] = amounts["memory"] - amount
    return {name: str(amount if zero < amount else zero) for name, amount in amounts.items()}


def node_info(machine: Machine, runtime_version: str) -> dict[str, str]:
    """`status.nodeInfo`; `runtime_version` is such as `wherry://0.1.0`. kubeProxyVersion is empty, as since 1.33."""
    return {
        "architecture": machine.architecture,
        "bootID": machine.boot_id,
        "containerRuntimeVersion": runtime_version,
        "kernelVersion": machine.kernel_version,
        "kubeProxyVersion": "",
        "kubeletVersion": KUBELET_VERSION,
        "machineID": machine.machine_id,
        "operatingSystem": "linux",
        "osImage": machine.os_image,
        "systemUUID": machine.system_uuid,
    }


def image_list(images: Sequence[Image]) -> list[dict[str, Any]]:
    """`status.images`: the largest first, fifty of them and five names each at most."""
    largest = sorted(images, key=lambda image: -image.size_bytes)[:IMAGES_MAX]
    return [
        {"names": [*image.digests, *image.names][:NAMES_PER_IMAGE_MAX], "sizeBytes": image.size_bytes}
        for image in largest
    ]


def conditions(
    old: Object | None,
    *,
    pressures: Collection[str],
    problems: Sequence[str],
    now: float,
) -> list[Condition]:
    """The conditions that a node sets itself, Ready as the last one.

    `pressures` are those that say what it is short of. `problems` are what keeps the node from being ready.
    """
    found = []
    for pressure in PRESSURES:
        known = find_condition(old, pressure.type) or {}
        has = pressure.type in pressures
        found.append(_condition(known, pressure.type, has, *(pressure.bad if has else pressure.good), now))
    ready = find_condition(old, "Ready") or {}
    words = (
        ("KubeletNotReady", ",".join(problems)) if problems else ("KubeletReady", "kubelet is posting ready status")
    )
    return [*found, _condition(ready, "Ready", not problems, *words, now)]


def _condition(known: Condition, kind: str, holds: bool, reason: str, message: str, now: float) -> Condition:
    status = "True" if holds else "False"
    moment = rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastHeartbeatTime": moment,
        "lastTransitionTime": known["lastTransitionTime"] if known.get("status") == status else moment,
        "reason": reason,
        "message": message,
    }


def status_patch(old: Object, new: Object, *, heartbeat: bool) -> Object | None:
    """The strategic merge patch of a Node's status from what it is to what it should be; None: nothing to say.

    Only what is ours goes into it: conditions and resources of others stay. With `heartbeat` the conditions are
    sent even if only their time is new.
    """
    patch: Object = {}
    current = old.get("status") or {}
    known = {condition["type"]: condition for condition in current.get("conditions") or ()}
    changed = [c for c in new["conditions"] if _meaning(known.get(c["type"])) != _meaning(c)]
    if changed or heartbeat:
        patch["conditions"] = new["conditions"]
    for key in ("capacity", "allocatable", "nodeInfo"):
        told = {name: value for name, value in new[key].items() if get_path(current, key, name) != value}
        if told:
            patch[key] = told
    others = {n: v for n, v in (current.get("capacity") or {}).items() if n not in new["capacity"]}
    for name, value in others.items():
        # What others say the node has (`example.com/device`) is there for pods as a whole.
        if get_path(current, "allocatable", name) != value:
            patch.setdefault("allocatable", {})[name] = value
    if (current.get("addresses") or []) != new["addresses"]:
        patch["addresses"] = [{"$patch": "replace"}, *new["addresses"]]
    for key in ("daemonEndpoints", "features", "images", "runtimeHandlers"):
        if (current.get(key) or type(new[key])()) != new[key]:
            patch[key] = new[key]
    return {"status": patch} if patch else None


def _meaning(condition: Condition | None) -> tuple[object, ...] | None:
    return None if condition is None else tuple(condition.get(k) for k in ("status", "reason", "message"))


def _binary(amount: int) -> str:
    amount -= amount % 1024
    return str(quantity.Quantity(amount * quantity.NANO, "binary"))
