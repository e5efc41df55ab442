"""Hears of it when the wall clock is set, or the machine wakes from sleep: what was reckoned ahead is then wrong.

The kernel tells by a timer that it cancels when that happens (TFD_TIMER_CANCEL_ON_SET, timerfd_create(2)); nothing
has to be looked at in the meantime.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import struct
import time
from collections.abc import Callable

from apiclient.logs import kv

logger = logging.getLogger(__name__)

_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
# It never rings: it is there to be cancelled.
_FAR_AWAY_SECONDS = 1 << 36


class ClockSteps:
    """Calls `stepped` after each step of the wall clock, for as long as it runs."""

    def __init__(self, stepped: Callable[[], None]) -> None:
        self._stepped = stepped

    async def run(self) -> None:
        """Listen until cancelled."""
        timer = _timer()
        loop = asyncio.get_running_loop()
        loop.add_reader(timer, self._heard, timer)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(timer)
            os.close(timer)

    def _heard(self, timer: int) -> None:
        try:
            os.read(timer, 8)
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        _arm(timer)
        logger.warning(kv("the wall clock was set, or the machine has slept", now=f"{time.time():.3f}"))
        self._stepped()


def _timer() -> int:
    timer: int = _libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise _failure("timerfd_create")
    _arm(timer)
    return timer


def _arm(timer: int) -> None:
    # struct itimerspec: no interval, and the moment in seconds and nanoseconds.
    when = struct.pack("qqqq", 0, 0, _FAR_AWAY_SECONDS, 0)
    flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
    if _libc.timerfd_settime(timer, flags, when, None) != 0 and ctypes.get_errno() != errno.ECANCELED:
        raise _failure("timerfd_settime")


def _failure(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")


_libc = ctypes.CDLL(None, use_errno=True)
