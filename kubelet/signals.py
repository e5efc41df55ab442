"""Waiting for something to happen, or for a time to come, whichever is first."""

from __future__ import annotations

import asyncio

from apiclient.clock import Clock


class Signal:
    """Counts what happens and wakes all that wait for more.

    Who waits notes `version` before looking at the state in question: what happens between the look and the
    wait is then not missed, however many others wait on the same signal.
    """

    def __init__(self, clock: Clock) -> None:
        self.version = 0
        self._clock = clock
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Something happened: wake everybody."""
        self.version += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seen: int, until: float | None = None) -> None:
        """Return once more has happened than `seen`, or at `until`.

        That is a time of the monotonic clock: a step of the wall clock moves no deadline.
        """
        if self.version != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if until is None:
            await waiter
            return
        timer = asyncio.ensure_future(self._clock.sleep(max(0.0, until - self._clock.monotonic())))
        try:
            await asyncio.wait((waiter, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if not waiter.done():
                waiter.cancel()
                self._waiters.remove(waiter)
