"""Keeps room for the pods for which it is being made, and has them tried again as soon as it is there.

A pod is nominated to a node when others are sent away from there for it, or when its status says so, as it does to a
scheduler that has just taken over. It comes back when it fits there, when nobody is on the way out any more although
it does not, and when the node itself changes or is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from apimachinery.meta import Object, deletion_requested, uid
from scheduler.framework import PodClass, Profile, Remedy, feasible
from scheduler.nominations import Applicant, Nominee
from scheduler.pods import nominated_node, priority
from scheduler.preemption import room_is_being_made
from scheduler.queue import Part, QueuedPod, SchedulingQueue
from scheduler.residents import Resident
from scheduler.snapshot import Change, Snapshot
from scheduler.verdicts import kept_for_others


class Nominating:
    """Who waits for room on which node. `note` is told of nodes where room is no longer kept for somebody."""

    def __init__(self, snapshot: Snapshot, queue: SchedulingQueue, note: Callable[[Change, str], None]) -> None:
        self._snapshot = snapshot
        self._queue = queue
        self._note = note
        self._uprooted: set[str] = set()

    def told(self, before: Object | None, queued: QueuedPod, resident_of: Callable[[Object], Resident]) -> None:
        """A pod that waits is new, or another version of it has come.

        What its status says counts where that is news; else it may be behind what has been decided since.
        """
        said = nominated_node(queued.pod)
        known = self._snapshot.nominations.get(queued.uid)
        if said != (nominated_node(before) if before is not None else ""):
            node = said
        else:
            node = known.node if known is not None else ""
        if not node:
            self.forget(queued.uid)
            return
        nominee = _nominee(queued, node, resident_of(queued.pod))
        if known is None or known.counts_as() != nominee.counts_as():
            self.forget(queued.uid, node=node)
            self._snapshot.nominate(queued.uid, nominee)

    def begin(self, queued: QueuedPod, resident: Resident, remedy: Remedy, now: float) -> Remedy:
        """Room is made for a pod on a node; less important ones that were to come there have to look elsewhere.

        Tells what is to be done about that: of the victims, those that are not on the way out already.
        """
        assert remedy.node, "room is made somewhere"
        nominations, own = self._snapshot.nominations, priority(queued.pod)
        displaced = [each for each in nominations.on(remedy.node).values() if each.priority < own]
        for each in displaced:
            self._snapshot.forget_nomination(uid(each.pod))
            self._wake(uid(each.pod), now)
        self.forget(queued.uid, node=remedy.node)
        self._snapshot.nominate(queued.uid, _nominee(queued, remedy.node, resident))
        victims = tuple(
            victim
            for victim in remedy.victims
            if uid(victim.pod) not in nominations.victims and not deletion_requested(victim.pod)
        )
        nominations.victims.update(uid(victim.pod) for victim in victims)
        return replace(remedy, victims=victims, displaced=tuple(each.pod for each in displaced))

    def failed(self, queued: QueuedPod, victims: Iterable[Object], now: float) -> None:
        """These could not be sent away."""
        self._snapshot.nominations.victims.difference_update(map(uid, victims))
        if self._queue.get(queued.uid) is queued:
            self._queue.wake(queued, now, after_delay=True)

    def forget(self, pod_uid: str, *, node: str = "") -> None:
        """A pod waits for room no longer, but for what it takes itself on `node`."""
        nominee = self._snapshot.forget_nomination(pod_uid)
        if nominee is not None and nominee.node != node:
            self._note(Change.POD_REMOVED, nominee.node)

    def kept_row(self, queued: QueuedPod, profile: Profile, applicant: Applicant) -> int | None:
        """The row of the node where room has been made for a pod, if it fits there now."""
        nominee = self._snapshot.nominations.get(queued.uid)
        row = self._snapshot.row(nominee.node) if nominee is not None else None
        if nominee is None or row is None or not self._fits(queued.pod_class, row, profile):
            return None
        rows, passed = slice(row, row + 1), self._snapshot.present[row : row + 1]
        if kept_for_others(profile, queued.pod_class, self._snapshot, rows, passed, applicant)[0]:
            return None
        return row

    def _fits(self, pod_class: PodClass, row: int, profile: Profile) -> bool:
        if pod_class.choice is not None and self._snapshot.node_name(row) not in pod_class.choice[1].nodes:
            return False
        return bool(feasible(profile, pod_class, self._snapshot, slice(row, row + 1))[0])

    def _wake(self, pod_uid: str, now: float) -> None:
        if (queued := self._queue.get(pod_uid)) is not None:
            self._queue.wake(queued, now)

    def node_gone(self, node: str) -> None:
        """A node is gone: those that were to come there are to be tried again."""
        self._uprooted.update(self._snapshot.nominations.on(node))

    def wake(self, rows: Mapping[int, Change], profile_of: Callable[[PodClass], Profile], now: float) -> None:
        """After changes on nodes: have those tried again that were to come there, if that may be of use."""
        for pod_uid in self._uprooted:
            self._wake(pod_uid, now)
        self._uprooted.clear()
        if not self._snapshot.nominations:
            return
        for row, change in rows.items():
            if not self._snapshot.nominated[row]:
                continue
            for pod_uid, nominee in list(self._snapshot.nominees(row).items()):
                queued = self._queue.get(pod_uid)
                if queued is None or queued.part is not Part.UNSCHEDULABLE:
                    continue
                waits = not change & ~Change.POD_REMOVED and room_is_being_made(self._snapshot, row, nominee.priority)
                if not waits or self._fits(queued.pod_class, row, profile_of(queued.pod_class)):
                    self._wake(pod_uid, now)


def _nominee(queued: QueuedPod, node: str, resident: Resident) -> Nominee:
    return Nominee(queued.pod, node, priority(queued.pod), queued.pod_class.usage, resident)
