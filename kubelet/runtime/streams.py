"""Copying between descriptors without ever blocking: output to logs and viewers, input from them.

A Source reads, a Sink writes; who joins the two pauses the source while a sink is behind. Descriptors that
came from elsewhere may be blocking ones, and are shared with whoever sent them, so that their flags are left
alone: they are used only when poll(2) says so, and for at most PIPE_BUF bytes at a time (pipe(7)).
"""

from __future__ import annotations

import os

from kubelet.runtime.loop import READABLE, WRITABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kubelet.runtime.loop import Timer

READ_BYTES = 64 * 1024
# A pipe holds 1 MiB at most; whoever fills one faster than it is emptied must not keep us here.
DRAIN_READS_MAX = 64
WRITE_BYTES = 4096
BACKLOG_BYTES_MAX = 256 * 1024
STUCK_SECONDS = 30.0


class Source:
    """Reads a descriptor, which it owns, to its end."""

    def __init__(self, loop: Loop, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.fd = fd
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._paused = False
        loop.watch(fd, READABLE, self._ready)

    def pause(self) -> None:
        """Read no more for now."""
        if self.fd >= 0 and not self._paused:
            self._paused = True
            self._loop.forget(self.fd)

    def resume(self) -> None:
        """Read on."""
        if self.fd >= 0 and self._paused:
            self._paused = False
            self._loop.watch(self.fd, READABLE, self._ready)

    def drain(self) -> None:
        """Read what is there at this moment; only for descriptors that are non-blocking."""
        for _ in range(DRAIN_READS_MAX):
            if self.fd < 0 or not self._read():
                return

    def close(self) -> None:
        """Stop and close, without a word to on_end."""
        if self.fd >= 0:
            self._loop.forget(self.fd)
            os.close(self.fd)
            self.fd = -1

    def _ready(self, _events: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Read once; False when there is nothing more for now or ever."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # EIO: the last user of a terminal's slave side is gone (pty(7))
        if data:
            self._on_data(data)
            return True
        self.close()
        self._on_end()
        return False


class Sink:
    """Writes to a descriptor, which it owns, as fast as the other side takes it."""

    def __init__(self, loop: Loop, fd: int, on_room: Callable[[], None], on_gone: Callable[[], None]) -> None:
        self.fd = fd
        self._loop = loop
        self._on_room = on_room
        self._on_gone = on_gone
        self._backlog = bytearray()
        self._ending = False
        self._stuck: Timer | None = None

    @property
    def full(self) -> bool:
        """True while the other side is so far behind that whoever feeds this should wait."""
        return len(self._backlog) >= BACKLOG_BYTES_MAX

    @property
    def idle(self) -> bool:
        """True when everything is written."""
        return not self._backlog

    def push(self, data: bytes) -> None:
        """Write data when the other side is ready; a side that takes nothing for 30 s is given up."""
        if self.fd < 0 or self._ending:
            return
        if not self._backlog:
            self._loop.watch(self.fd, WRITABLE, self._ready)
            self._await_progress()
        self._backlog += data

    def finish(self) -> None:
        """Close once everything is written."""
        self._ending = True
        if not self._backlog:
            self.close()

    def close(self) -> None:
        """Close now, without a word to on_gone."""
        if self._stuck is not None:
            self._stuck.cancel()
        if self.fd >= 0:
            self._loop.forget(self.fd)
            os.close(self.fd)
            self.fd = -1
            self._backlog.clear()

    def _ready(self, _events: int) -> None:
        was_full = self.full
        try:
            written = os.write(self.fd, self._backlog[:WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self._give_up()  # EPIPE: nobody reads any more
            return
        del self._backlog[:written]
        self._await_progress()
        if not self._backlog:
            self._loop.forget(self.fd)
            if self._ending:
                self.close()
        if (was_full and not self.full) or not self._backlog:
            self._on_room()

    def _await_progress(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = self._loop.call_later(STUCK_SECONDS, self._give_up_if_behind)

    def _give_up_if_behind(self) -> None:
        if self._backlog:
            self._give_up()

    def _give_up(self) -> None:
        self.close()
        self._on_gone()
