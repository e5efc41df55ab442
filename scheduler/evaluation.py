"""The verdict on every node for one class of pods, kept up to date row by row.

The columns are computed in full when a class is first met. After that only the rows that the snapshot's journal
names are computed again: of a thousand equal pods the first costs one pass over all nodes, each further one the row
that its predecessor changed. The outcome is the same as that of a full computation for each pod, because every stage
is a function of one row; what depends on all rows (the extremes that rates are measured against) is watched.

Nodes with the same score take turns. So while equal pods follow each other and many nodes share the highest score,
the next few dozen choices (a wave) are known at once: each goes to the next of these nodes, as long as none of those
that were chosen comes to score higher than the others.

What goes by the pods on all nodes (`Plugin.compare`, and the filter beside it) is not kept: for classes with such
demands it is computed for every pod, and so is all that depends on which nodes are feasible.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import BoolColumn, IntColumn, Rows
from scheduler.framework import PodClass, Profile, feasible, rows_of
from scheduler.nominations import Applicant
from scheduler.snapshot import Snapshot
from scheduler.verdicts import Verdicts, kept_for_others

INFEASIBLE = -1
EVALUATIONS_KEPT = 32
WAVE_ROWS_MIN, WAVE_ROWS_MAX = 8, 64
# A wave that breaks this early has cost more than it saved; so many choices are then made without trying again.
WAVE_ROWS_WORTHWHILE, CHOICES_WITHOUT_WAVE = 4, 32


class Turn:
    """Whose turn it is among nodes with the same score: the next one in row order after the last that was chosen.

    Who is first of all is left to chance, or all schedulers of all clusters would begin with the same nodes.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._after: int | None = None

    def order(self, candidates: NDArray[np.intp]) -> NDArray[np.intp]:
        """The candidates (in row order) in the order in which their turn comes."""
        if self._after is None:
            self._after = int(candidates[self._rng.randrange(len(candidates))])
        first = int(np.searchsorted(candidates, self._after, side="right"))
        return np.concatenate((candidates[first:], candidates[:first]))

    def take(self, row: int) -> None:
        """This one has been chosen."""
        self._after = row


