"""One attempt to place the pods of a gang: as many as are needed find room at once, or none of them stays.

All pods that wait are tried one after the other, each in the state that those before it have made. One that fits
nowhere is tried again after others have been placed, for it may want to be near them. If too few fit in the end, all
are taken back and the largest are tried first, as small ones may have taken the only places for them. Nothing else
happens in between, so nobody ever sees half of a gang, and no two gangs can keep each other waiting.

If it can be placed after less important pods have been sent away, that is done (`scheduler.gang_preemption`). What
fails waits, all pods of the gang, for a change that may help one of them; then all are tried again, unless there
is still too little room whatever else holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scheduler.columns import Rows
from scheduler.diagnosis import Diagnosis
from scheduler.framework import PodClass, Profile, Remedy, feasible, rows_of
from scheduler.gang_preemption import faring_alike, room_to_make, waits_for_room
from scheduler.gangs import GangKey, Gangs
from scheduler.pods import CPU, MEMORY, Usage, priority
from scheduler.queue import QueuedPod, SchedulingQueue
from scheduler.snapshot import Snapshot

if TYPE_CHECKING:
    from scheduler.cluster import Cluster, Placement

# Places a pod where it fits best; False if it fits nowhere.
Try = Callable[[QueuedPod], bool]


@dataclass(slots=True)
class Attempt:
    """Which pods found a node, in order, and which did not."""

    placed: list[QueuedPod] = field(default_factory=list)
    left: list[QueuedPod] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GangOutcome:
    """Which pods of a gang have been placed, and which are to be told why they have not been."""

    placements: Sequence[Placement] = ()
    failures: Sequence[tuple[QueuedPod, Diagnosis]] = ()


@dataclass(slots=True)
class _Failure:
    """Why too few pods fit at once, put together from all orders in which it was tried."""

    key: GangKey
    needed: int
    most: int = -1
    reason: str = ""
    against: dict[PodClass, frozenset[str]] = field(default_factory=dict)

    def add(self, tried: Attempt, diagnoses: Mapping[PodClass, Diagnosis]) -> None:
        """One order, and what was against each class that was left."""
        for pod_class, diagnosis in diagnoses.items():
            self.against[pod_class] = self.against.get(pod_class, frozenset()) | diagnosis.rejectors
        if len(tried.placed) > self.most:
            self.most = len(tried.placed)
            self.reason = diagnoses[tried.left[0].pod_class].message

    @property
    def message(self) -> str:
        """What all of the pods are told."""
        if self.needed == 1:
            return self.reason
        return f"{self.key} needs {self.needed} pods placed at once, and {self.most} fit: {self.reason}"

    def rejectors(self, profile: Profile, pod_class: PodClass) -> frozenset[str]:
        """What keeps a class waiting: who turned it down; if nobody did, whoever could have sent it elsewhere."""
        asked = zip(profile.plugins, pod_class.demands, strict=True)
        return self.against.get(pod_class) or frozenset(
            plugin.name for (plugin, _), demand in asked if demand is not None
        )


def place_gang(cluster: Cluster, queued: QueuedPod, now: float) -> GangOutcome:
    """Place a pod that was taken out of the queue, and all of its gang that wait; or none of them.

    Once a gang has all the pods that it needs, each further one is placed alone.
    """
    key = queued.pod_class.gang
    assert key is not None, "the pod is one of a gang"
    needed = cluster.gangs.missing(key)
    if not needed:
        found = cluster.place(queued, now)
        return GangOutcome(failures=[(queued, found)]) if isinstance(found, Diagnosis) else GangOutcome([found])
    pods = [queued, *_take_others(cluster, key, queued, now)]
    try:
        assert len(pods) >= needed, "pods of a gang that is not complete are held back"
        return _place_together(cluster, key, needed, pods, now)
    except Exception:
        # Whoever is told of this sees to the pod whose turn it was.
        for other in pods[1:]:
            cluster.queue.fail_by_error(other, now)
        raise


def _take_others(cluster: Cluster, key: GangKey, queued: QueuedPod, now: float) -> list[QueuedPod]:
    """Take the others of a gang out of the queue, wherever they are in it; who is more important comes first."""
    gang = cluster.gangs.get(key)
    assert gang is not None, "one of its pods is here"
    waiting = (cluster.queue.get(pod_uid) for pod_uid in gang.free if pod_uid != queued.uid)
    others = [other for other in waiting if other is not None]
    others.sort(key=lambda other: (-priority(other.pod), other.since, other.key))
    for other in others:
        cluster.queue.take(other)
        cluster.describe(other, now)
    return others


def _place_together(
    cluster: Cluster, key: GangKey, needed: int, pods: Sequence[QueuedPod], now: float
) -> GangOutcome:
    placements: dict[str, Placement] = {}
    failure = _Failure(key, needed)

    def place(queued: QueuedPod) -> bool:
        placement = cluster.assume(queued)
        if placement is not None:
            placements[queued.uid] = placement
        return placement is not None

    def undo(queued: QueuedPod) -> None:
        cluster.take_back(placements.pop(queued.uid))

    def failed(tried: Attempt) -> None:
        failure.add(tried, {left.pod_class: cluster.diagnosis(left) for left in tried.left})

    def alike(queued: QueuedPod) -> Hashable:
        return faring_alike(queued, cluster.snapshot)

    found = attempt(pods, needed, place=place, undo=undo, failed=failed, alike=alike)
    if found is None:
        return _gang_failed(cluster, pods, failure, now)
    for queued in found.placed:
        cluster.settled(placements[queued.uid], now)
    placed = [placements[queued.uid] for queued in found.placed]
    failures: list[tuple[QueuedPod, Diagnosis]] = []
    for left in found.left:
        # These are on their own now; and those that were placed may have had room kept for them elsewhere.
        outcome = cluster.place(left, now)
        if isinstance(outcome, Diagnosis):
            failures.append((left, outcome))
        else:
            placed.append(outcome)
    return GangOutcome(placed, failures)


def _gang_failed(cluster: Cluster, pods: Sequence[QueuedPod], failure: _Failure, now: float) -> GangOutcome:
    """All of the gang waits, for room that is made for it if that can be."""
    remedies = _remedies(cluster, pods, failure.needed, now)
    news = cluster.gangs.failed(failure.key, failure.needed, failure.message)
    failures = []
    for queued in pods:
        rejectors = failure.rejectors(cluster.profile_of(queued.pod_class), queued.pod_class)
        cluster.turn_down(queued, rejectors, now)
        # One is told at each failure, as any pod is; a thousand others need not hear the same again and again.
        if news or queued is pods[0] or queued.failures == 1 or queued.uid in remedies:
            failures.append((queued, Diagnosis(failure.message, rejectors, remedy=remedies.get(queued.uid))))
    return GangOutcome(failures=failures)


def _remedies(cluster: Cluster, pods: Sequence[QueuedPod], needed: int, now: float) -> dict[str, Remedy]:
    """What is done for each pod of a gang, by uid; room is kept for none of them if none is made."""
    if waits_for_room(pods, cluster.snapshot):
        return {}
    remedies = {
        queued.uid: cluster.nominate(queued, remedy, now) for queued, remedy in room_to_make(cluster, pods, needed)
    }
    for queued in pods:
        if queued.uid not in remedies and cluster.withdraw(queued.uid):
            remedies[queued.uid] = Remedy("")
    return remedies


def attempt(
    pods: Sequence[QueuedPod],
    needed: int,
    *,
    place: Try,
    undo: Callable[[QueuedPod], None],
    failed: Callable[[Attempt], None],
    alike: Callable[[QueuedPod], Hashable],
) -> Attempt | None:
    """Place at least `needed` of these pods and leave them placed; None if that can't be done, and none is placed.

    `failed` hears of each order in which it could not be done, while the pods of that order are still placed. `alike`
    tells pods that fare the same; None is one that has to be tried itself.
    """
    for ordered in _orders(pods):
        found = Attempt()
        try:
            _place_all(ordered, place, alike, found)
            if len(found.placed) >= needed:
                return found
            failed(found)
        except BaseException:
            _undo_all(found, undo)
            raise
        _undo_all(found, undo)
    return None


def _place_all(pods: Sequence[QueuedPod], place: Try, alike: Callable[[QueuedPod], Hashable], found: Attempt) -> None:
    found.left = list(pods)
    progress = True
    while found.left and progress:
        before = len(found.placed)
        nowhere: set[Hashable] = set()
        waiting, found.left = found.left, []
        for queued in waiting:
            kind = alike(queued)
            if (kind is None or kind not in nowhere) and place(queued):
                found.placed.append(queued)
            else:
                found.left.append(queued)
                nowhere.add(kind)
        progress = len(found.placed) > before


def _undo_all(found: Attempt, undo: Callable[[QueuedPod], None]) -> None:
    for queued in reversed(found.placed):
        undo(queued)


def _orders(pods: Sequence[QueuedPod]) -> list[Sequence[QueuedPod]]:
    """The order in which the pods wait; and the largest first, where that is another one."""
    by_size = sorted(pods, key=lambda queued: _size(queued.pod_class.usage), reverse=True)
    return [pods] if by_size == list(pods) else [pods, by_size]


def _size(usage: Usage) -> tuple[int, int, int]:
    """Extended resources are the scarcest, then cpu."""
    rare = sum(value for resource, value in usage.requests if "/" in resource)
    return rare, usage.request(CPU), usage.request(MEMORY)


def settle(gangs: Gangs, queue: SchedulingQueue, now: float, *, withdraw: Callable[[str], object]) -> None:
    """Hold back the pods of gangs that are not complete, let those go that are, after whatever has changed.

    For a pod that is held back no room is kept any more: `withdraw` is called with its uid.
    """
    changed, gangs.changed = gangs.changed, {}
    for key in changed:
        moved, held = gangs.settle(key, now)
        for queued in map(queue.get, moved):
            if queued is not None:
                queue.hold(queued, held=held)
                if held:
                    withdraw(queued.uid)
        for queued in map(queue.get, gangs.eased(key)):
            if queued is not None:
                queue.wake(queued, now)


def may_have_room(
    key: GangKey, gangs: Gangs, queue: SchedulingQueue, profiles: Mapping[str, Profile], snapshot: Snapshot
) -> bool:
    """Whether a gang could fit as a whole, were each class of its pods alone and placed in the best of ways."""
    gang, missing = gangs.get(key), gangs.missing(key)
    if gang is None or missing <= 1:
        return True
    counts = Counter(queued.pod_class for queued in map(queue.get, gang.free) if queued is not None)
    fitting = 0
    for pod_class, count in counts.items():
        fitting += min(count, room_for(profiles[pod_class.scheduler_name], pod_class, snapshot))
    return fitting >= missing


def room_for(profile: Profile, pod_class: PodClass, snapshot: Snapshot) -> int:
    """The most pods of this class that the nodes could take, by what is known to be limited."""
    rows: Rows = slice(0, snapshot.height)
    if pod_class.choice is not None:
        rows = rows_of(snapshot, pod_class.choice[1].nodes)
    passed = feasible(profile, pod_class, snapshot, rows, relations=False)
    room = np.full(len(passed), np.iinfo(np.int32).max, dtype=np.int64)
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.room is not None and demand is not None:
            room = np.minimum(room, plugin.room(demand, snapshot, rows))
    return int(room[passed].sum())
