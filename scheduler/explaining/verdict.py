"""What every plugin says of every node about one pod; pure.

The same functions are asked that place pods, but all of them: also those whose answer does not matter any more once
another one has turned a node down.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import BoolColumn
from scheduler.explaining.details import detail
from scheduler.framework import PodClass, Profile
from scheduler.snapshot import Snapshot


class Rejection(NamedTuple):
    """Why a plugin turns a node down; details are what it goes by, if that can be told."""

    plugin: str
    reason: str
    detail: str = ""


class Score(NamedTuple):
    """How a plugin rates a node, and what that is among the nodes that the pod fits (0 … 100), before the weight."""

    plugin: str
    raw: int
    normalized: int
    weight: int

    @property
    def weighted(self) -> int:
        """What it adds to the node's total."""
        return self.weight * self.normalized


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """A node that is turned down, or else its scores."""

    name: str
    rejections: tuple[Rejection, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def total(self) -> int:
        """The sum of the scores."""
        return sum(score.weighted for score in self.scores)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All nodes: those that the pod fits first, the best of them before the others.

    `objection` is why it could be on none of them whatever they were, "" if it could.
    """

    nodes: tuple[NodeVerdict, ...]
    objection: str = ""

    @property
    def feasible(self) -> list[NodeVerdict]:
        """The nodes that the pod fits."""
        return [node for node in self.nodes if not node.rejections]

    @property
    def best(self) -> list[str]:
        """Those with the highest score: the scheduler takes one of them."""
        found = self.feasible
        return [node.name for node in found if node.total == found[0].total]

    @property
    def message(self) -> str:
        """What the scheduler says of a pod that fits nowhere; "" if it fits somewhere."""
        if self.feasible:
            return ""
        if not self.nodes:
            return "no nodes available to schedule pods"
        if self.objection:
            return f"0/{len(self.nodes)} nodes are available: {self.objection}."
        counts: Counter[str] = Counter()
        for node in self.nodes:
            first = node.rejections[0].plugin
            counts.update(rejection.reason for rejection in node.rejections if rejection.plugin == first)
        reasons = ", ".join(sorted(f"{number} {reason}" for reason, number in counts.items()))
        return f"0/{len(self.nodes)} nodes are available: {reasons}."


def judge(profile: Profile, pod: Object, snapshot: Snapshot) -> Verdict:
    """The verdict on a pod that is counted on no node. Raises ValueError, KeyError or TypeError if it is wrong."""
    pod_class = profile.describe(pod, snapshot)
    objections = _objections(profile, pod_class, snapshot)
    rejections = _rejections(profile, pod_class, snapshot)
    _leave_out(pod_class, rejections, snapshot)
    if objections:
        rejections = {
            row: [*objections, *rejections.get(row, ())] for row in range(snapshot.height) if snapshot.present[row]
        }
    passed = snapshot.present[: snapshot.height].copy()
    passed[list(rejections)] = False
    scores = _scores(profile, pod_class, snapshot, passed)
    nodes = [
        NodeVerdict(snapshot.node_name(row), tuple(rejections.get(row, ())), tuple(scores.get(row, ())))
        for row in range(snapshot.height)
        if snapshot.present[row]
    ]
    ordered = sorted(nodes, key=lambda node: (bool(node.rejections), -node.total, node.name))
    return Verdict(tuple(ordered), objections[0].reason if objections else "")


def _objections(profile: Profile, pod_class: PodClass, snapshot: Snapshot) -> list[Rejection]:
    """Why the pod can't be placed at all."""
    conflicts = []
    if pod_class.choice is not None and not pod_class.choice[1].nodes:
        conflicts.append(Rejection(pod_class.choice[0], pod_class.choice[1].conflict))
    return conflicts + [
        Rejection(plugin.name, why)
        for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True)
        if plugin.objection is not None and demand is not None and (why := plugin.objection(demand, snapshot))
    ]


def _leave_out(pod_class: PodClass, rejections: dict[int, list[Rejection]], snapshot: Snapshot) -> None:
    """Nodes that are not among those that the pod names are not asked about; so that plugin's reason is another."""
    if pod_class.choice is None or not pod_class.choice[1].nodes:
        return
    chooser, (names, _) = pod_class.choice
    for row, told in rejections.items():
        if snapshot.node_name(row) not in names:
            details = ", ".join(one.detail for one in told if one.plugin == chooser and one.detail)
            others = [one for one in told if one.plugin != chooser]
            told[:] = [Rejection(chooser, f"node(s) didn't satisfy plugin(s) [{chooser}]", details), *others]


def _rejections(profile: Profile, pod_class: PodClass, snapshot: Snapshot) -> dict[int, list[Rejection]]:
    """By row, in the order in which the plugins are asked."""
    found: dict[int, list[Rejection]] = {}
    present = snapshot.present[: snapshot.height]
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.filter is None or demand is None:
            continue
        for rejection in plugin.filter(demand, snapshot, slice(0, snapshot.height)):
            for row in np.flatnonzero(rejection.nodes & present).tolist():
                told = Rejection(
                    plugin.name, rejection.reason, detail(plugin.name, rejection.reason, demand, snapshot, row)
                )
                found.setdefault(row, []).append(told)
    return found


def _scores(profile: Profile, pod_class: PodClass, snapshot: Snapshot, passed: BoolColumn) -> dict[int, list[Score]]:
    """Of the nodes that the pod fits, by row."""
    found: dict[int, list[Score]] = {row: [] for row in np.flatnonzero(passed).tolist()}
    rows = slice(0, snapshot.height)
    for (plugin, weight), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if demand is None or not found:
            continue
        if plugin.score is not None:
            raw = normalized = plugin.score(demand, snapshot, rows)
            if plugin.normalize is not None:
                normalized = plugin.normalize(raw, int(raw[passed].min()), int(raw[passed].max()))
        elif plugin.compare is not None:
            raw = normalized = plugin.compare(demand, snapshot, rows, passed)
        else:
            continue
        for row, scores in found.items():
            scores.append(Score(plugin.name, int(raw[row]), int(normalized[row]), weight))
    return found
