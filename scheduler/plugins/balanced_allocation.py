"""Prefers nodes whose cpu and memory would be used to the same degree.

Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins (NodeResourcesBalancedAllocation)
"""

from __future__ import annotations

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin
from scheduler.pods import CPU, MEMORY, usage_of
from scheduler.snapshot import Snapshot


def demand(pod: Object) -> tuple[int, int] | None:
    """(cpu, memory) that the pod asks for; None if neither, or many such pods would all go to one node."""
    usage = usage_of(pod)
    asked = usage.request(CPU), usage.request(MEMORY)
    return asked if any(asked) else None


def score_nodes(demand: tuple[int, int], snapshot: Snapshot, rows: Rows) -> IntColumn:
    """100 less the standard deviation of the two used shares, in percent."""
    shares = []
    both = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    for resource, wanted in zip((CPU, MEMORY), demand, strict=True):
        has = snapshot.allocatable(resource)[rows]
        shares.append(np.minimum((snapshot.requested(resource)[rows] + wanted) / np.maximum(has, 1), 1.0))
        both &= has > 0
    deviation = np.where(both, np.abs(shares[0] - shares[1]) / 2, 0.0)
    return ((1 - deviation) * SCORE_MAX).astype(np.int64)


PLUGIN = Plugin("NodeResourcesBalancedAllocation", demand, score=score_nodes)
