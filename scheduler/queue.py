"""The pods that wait for a node, in four parts.

- active: to be placed now; the highest priority first, and of equal ones the one that came first
- backoff: failed and due again after a delay of 1 s, doubled at each failure up to 10 s (or as configured)
- unschedulable: fit nowhere, and wait for a change that may help (or, as a last resort, for five minutes)
- gated: have scheduling gates, and wait until these are removed; or are held back until their gang is there

Unschedulable pods of one class wait together: what turns one of them down turns them all down. When something may
have helped, the first of them is tried, and each that is placed brings the next one; so a node with room for one does
not set ten thousand in motion.

A pod whose delay is not over is still taken when nothing else is active, unless it failed by an error: an idle
scheduler has no reason to let a pod wait for which there may be room now.

The queue neither waits nor reads a clock: `now` (monotonic seconds) is passed in, `next_due` tells when to look
again.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queueing-hint
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from apimachinery.meta import Object, namespaced_key, uid
from scheduler.framework import PodClass
from scheduler.pods import priority

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 10.0
UNSCHEDULABLE_MAX_SECONDS = 300.0
VOID_ENTRIES_MAX = 1024


class Part(Enum):
    """Where in the queue a pod is; OUT is a pod that is being placed or bound."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    OUT = "out"


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pod that waits, and what is known of its attempts so far. Times are monotonic seconds.

    `since` is when it came, or last failed; `due` is when its delay is over. A `ticket` is drawn for every place in
    a heap: what stands there under an older one is void. `described` tells in which state of all that a description
    depends on, beside the pod, it was described.
    """

    pod: Object
    pod_class: PodClass
    part: Part = Part.OUT
    failures: int = 0
    since: float = 0.0
    due: float = 0.0
    ticket: int = 0
    in_leftovers: bool = False
    described: int = 0
    held: bool = False

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return uid(self.pod)

    @property
    def key(self) -> str:
        """The pod's `namespace/name`."""
        return namespaced_key(self.pod)


# The highest priority first, then who has waited longest. Or: who is due first.
Ordered = tuple[int, float, int, QueuedPod]
Timed = tuple[float, int, QueuedPod]
Entry = TypeVar("Entry", Ordered, Timed)


def _push(heap: list[Entry], entry: Entry, live: int) -> None:
    """Add to a heap; should most of it be void, clear it up: nobody takes anything out while another one leads."""
    heapq.heappush(heap, entry)
    if len(heap) > 2 * live + VOID_ENTRIES_MAX:
        heap[:] = [kept for kept in heap if kept[-1].ticket == kept[-2]]
        heapq.heapify(heap)


@dataclass(slots=True)
class _Group:
    """The unschedulable pods of one class; `helped` while one of them is on its way to be tried."""

    rejectors: frozenset[str] = frozenset()
    helped: bool = False
    waiting: list[Ordered] = field(default_factory=list)
    size: int = 0


