"""Keeps pods off nodes with taints that they do not tolerate, and prefers nodes with few `PreferNoSchedule` ones.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apimachinery.meta import Object
from apimachinery.taints import Taint, Toleration
from scheduler.columns import IntColumn, Rows
from scheduler.framework import Plugin, Rejection, normalize_down
from scheduler.snapshot import Change, Snapshot, Taints

REASON = "node(s) had untolerated taint(s)"
FORBIDDING = ("NoSchedule", "NoExecute")


Tolerations = tuple[Toleration, ...]


def tolerations_of(pod: Object) -> Tolerations:
    """The tolerations of a pod."""
    return tuple(map(Toleration.of, pod["spec"].get("tolerations") or ()))


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether one of the tolerations is for this taint."""
    return any(toleration.tolerates(taint) for toleration in tolerations)


def filter_nodes(demand: Tolerations, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes with a taint that forbids and is not tolerated."""

    def repels(taints: Taints | None) -> bool:
        return any(taint.effect in FORBIDDING and not tolerates(demand, taint) for taint in taints or ())

    return [Rejection(snapshot.taints.where(repels, rows), REASON, for_good=True)]


def score_nodes(demand: Tolerations, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """How many taints of each node would rather not have the pod; fewer is better."""

    def unwelcome(taints: Taints | None) -> int:
        return sum(taint.effect == "PreferNoSchedule" and not tolerates(demand, taint) for taint in taints or ())

    return snapshot.taints.count(unwelcome, rows)


PLUGIN = Plugin(
    "TaintToleration",
    tolerations_of,
    filter=filter_nodes,
    score=score_nodes,
    normalize=normalize_down,
    helped_by=Change.NODE_ADDED | Change.NODE_TAINTS,
)
