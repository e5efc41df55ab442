"""The event loop of the runtime's small processes: descriptors, deadlines and dead children.

asyncio would cost each pod more memory than everything else in its supervisor together. Callbacks run one
after the other and must not block.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
# POLLHUP and POLLERR are always reported (poll(2)); waiting for nothing else is still a subscription.
HANGUP = 0


class Timer:
    """A deadline that may be called off."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """The callback will not run any more."""
        self.callback = None


class Loop:
    """Waits for descriptors, timers and SIGCHLD; `run` returns after `stop`."""

    def __init__(self, on_child: Callable[[], None]) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._stopped = False
        self._on_child = on_child
        # The C handler of SIGCHLD writes a byte here, so that a child that dies between two waits wakes us.
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        self.watch(self._wake_out, READABLE, self._children_died)

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the events that happened on fd; replaces an earlier callback."""
        self._callbacks[fd] = callback
        self._poll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Watch fd no longer; to be called before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Run callback in so many seconds unless the timer is cancelled."""
        timer = Timer(time.monotonic() + seconds, callback)
        self._timers.append(timer)
        return timer

    def stop(self) -> None:
        """Leave `run` after the present callback."""
        self._stopped = True

    def run(self) -> None:
        """Serve until stopped."""
        while not self._stopped:
            for fd, events in self._poll.poll(self._until_next_timer_ms()):
                callback = self._callbacks.get(fd)
                if callback is not None:
                    _survive(callback, events)
            self._run_timers()

    def _until_next_timer_ms(self) -> int | None:
        if not self._timers:
            return None
        wait = min(timer.at for timer in self._timers) - time.monotonic()
        return max(0, int(wait * 1000) + 1)

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = time.monotonic()
        due = [timer for timer in self._timers if timer.at <= now and timer.callback]
        self._timers = [timer for timer in self._timers if timer.at > now and timer.callback]
        for timer in due:
            callback = timer.callback
            if callback is not None:
                _survive(callback)

    def _children_died(self, _events: int) -> None:
        try:
            while len(os.read(self._wake_out, 512)) == 512:
                pass
        except BlockingIOError:
            pass
        self._on_child()


def _survive(callback: Callable[..., None], *arguments: int) -> None:
    """Call back; a mistake in one callback is written down, but must not end a pod that runs well otherwise."""
    try:
        callback(*arguments)
    except Exception as error:  # noqa: BLE001 - see above
        sys.excepthook(type(error), error, error.__traceback__)


def _noted(_signo: int, _frame: object) -> None:
    """SIGCHLD needs a handler to be delivered at all; the wakeup descriptor does the rest."""
