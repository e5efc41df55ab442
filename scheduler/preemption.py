"""Where room can be made for a pod by sending less important ones away, and at which cost.

A node is tried out without all the less important pods that are on it. If the new pod fits then, they are put back
one by one, the most important first, as far as it still fits: who can't be put back is a victim. First are put back
those whose budget would be violated. Of the nodes that can be helped the one is taken where that costs the least.

What a try on a node has shown holds for all pods of the same class and priority until something changes there: so of
many that have to push others aside, each costs little more than a look at the nodes that its predecessor changed.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#preemption
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from apimachinery.meta import Object, deletion_requested, find_condition, uid
from apimachinery.time import parse_rfc3339
from scheduler.columns import BoolColumn, grown
from scheduler.framework import PodClass, Profile
from scheduler.nominations import Applicant
from scheduler.snapshot import PlacedPod, Snapshot
from scheduler.supposing import Supposition
from scheduler.verdicts import goes_by_itself, turned_down_with_nominees

# The condition, and its reason, of pods that are sent away.
DISRUPTED, PREEMPTED = "DisruptionTarget", "PreemptionByScheduler"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
# Priorities may be negative; a few victims must not cost more than many because of that.
PRIORITY_OFFSET = 2**31

RowNumbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the nodes that might be helped are compared before one is taken."""

    percentage: int = 10
    absolute: int = 100

    def of(self, nodes: int) -> int:
        """The number of candidates."""
        return min(nodes, max(nodes * self.percentage // 100, self.absolute))


class Found(IntEnum):
    """What a try has shown of a node."""

    NOTHING = 0
    NO_VICTIMS = 1
    NO_ROOM = 2
    CANDIDATE = 3


@dataclass(frozen=True, slots=True)
class Victims:
    """The pods that would have to go from a node, the most important first, and how many of them against a budget."""

    pods: tuple[PlacedPod, ...]
    violations: int = 0

    def costs(self) -> tuple[float, ...]:
        """What is compared between nodes, one after the other; less is better.

        Violations, the highest priority, the sum of all, their number, and last how long the most important have been
        running: those that were started the latest have the least to lose.
        """
        priorities = [pod.standing[0] for pod in self.pods]
        highest = max(priorities)
        started = min(_started(pod) for pod in self.pods if pod.standing[0] == highest)
        total = sum(priority + PRIORITY_OFFSET for priority in priorities)
        return self.violations, highest, total, len(self.pods), -started


def _started(pod: PlacedPod) -> float:
    """When a pod was started; one that has not been is as if it were to be started just now."""
    return parse_rfc3339(pod.standing[1]) if pod.standing[1] else math.inf


def importance(pod: PlacedPod) -> tuple[int, float]:
    """The order of pods by importance: the highest priority first, then who was started first."""
    return -pod.standing[0], _started(pod)


COSTS = 5


@dataclass(slots=True)
class Trials:
    """What tries on nodes have shown for the pods of one class and priority.

    `together` are classes for which what is said of one node depends on others: their nodes are tried one by one.
    """

    profile: Profile
    pod_class: PodClass
    priority: int
    together: bool
    victims: dict[int, Victims] = field(default_factory=dict)
    reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _found: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _costs: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, COSTS), dtype=np.float64))
    _seen: tuple[int, int, int] = (0, 0, -1)

    def catch_up(self, snapshot: Snapshot) -> None:
        """Forget what was found on nodes that have changed since."""
        now = snapshot.journal.position, snapshot.standings.position, snapshot.budgets.version
        changed = snapshot.journal.since(self._seen[0]), snapshot.standings.since(self._seen[1])
        if len(self._found) < snapshot.height:
            self._found = grown(self._found, len(snapshot.present))
            self._costs = np.vstack((self._costs, np.zeros((len(self._found) - len(self._costs), COSTS))))
        if changed[0] is None or changed[1] is None or self._seen[2] != now[2]:
            self._found[:] = Found.NOTHING
        else:
            for rows in changed:
                self._found[rows] = Found.NOTHING
        self._seen = now

    def forget(self, row: int) -> None:
        """What is found on a node must be found anew."""
        self._found[row] = Found.NOTHING

    def best(self, snapshot: Snapshot, helpable: BoolColumn, applicant: Applicant, share: Share) -> int | None:
        """The row of the node where making room costs the least, among the first that are found; None if nowhere.

        Where the search begins depends on the pod's uid, and so on chance: not always the same nodes are looked at.
        """
        potential = np.flatnonzero(helpable)
        if not len(potential):
            return None
        ordered = np.roll(potential, -(zlib.crc32(applicant.uid.encode()) % len(potential)))
        wanted = share.of(len(potential))
        candidates: list[RowNumbers] = []
        number, harmless = 0, False
        for first in range(0, len(ordered), wanted):
            rows = ordered[first : first + wanted]
            self._try(snapshot, rows[self._found[rows] == Found.NOTHING], applicant)
            fit = rows[self._found[rows] == Found.CANDIDATE]
            if not len(fit):
                continue
            # As soon as there are enough, and one of them violates no budget, the others need not be known.
            free = np.cumsum(self._costs[fit, 0] == 0) + harmless > 0
            enough = np.flatnonzero(free & (number + np.arange(1, len(fit) + 1) >= wanted))
            fit = fit[: int(enough[0]) + 1] if len(enough) else fit
            candidates.append(fit)
            number, harmless = number + len(fit), bool(free[-1])
            if len(enough):
                break
        if not candidates:
            return None
        return self._cheapest(np.concatenate(candidates))

    def _cheapest(self, rows: RowNumbers) -> int:
        """Of several that cost the same, the first."""
        costs = self._costs[rows]
        return int(rows[np.lexsort(costs.T[::-1])[0]])

    def why_not(self, snapshot: Snapshot, helpable: BoolColumn) -> Counter[str]:
        """After all that might be helped have been tried: why no node can be."""
        rows = np.flatnonzero(helpable)
        counts: Counter[str] = Counter()
        for row in rows[self._found[rows] == Found.NO_ROOM].tolist():
            counts.update(self.reasons[row])
        counts[NO_VICTIMS] = int(np.count_nonzero(self._found[rows] == Found.NO_VICTIMS))
        counts[NOT_HELPFUL] = snapshot.node_count - len(rows)
        return +counts

    def _try(self, snapshot: Snapshot, rows: RowNumbers, applicant: Applicant) -> None:
        if min(snapshot.priorities, default=self.priority) >= self.priority:
            self._found[rows] = Found.NO_VICTIMS
            return
        potential: list[tuple[int, list[PlacedPod]]] = []
        for row in rows.tolist():
            lower = [pod for pod in snapshot.pods_on(row) if pod.standing[0] < self.priority]
            if lower:
                potential.append((row, sorted(lower, key=importance)))
            else:
                self._found[row] = Found.NO_VICTIMS
        for some in [[one] for one in potential] if self.together else [potential]:
            if some:
                self._try_without(snapshot, some, applicant)

    def _try_without(
        self, snapshot: Snapshot, potential: Sequence[tuple[int, list[PlacedPod]]], applicant: Applicant
    ) -> None:
        """Try nodes, all at once, without pods that may go, and put these back as far as that is possible."""
        rows = np.array([row for row, _ in potential], dtype=np.intp)
        with Supposition(snapshot, relations=self.together) as supposed:
            for row, pods in potential:
                for pod in pods:
                    supposed.remove(row, pod)
            fits = np.ones(len(rows), dtype=np.bool_)
            turned = turned_down_with_nominees(self.profile, self.pod_class, snapshot, rows, fits, applicant)
            for index in np.flatnonzero(~fits).tolist():
                self._found[rows[index]] = Found.NO_ROOM
                self.reasons[int(rows[index])] = tuple(each.reason for each in turned if each.nodes[index])
            helped = [potential[index] for index in np.flatnonzero(fits).tolist()]
            victims = self._put_back(snapshot, helped, supposed, applicant)
        for row, found in victims.items():
            self._found[row] = Found.CANDIDATE
            self._costs[row] = found.costs()
            self.victims[row] = found

    def _put_back(
        self,
        snapshot: Snapshot,
        potential: Sequence[tuple[int, list[PlacedPod]]],
        supposed: Supposition,
        applicant: Applicant,
    ) -> dict[int, Victims]:
        guarded = {row: self._guarded(snapshot, pods) for row, pods in potential}
        queues = {row: sorted(pods, key=lambda pod: id(pod) not in guarded[row]) for row, pods in potential}
        victims: dict[int, list[PlacedPod]] = {row: [] for row, _ in potential}
        for turn in range(max(map(len, queues.values()), default=0)):
            rows = [row for row, pods in queues.items() if turn < len(pods)]
            for row in rows:
                supposed.add(row, queues[row][turn])
            fits = np.ones(len(rows), dtype=np.bool_)
            asked = np.array(rows, dtype=np.intp)
            turned_down_with_nominees(self.profile, self.pod_class, snapshot, asked, fits, applicant)
            for index in np.flatnonzero(~fits).tolist():
                row = rows[index]
                supposed.remove(row, queues[row][turn])
                victims[row].append(queues[row][turn])
        return {
            row: Victims(tuple(sorted(pods, key=importance)), sum(id(pod) in guarded[row] for pod in pods))
            for row, pods in victims.items()
        }

    @staticmethod
    def _guarded(snapshot: Snapshot, pods: list[PlacedPod]) -> set[int]:
        """Those (their ids) who could not go without a violation of a budget."""
        violated = snapshot.budgets.violated([(pod.pod, pod.resident) for pod in pods])
        return {id(pod) for pod, violates in zip(pods, violated, strict=True) if violates}


def hangs_together(profile: Profile, pod_class: PodClass, snapshot: Snapshot) -> bool:
    """Whether it may help a pod on one node that somebody goes from another."""
    if not goes_by_itself(profile, pod_class):
        return True
    rows = slice(0, snapshot.height)
    return any(
        rejection.for_good is not True and bool(rejection.nodes.any())
        for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True)
        if plugin.fleeting and plugin.filter is not None and demand is not None
        for rejection in plugin.filter(demand, snapshot, rows)
    )


def room_is_being_made(snapshot: Snapshot, row: int, priority: int) -> bool:
    """Whether pods that are less important than this are still on their way out of a node, sent away for others."""
    return any(
        pod.standing[0] < priority and (uid(pod.pod) in snapshot.nominations.victims or is_leaving(pod.pod))
        for pod in snapshot.pods_on(row)
    )


def is_leaving(pod: Object) -> bool:
    """Whether a pod terminates because it was sent away."""
    if not deletion_requested(pod):
        return False
    condition = find_condition(pod, DISRUPTED)
    return condition is not None and (condition["status"], condition.get("reason")) == ("True", PREEMPTED)
