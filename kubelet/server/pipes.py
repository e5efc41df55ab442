"""The ends of pipes that the agent keeps, as coroutines: nothing is read that nobody has taken yet.

An exec'd process stops when its pipe is full, as it would with a slow terminal, and not when memory is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

READ_BYTES = 32 * 1024


class OutputPipe:
    """A pipe that a process writes to."""

    def __init__(self) -> None:
        self._reader, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._finishing = asyncio.Event()

    def close_far_end(self) -> None:
        """The process has its own copy of the end that it writes to."""
        self.write_fd = _closed(self.write_fd)

    def finish(self) -> None:
        """The process has ended: what is in the pipe is still read, what its children may write later is not."""
        self._finishing.set()

    async def read(self) -> bytes:
        """What comes next; b"" at the end."""
        while True:
            finishing = self._finishing.is_set()
            try:
                return os.read(self._reader, READ_BYTES)
            except BlockingIOError:
                if finishing:
                    return b""
            await self._readable_or_finishing()

    async def _readable_or_finishing(self) -> None:
        loop = asyncio.get_running_loop()
        finishing = asyncio.ensure_future(self._finishing.wait())
        readable = asyncio.ensure_future(_until_ready(self._reader, loop.add_reader, loop.remove_reader))
        try:
            await asyncio.wait({finishing, readable}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finishing.cancel()
            readable.cancel()
            await asyncio.gather(finishing, readable, return_exceptions=True)

    def close(self) -> None:
        """Close both ends."""
        self.close_far_end()
        self._reader = _closed(self._reader)


class InputPipe:
    """A pipe that a process reads from."""

    def __init__(self) -> None:
        self.read_fd, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)

    def close_far_end(self) -> None:
        """The process has its own copy of the end that it reads from."""
        self.read_fd = _closed(self.read_fd)

    async def write(self, data: bytes) -> None:
        """Pass data on; what a process that reads no more is sent is dropped."""
        loop = asyncio.get_running_loop()
        rest = memoryview(data)
        while rest and self._writer >= 0:
            try:
                rest = rest[os.write(self._writer, rest) :]
            except BlockingIOError:
                await _until_ready(self._writer, loop.add_writer, loop.remove_writer)
            except BrokenPipeError:
                self.end()

    def end(self) -> None:
        """The process finds the end of its input."""
        self._writer = _closed(self._writer)

    def close(self) -> None:
        """Close both ends."""
        self.close_far_end()
        self.end()


async def _until_ready(descriptor: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1
