"""A priority level: its seats, its share of a turn, and its queues for what finds neither.

What is exempt has seats without limit. It waits for its turn like everything else, never in vain and never long: a
flood of an administrator must not keep nodes from renewing their leases either.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from apimachinery.errors import ApiError, too_many_requests
from apimachinery.meta import Object
from apiserver.flowcontrol.queues import Queues
from apiserver.flowcontrol.request import ENDED, RUNS, WAITS, Request
from apiserver.flowcontrol.retry_after import RetryAfter
from apiserver.flowcontrol.sharding import hand
from apiserver.flowcontrol.shares import Bounds, Demand, Meter, commons_of
from apiserver.flowcontrol.turns import REQUESTS_PER_TURN, Turns

if TYPE_CHECKING:
    from apiserver.flowcontrol.flows import Schema

EXEMPT, CATCH_ALL = "exempt", "catch-all"
# Queues and hand for what merely waits for its turn, at levels that have no queues by configuration.
PACING_QUEUES, PACING_HAND = 64, 6
# The seats of one request, however much it is estimated to be, and what part of a level they may be.
WIDTH_MAX, WIDTH_SHARE_MAX = 10, 0.15
QUEUE_FULL, NO_SEAT, TIME_OUT, CANCELLED = "queue-full", "concurrency-limit", "time-out", "cancelled"


class Level:
    """One PriorityLevelConfiguration that is in force."""

    def __init__(self, name: str, turns: Turns, *, clock: Callable[[], float], wait_seconds_max: float) -> None:
        """`clock` is monotonic; no request of a limited level waits longer than `wait_seconds_max`."""
        self.name = name
        self.uid = ""
        self.exempt = name == EXEMPT
        self.rejects = False
        self.commons: Object = {}
        self.bounds = Bounds(0, 0, 0)
        self.limit = math.inf
        self.width_max = WIDTH_MAX
        self.queues = Queues()
        self.demand = Demand()
        self.target = 0.0
        self.meter = Meter(clock())
        self.seats = 0
        self.inside: set[Request] = set()
        self.dispatched = self.rejected = self.timed_out = self.cancelled = 0
        self._deck, self._hand_size = PACING_QUEUES, PACING_HAND
        self._length_max: int | None = None
        self._turns = turns
        self._clock = clock
        self._wait_seconds_max = wait_seconds_max
        self._timer: asyncio.TimerHandle | None = None
        self._per_turn = REQUESTS_PER_TURN
        self._begun = 0
        self._in_turn = False
        self._refused: deque[asyncio.Future[None]] = deque()
        self._retry_after = RetryAfter()

    def configure(self, level: Object) -> None:
        """Take over what an object says."""
        spec = level["spec"]
        queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")
        self.uid = level["metadata"].get("uid") or ""
        self.exempt = spec["type"] == "Exempt"
        self.rejects = not self.exempt and queuing is None
        self.commons = commons_of(level)
        if queuing is None:
            self._deck, self._hand_size, self._length_max = PACING_QUEUES, PACING_HAND, None
        else:
            self._deck, self._hand_size = queuing["queues"], queuing["handSize"]
            self._length_max = queuing["queueLengthLimit"]

    def set_bounds(self, bounds: Bounds) -> None:
        """The seats that the level has by configuration."""
        self.bounds = bounds
        share = min(math.ceil(bounds.nominal * WIDTH_SHARE_MAX), bounds.nominal // self._hand_size)
        self.width_max = min(WIDTH_MAX, max(1, share))

    def set_limit(self, limit: float, total: float) -> None:
        """The seats that the level has for now, of all that there are."""
        self.limit = limit
        part = min(limit / total, 1.0) if total else 1.0
        self._per_turn = max(1, math.ceil(REQUESTS_PER_TURN * part))
        self._dispatch()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.inside and not self.queues.count

    def admit(self, request: Request) -> bool:
        """Take seats for a request at once; False if it has to wait."""
        if self._begun >= self._per_turn or self.queues.count or not self._fits(request.width):
            return False
        self._begin(request)
        return True

    async def wait(self, request: Request) -> None:
        """Wait for seats and for a turn, and take them. Raises ApiError 429."""
        flow, schema = request.flow, request.flow.schema
        if self.rejects and not self._fits(self.queues.seats + request.width):
            raise await self._refuse(schema, NO_SEAT)
        if not flow.hand:
            flow.hand = hand(f"{schema.name},{flow.distinguisher}", self._deck, self._hand_size)
        request.arrived, request.ready = self._clock(), asyncio.get_running_loop().create_future()
        if not self.queues.join(request, flow.hand, self._length_max):
            raise await self._refuse(schema, QUEUE_FULL)
        request.state = WAITS
        schema.queued += 1
        self.meter.set(self.seats + self.queues.seats, request.arrived)
        self._limit_time()
        try:
            await request.ready
        except asyncio.CancelledError:
            self._give_up(request)
            raise

    def leave(self, request: Request) -> None:
        """Give a request's seats back."""
        now, schema = self._clock(), request.flow.schema
        request.state = ENDED
        self.inside.discard(request)
        self.seats -= request.width
        schema.running -= 1
        schema.seats -= request.width
        if request.queue is not None:
            self.queues.end(request, now - request.began)
        self.meter.set(self.seats + self.queues.seats, now)
        if self.queues.count:
            self._dispatch()

    def turn_ended(self) -> None:
        """A new turn begins."""
        self._begun = 0
        self._in_turn = False

    def go_on(self) -> None:
        """Begin what has waited for this turn, and let some of those that are refused know it."""
        self._dispatch()
        for _ in range(min(len(self._refused), self._per_turn)):
            refused = self._refused.popleft()
            if not refused.done():
                refused.set_result(None)
        if self._refused and not self._in_turn:
            self._join_turn()

    def _fits(self, width: int) -> bool:
        # What is wider than the level may run alone.
        return self.seats + width <= self.limit or not self.inside

    def _begin(self, request: Request) -> None:
        if not self._in_turn:
            self._join_turn()
        width, schema = request.width, request.flow.schema
        request.state, request.began = RUNS, self._clock()
        self.inside.add(request)
        self._begun += width
        self.seats += width
        self.dispatched += 1
        schema.dispatched += 1
        schema.running += 1
        schema.seats += width
        self.meter.set(self.seats + self.queues.seats, request.began)

    def _join_turn(self) -> None:
        self._in_turn = True
        self._turns.joined_by(self)

    def _dispatch(self) -> None:
        while self._begun < self._per_turn and (request := self.queues.next()) is not None:
            assert request.ready is not None, "what waits waits for this"
            if request.ready.done():  # its client has gone in this moment
                self._give_up(request)
                continue
            if not self._fits(request.width):
                return
            self.queues.take(request)
            self._begin(request)
            schema = request.flow.schema
            schema.queued -= 1
            schema.waits.add(request.began - request.arrived)
            request.ready.set_result(None)

    def _give_up(self, request: Request) -> None:
        """The client of a request has gone while it waited, or in the moment in which it was its turn."""
        if request.state == WAITS:
            self._remove(request)
            self.cancelled += 1
            request.flow.schema.rejected[CANCELLED] += 1
        elif request.state == RUNS:
            self.leave(request)

    def _remove(self, request: Request) -> None:
        """Take a request out of its queue without serving it."""
        now, schema = self._clock(), request.flow.schema
        request.state = ENDED
        self.queues.leave(request)
        schema.queued -= 1
        schema.waits_in_vain.add(now - request.arrived)
        self.meter.set(self.seats + self.queues.seats, now)

    async def _refuse(self, schema: Schema, reason: str) -> ApiError:
        """The answer to a request for which there is no room. It comes in turns, too: whoever asks again without
        waiting must not get more of the server by being refused than by being served.
        """
        error = self._refusal(schema, reason)
        turn = asyncio.get_running_loop().create_future()
        self._refused.append(turn)
        if not self._in_turn:
            self._join_turn()
        await turn
        return error

    def _refusal(self, schema: Schema, reason: str) -> ApiError:
        self.rejected += 1
        schema.rejected[reason] += 1
        seconds = self._retry_after.refused(self._clock())
        return too_many_requests("Too many requests, please try again later.", seconds)

    def _limit_time(self) -> None:
        """See to it that nothing waits for too long."""
        if self._timer is not None or self.exempt:
            return
        if (oldest := self.queues.oldest()) is not None:
            seconds = max(0.0, oldest + self._wait_seconds_max - self._clock())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        for request in self.queues.overdue(self._clock() - self._wait_seconds_max):
            self._remove(request)
            self.timed_out += 1
            if request.ready is not None and not request.ready.done():
                request.ready.set_exception(self._refusal(request.flow.schema, TIME_OUT))
        self._limit_time()
