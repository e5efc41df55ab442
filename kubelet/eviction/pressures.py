"""What a node is short of just now, for all who ask: its status, and whoever takes new pods on."""

from __future__ import annotations

from collections.abc import Callable

from apimachinery.meta import Object
from apimachinery.taints import tolerates
from kubelet.eviction import messages
from kubelet.eviction.thresholds import MEMORY
from kubelet.pods import qos
from kubelet.pods.pod_status import Verdict
from kubelet.pods.preemption import is_critical

EVICTED = "Evicted"
_MEMORY_TAINT = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}


class Pressures:
    """The conditions of the Node that tell of a shortage; `changed` is called when they change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.conditions: frozenset[str] = frozenset()
        self._changed = changed

    def set(self, conditions: frozenset[str]) -> None:
        """These are the conditions now."""
        if conditions != self.conditions:
            self.conditions = conditions
            self._changed()

    def refusal(self, pod: Object) -> Verdict | None:
        """Why a pod is not taken on under this pressure; None if it is."""
        return refusal(pod, self.conditions)


def refusal(pod: Object, conditions: frozenset[str]) -> Verdict | None:
    """The same for given conditions: when only memory is short, those that ask for some are still let in. Pure."""
    if not conditions or is_critical(pod):
        return None
    if conditions == {MEMORY}:
        tolerations = pod["spec"].get("tolerations") or ()
        if qos.qos_class(pod) != qos.BEST_EFFORT or any(tolerates(entry, _MEMORY_TAINT) for entry in tolerations):
            return None
    return Verdict(EVICTED, messages.has_conditions(sorted(conditions)))
