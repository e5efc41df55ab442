"""How often what many events ask for is done: at once what is cheap, in a small part of all time what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apiclient.clock import Clock
from apiclient.workqueue import WorkQueue

GATHER_SECONDS = 0.02
WORKING_SHARE = 5


class Pace:
    """Keys of a queue whose events are gathered, the longer the more the last pass has cost."""

    def __init__(self, queue: WorkQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._due: dict[str, float] = {}

    def soon(self, key: str) -> None:
        """Have a key worked on together with what else happens to it."""
        wait = self._due.get(key, 0.0) - self._clock.monotonic()
        self._queue.add_after(key, max(wait, GATHER_SECONDS))

    @contextmanager
    def working(self, key: str) -> Iterator[None]:
        """Around what a pass reckons, not what it waits for."""
        started = self._clock.monotonic()
        yield
        now = self._clock.monotonic()
        self._due[key] = now + WORKING_SHARE * (now - started)

    def forget(self, key: str) -> None:
        """The key is not worked on any more."""
        self._due.pop(key, None)
