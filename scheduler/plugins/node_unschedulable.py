"""Keeps pods off nodes that are cordoned (`spec.unschedulable`).

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.meta import Object
from apimachinery.taints import Taint
from scheduler.columns import Rows
from scheduler.framework import Plugin, Rejection
from scheduler.plugins.taint_toleration import tolerates, tolerations_of
from scheduler.snapshot import Change, Snapshot

REASON = "node(s) were unschedulable"
CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


def demand(pod: Object) -> bool | None:
    """True; None for a pod that tolerates the taint of cordoned nodes, as those of DaemonSets do."""
    return None if tolerates(tolerations_of(pod), CORDON) else True


def filter_nodes(demand: bool, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down cordoned nodes."""
    return [Rejection(snapshot.unschedulable[rows], REASON, for_good=True)]


PLUGIN = Plugin(
    "NodeUnschedulable",
    demand,
    filter=filter_nodes,
    helped_by=Change.NODE_ADDED | Change.NODE_TAINTS,
)
