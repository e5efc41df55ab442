"""A server that says byte by byte what a test wants, right or wrong: what clients must cope with.

Each connection is served by a script: a coroutine function that is given a `Peer`. When it returns, the connection is
closed; what it leaves unread or unsaid is the test's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

Script = Callable[["Peer"], Awaitable[None]]
WAIT_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client has sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> Request:
        """The next request, whole. Raises IncompleteReadError when the client has hung up."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        method, target, _ = first.split(" ")
        return Request(method, target, headers, body)

    async def send(self, data: bytes) -> None:
        """Send, and wait until it has left."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *headers: str, status: str = "200 OK") -> None:
        """A proper answer."""
        await self.send(answer(body, *headers, status=status))

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Close without a goodbye."""
        self.writer.transport.abort()


def answer(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A proper answer as bytes."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    """A proper answer in chunks, or the beginning of one."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(chunk_of(chunk) for chunk in chunks) + (b"0\r\n\r\n" if end else b"")


def chunk_of(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class RawServer:
    """Serves its scripts, one a connection; the last one serves all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.url = ""
        self.failures: list[BaseException] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await script(Peer(self.connections, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has hung up, or the test is over
        except AssertionError as error:
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def all_closed(self) -> None:
        """Wait until every connection has been served to its end."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while self._tasks:
                await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """End what is still being served."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def raw_server(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server with these scripts on a free port of the loopback interface."""
    server = RawServer(*scripts)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listening.close()
        server.stop()
    assert server.failures == []
