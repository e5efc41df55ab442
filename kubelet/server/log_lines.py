"""CRI log lines, and what a reader of the log sees of them.

    2026-01-02T03:04:05.123456789Z stdout F a whole line
    2026-01-02T03:04:05.123456789Z stderr P the beginning of a long line

Pure but for `tail_offset`, which reads. Format: kubelet/runtime/crilog.py, which writes it.
"""

from __future__ import annotations

import os

from apimachinery.time import rfc3339
from kubelet.server.log_query import LogOptions

BLOCK_BYTES = 64 * 1024
_STREAMS = {"Stdout": b"stdout", "Stderr": b"stderr"}


class LineFilter:
    """Turns whole log lines into what was asked for. `full` is True once the limit of bytes is reached."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps = options.timestamps
        self._stream = _STREAMS.get(options.stream)
        self._since = None if options.since is None else _stamp(options.since)
        self._left = options.limit_bytes
        self._at_line_start = True

    @property
    def full(self) -> bool:
        """True if nothing more may be sent."""
        return self._left == 0

    def feed(self, lines: bytes) -> bytes:
        """What is sent of these lines, each of which ends with a newline (but perhaps for the last)."""
        found: list[bytes] = []
        for line in lines.split(b"\n"):
            try:
                stamp, stream, tag, text = line.split(b" ", 3)
            except ValueError:
                continue  # the end of `lines`, or something that is no log line
            if self._stream is not None and stream != self._stream:
                continue
            if self._since is not None:
                # Times are written with nine digits in UTC, so that they compare as they stand.
                if stamp < self._since:
                    continue
                self._since = None
            if self._timestamps and self._at_line_start:
                found += (stamp, b" ")
            self._at_line_start = tag[:1] != b"P"
            found += (text, b"\n") if self._at_line_start else (text,)
        return self._limited(b"".join(found))

    def _limited(self, data: bytes) -> bytes:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data


def tail_offset(descriptor: int, lines: int) -> int:
    """Where the last lines of a file begin; reads from its end and no more than needed."""
    position = os.fstat(descriptor).st_size
    # The newline that ends the last line is not one before it.
    missing = lines + 1
    last = os.pread(descriptor, 1, position - 1) if position else b""
    if last not in (b"", b"\n"):
        missing = lines
    if lines == 0:
        return position
    while position > 0:
        start = max(0, position - BLOCK_BYTES)
        block = os.pread(descriptor, position - start, start)
        count = block.count(b"\n")
        if count >= missing:
            end = len(block)
            for _ in range(missing):
                end = block.rindex(b"\n", 0, end)
            return start + end + 1
        missing -= count
        position = start
    return 0


def _stamp(seconds: float) -> bytes:
    whole = int(seconds)
    return f"{rfc3339(whole)[:-1]}.{int((seconds - whole) * 1e9):09d}Z".encode()
