"""Why a class of pods fits nowhere, and after a change: whether it still does not.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queueing-hint
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from scheduler.columns import BoolColumn, Rows
from scheduler.framework import Demand, Plugin, PodClass, Profile, Remedy, objection_to, rows_of
from scheduler.nominations import Applicant, ahead_of
from scheduler.residents import Resident
from scheduler.snapshot import NOTHING, Change, Snapshot
from scheduler.supposing import Supposition

NO_NODES_MESSAGE = "no nodes available to schedule pods"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no node takes a pod: Kubernetes' message, and the names of the plugins that turned nodes down.

    `helpable` are the rows that might take it, were it not for pods that are there or are to come, and `remedy` is
    what is done about that.
    """

    message: str
    rejectors: frozenset[str]
    helpable: BoolColumn | None = field(default=None, compare=False, repr=False)
    remedy: Remedy | None = None


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


def diagnose(profile: Profile, pod_class: PodClass, snapshot: Snapshot, applicant: Applicant) -> Diagnosis:
    """Why a class fits nowhere: for every node the reasons of the first plugin that turned it down."""
    if not snapshot.node_count:
        return Diagnosis(NO_NODES_MESSAGE, frozenset())
    helpable = np.zeros(snapshot.height, dtype=np.bool_)
    if (objection := objection_to(profile, pod_class, snapshot)) is not None:
        objector, why = objection
        return Diagnosis(none_available(snapshot.node_count, why), frozenset((objector,)), helpable)
    counts: Counter[str] = Counter()
    rejectors = set()
    rows: Rows = slice(0, snapshot.height)
    if pod_class.choice is not None:
        chooser, (names, conflict) = pod_class.choice
        rejectors.add(chooser)
        if not names:
            return Diagnosis(none_available(snapshot.node_count, conflict), frozenset(rejectors), helpable)
        rows = rows_of(snapshot, names)
        if left_out := snapshot.node_count - len(rows):
            counts[f"node(s) didn't satisfy plugin(s) [{chooser}]"] = left_out
    undecided = snapshot.present[rows].copy()
    hopeless = ~undecided
    for turned in turned_down_with_nominees(profile, pod_class, snapshot, rows, undecided, applicant):
        counts[turned.reason] += int(np.count_nonzero(turned.nodes))
        rejectors.add(turned.plugin)
        hopeless |= turned.nodes & turned.for_good
    helpable[rows] = ~hopeless
    return Diagnosis(none_available(snapshot.node_count, histogram(counts)), frozenset(rejectors), helpable)


def histogram(counts: Counter[str]) -> str:
    """Reasons with the numbers of nodes, in Kubernetes' order."""
    return ", ".join(sorted(f"{number} {reason}" for reason, number in counts.items()))


def none_available(nodes: int, reasons: str) -> str:
    """Kubernetes' message."""
    return f"0/{nodes} nodes are available: {reasons}."


@dataclass(slots=True)
class News:
    """What has changed: of which rows what, whether any node is gone, and which pods came to nodes or left them."""

    rows: dict[int, Change] = field(default_factory=dict)
    elsewhere: Change = NOTHING
    residents: set[Resident] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.rows or self.elsewhere or self.residents)


def still_against(
    profile: Profile,
    pod_class: PodClass,
    rejectors: frozenset[str],
    news: News,
    snapshot: Snapshot,
    applicant: Applicant,
) -> frozenset[str] | None:
    """After some changes: who turns down a class there that these plugins turned down; None if it may fit.

    It may fit if a plugin that said no names such a change, and all of them now say yes to a node that has had it.
    (Or to any, if that plugin goes by the pods on all.) Without any node to say no, a new one is all that is needed.
    Whoever says no instead has to be remembered: it may be the only one left.
    """
    if not rejectors:
        return None if any(Change.NODE_ADDED in change for change in news.rows.values()) else frozenset()
    helpful, everywhere = NOTHING, False
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.name in rejectors:
            helpful |= plugin.helped_by
            everywhere = everywhere or _concerns_all(plugin, demand, news)
    if everywhere:
        return _against(profile, pod_class, snapshot, _rows_in_question(pod_class, snapshot), applicant)
    rows = [row for row, change in news.rows.items() if change & helpful and snapshot.present[row]]
    if pod_class.choice is not None:
        rows = [row for row in rows if snapshot.node_name(row) in pod_class.choice[1].nodes]
    if not rows:
        return frozenset()
    return _against(profile, pod_class, snapshot, np.array(rows, dtype=np.intp), applicant)


def _concerns_all(plugin: Plugin, demand: Demand | None, news: News) -> bool:
    """Whether something has changed that may turn what a plugin says of any node."""
    if plugin.heeds is None or demand is None:
        return False
    if news.elsewhere & plugin.helped_by or any(change & plugin.helped_by for change in news.rows.values()):
        return True
    return any(plugin.heeds(demand, resident) for resident in news.residents)


def _rows_in_question(pod_class: PodClass, snapshot: Snapshot) -> Rows:
    if pod_class.choice is not None:
        return rows_of(snapshot, pod_class.choice[1].nodes)
    return slice(0, snapshot.height)


def still_against_for_storage(
    profile: Profile, pod_class: PodClass, rejectors: frozenset[str], snapshot: Snapshot, applicant: Applicant
) -> frozenset[str] | None:
    """The same after a change of claims, volumes or classes of storage."""
    if not any(plugin.name in rejectors and Change.STORAGE in plugin.helped_by for plugin, _ in profile.plugins):
        return frozenset()
    return _against(profile, pod_class, snapshot, _rows_in_question(pod_class, snapshot), applicant)


def _against(
    profile: Profile, pod_class: PodClass, snapshot: Snapshot, rows: Rows, applicant: Applicant
) -> frozenset[str] | None:
    """The plugins that turn down these rows; None if one of the rows is turned down by none."""
    if pod_class.fleeting and (objection := objection_to(profile, pod_class, snapshot)) is not None:
        return frozenset((objection[0],))
    undecided = snapshot.present[rows].copy()
    turned = turned_down_with_nominees(profile, pod_class, snapshot, rows, undecided, applicant)
    return None if undecided.any() else frozenset(each.plugin for each in turned)
