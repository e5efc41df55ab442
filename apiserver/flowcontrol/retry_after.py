"""How long refused clients are asked to stay away: the longer, the more of them had to be refused. Pure.

As TCP does with lost packets: it is doubled while many are refused, and shortened step by step afterwards.
Source: k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go.
"""

from __future__ import annotations

from collections import deque

SECONDS_MAX = 32
# So many refusals within the time that is asked for, per second of it, are many.
MANY_PER_SECOND = 3


class RetryAfter:
    """The answer of one priority level."""

    __slots__ = ("_changed", "_count", "_past", "_second", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._second, self._count = 0, 0
        self._past: deque[tuple[int, int]] = deque()
        self._changed = 0

    def refused(self, now: float) -> int:
        """One more is refused: the seconds to ask it for."""
        second = int(now)
        if second != self._second:
            self._past.append((self._second, self._count))
            self._second, self._count = second, 0
            self._adjust(second)
        self._count += 1
        return self.seconds

    def _adjust(self, second: int) -> None:
        while self._past and second - self._past[0][0] > self.seconds:
            self._past.popleft()
        lately = sum(count for _, count in self._past)
        if lately >= MANY_PER_SECOND * self.seconds and second - self._changed >= self.seconds:
            self.seconds = min(2 * self.seconds, SECONDS_MAX)
            self._changed = second
        elif lately < self.seconds and self.seconds > 1:
            self.seconds -= 1
