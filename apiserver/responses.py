"""The answers that are complete before they are sent: JSON that is ready, and an error as a `Status` object."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import cache
from http import HTTPStatus

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11

from apimachinery.errors import ApiError

JSON = "application/json"
# Larger bodies are not copied behind their head.
JOINED_BYTES_MAX = 64 << 10
# A client that takes nothing for so long is gone, though its connection does not show it.
STUCK_SECONDS_MAX = 60.0
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Headers = Iterable[tuple[str, str]]
# Under this a request holds what is known before it is served of the headers of its answer.
_KNOWN = "headers"


class AnswerHeaders:
    """Headers that many answers have, put into words once."""

    __slots__ = ("pairs", "text")

    def __init__(self, pairs: Headers) -> None:
        self.pairs = tuple(pairs)
        self.text = "\r\n".join(f"{name}: {_UNSENDABLE.sub(' ', value)}" for name, value in self.pairs)


def set_headers(request: web.BaseRequest, headers: AnswerHeaders) -> None:
    """Have the answer to a request bear these headers, whatever it will be."""
    request[_KNOWN] = headers


@contextlib.asynccontextmanager
async def patience(request: web.BaseRequest) -> AsyncIterator[None]:
    """Wait for a client to take what is sent. Raises ConnectionResetError, and ends the connection, if it does not.

    Nothing else would: closing the connection waits for what has not been taken.
    """
    try:
        async with asyncio.timeout(STUCK_SECONDS_MAX):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client takes nothing any more") from None


def with_headers(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """An answer of aiohttp's own that is not sent yet, with the headers that were set."""
    if not isinstance(response, ReadyResponse) and not response.prepared:
        response.headers.extend(headers_of(request))
    return response


def headers_of(request: web.BaseRequest) -> Headers:
    """The headers that were set, for an answer that is no `ReadyResponse`."""
    found: AnswerHeaders | None = request.get(_KNOWN)
    return found.pairs if found is not None else ()


class ReadyResponse(web.StreamResponse):
    """An answer whose head and body leave in one write.

    aiohttp's own Response builds and checks a table of headers for every answer, which is a fifth of the time that a
    GET of a small object takes.
    """

    def __init__(self, body: bytes, *, status: int = 200, content_type: str = JSON, headers: Headers = ()) -> None:
        super().__init__(status=status)
        self._content = body
        self._type = content_type
        self._more = tuple(headers)
        self._keeps: bool | None = None
        self._sent = False

    @property
    def prepared(self) -> bool:
        """Whether it has been sent."""
        return self._sent

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open afterwards."""
        return self._keeps

    def force_close(self) -> None:
        """Close the connection afterwards."""
        self._keeps = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything. Raises ConnectionResetError if the client is gone."""
        if self._sent:
            return None
        self._sent = True
        if self._keeps is None:
            self._keeps = request.keep_alive
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        head = self._head(request)
        if request.method == "HEAD" or self.status in (204, 304):
            transport.write(head)
        elif len(self._content) <= JOINED_BYTES_MAX:
            transport.write(head + self._content)  # less than what is let through without waiting
        else:
            transport.writelines([head, self._content])
            async with patience(request):
                await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to be sent."""

    def _head(self, request: web.BaseRequest) -> bytes:
        lines = [_status_line(self.status), f"Date: {rfc822_formatted_time()}"]
        if self.status not in (204, 304):
            lines += [f"Content-Type: {self._type}", f"Content-Length: {len(self._content)}"]
        if not any(name == "Cache-Control" for name, _ in self._more):
            lines.append("Cache-Control: no-cache, private")
        for name, value in self._more:
            # Some values repeat what a client sent: nothing in them may end the line.
            lines.append(f"{name}: {_UNSENDABLE.sub(' ', value)}")
        known: AnswerHeaders | None = request.get(_KNOWN)
        if known is not None:
            lines.append(known.text)
        if not self._keeps:
            lines.append("Connection: close")
        elif request.version < HttpVersion11:
            lines.append("Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@cache
def _status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP/1.1 {status} Unknown"


def json_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> ReadyResponse:
    """An answer of encoded JSON."""
    return ReadyResponse(body, status=status, headers=headers.items() if headers else ())


def error_response(error: ApiError, render: Callable[[bytes], tuple[bytes, str]] | None = None) -> ReadyResponse:
    """The `Status` object of an error, with the headers that go with its code; `render` gives it another form."""
    seconds = error.retry_after_seconds
    headers = [("Retry-After", str(seconds))] if seconds is not None else []
    body = orjson.dumps(error.status())
    body, content_type = render(body) if render is not None else (body, JSON)
    return ReadyResponse(body, status=error.code, content_type=content_type, headers=headers)
