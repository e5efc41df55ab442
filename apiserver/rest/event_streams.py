"""What carries the events of a watch to its client: an HTTP answer that goes on and on, or a WebSocket.

    HTTP        one event a line, several in a chunk
    WebSocket   one event a message; for browsers, which see an answer only once it is complete

A client that takes nothing any more is cut off: nothing else would ever end its watch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from apimachinery.errors import bad_request
from apiserver.authentication import TOKEN_PROTOCOL
from apiserver.responses import JSON, headers_of, patience
from apiserver.rest.call import Call
from apiserver.rest.sending import warnings

CLOSE_SECONDS = 2.0
# As much is written without waiting for anybody (less than the high-water mark of connections).
UNWAITED_BYTES_MAX = 32 << 10


class EventStream(Protocol):
    """The way to one client."""

    async def send(self, events: Sequence[bytes]) -> None:
        """Send events. Raises ConnectionResetError if the client is gone."""

    def when_closed(self, ended: Callable[[], None]) -> None:
        """Call this if the client closes the stream by a word and not by hanging up (which cancels the request)."""

    async def end(self) -> web.StreamResponse:
        """Say that there is no more."""


async def open_stream(call: Call) -> EventStream:
    """Begin the answer to a watch. Raises ApiError 400."""
    headers = [("Cache-Control", "no-cache, private"), *headers_of(call.http)]
    headers += [("Warning", warning) for warning in warnings([call.deprecation] if call.deprecation else [])]
    if call.http.headers.get("Upgrade", "").lower() == "websocket":
        return await _open_socket(call, headers)
    response = web.StreamResponse(headers=[("Content-Type", JSON), *headers])
    await response.prepare(call.http)
    return _Answer(call.http, response)


class _Answer:
    """HTTP: in chunks, or (HTTP/1.0) until the connection ends."""

    def __init__(self, http: web.BaseRequest, response: web.StreamResponse) -> None:
        self._http = http
        self._response = response

    async def send(self, events: Sequence[bytes]) -> None:
        data = b"".join(events)
        transport = self._http.transport
        if transport is None:
            raise ConnectionResetError("the client of a watch is gone")
        if transport.get_write_buffer_size() == 0 and len(data) < UNWAITED_BYTES_MAX:
            await self._response.write(data)  # nothing is in the way: this waits for nobody
            return
        async with patience(self._http):
            await self._response.write(data)

    def when_closed(self, ended: Callable[[], None]) -> None:
        pass

    async def end(self) -> web.StreamResponse:
        await self._response.write_eof()
        return self._response


async def _open_socket(call: Call, headers: list[tuple[str, str]]) -> _Socket:
    offered = [word.strip() for word in call.http.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    protocols = [word for word in offered if word and not word.startswith(TOKEN_PROTOCOL)]
    socket = web.WebSocketResponse(protocols=protocols[:1], timeout=CLOSE_SECONDS, compress=False)
    socket.headers.extend(headers)
    try:
        await socket.prepare(call.http)
    except web.HTTPException as error:
        raise bad_request(f"the upgrade to a WebSocket is not understood: {error.text}") from error
    return _Socket(call.http, socket)


class _Socket:
    """A WebSocket. What the client sends means nothing, but that it goes."""

    def __init__(self, http: web.BaseRequest, socket: web.WebSocketResponse) -> None:
        self._http = http
        self._socket = socket
        self._reading: asyncio.Task[None] | None = None

    async def send(self, events: Sequence[bytes]) -> None:
        async with patience(self._http):
            for event in events:
                await self._socket.send_str(event.decode())

    def when_closed(self, ended: Callable[[], None]) -> None:
        async def read() -> None:
            async for _ in self._socket:
                pass
            ended()

        self._reading = asyncio.create_task(read())

    async def end(self) -> web.StreamResponse:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        await self._socket.close()
        return self._socket
