"""Container output as CRI log lines: `<RFC 3339 time> stdout F <text>`.

A line longer than LINE_BYTES_MAX, or cut by the end of the stream, is split into records tagged P
(partial) but for its last, tagged F. The text is bytes: whatever the container wrote is kept as it was.
Format: the Kubernetes container runtime interface (design-proposals/node/kubelet-cri-logging.md).
"""

from __future__ import annotations

import os
import time

LINE_BYTES_MAX = 16 * 1024


class Stamp:
    """RFC 3339 times with nanoseconds; the part up to the second is formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, nanoseconds: int) -> bytes:
        second, rest = divmod(nanoseconds, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{rest:09d}Z".encode()


class Framer:
    """Turns the chunks of one stream into log records; holds at most one unfinished line."""

    def __init__(self, stream: str) -> None:
        self._tag = f" {stream} ".encode()
        self._rest = b""

    def feed(self, chunk: bytes, stamp: bytes) -> bytes:
        """The records that this chunk completes."""
        full, partial = stamp + self._tag + b"F ", stamp + self._tag + b"P "
        lines = (self._rest + chunk).split(b"\n") if self._rest else chunk.split(b"\n")
        rest = lines.pop()
        records: list[bytes] = []
        for line in lines:
            while len(line) > LINE_BYTES_MAX:
                records += (partial, line[:LINE_BYTES_MAX], b"\n")
                line = line[LINE_BYTES_MAX:]
            records += (full, line, b"\n")
        while len(rest) > LINE_BYTES_MAX:
            records += (partial, rest[:LINE_BYTES_MAX], b"\n")
            rest = rest[LINE_BYTES_MAX:]
        self._rest = rest
        return b"".join(records)

    def finish(self, stamp: bytes) -> bytes:
        """The record of what came after the last newline, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return stamp + self._tag + b"P " + rest + b"\n" if rest else b""


class LogFile:
    """The log file of one container, written by its stdout and stderr alike.

    `error` is why writing last failed ("" when it did not): output is dropped then, and the container
    runs on, as a full disk must not stop it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.error = ""
        self._fd = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the path anew, after somebody renamed the file; the directory is made if need be."""
        self.close()
        if not self.path:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self.path, flags, 0o640)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
            self._fd = os.open(self.path, flags, 0o640)

    def write(self, records: bytes) -> None:
        """Append whole records."""
        if self._fd < 0 or not records:
            return
        try:
            written = os.write(self._fd, records)
            while written < len(records):
                written += os.write(self._fd, records[written:])
            self.error = ""
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}"

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
