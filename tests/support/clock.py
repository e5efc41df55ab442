"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

YIELDS_TO_SETTLE = 50
STEPS_MAX = 2_000


class ManualClock:
    """Time that stands still until it is moved; sleepers wake in the order of their time."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._stepped = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now + self._stepped

    def monotonic(self) -> float:
        """The same time, but for the steps of the wall clock."""
        return self._now

    def step(self, seconds: float) -> None:
        """Put the wall clock forward or back, as who sets the time of a machine does."""
        self._stepped += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(YIELDS_TO_SETTLE):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers one after another and letting each run."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                self._now = max(self._now, due)
                waiter.set_result(None)
                await self.settle()
        self._now = end
        await self.settle()

    async def run_until(self, condition: Callable[[], bool]) -> None:
        """Move time from sleeper to sleeper until the condition holds."""
        for _ in range(STEPS_MAX):
            await self.settle()
            if condition():
                return
            self._sleepers = [entry for entry in self._sleepers if not entry[2].done()]
            heapq.heapify(self._sleepers)
            if self._sleepers:
                await self.advance(self._sleepers[0][0] - self._now)
            else:
                # Threads (file input and output) end in real time.
                await asyncio.sleep(0.001)
        raise AssertionError("the condition never came to hold")
