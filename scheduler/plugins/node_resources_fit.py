"""Keeps pods off nodes that have not enough of a resource left, and prefers nodes that have much left.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/ (LeastAllocated is the default)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from scheduler.columns import IntColumn, Rows
from scheduler.framework import Plugin, Rejection
from scheduler.plugins.resource_scoring import Strategy, least_allocated
from scheduler.pods import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Usage, usage_of
from scheduler.snapshot import Change, Snapshot

NAME = "NodeResourcesFit"
REASON_PODS = "Too many pods"


@dataclass(frozen=True, slots=True)
class Args:
    """NodeResourcesFitArgs: extended resources that nodes are not turned down for, and how nodes are scored."""

    strategy: Strategy
    ignored: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()

    def ignores(self, resource: str) -> bool:
        """Whether this is an extended resource that somebody else looks after."""
        if not is_extended(resource):
            return False
        return resource in self.ignored or resource.partition("/")[0] in self.ignored_groups


def is_extended(resource: str) -> bool:
    """Whether a resource is none of Kubernetes' own."""
    group, slash, _ = resource.partition("/")
    return bool(slash) and not group.endswith("kubernetes.io") and not resource.startswith("requests.")


def filter_nodes(demand: Usage, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes that are full of pods or short of a resource that is asked for; every shortage is a reason."""
    full = snapshot.requested(PODS)[rows] >= snapshot.allocatable(PODS)[rows]
    rejections = [Rejection(full, REASON_PODS)]
    for resource, wanted in demand.requests:
        has = snapshot.allocatable(resource)[rows]
        short = has - snapshot.requested(resource)[rows] < wanted
        rejections.append(Rejection(short, f"Insufficient {resource}", for_good=has < wanted))
    return rejections


def _filter_some(args: Args, demand: Usage, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """The same, but for resources that are ignored."""
    minded = tuple(request for request in demand.requests if not args.ignores(request[0]))
    return filter_nodes(Usage(minded, demand.scored_cpu, demand.scored_memory), snapshot, rows)


def score_nodes(strategy: Strategy, demand: Usage, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """What the strategy makes of all resources with the pod on the node."""
    scored: list[tuple[int, IntColumn, IntColumn]] = []
    for resource, weight in strategy.resources:
        if resource == CPU:
            requested, wanted = snapshot.scored_cpu, demand.scored_cpu
        elif resource == MEMORY:
            requested, wanted = snapshot.scored_memory, demand.scored_memory
        else:
            requested, wanted = snapshot.requested(resource), demand.request(resource)
            if not wanted and resource != EPHEMERAL_STORAGE:
                continue  # a pod that asks nothing of it need not go where much of it is left
        allocatable = snapshot.allocatable(resource)[rows]
        scored.append((weight, allocatable, strategy.score(requested[rows] + wanted, allocatable)))
    return strategy.combine(scored) if scored else np.zeros(len(snapshot.present[rows]), dtype=np.int64)


def room(demand: Usage, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """How many such pods each node has room for."""
    found: IntColumn = snapshot.allocatable(PODS)[rows] - snapshot.requested(PODS)[rows]
    for resource, wanted in demand.requests:
        left = snapshot.allocatable(resource)[rows] - snapshot.requested(resource)[rows]
        np.minimum(found, left // wanted, out=found)
    return found


def plugin(args: Args) -> Plugin:
    """The plugin with these arguments."""
    minds_all = not args.ignored and not args.ignored_groups
    return Plugin(
        NAME,
        usage_of,
        filter=filter_nodes if minds_all else partial(_filter_some, args),
        score=partial(score_nodes, args.strategy),
        room=room if minds_all else None,
        helped_by=Change.NODE_ADDED | Change.NODE_ALLOCATABLE | Change.POD_REMOVED,
    )


PLUGIN = plugin(Args(least_allocated()))
