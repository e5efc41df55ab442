"""How many requests run at once: reads and writes each have their places, and a queue for what comes on top.

A request that finds even the queue full is refused with 429 at once, so that the ones before it are still answered
in time. Watches and streams take no place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from apimachinery.errors import too_many_requests

READING = ("get", "list")
# Behind each place so many may wait.
WAITING_PER_PLACE = 20
RETRY_AFTER_SECONDS = 1


class Limits:
    """The places of one server."""

    def __init__(self, reads_max: int, writes_max: int) -> None:
        self._reads, self._writes = Places(reads_max), Places(writes_max)

    def of(self, verb: str) -> Places:
        """The places for requests of a verb: `async with` holds one. Raises ApiError 429 on entering."""
        return self._reads if verb in READING else self._writes


class Places:
    """So many at once, and a queue behind them."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[asyncio.Future[None]] = deque()
        self._waiting_max = count * WAITING_PER_PLACE

    async def __aenter__(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        if len(self._queue) >= self._waiting_max:
            raise too_many_requests("too many requests, please try again later", RETRY_AFTER_SECONDS)
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_back()  # it was given a place in the same moment, and won't use it
            else:
                with suppress(ValueError):  # passed over already
                    self._queue.remove(place)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)  # handed on, and never free in between
                return
        self._free += 1
