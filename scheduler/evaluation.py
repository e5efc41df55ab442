"""The verdict on every node for one class of pods, kept up to date row by row.

The columns are computed in full when a class is first met. After that only the rows that the snapshot's journal
names are computed again: of a thousand equal pods the first costs one pass over all nodes, each further one the row
that its predecessor changed. The outcome is the same as that of a full computation for each pod, because every stage
is a function of one row; what depends on all rows (the extremes that rates are measured against) is watched.
"""

from __future__ import annotations

import random
from collections import OrderedDict

import numpy as np

from scheduler.columns import IntColumn, Rows
from scheduler.framework import PodClass, Profile, choice, feasible, rows_of
from scheduler.snapshot import Snapshot

INFEASIBLE = -1
EVALUATIONS_KEPT = 32


class Evaluation:
    """Feasibility and total score of every node for one class."""

    def __init__(self, profile: Profile, pod_class: PodClass) -> None:
        self._profile = profile
        self._class = pod_class
        self._choice = choice(profile, pod_class)
        self._scoring = [
            (plugin.score, plugin.normalize, weight, demand)
            for (plugin, weight), demand in zip(profile.plugins, pod_class.demands, strict=True)
            if plugin.score is not None and demand is not None
        ]
        self._position = 0
        self._height = -1

    def best(self, snapshot: Snapshot, rng: random.Random) -> int | None:
        """The row of the node with the highest score, one of them at random if there are several; None if none."""
        if self._choice is not None:
            rows = rows_of(snapshot, self._choice[1].nodes)
            self._compute(snapshot, rows)
            found = _highest(self._total, rng)
            return None if found is None else int(rows[found])
        self._refresh(snapshot)
        return _highest(self._total, rng)

    def _refresh(self, snapshot: Snapshot) -> None:
        rows = snapshot.journal.since(self._position) if self._height == snapshot.height else None
        self._position, self._height = snapshot.journal.position, snapshot.height
        if rows is None or len(rows) > snapshot.height // 2:
            self._compute(snapshot, slice(0, snapshot.height))
        elif rows:
            self._update(snapshot, slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.array(rows, dtype=np.intp))

    def _compute(self, snapshot: Snapshot, rows: Rows) -> None:
        self._feasible = feasible(self._profile, self._class, snapshot, rows)
        self._rates = [score(demand, snapshot, rows) for score, _, _, demand in self._scoring]
        self._extremes = [self._extremes_of(rates) for rates in self._rates]
        self._total = self._totals(slice(None))

    def _update(self, snapshot: Snapshot, rows: Rows) -> None:
        now = feasible(self._profile, self._class, snapshot, rows)
        moved = bool((self._feasible[rows] != now).any())
        self._feasible[rows] = now
        everywhere = False
        for index, (score, normalize, _, demand) in enumerate(self._scoring):
            rates = score(demand, snapshot, rows)
            if normalize is None:
                self._rates[index][rows] = rates
            elif moved or (self._rates[index][rows] != rates).any():
                self._rates[index][rows] = rates
                extremes = self._extremes_of(self._rates[index])
                everywhere = everywhere or extremes != self._extremes[index]
                self._extremes[index] = extremes
        stale: Rows = slice(None) if everywhere else rows
        self._total[stale] = self._totals(stale)

    def _totals(self, rows: Rows) -> IntColumn:
        passed = self._feasible[rows]
        total = np.zeros(len(passed), dtype=np.int64)
        for rates, extremes, (_, normalize, weight, _) in zip(
            self._rates, self._extremes, self._scoring, strict=True
        ):
            score = rates[rows]
            total += weight * (score if normalize is None else normalize(score, *extremes))
        total[~passed] = INFEASIBLE
        return total

    def _extremes_of(self, rates: IntColumn) -> tuple[int, int]:
        """The lowest and the highest rate among the feasible nodes."""
        among = rates[self._feasible]
        return (int(among.min()), int(among.max())) if len(among) else (0, 0)


def _highest(total: IntColumn, rng: random.Random) -> int | None:
    if not len(total):
        return None
    highest = total.max()
    if highest == INFEASIBLE:
        return None
    candidates = np.flatnonzero(total == highest)
    return int(candidates[rng.randrange(len(candidates)) if len(candidates) > 1 else 0])


class Evaluations:
    """The evaluations of the classes that were last placed."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._kept: OrderedDict[PodClass, Evaluation] = OrderedDict()

    def of(self, pod_class: PodClass) -> Evaluation:
        """The evaluation of a class."""
        found = self._kept.get(pod_class)
        if found is None:
            found = self._kept[pod_class] = Evaluation(self._profile, pod_class)
            if len(self._kept) > EVALUATIONS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(pod_class)
        return found
