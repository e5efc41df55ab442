"""What stands in the way of a class of pods on each node: the first plugin that turns it down, and its reasons.

For classes for which every node can be looked at by itself that is kept up to date row by row. As pods leave alone
what is kept for others of their priority or a higher one, these verdicts hold for one priority; and on the node that
is kept for the pod itself, for that pod only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import BoolColumn, Rows, grown
from scheduler.framework import PodClass, Profile
from scheduler.nominations import Applicant, ahead_of
from scheduler.snapshot import Snapshot
from scheduler.supposing import Supposition

VERDICTS_KEPT = 32
# Plugin, reason, and whether that is so for good.
Objection = tuple[str, str, bool]
PASSES = 0


class Turned(NamedTuple):
    """Rows (a true for each of those asked about) that a plugin is the first to turn down, for good or as yet."""

    plugin: str
    reason: str
    nodes: BoolColumn
    for_good: BoolColumn | bool


def goes_by_itself(profile: Profile, pod_class: PodClass) -> bool:
    """Whether what is said of a node to these pods depends on nothing but what is on it."""
    asked = zip(profile.plugins, pod_class.demands, strict=True)
    return not any(plugin.heeds is not None and demand is not None for (plugin, _), demand in asked)


def turned_down(
    profile: Profile, pod_class: PodClass, snapshot: Snapshot, rows: Rows, undecided: BoolColumn
) -> Iterator[Turned]:
    """Who turns down which of the undecided rows; undecided (it is changed) are in the end those that nobody does."""
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.filter is None or demand is None:
            continue
        rejected = np.zeros_like(undecided)
        for rejection in plugin.filter(demand, snapshot, rows):
            here = rejection.nodes & undecided
            if here.any():
                yield Turned(plugin.name, rejection.reason, here, rejection.for_good)
                rejected |= here
        undecided &= ~rejected


def turned_down_with_nominees(
    profile: Profile,
    pod_class: PodClass,
    snapshot: Snapshot,
    rows: Rows,
    undecided: BoolColumn,
    applicant: Applicant,
) -> list[Turned]:
    """The same where an applicant leaves alone what is kept for others.

    A node has to take it both with those that are to come and without: it might need them, and they may stay away.
    """
    found = []
    reserved = [
        (index, row, nominees)
        for index, row in reserved_rows(snapshot, rows, undecided)
        if (nominees := ahead_of(applicant, snapshot.nominees(row)))
    ]
    if reserved and goes_by_itself(profile, pod_class):
        with Supposition(snapshot, relations=False) as supposed:
            for _, row, nominees in reserved:
                for nominee in nominees:
                    supposed.add(row, nominee)
            # (Who passes beside more pods passes beside fewer, where nobody looks for company.)
            return list(turned_down(profile, pod_class, snapshot, rows, undecided))
    # Each node is asked about with those that are to come to it, not to others.
    for index, row, nominees in reserved:
        here = np.ones(1, dtype=np.bool_)
        with Supposition(snapshot, relations=True) as supposed:
            for nominee in nominees:
                supposed.add(row, nominee)
            for turned in turned_down(profile, pod_class, snapshot, slice(row, row + 1), here):
                nodes = np.zeros_like(undecided)
                nodes[index] = turned.nodes[0]
                found.append(Turned(turned.plugin, turned.reason, nodes, bool(np.any(turned.for_good))))
        undecided[index] = here[0]
    found += turned_down(profile, pod_class, snapshot, rows, undecided)
    return found


def reserved_rows(snapshot: Snapshot, rows: Rows, among: BoolColumn) -> list[tuple[int, int]]:
    """Those of these rows (the index among them, and the row) that are kept for somebody."""
    if not snapshot.nominations:
        return []
    indexes = np.flatnonzero(snapshot.nominated[rows] & among)
    found = np.arange(snapshot.height)[rows][indexes]
    return list(zip(indexes.tolist(), found.tolist(), strict=True))


def kept_for_others(
    profile: Profile, pod_class: PodClass, snapshot: Snapshot, rows: Rows, passed: BoolColumn, applicant: Applicant
) -> BoolColumn:
    """Those of the rows that pass by themselves that do not pass beside the pods that are to come there."""
    kept = np.zeros_like(passed)
    reserved = reserved_rows(snapshot, rows, passed)
    if reserved:
        asked = np.array([row for _, row in reserved], dtype=np.intp)
        free = np.ones(len(asked), dtype=np.bool_)
        turned_down_with_nominees(profile, pod_class, snapshot, asked, free, applicant)
        kept[[index for index, _ in reserved]] = ~free
    return kept


class Verdicts:
    """A code for each node: `objections` tells what stands in the way on the nodes that have it."""

    def __init__(self, profile: Profile, pod_class: PodClass) -> None:
        self._profile = profile
        self._class = pod_class
        self._codes: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._objections: list[tuple[Objection, ...]] = [()]
        self._code_of: dict[tuple[Objection, ...], int] = {(): PASSES}
        self._height = 0
        self._seen = 0, 0
        self._own: int | None = None

    def passed(self, snapshot: Snapshot, applicant: Applicant) -> BoolColumn:
        """The nodes that take this pod, beside those that are to come there."""
        self._catch_up(snapshot, applicant)
        found: BoolColumn = (self._codes[: snapshot.height] == PASSES) & snapshot.present[: snapshot.height]
        return found

    def told(self, snapshot: Snapshot, applicant: Applicant) -> tuple[Counter[str], set[str], BoolColumn]:
        """How many nodes have each reason; the plugins that they are of; and the nodes where none is for good."""
        self._catch_up(snapshot, applicant)
        present = snapshot.present[: snapshot.height]
        codes = self._codes[: snapshot.height]
        numbers = np.bincount(codes[present], minlength=len(self._objections))
        counts: Counter[str] = Counter()
        plugins: set[str] = set()
        for code in np.flatnonzero(numbers).tolist():
            for plugin, reason, _ in self._objections[code]:
                counts[reason] += int(numbers[code])
                plugins.add(plugin)
        yielding = [not any(for_good for *_, for_good in objections) for objections in self._objections]
        return counts, plugins, np.array(yielding, dtype=np.bool_)[codes] & present

    def _catch_up(self, snapshot: Snapshot, applicant: Applicant) -> None:
        own = snapshot.nominations.get(applicant.uid)
        own_row = snapshot.row(own.node) if own is not None else None
        changed = snapshot.journal.since(self._seen[0]), snapshot.standings.since(self._seen[1])
        self._seen = snapshot.journal.position, snapshot.standings.position
        if changed[0] is None or changed[1] is None or self._height != snapshot.height:
            self._height = snapshot.height
            self._codes = grown(self._codes[:0], len(snapshot.present))
            rows = np.arange(snapshot.height)
        else:
            both = {*changed[0], *changed[1], *(row for row in (self._own, own_row) if row is not None)}
            rows = np.array(sorted(both), dtype=np.intp)
        self._own = own_row
        if len(rows):
            self._judge(snapshot, rows, applicant)

    def _judge(self, snapshot: Snapshot, rows: NDArray[np.intp], applicant: Applicant) -> None:
        undecided = np.ones(len(rows), dtype=np.bool_)
        codes = np.zeros(len(rows), dtype=np.int32)
        for turned in turned_down_with_nominees(self._profile, self._class, snapshot, rows, undecided, applicant):
            self._add(codes, turned)
        self._codes[rows] = codes

    def _add(self, codes: NDArray[np.int32], turned: Turned) -> None:
        """One more objection to some rows."""
        for for_good in (False, True):
            nodes = turned.nodes & (turned.for_good if for_good else np.logical_not(turned.for_good))
            for code in set(codes[nodes].tolist()):
                objections = *self._objections[code], (turned.plugin, turned.reason, for_good)
                codes[nodes & (codes == code)] = self._code(objections)

    def _code(self, objections: tuple[Objection, ...]) -> int:
        code = self._code_of.get(objections)
        if code is None:
            code = self._code_of[objections] = len(self._objections)
            self._objections.append(objections)
        return code


class AllVerdicts:
    """The verdicts of the classes that were last asked about."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[PodClass, int], Verdicts] = OrderedDict()

    def of(self, profile: Profile, pod_class: PodClass, applicant: Applicant) -> Verdicts | None:
        """The verdicts for a pod; None if nodes can't be told apart for it, or not for long."""
        if pod_class.choice is not None or pod_class.fleeting or not goes_by_itself(profile, pod_class):
            return None
        key = pod_class, applicant.priority
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = Verdicts(profile, pod_class)
            if len(self._kept) > VERDICTS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found
