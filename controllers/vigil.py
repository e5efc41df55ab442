"""Since when this process has been watching without a gap of its own.

Who concludes from a minute of silence that a node is lost must have been awake for that minute. A process that was
stopped, or whose machine slept, wakes with all its timers due and the news still unread: it must listen afresh
first.
"""

from __future__ import annotations

import logging

from apiclient.clock import Clock
from apiclient.logs import kv

logger = logging.getLogger(__name__)

GAP_SECONDS_MIN = 1.0


class Vigil:
    """Notices that we have slept: by timers that ring late, and by wall time that ran while our clock stood."""

    def __init__(self, clock: Clock, grace_seconds: float) -> None:
        self._clock = clock
        self._gap_seconds = max(GAP_SECONDS_MIN, grace_seconds / 4)
        self._offset = clock.now() - clock.monotonic()
        self.since = clock.monotonic()

    def woke(self, due: float | None) -> None:
        """Tell that a timer which was due at this moment (monotonic clock) rings now."""
        now = self._clock.monotonic()
        offset = self._clock.now() - now
        late = now - due if due is not None else 0.0
        slept = offset - self._offset
        self._offset = offset
        if late > self._gap_seconds or abs(slept) > self._gap_seconds:
            self.since = now
            logger.warning(kv("observation interrupted", late_seconds=f"{late:.1f}", slept_seconds=f"{slept:.1f}"))
