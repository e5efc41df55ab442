"""How many requests run at once: reads and writes each have their places, and a queue for what comes on top.

A request that finds even the queue full is refused with 429 at once, so that the ones before it are still answered
in time. Watches and streams take no place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from apimachinery.errors import too_many_requests

READING = ("get", "list")
# Behind each place so many may wait.
WAITING_PER_PLACE = 20
RETRY_AFTER_SECONDS = 1


class Limits:
    """The places of one server."""

    def __init__(self, reads_max: int, writes_max: int) -> None:
        self._reads, self._writes = _Places(reads_max), _Places(writes_max)

    @asynccontextmanager
    async def place(self, verb: str) -> AsyncIterator[None]:
        """Hold a place while a request of this verb runs. Raises ApiError 429."""
        places = self._reads if verb in READING else self._writes
        await places.take()
        try:
            yield
        finally:
            places.give_back()


class _Places:
    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._waiting = 0
        self._waiting_max = count * WAITING_PER_PLACE

    async def take(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= self._waiting_max:
            raise too_many_requests("too many requests, please try again later", RETRY_AFTER_SECONDS)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def give_back(self) -> None:
        self._free.release()
