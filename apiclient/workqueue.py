"""The queue between informers and `reconcile`: keys, not events.

A key that is added while it waits stays there once; one that is added while it is being worked on is worked on
again afterwards, never twice at once. Failures come back with a growing delay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from apiclient.clock import Clock, SystemClock

BASE_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 1000.0
_DOUBLINGS_MAX = 40


class Observer(Protocol):
    """Is told what becomes of keys."""

    def added(self, key: str) -> None:
        """A key that was not waiting is to be worked on."""

    def taken(self, key: str) -> None:
        """A worker has begun."""

    def done(self, key: str) -> None:
        """A worker has finished."""

    def retried(self, key: str) -> None:
        """It has failed, and will be added again."""


class WorkQueue:
    """A queue of keys for the workers of one event loop."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        base_delay_seconds: float = BASE_DELAY_SECONDS,
        max_delay_seconds: float = MAX_DELAY_SECONDS,
    ) -> None:
        self._clock = clock or SystemClock()
        self._base = base_delay_seconds
        self._max = max_delay_seconds
        self._waiting: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._observer: Observer | None = None

    def observe(self, observer: Observer) -> None:
        """Tell this one, from now on."""
        self._observer = observer

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Have a key worked on; adding it again before that changes nothing."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if self._observer is not None:
            self._observer.added(key)
        if key not in self._processing:
            self._waiting.append(key)
            self._wake()

    def add_after(self, key: str, seconds: float) -> None:
        """Add a key later; of several delays for one key the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= due:
                return
            known[1].cancel()
        task = asyncio.get_running_loop().create_task(self._add_later(key, seconds))
        self._timers[key] = (due, task)

    def cancel(self, key: str) -> None:
        """Take back what `add_after` has announced; a key that waits already stays."""
        _, task = self._timers.pop(key, (0.0, None))
        if task is not None:
            task.cancel()

    async def _add_later(self, key: str, seconds: float) -> None:
        await self._clock.sleep(seconds)
        del self._timers[key]
        self.add(key)

    def add_rate_limited(self, key: str) -> None:
        """Add a key after a failure: 5 ms, doubled at each failure in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if self._observer is not None:
            self._observer.retried(key)
        self.add_after(key, min(self._base * 2 ** min(failures, _DOUBLINGS_MAX), self._max))

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    def num_requeues(self, key: str) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """The next key; `done` must follow."""
        while not self._waiting:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # A wake-up that was meant for this worker must reach another one.
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
        return self._take()

    def get_more(self, most: int) -> list[str]:
        """Further keys that wait already, for whoever works on several at once; `done` must follow for each."""
        return [self._take() for _ in range(min(most, len(self._waiting)))]

    def _take(self) -> str:
        key = self._waiting.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        if self._observer is not None:
            self._observer.taken(key)
        return key

    def done(self, key: str) -> None:
        """The worker has finished with a key; if it was added meanwhile, it is worked on again."""
        self._processing.discard(key)
        if self._observer is not None:
            self._observer.done(key)
        if key in self._dirty:
            self._waiting.append(key)
            self._wake()

    def shut_down(self) -> None:
        """Drop all timers; workers are ended by cancelling them."""
        for _, task in self._timers.values():
            task.cancel()
        self._timers.clear()

    def _wake(self) -> None:
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
