"""What a node's use of one resource is worth, in percent: the three strategies by which nodes are scored.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scheduler.columns import IntColumn
from scheduler.framework import SCORE_MAX

SHAPE_SCORE_MAX = 10

# Of each node what is asked for with the pod, and what there is; 0 where there is nothing.
ScoreOfResource = Callable[[IntColumn, IntColumn], IntColumn]


class Weighted(NamedTuple):
    """A resource and how much it counts."""

    resource: str
    weight: int = 1


class Point(NamedTuple):
    """A point of a shape: this much used, in percent, is worth a score of 0 … 10."""

    utilization: int
    score: int


DEFAULT_RESOURCES = (Weighted("cpu"), Weighted("memory"))


@dataclass(frozen=True, slots=True)
class Strategy:
    """How the scores of several resources become one; with `skips_zero`, one that is worth nothing does not count."""

    resources: tuple[Weighted, ...]
    score: ScoreOfResource
    skips_zero: bool = False

    def combine(self, scored: Sequence[tuple[int, IntColumn, IntColumn]]) -> IntColumn:
        """The mean of (weight, what there is, scores), rounded down; without zeros to the nearest."""
        total = np.zeros(len(scored[0][1]), dtype=np.int64)
        weights = np.zeros_like(total)
        for weight, has, scores in scored:
            total += weight * scores
            # A node that says nothing of a resource is rated by the others alone.
            weights += weight * ((scores if self.skips_zero else has) > 0)
        weights = np.maximum(weights, 1)
        return (2 * total + weights) // (2 * weights) if self.skips_zero else total // weights


def least_allocated(resources: Sequence[Weighted] = DEFAULT_RESOURCES) -> Strategy:
    """The more is left, the better."""
    return Strategy(tuple(resources), lambda asked, has: _percent(np.maximum(has - asked, 0), has))


def most_allocated(resources: Sequence[Weighted] = DEFAULT_RESOURCES) -> Strategy:
    """The more is used, the better; what is overcommitted counts as full."""
    return Strategy(tuple(resources), lambda asked, has: _percent(np.minimum(asked, has), has))


def requested_to_capacity_ratio(
    shape: Sequence[Point], resources: Sequence[Weighted] = DEFAULT_RESOURCES
) -> Strategy:
    """What a broken line through the points of a shape makes of the share that is used."""
    worth = np.array([_on_line(shape, used) for used in range(SCORE_MAX + 1)], dtype=np.int64)

    def score(asked: IntColumn, has: IntColumn) -> IntColumn:
        found: IntColumn = worth[_percent(np.minimum(asked, has), has)] * (has > 0)
        return found

    return Strategy(tuple(resources), score, skips_zero=True)


def _percent(part: IntColumn, whole: IntColumn) -> IntColumn:
    return SCORE_MAX * part // np.maximum(whole, 1)


def _on_line(shape: Sequence[Point], used: int) -> int:
    scale = SCORE_MAX // SHAPE_SCORE_MAX
    before = shape[0]
    for point in shape:
        if used <= point.utilization:
            if point is shape[0]:
                return scale * point.score
            rise = scale * (point.score - before.score) * (used - before.utilization)
            # Towards 0, as whole numbers are divided in Go.
            return scale * before.score + int(rise / (point.utilization - before.utilization))
        before = point
    return scale * before.score
