"""Lets a pod that names its node itself (`spec.nodeName`) go nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import Rows
from scheduler.framework import Plugin, Rejection
from scheduler.pods import node_name
from scheduler.snapshot import Change, Snapshot

REASON = "node(s) didn't match the requested node name"


def demand(pod: Object) -> str | None:
    """The node that the pod names."""
    return node_name(pod) or None


def filter_nodes(demand: str, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down every other node."""
    others = np.ones(snapshot.height, dtype=np.bool_)
    row = snapshot.row(demand)
    if row is not None:
        others[row] = False
    return [Rejection(others[rows], REASON, for_good=True)]


PLUGIN = Plugin("NodeName", demand, filter=filter_nodes, helped_by=Change.NODE_ADDED)
