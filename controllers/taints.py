"""Taints of nodes and the tolerations of pods, as the node controllers use them.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object, find_condition, get_path
from apimachinery.taints import tolerates
from apimachinery.time import rfc3339

Taint = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
# (condition, status) -> key of the NoSchedule taint that it brings.
_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_MANAGED = frozenset((*_BY_CONDITION.values(), _UNSCHEDULABLE))
_LOST = (NOT_READY, UNREACHABLE)


def of(node: Object) -> list[Taint]:
    """The node's taints."""
    found: list[Taint] = get_path(node, "spec", "taints", default=[])
    return found


def ready_status(node: Object) -> str | None:
    """True, False or Unknown; None for a node that has never told."""
    condition = find_condition(node, "Ready")
    return condition["status"] if condition is not None else None


def wanted(node: Object, *, evict: bool | None, now: float) -> list[Taint]:
    """The taints that the node should have: those of its conditions, and those of others as they are.

    `evict`: whether its pods should leave because it is not ready; None leaves that as it is.
    """
    keys = {_BY_CONDITION.get((condition["type"], condition["status"])) for condition in _conditions(node)}
    if get_path(node, "spec", "unschedulable", default=False):
        keys.add(_UNSCHEDULABLE)
    effects = {(key, NO_SCHEDULE) for key in keys if key is not None}
    lost_key = _BY_CONDITION.get(("Ready", ready_status(node) or ""))
    if evict and lost_key is not None:
        effects.add((lost_key, NO_EXECUTE))
    kept = [taint for taint in of(node) if not _is_ours(taint, evict) or _place(taint) in effects]
    have = set(map(_place, kept))
    added = sorted(effects - have)
    stamp = rfc3339(now)
    return [*kept, *({"key": key, "effect": effect, "timeAdded": stamp} for key, effect in added)]


def _conditions(node: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_path(node, "status", "conditions", default=[])
    return found


def _is_ours(taint: Taint, evict: bool | None) -> bool:
    if taint["effect"] == NO_SCHEDULE:
        return taint["key"] in _MANAGED
    return taint["effect"] == NO_EXECUTE and taint["key"] in _LOST and evict is not None


def _place(taint: Taint) -> tuple[str, str]:
    return taint["key"], taint["effect"]


def is_marked_lost(node: Object) -> bool:
    """True if the node's pods are being made to leave because it is not ready."""
    return any(taint["effect"] == NO_EXECUTE and taint["key"] in _LOST for taint in of(node))


def no_execute(node: Object) -> list[Taint]:
    """The taints that make pods leave. Those of a node that has come back are leftovers and count no more."""
    back = ready_status(node) == "True"
    return [t for t in of(node) if t["effect"] == NO_EXECUTE and not (back and t["key"] in _LOST)]


def only_lost(taints: Iterable[Taint]) -> bool:
    """True if all of these taints say no more than that the node is not ready."""
    return all(taint["key"] in _LOST for taint in taints)


def seconds_tolerated(pod: Object, taints: Iterable[Taint]) -> float | None:
    """How long the pod may stay on a node with these NoExecute taints; None: for ever."""
    tolerations: list[Object] = get_path(pod, "spec", "tolerations", default=[])
    used: list[Object] = []
    for taint in taints:
        # Of several the first one counts, as in Kubernetes.
        matching = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
        if matching is None:
            return 0.0
        used.append(matching)
    limits = [t["tolerationSeconds"] for t in used if t.get("tolerationSeconds") is not None]
    return max(0.0, float(min(limits))) if limits else None