class Evaluation:
    """Feasibility and total score of every node for one class."""

    def __init__(self, profile: Profile, pod_class: PodClass) -> None:
        self._profile = profile
        self._class = pod_class
        self._scoring = [
            (plugin.score, plugin.normalize, weight, demand)
            for (plugin, weight), demand in zip(profile.plugins, pod_class.demands, strict=True)
            if plugin.score is not None and demand is not None
        ]
        self._relations = [
            (plugin.filter, plugin.compare, weight, demand)
            for (plugin, weight), demand in zip(profile.plugins, pod_class.demands, strict=True)
            if plugin.heeds is not None and demand is not None
        ]
        self._position = 0
        self._height = -1
        self._wave: list[int] = []
        self._seen = -1
        self._without_wave = 0
        self._nowhere: tuple[int, int] | None = None
        self._nominations = 0

    def best(
        self, snapshot: Snapshot, turn: Turn, applicant: Applicant, verdicts: Verdicts | None = None
    ) -> int | None:
        """The row of the node with the highest score, of several the one whose turn it is; None if there is none.

        `verdicts` are those on this class with what is kept for others, if they are known.
        """
        if self._class.choice is not None:
            rows = rows_of(snapshot, self._class.choice[1].nodes)
            rows = rows[feasible(self._profile, self._class, snapshot, rows)]
            every = np.ones(len(rows), dtype=np.bool_)
            rows = rows[~kept_for_others(self._profile, self._class, snapshot, rows, every, applicant)]
            if len(rows) < 2:
                return int(rows[0]) if len(rows) else None  # nothing to compare: as for each pod of a DaemonSet
            self._compute(snapshot, rows)
            total = self._total
            if self._relations:
                total = self._total_among_others(snapshot, rows, self._feasible_among_others(snapshot, rows))
            candidates = rows[_highest(total)]
            return int(turn.order(candidates)[0]) if len(candidates) else None
        if self._relations:
            return self._best_among_others(snapshot, turn, applicant, None)
        # One change since the last choice: that choice itself. Then equal pods follow each other.
        in_sequence = snapshot.journal.position == self._seen + 1
        self._seen = snapshot.journal.position
        in_sequence = in_sequence and self._nominations == snapshot.nominations.version
        self._nominations = snapshot.nominations.version
        if in_sequence and self._wave:
            return self._wave.pop()
        self._wave = []
        self._refresh(snapshot)
        total = self._total
        if snapshot.nominations and (self._feasible & snapshot.nominated[: snapshot.height]).any():
            if not self._level:
                # One of those that are kept for others may have held an extreme.
                return self._best_among_others(snapshot, turn, applicant, verdicts)
            passed = self._beside_nominees(snapshot, self._feasible, applicant, verdicts)
            total = np.where(passed, total, INFEASIBLE)
        candidates = _highest(total)
        if not len(candidates):
            return None
        ordered = turn.order(candidates)
        if not in_sequence or self._without_wave or len(ordered) < WAVE_ROWS_MIN or self._class.usage.ports:
            self._without_wave = max(0, self._without_wave - 1)
            return int(ordered[0])
        self._wave = self._next_wave(snapshot, ordered[:WAVE_ROWS_MAX])
        if len(self._wave) < WAVE_ROWS_WORTHWHILE:
            self._without_wave = CHOICES_WITHOUT_WAVE
        return self._wave.pop()

    def _best_among_others(
        self, snapshot: Snapshot, turn: Turn, applicant: Applicant, verdicts: Verdicts | None
    ) -> int | None:
        if self._nowhere == snapshot.position:
            return None  # equal pods that fail one after the other
        self._refresh(snapshot)
        rows = slice(0, snapshot.height)
        passed = self._feasible_among_others(snapshot, rows)
        passed = self._beside_nominees(snapshot, passed, applicant, verdicts)
        candidates = _highest(self._total_among_others(snapshot, rows, passed))
        if not len(candidates):
            # (What is kept for somebody is not kept from everybody.)
            self._nowhere = None if snapshot.nominations else snapshot.position
            return None
        return int(turn.order(candidates)[0])

    def _beside_nominees(
        self, snapshot: Snapshot, passed: BoolColumn, applicant: Applicant, verdicts: Verdicts | None
    ) -> BoolColumn:
        """Those of all rows that pass also beside the pods that are to come there."""
        if verdicts is not None:
            return passed & verdicts.passed(snapshot, applicant)
        rows = slice(0, snapshot.height)
        return passed & ~kept_for_others(self._profile, self._class, snapshot, rows, passed, applicant)

    def _feasible_among_others(self, snapshot: Snapshot, rows: Rows) -> BoolColumn:
        """Which of the rows that were looked at pass also by what goes by the pods on all nodes."""
        passed = self._feasible.copy()
        for filter_nodes, _, _, demand in self._relations:
            for rejection in filter_nodes(demand, snapshot, rows) if filter_nodes is not None else ():
                passed &= ~rejection.nodes
        return passed

    def _total_among_others(self, snapshot: Snapshot, rows: Rows, passed: BoolColumn) -> IntColumn:
        """The weighted sum of all scores of the rows that pass, with what goes by the pods on all nodes."""
        if not passed.any():
            return np.full(len(passed), INFEASIBLE, dtype=np.int64)
        extremes = [_extremes(rates, passed) for rates in self._rates]
        total = self._weigh(passed, self._rates, extremes)
        for _, compare, weight, demand in self._relations:
            if compare is not None:
                total[passed] += weight * compare(demand, snapshot, rows, passed)[passed]
        return total

    def _next_wave(self, snapshot: Snapshot, rows: NDArray[np.intp]) -> list[int]:
        """How far pods of this class can go to these nodes one after the other; the last one first."""
        highest = self._total[rows[0]]
        with snapshot.supposing(rows, self._class.usage):
            passed = feasible(self._profile, self._class, snapshot, rows)
            rates = [score(demand, snapshot, rows) for score, _, _, demand in self._scoring]
            totals = self._weigh(passed, rates, self._extremes)
        # A node that becomes full may have held an extreme that all others are measured against.
        goes_on = (totals <= highest) & (passed | self._level)
        for before, after, (_, normalize, _, _) in zip(self._rates, rates, self._scoring, strict=True):
            if normalize is not None:
                goes_on &= before[rows] == after
        length = len(rows) if goes_on.all() else int(np.argmin(goes_on)) + 1
        wave: list[int] = rows[:length][::-1].tolist()
        return wave

    def _refresh(self, snapshot: Snapshot) -> None:
        rows = snapshot.journal.since(self._position) if self._height == snapshot.height else None
        self._position, self._height = snapshot.journal.position, snapshot.height
        if rows is None or len(rows) > snapshot.height // 2:
            self._compute(snapshot, slice(0, snapshot.height))
        elif rows:
            self._update(snapshot, slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.array(rows, dtype=np.intp))

    def _compute(self, snapshot: Snapshot, rows: Rows) -> None:
        self._feasible = feasible(self._profile, self._class, snapshot, rows, relations=False)
        self._rates = [score(demand, snapshot, rows) for score, _, _, demand in self._scoring]
        self._extremes = [_extremes(rates, self._feasible) for rates in self._rates]
        self._total = self._weigh(self._feasible, self._rates, self._extremes)

    def _update(self, snapshot: Snapshot, rows: Rows) -> None:
        now = feasible(self._profile, self._class, snapshot, rows, relations=False)
        moved = bool((self._feasible[rows] != now).any())
        self._feasible[rows] = now
        everywhere = False
        fresh = []
        for index, (score, normalize, _, demand) in enumerate(self._scoring):
            rates = score(demand, snapshot, rows)
            fresh.append(rates)
            if normalize is None:
                self._rates[index][rows] = rates
            elif moved or (self._rates[index][rows] != rates).any():
                self._rates[index][rows] = rates
                extremes = _extremes(self._rates[index], self._feasible)
                everywhere = everywhere or extremes != self._extremes[index]
                self._extremes[index] = extremes
        if everywhere:
            self._total = self._weigh(self._feasible, self._rates, self._extremes)
        else:
            self._total[rows] = self._weigh(now, fresh, self._extremes)

    def _weigh(
        self, passed: BoolColumn, all_rates: list[IntColumn], all_extremes: list[tuple[int, int]]
    ) -> IntColumn:
        """The weighted sum of the scores, and INFEASIBLE where a filter said no."""
        total = np.zeros(len(passed), dtype=np.int64)
        for rates, extremes, (_, normalize, weight, _) in zip(all_rates, all_extremes, self._scoring, strict=True):
            total += weight * (rates if normalize is None else normalize(rates, *extremes))
        total[~passed] = INFEASIBLE
        return total

    @property
    def _level(self) -> bool:
        """True if all feasible nodes have the same rate wherever rates are measured against each other."""
        measured = zip(self._extremes, self._scoring, strict=True)
        return all(low == high for (low, high), (_, normalize, _, _) in measured if normalize is not None)


