"""Keeps pods off nodes that have not enough of a resource left, and prefers nodes that have much left.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/ (LeastAllocated is the default)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.columns import IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin, Rejection
from scheduler.pods import CPU, MEMORY, PODS, Usage, usage_of
from scheduler.snapshot import Change, Snapshot

REASON_PODS = "Too many pods"


def filter_nodes(demand: Usage, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes that are full of pods or short of a resource that is asked for; every shortage is a reason."""
    full = snapshot.requested(PODS)[rows] >= snapshot.allocatable(PODS)[rows]
    rejections = [Rejection(full, REASON_PODS)]
    for resource, wanted in demand.requests:
        left = snapshot.allocatable(resource)[rows] - snapshot.requested(resource)[rows]
        rejections.append(Rejection(left < wanted, f"Insufficient {resource}"))
    return rejections


def score_nodes(demand: Usage, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """LeastAllocated: the share of cpu and of memory that would be left, in percent, averaged."""
    shares: IntColumn = np.zeros(len(snapshot.present[rows]), dtype=np.int64)
    weights = np.zeros_like(shares)
    for resource, requested, wanted in (
        (CPU, snapshot.scored_cpu, demand.scored_cpu),
        (MEMORY, snapshot.scored_memory, demand.scored_memory),
    ):
        has = snapshot.allocatable(resource)[rows]
        left = np.maximum(has - requested[rows] - wanted, 0)
        # A node that says nothing of a resource is rated by the other one alone.
        shares += SCORE_MAX * left // np.maximum(has, 1)
        weights += has > 0
    return shares // np.maximum(weights, 1)


PLUGIN = Plugin(
    "NodeResourcesFit",
    usage_of,
    filter=filter_nodes,
    score=score_nodes,
    helped_by=Change.NODE_ADDED | Change.NODE_ALLOCATABLE | Change.POD_REMOVED,
)
