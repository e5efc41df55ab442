"""Prefers nodes whose resources (cpu and memory, unless told otherwise) would be used to the same degree.

Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins (NodeResourcesBalancedAllocation)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin
from scheduler.pods import CPU, EPHEMERAL_STORAGE, MEMORY, usage_of
from scheduler.snapshot import Snapshot

NAME = "NodeResourcesBalancedAllocation"
Amounts = tuple[int, ...]


def demand_for(resources: Sequence[str], pod: Object) -> Amounts | None:
    """What the pod asks for of each; None if nothing of any, or many such pods would all go to one node."""
    usage = usage_of(pod)
    asked = tuple(usage.request(resource) for resource in resources)
    return asked if any(asked) else None


def score_nodes(resources: Sequence[str], demand: Amounts, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """100 less the standard deviation of the used shares, in percent; what a node has not is left out."""
    size = len(snapshot.present[rows])
    shares, counted = [], []
    for resource, wanted in zip(resources, demand, strict=True):
        if not wanted and resource not in (CPU, MEMORY, EPHEMERAL_STORAGE):
            continue
        has = snapshot.allocatable(resource)[rows]
        shares.append(np.minimum((snapshot.requested(resource)[rows] + wanted) / np.maximum(has, 1), 1.0))
        counted.append(has > 0)
    if len(shares) == 2:
        deviation = np.where(counted[0] & counted[1], np.abs(shares[0] - shares[1]) / 2, 0.0)
    elif shares:
        there = np.array(counted)
        number = np.maximum(there.sum(axis=0), 1)
        table = np.where(there, np.array(shares), 0.0)
        offsets = np.where(there, table - table.sum(axis=0) / number, 0.0)
        deviation = np.sqrt((offsets**2).sum(axis=0) / number)
    else:
        deviation = np.zeros(size)
    return ((1 - deviation) * SCORE_MAX).astype(np.int64)


def plugin(resources: Sequence[str]) -> Plugin:
    """The plugin for these resources."""
    return Plugin(NAME, partial(demand_for, resources), score=partial(score_nodes, resources))


demand = partial(demand_for, (CPU, MEMORY))
PLUGIN = plugin((CPU, MEMORY))
