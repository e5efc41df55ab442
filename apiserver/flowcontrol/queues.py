"""Fair queues: of the requests that wait at a priority level, whose turn it is.

Every flow has a hand of queues, and joins the one of them with the least work. Each queue has a clock of its own,
which runs on with the work that is taken from it: seats times seconds. The queue whose clock is furthest behind is
served next, so queues that always have something waiting get equal shares, however much waits in each. How long a
request will take is guessed when it is taken, and corrected when it has ended. A queue that was empty has no claim to
the time in which it wanted nothing: it starts at the clock of the queue that was served last.

This is start-time fair queuing (Goyal, Vin and Cheng, 1996) for several servers, as KEP-1040 wants it.
"""

from __future__ import annotations

from collections import deque

from apiserver.flowcontrol.request import Request

GUESS_SECONDS = 0.003


class Queue:
    """One queue: what waits, the seats of what was taken from it and still runs, and its clock in seat-seconds."""

    __slots__ = ("clock", "index", "running", "seats_running", "seats_waiting", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Request] = deque()
        self.seats_waiting = 0
        self.seats_running = 0
        self.running = 0
        self.clock = 0.0


class Queues:
    """The queues of one priority level. Those that are not in use take no memory."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._used: dict[int, Queue] = {}
        # Those in which something waits; of queues whose clocks agree the first here is served.
        self._active: dict[int, Queue] = {}
        self.count = 0
        self.seats = 0

    def join(self, request: Request, hand: tuple[int, ...], length_max: int | None) -> bool:
        """Let a request wait in the best queue of a hand; False if too many wait in that one already."""
        queue = min(map(self._queue, hand), key=_load)
        if length_max is not None and len(queue.waiting) >= length_max:
            return False
        if not queue.waiting:
            if not queue.running:
                queue.clock = max(queue.clock, self._clock)
            self._active[queue.index] = queue
        request.queue = queue
        queue.waiting.append(request)
        queue.seats_waiting += request.width
        self.seats += request.width
        self.count += 1
        return True

    def next(self) -> Request | None:
        """The request whose turn it is; it stays where it is."""
        if not self._active:
            return None
        return min(self._active.values(), key=_clock).waiting[0]

    def take(self, request: Request) -> None:
        """A request begins to run. Its queue goes behind those whose clocks agree with its own."""
        queue = self._remove(request)
        self._clock = max(self._clock, queue.clock)
        queue.clock += request.width * GUESS_SECONDS
        queue.running += 1
        queue.seats_running += request.width
        if queue.index in self._active:
            self._active[queue.index] = self._active.pop(queue.index)

    def end(self, request: Request, seconds: float) -> None:
        """A request that was taken has ended after this time: the guess at it is corrected."""
        queue = request.queue
        assert queue is not None, "what was taken was taken from a queue"
        queue.running -= 1
        queue.seats_running -= request.width
        queue.clock += request.width * (seconds - GUESS_SECONDS)
        self._forget(queue)

    def leave(self, request: Request) -> None:
        """A request waits no longer, though it was not its turn."""
        self._forget(self._remove(request))

    def overdue(self, before: float) -> list[Request]:
        """The requests that arrived before a moment and still wait."""
        return [one for queue in self._active.values() for one in queue.waiting if one.arrived <= before]

    def oldest(self) -> float | None:
        """When the request arrived that has waited longest."""
        return min((queue.waiting[0].arrived for queue in self._active.values()), default=None)

    def used(self) -> list[Queue]:
        """The queues in use, in their order."""
        return [self._used[index] for index in sorted(self._used)]

    def _remove(self, request: Request) -> Queue:
        queue = request.queue
        assert queue is not None, "what waits waits in a queue"
        queue.waiting.remove(request)  # nearly always the first
        queue.seats_waiting -= request.width
        self.seats -= request.width
        self.count -= 1
        if not queue.waiting:
            del self._active[queue.index]
        return queue

    def _queue(self, index: int) -> Queue:
        queue = self._used.get(index)
        if queue is None:
            queue = self._used[index] = Queue(index)
        return queue

    def _forget(self, queue: Queue) -> None:
        """Drop a queue that is not in use and whose clock is not ahead: a new one would be just like it."""
        if not queue.waiting and not queue.running and queue.clock <= self._clock:
            self._used.pop(queue.index, None)


def _load(queue: Queue) -> int:
    return queue.seats_waiting + queue.seats_running


def _clock(queue: Queue) -> float:
    return queue.clock
