"""Whether this node takes a pod that was bound to it: pure. What it can't run fails at once, with a reason.

The scheduler has looked already; this catches pods that were bound by hand, or at the same moment as others.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/ and k8s.io/kubernetes/pkg/kubelet/lifecycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apimachinery import node_affinity
from apimachinery.meta import Object, get_path, labels
from apimachinery.pod_resources import is_extended
from apimachinery.taints import tolerates
from kubelet.containers import resources
from kubelet.pods import pod_spec
from kubelet.pods.pod_status import Verdict

_FIRST = ("pods", "cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which the node has too little left for a pod."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def missing(self) -> int:
        """How much more would have to be free."""
        return self.requested - (self.capacity - self.used)

    @property
    def verdict(self) -> Verdict:
        """What is said of the pod."""
        amounts = f"requested: {self.requested}, used: {self.used}, capacity: {self.capacity}"
        why = f"Node didn't have enough resource: {self.resource}, {amounts}"
        return Verdict(f"OutOf{self.resource}", why)


def objection(pod: Object, node: Object, others: Sequence[Object]) -> Verdict | None:
    """Why this node does not run the pod, beside the others that it runs; None when it does."""
    if verdict := _other_system(pod):
        return verdict
    short_of = shortages(pod, node, others)
    return short_of[0].verdict if short_of else mismatch(pod, node, others)


def mismatch(pod: Object, node: Object, others: Sequence[Object]) -> Verdict | None:
    """Why this node could not run the pod even if it had room for it."""
    return _other_system(pod) or _not_meant(pod, node) or _taken_port(pod, others)


def shortages(pod: Object, node: Object, others: Sequence[Object]) -> list[Shortage]:
    """What the node has too little of, the number of pods first.

    Extended resources that the node does not know are not its own: somebody else sees to them.
    """
    allocatable = resources.amounts(get_path(node, "status", "allocatable", default={}))
    used = resources.add(*(resources.pod_requests(other) for other in others)) | {"pods": len(others)}
    wanted = resources.pod_requests(pod) | {"pods": 1}
    return [
        Shortage(name, wanted[name], used.get(name, 0), allocatable.get(name, 0))
        for name in sorted(wanted, key=_rank)
        if (name in allocatable or not is_extended(name))
        and wanted[name] > max(allocatable.get(name, 0) - used.get(name, 0), 0)
    ]


def _rank(resource: str) -> tuple[int, str]:
    return (_FIRST.index(resource) if resource in _FIRST else len(_FIRST)), resource


def _other_system(pod: Object) -> Verdict | None:
    system = get_path(pod, "spec", "os", "name", default="linux")
    if labels(pod).get("kubernetes.io/os", "linux") != "linux":
        why = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Verdict("PodOSSelectorNodeLabelDoesNotMatch", why)
    if system != "linux":
        return Verdict("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return None


def _not_meant(pod: Object, node: Object) -> Verdict | None:
    if not node_affinity.selects(pod["spec"], node):
        why = "node(s) didn't match Pod's node affinity/selector"
        return Verdict("NodeAffinity", f"Predicate NodeAffinity failed: {why}")
    for taint in get_path(node, "spec", "taints", default=[]):
        tolerations = pod["spec"].get("tolerations") or ()
        if taint["effect"] == "NoExecute" and not any(tolerates(entry, taint) for entry in tolerations):
            why = "node(s) had taints that the pod didn't tolerate"
            return Verdict("TaintToleration", f"Predicate TaintToleration failed: {why}")
    return None


def _taken_port(pod: Object, others: Sequence[Object]) -> Verdict | None:
    taken = [port for other in others for port in _host_ports(other)]
    for protocol, number, address in _host_ports(pod):
        for other_protocol, other_number, other_address in taken:
            same = (protocol, number) == (other_protocol, other_number)
            if same and (address == other_address or "0.0.0.0" in (address, other_address)):
                why = "node(s) didn't have free ports for the requested pod ports"
                return Verdict("NodePorts", f"Predicate NodePorts failed: {why}")
    return None


def _host_ports(pod: Object) -> list[tuple[str, int, str]]:
    return [
        (port.get("protocol") or "TCP", int(port["hostPort"]), port.get("hostIP") or "0.0.0.0")
        for container in pod_spec.all_containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
