"""A client's connection after the upgrade to another protocol than HTTP: bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from apiserver.responses import ReadyResponse

READ_BYTES_MAX = 64 << 10
_UPGRADED = "upgraded"
_LIMIT = "limit"


def limit_time(http: web.BaseRequest, limit: asyncio.Timeout) -> None:
    """Have the time of a request limited, unless its connection is taken over."""
    http[_LIMIT] = limit


class Upgraded:
    """What is left of a connection when HTTP has gone; `close` ends it."""

    def __init__(self, http: web.BaseRequest, reader: asyncio.StreamReader) -> None:
        self._http = http
        self._reader = reader

    async def read(self) -> bytes:
        """What comes next; b"" at the end."""
        return await self._reader.read(READ_BYTES_MAX)

    async def write(self, data: bytes) -> None:
        """Send; waits while the client takes nothing. Raises ConnectionError if it is gone."""
        transport = self._http.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(data)
        await self._http.writer.drain()

    def close(self) -> None:
        """End the connection, once what was written has been sent."""
        if self._http.transport is not None:
            self._http.transport.close()


class Feed:
    """What aiohttp takes for a parser, of a connection of either side: it gets all bytes that arrive from now on."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes have arrived."""
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """No more will."""
        self._reader.feed_eof()


def take_over(http: web.BaseRequest, headers: Iterable[tuple[str, str]]) -> Upgraded:
    """Answer a request with 101 and these headers; from here on the connection is no longer HTTP.

    The request's handler must not return before the connection is done with, and must return `answered()`. It is
    cancelled when the client goes. Raises ConnectionResetError if it is gone already.
    """
    transport = http.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    http[_UPGRADED] = True
    limit: asyncio.Timeout | None = http.get(_LIMIT)
    if limit is not None:
        limit.reschedule(None)
    reader = asyncio.StreamReader(READ_BYTES_MAX)
    reader.set_transport(transport)  # it pauses the connection while nobody reads
    http.protocol.keep_alive(False)
    http.protocol.set_parser(Feed(reader))  # type: ignore[arg-type]  # it needs no more of a parser than this
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers)]
    transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    return Upgraded(http, reader)


def is_upgraded(http: web.BaseRequest) -> bool:
    """Whether the connection of a request has been taken over: nothing can be answered any more."""
    return _UPGRADED in http


class _Answered(ReadyResponse):
    """Stands for an answer that was sent already: when the connection was taken over, or in part."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is to be sent; the connection ends."""
        self.force_close()
        return None


def answered() -> web.StreamResponse:
    """What a handler returns that has no more to send on its connection."""
    return _Answered(b"", status=101)
