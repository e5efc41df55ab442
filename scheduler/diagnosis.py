"""Why a class of pods fits nowhere, and after a change: whether it still does not.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queueing-hint
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from scheduler.columns import BoolColumn, Rows
from scheduler.framework import Demand, Plugin, PodClass, Profile, Remedy, objection_to, rows_of
from scheduler.nominations import Applicant
from scheduler.residents import Resident
from scheduler.snapshot import NOTHING, Change, Snapshot
from scheduler.verdicts import Verdicts, turned_down_with_nominees

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


def diagnose(
    profile: Profile,
    pod_class: PodClass,
    snapshot: Snapshot,
    applicant: Applicant,
    verdicts: Verdicts | None = None,
) -> Diagnosis:
    """Why a class fits nowhere: for every node the reasons of the first plugin that turned it down.

    `verdicts` are those on this class, if they are known.
    """
    if not snapshot.node_count:
        return Diagnosis(NO_NODES_MESSAGE, frozenset())
    helpable = np.zeros(snapshot.height, dtype=np.bool_)
    if (objection := objection_to(profile, pod_class, snapshot)) is not None:
        objector, why = objection
        return Diagnosis(none_available(snapshot.node_count, why), frozenset((objector,)), helpable)
    if verdicts is not None:
        counts, rejectors, helpable = verdicts.told(snapshot, applicant)
        return Diagnosis(none_available(snapshot.node_count, histogram(counts)), frozenset(rejectors), helpable)
    counts, rejectors = Counter(), set()
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
