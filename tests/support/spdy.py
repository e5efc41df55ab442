"""A client's side of SPDY/3.1 for tests: opens streams over an upgraded connection, and collects what comes back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from apiserver.spdy import frames
from apiserver.spdy.frames import Decoder, Encoder

SECONDS_MAX = 60
RST_STREAM, SYN_REPLY, PING = 3, 2, 6


@dataclass
class ClientStream:
    """One stream: what has come, and whether it has ended."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    accepted: bool = False
    ended: bool = False
    reset: bool = False


class SpdyClient:
    """The connection. `status` and `headers` are those of the answer to the upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder, self._encoder = Decoder(), Encoder()
        self._next = 1
        self._changed = asyncio.Event()
        self.streams: dict[int, ClientStream] = {}
        self.pings: list[int] = []
        self.gone = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def upgrade(self, head: bytes) -> None:
        """Send a request and read the head of the answer."""
        self._writer.write(head)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.status != 101:
            self.body = await self._reader.readexactly(int(self.headers.get("content-length", "0")))

    async def receive(self) -> None:
        """Take in what comes, until the server ends the connection."""
        while data := await self._reader.read(65536):
            for frame in self._decoder.feed(data):
                self._take(frame)
            self._changed.set()
        self.gone = True
        self._changed.set()

    def _take(self, frame: frames.Frame) -> None:
        if frame.kind == PING:
            self.pings.append(frame.stream)
            return
        stream = self.streams.get(frame.stream)
        if stream is None:
            return
        stream.data += frame.data
        stream.accepted = stream.accepted or frame.kind == SYN_REPLY
        stream.ended = stream.ended or frame.fin
        stream.reset = stream.reset or frame.kind == RST_STREAM

    async def open(self, **headers: str) -> ClientStream:
        """Open a stream and wait until it is accepted (or refused)."""
        stream = self.streams[self._next] = ClientStream(self._next)
        self._writer.write(self._encoder.syn_stream(self._next, headers))
        self._next += 2
        await self.until(lambda: stream.accepted or stream.reset)
        return stream

    async def send(self, stream: ClientStream, data: bytes, *, fin: bool = False) -> None:
        """Send data."""
        self._writer.write(frames.data(stream.number, data, fin=fin))
        await self._writer.drain()

    async def write(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(raw)
        await self._writer.drain()

    async def until(self, holds: object) -> None:
        """Wait until something holds."""
        assert callable(holds)
        async with asyncio.timeout(SECONDS_MAX):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        """Go away."""
        self._writer.close()


@asynccontextmanager
async def spdy(
    port: int, tls: ssl.SSLContext, path: str, *, headers: Mapping[str, str], versions: Sequence[str]
) -> AsyncIterator[SpdyClient]:
    """A client that has asked for an upgrade to SPDY."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    client = SpdyClient(reader, writer)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        "Content-Length: 0",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"X-Stream-Protocol-Version: {version}" for version in versions]
    await client.upgrade(("\r\n".join(lines) + "\r\n\r\n").encode())
    receiving = asyncio.create_task(client.receive())
    try:
        yield client
    finally:
        client.close()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
