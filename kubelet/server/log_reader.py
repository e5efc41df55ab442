"""Reads a container's log file, from where it was asked, and follows it until the container has ended.

Nothing is polled: a change of the file, its rotation and the end of the container each wake the reader. A rotated
file is read to its end before the new one is begun.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from kubelet.server.inotify import Inotify
from kubelet.server.log_lines import BLOCK_BYTES, LineFilter, tail_offset
from kubelet.server.log_query import LogOptions


class _File:
    """An open log file and where reading it has come to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.position = 0
        self._rest = b""

    def close(self) -> None:
        os.close(self.descriptor)

    def read(self, end: int | None) -> bytes | None:
        """Whole lines that follow, "" if the block ends none, None at the end of the file (or at `end`).

        Log files are small and were just written: the page cache has them, and a thread would cost more.
        """
        wanted = BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - self.position)
        block = os.pread(self.descriptor, wanted, self.position) if wanted > 0 else b""
        if not block:
            return None
        self.position += len(block)
        lines, newline, rest = block.rpartition(b"\n")
        if not newline:
            self._rest += rest
            return b""
        found = self._rest + lines + newline
        self._rest = rest
        return found

    def last_line(self) -> bytes:
        """What came after the last newline."""
        rest, self._rest = self._rest, b""
        return rest

    def was_rotated(self) -> bool:
        """True once another file has the path."""
        try:
            return os.stat(self.path).st_ino != os.fstat(self.descriptor).st_ino
        except FileNotFoundError:
            return False


class LogReader:
    """A log file that was opened to be read once. Raises OSError."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._wanted = LineFilter(options)
        self._file = _File(path)
        self._size = os.fstat(self._file.descriptor).st_size
        if options.tail_lines is not None:
            self._file.position = tail_offset(self._file.descriptor, options.tail_lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """The log in pieces, up to where it was opened: a container may write faster than anybody reads."""
        async for piece in self._pieces(self._size):
            yield piece
        if piece := self._wanted.feed(self._file.last_line()):
            yield piece

    async def follow(
        self, inotify: Inotify, has_ended: Callable[[], bool], changed: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """The log in pieces as it grows, until `has_ended`, which is asked whenever `changed` is set."""
        with inotify.watching(self._path.parent, changed.set):
            while True:
                changed.clear()
                # Asked before reading, so that what was written before the end is read after it was seen.
                ended, rotated = has_ended(), self._file.was_rotated()
                async for piece in self._pieces(None):
                    yield piece
                if rotated:
                    old, self._file = self._file, _File(self._path)
                    old.close()
                elif ended or self._wanted.full:
                    return
                else:
                    await changed.wait()

    async def _pieces(self, end: int | None) -> AsyncIterator[bytes]:
        while not self._wanted.full and (lines := self._file.read(end)) is not None:
            if piece := self._wanted.feed(lines):
                yield piece
            # A log of many megabytes must not keep the rest of the agent waiting.
            await asyncio.sleep(0)