def _extremes(rates: IntColumn, passed: BoolColumn) -> tuple[int, int]:
    """The lowest and the highest rate among the feasible nodes."""
    among = rates[passed]
    return (int(among.min()), int(among.max())) if len(among) else (0, 0)


def _highest(total: IntColumn) -> NDArray[np.intp]:
    """The indexes of all that have the highest total; none if all are infeasible."""
    highest = total.max(initial=INFEASIBLE)
    return np.flatnonzero(total == highest) if highest != INFEASIBLE else np.empty(0, dtype=np.intp)


class Evaluations:
    """The evaluations of the classes that were last placed; the profiles are by their schedulers' names."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._kept: OrderedDict[PodClass, Evaluation] = OrderedDict()

    def of(self, pod_class: PodClass) -> Evaluation:
        """The evaluation of a class."""
        if pod_class.choice is not None or pod_class.fleeting:
            # A few nodes are soon looked at; and there may be such a class for every node of a cluster, or every pod.
            return self._made(pod_class)
        found = self._kept.get(pod_class)
        if found is None:
            found = self._kept[pod_class] = self._made(pod_class)
            if len(self._kept) > EVALUATIONS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(pod_class)
        return found

    def _made(self, pod_class: PodClass) -> Evaluation:
        return Evaluation(self._profiles[pod_class.scheduler_name], pod_class)