class SchedulingQueue:
    """All pods that wait, by uid."""

    def __init__(
        self,
        *,
        backoff_first_seconds: float = BACKOFF_FIRST_SECONDS,
        backoff_max_seconds: float = BACKOFF_MAX_SECONDS,
    ) -> None:
        self._backoff_first_seconds = backoff_first_seconds
        self._backoff_max_seconds = backoff_max_seconds
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[Ordered] = []
        self._backoff: list[Timed] = []
        self._errors: list[Timed] = []
        self._groups: dict[PodClass, _Group] = {}
        self._leftovers: deque[tuple[float, QueuedPod]] = deque()
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __iter__(self) -> Iterator[QueuedPod]:
        return iter(self._pods.values())

    def __contains__(self, pod_uid: str) -> bool:
        return pod_uid in self._pods

    def get(self, pod_uid: str) -> QueuedPod | None:
        """The pod, whichever part it is in."""
        return self._pods.get(pod_uid)

    def add(self, pod: Object, pod_class: PodClass, now: float, *, described: int = 0) -> QueuedPod:
        """Take in a pod that is new."""
        queued = QueuedPod(pod, pod_class, since=now, due=now, described=described)
        self._pods[queued.uid] = queued
        self._admit(queued)
        return queued

    def update(self, pod: Object, pod_class: PodClass, now: float, *, described: int = 0) -> None:
        """Take in another version of a pod; what it demands anew is tried at once."""
        queued = self._pods[uid(pod)]
        changed = not queued.pod_class.equals(pod_class) or priority(queued.pod) != priority(pod)
        again = queued.part is Part.GATED or (changed and queued.part is not Part.OUT)
        if again:
            self._leave(queued)
            self.follow(queued.pod_class, now)
        queued.pod, queued.described = pod, described
        if changed:
            queued.pod_class = pod_class
        if again:
            self._admit(queued)

    def remove(self, pod_uid: str, now: float) -> None:
        """The pod no longer waits: it is bound, or gone."""
        queued = self._pods.pop(pod_uid, None)
        if queued is not None:
            self._leave(queued)
            self.follow(queued.pod_class, now)

    def pop(self, now: float) -> QueuedPod | None:
        """The pod whose turn it is; it is OUT until `fail`, `fail_by_error`, `retry` or `remove` follows."""
        self._promote_due(now)
        while self._active:
            *_, ticket, queued = heapq.heappop(self._active)
            if queued.ticket == ticket:
                return self._take_out(queued)
        while self._backoff:
            _, ticket, queued = heapq.heappop(self._backoff)
            if queued.ticket == ticket:
                return self._take_out(queued)
        return None

    def fail(self, queued: QueuedPod, rejectors: frozenset[str], now: float, *, nominated: bool = False) -> None:
        """The pod fits nowhere: it waits for a change that may help.

        One that is `nominated` waits for what is being done for it; that need not help others of its class, but the
        same can be done for them.
        """
        if not self._failed(queued, now):
            return
        goes_on = nominated and self.follow(queued.pod_class, now)
        group = self._groups.setdefault(queued.pod_class, _Group())
        group.rejectors, group.helped = rejectors, goes_on
        group.size += 1
        queued.part = Part.UNSCHEDULABLE
        _push(group.waiting, self._in_order(queued), group.size)
        if not queued.in_leftovers:
            queued.in_leftovers = True
            self._leftovers.append((now + UNSCHEDULABLE_MAX_SECONDS, queued))

    def fail_by_error(self, queued: QueuedPod, now: float) -> None:
        """The attempt went wrong: the pod is tried again after its delay, whatever happens meanwhile."""
        if self._failed(queued, now):
            queued.part = Part.BACKOFF
            _push(self._errors, self._in_time(queued), len(self._pods))
            self.follow(queued.pod_class, now)

    def hold(self, queued: QueuedPod, *, held: bool) -> None:
        """Hold a pod back, or let it go again."""
        queued.held = held
        if queued.part is not Part.OUT:
            self._leave(queued)
            self._admit(queued)

    def take(self, queued: QueuedPod) -> None:
        """Take out a pod that is placed together with the one whose turn it is; the same as `pop` does."""
        self._leave(queued)

    def wake(self, queued: QueuedPod, now: float, *, after_delay: bool = False) -> None:
        """Have a pod tried again that fits nowhere; `after_delay` in any case, if something went wrong with it."""
        if queued.part is not Part.UNSCHEDULABLE:
            return
        self._leave(queued)
        if after_delay and queued.due > now:
            queued.part = Part.BACKOFF
            _push(self._errors, self._in_time(queued), len(self._pods))
        else:
            self._resume(queued, now)

    def retry(self, queued: QueuedPod) -> None:
        """The attempt was called off: the pod is due as before."""
        if self._pods.get(queued.uid) is queued:
            self._admit(queued)

    def move(self, may_help: Callable[[PodClass, frozenset[str], int], bool], now: float) -> None:
        """Have those pods tried again that something may have helped; the question is asked once a class.

        It is asked for the first of them, with its priority.
        """
        for pod_class, group in list(self._groups.items()):
            if not group.helped and may_help(pod_class, group.rejectors, self._highest_priority(group)):
                group.helped = True
                self.follow(pod_class, now)

    def _highest_priority(self, group: _Group) -> int:
        while group.waiting[0][-1].ticket != group.waiting[0][-2]:
            heapq.heappop(group.waiting)
        return -group.waiting[0][0]

    def describe_anew(self, queued: QueuedPod, pod_class: PodClass, now: float) -> None:
        """A pod that was just taken out is of another class than it was, for what is around it has changed."""
        if pod_class is not queued.pod_class:
            left, queued.pod_class = queued.pod_class, pod_class
            self.follow(left, now)

    def any_rejected_by(self, plugins: frozenset[str]) -> bool:
        """Whether one of these plugins turned down a class that waits."""
        return any(group.rejectors & plugins for group in self._groups.values())

    def rejected_too(self, pod_class: PodClass, rejectors: frozenset[str]) -> None:
        """A waiting class would be turned down by these as well."""
        self._groups[pod_class].rejectors |= rejectors

    def follow(self, pod_class: PodClass, now: float) -> bool:
        """One of a class has been placed, or has left the queue: if the class has been helped, the next one comes.

        Tells whether there is one.
        """
        group = self._groups.get(pod_class)
        while group is not None and group.helped and group.waiting:
            *_, ticket, queued = heapq.heappop(group.waiting)
            if queued.ticket == ticket:
                self._leave(queued)
                self._resume(queued, now)
                return True
        return False

    def next_due(self) -> float | None:
        """When `pop` may have something without any call in between; None if never."""
        due = [heap[0][0] for heap in (self._backoff, self._errors) if heap]
        if self._leftovers:
            due.append(self._leftovers[0][0])
        return min(due, default=None)

    def counts(self) -> dict[str, int]:
        """How many pods are in each part."""
        found = Counter(queued.part.value for queued in self._pods.values())
        return {part.value: found[part.value] for part in Part}

    def _admit(self, queued: QueuedPod) -> None:
        if queued.held or queued.pod["spec"].get("schedulingGates"):
            queued.part = Part.GATED
        else:
            queued.part = Part.ACTIVE
            _push(self._active, self._in_order(queued), len(self._pods))

    def _resume(self, queued: QueuedPod, now: float) -> None:
        if queued.due <= now:
            self._admit(queued)
        else:
            queued.part = Part.BACKOFF
            _push(self._backoff, self._in_time(queued), len(self._pods))

    def _promote_due(self, now: float) -> None:
        for heap in (self._backoff, self._errors):
            while heap and heap[0][0] <= now:
                _, ticket, queued = heapq.heappop(heap)
                if queued.ticket == ticket:
                    self._admit(queued)
        while self._leftovers and self._leftovers[0][0] <= now:
            _, queued = self._leftovers.popleft()
            queued.in_leftovers = False
            if queued.part is Part.UNSCHEDULABLE and self._pods.get(queued.uid) is queued:
                self._leave(queued)
                self._admit(queued)

    def _take_out(self, queued: QueuedPod) -> QueuedPod:
        queued.part = Part.OUT
        self._draw(queued)
        return queued

    def _failed(self, queued: QueuedPod, now: float) -> bool:
        """Note a failure, unless the pod has been removed while it was out."""
        if self._pods.get(queued.uid) is not queued:
            return False
        queued.failures += 1
        queued.since = now
        doubled = self._backoff_first_seconds * 2 ** min(queued.failures - 1, 10)
        queued.due = now + min(doubled, self._backoff_max_seconds)
        return True

    def _leave(self, queued: QueuedPod) -> None:
        """Take the pod out of the part that it is in; heaps find by its ticket that it is gone."""
        self._draw(queued)
        if queued.part is Part.UNSCHEDULABLE:
            group = self._groups[queued.pod_class]
            group.size -= 1
            if not group.size:
                del self._groups[queued.pod_class]
        queued.part = Part.OUT

    def _in_order(self, queued: QueuedPod) -> Ordered:
        return -priority(queued.pod), queued.since, self._draw(queued), queued

    def _in_time(self, queued: QueuedPod) -> Timed:
        return queued.due, self._draw(queued), queued

    def _draw(self, queued: QueuedPod) -> int:
        self._tickets += 1
        queued.ticket = self._tickets
        return queued.ticket
