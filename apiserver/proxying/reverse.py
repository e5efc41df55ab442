"""Passes requests on to another server as they are, and its answers back as they come.

Both bodies are streamed, at the same time if need be. A request to upgrade the connection is passed on as well; if
the other server agrees, the two connections are joined, whatever is spoken over them from then on.

What is about one connection only stays here, and so does everything by which this server knows who asks.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import ssl
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import aiohttp
from aiohttp import web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from apimachinery.errors import ApiError, service_unavailable
from apiserver.authentication import TOKEN_PROTOCOL
from apiserver.proxying.links import Links
from apiserver.proxying.targets import Place
from apiserver.responses import headers_of
from apiserver.upgrade import READ_BYTES_MAX, Feed, Upgraded, answered, take_over

CONNECT_SECONDS = 30.0
# Pages that are larger are passed on as they are.
PAGE_BYTES_MAX = 16 << 20
# Headers that are about one connection and not about what is sent through it (RFC 9110, 7.6.1).
_HOP_BY_HOP = (
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
)
_OF_THE_CLIENT = ("authorization", "expect")
_OF_THE_CLIENT_PREFIXES = ("impersonate-", "x-remote-")
_MADE_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_PROTOCOLS = "Sec-WebSocket-Protocol"
_TEXT = "text/html"
REDIRECTED = "the backend attempted to redirect this request, which is not permitted"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: `path` is as it stands in a URL, with its query; `tls` is for the scheme https."""

    place: Place
    path: str
    tls: ssl.SSLContext | None = None
    # Whom the certificate must be of, if not of the host.
    server_name: str | None = None
    # The Host header, if not the client's own.
    host: str | None = None

    @property
    def url(self) -> URL:
        """The whole address."""
        host = f"[{self.place.host}]" if ":" in self.place.host else self.place.host
        port = "" if self.place.port is None else f":{self.place.port}"
        return URL(f"{self.place.scheme}://{host}{port}{self.path}", encoded=True)


class ReverseProxy:
    """Passes requests on; its connections are kept for the next request to the same place."""

    async def close(self) -> None:
        """Close all connections, which ends what runs over them."""
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            # What one user is given must not be sent for the next.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_MADE_BY_AIOHTTP,
        )

    async def forward(
        self,
        http: web.BaseRequest,
        target: Target,
        *,
        headers: Iterable[tuple[str, str]] = (),
        links: Links | None = None,
        unreachable: str = "error trying to reach service",
        redirects: bool = True,
    ) -> web.StreamResponse:
        """Answer a request with what another server answers.

        `headers` are added to those of the client, `links` are rewritten, `redirects` may be answered. Raises
        ApiError 503 if the server can't be reached, 502 for a redirect that may not be; ConnectionError if it goes
        away in the middle of its answer.
        """
        upgrade = _upgrade(http)
        sent = request_headers(http, upgrade)
        sent.extend(headers)
        if target.host is not None:
            sent["Host"] = target.host
        if http.headers.get("Expect", "").lower() == "100-continue" and http.transport is not None:
            http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        tls: ssl.SSLContext | bool = target.tls if target.tls is not None else True
        try:
            answer = await self._session.request(
                http.method,
                target.url,
                headers=sent,
                data=http.content if http.body_exists else None,
                allow_redirects=False,
                ssl=tls,
                server_hostname=target.server_name if target.place.scheme == "https" else None,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise service_unavailable(f"{unreachable}: {dial_error(error)}") from error
        async with answer:
            if answer.status == 101:
                return await _joined(http, answer)
            if not redirects and 300 <= answer.status < 400 and "Location" in answer.headers:
                raise ApiError(502, "BadGateway", REDIRECTED)
            if upgrade and answer.status < 400:
                raise ApiError(500, "InternalError", f"invalid upgrade response: status code {answer.status}")
            return await _answered(http, answer, links)


def request_headers(http: web.BaseRequest, upgrade: str) -> CIMultiDict[str]:
    """What of a client's headers is passed on, and who it came from."""
    named = {word.strip().lower() for header in http.headers.getall("Connection", ()) for word in header.split(",")}
    left_out = {*_HOP_BY_HOP, *_OF_THE_CLIENT, *named}
    found = CIMultiDict(
        (name, value)
        for name, value in http.headers.items()
        if (lower := name.lower()) not in left_out and not lower.startswith(_OF_THE_CLIENT_PREFIXES)
    )
    if offered := found.popall(_PROTOCOLS, None):
        kept = [word for header in offered for word in map(str.strip, header.split(",")) if word]
        # Browsers have no other place for a token than this.
        if kept := [word for word in kept if not word.startswith(TOKEN_PROTOCOL)]:
            found[_PROTOCOLS] = ", ".join(kept)
    if upgrade:
        found["Connection"], found["Upgrade"] = "Upgrade", upgrade
    if http.remote:
        before = http.headers.getall("X-Forwarded-For", ())
        found["X-Forwarded-For"] = ", ".join([*before, http.remote])
    return found


def _upgrade(http: web.BaseRequest) -> str:
    """What a client wants its connection to become, or ""."""
    wants = any("upgrade" in header.lower() for header in http.headers.getall("Connection", ()))
    return http.headers.get("Upgrade", "") if wants else ""


def dial_error(error: BaseException) -> str:
    """Why a connection could not be made, in the words of Kubernetes' clients."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        reason = os.strerror(error.os_error.errno).lower() if error.os_error.errno else str(error.os_error)
        return f"dial tcp {error.host}:{error.port}: connect: {reason}"
    if isinstance(error, TimeoutError):
        return "dial tcp: i/o timeout"
    return str(error) or type(error).__name__


async def _answered(http: web.BaseRequest, answer: aiohttp.ClientResponse, links: Links | None) -> web.StreamResponse:
    """Send an answer on, bit by bit."""
    kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
    if links is not None:
        kept = [(name, links.rewrite(value) if name.lower() == "location" else value) for name, value in kept]
        if answer.content_type == _TEXT and "Location" not in answer.headers and http.method != "HEAD":
            return await _page(http, answer, kept, links)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=CIMultiDict(kept))
    response.headers.extend(headers_of(http))
    await response.prepare(http)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientPayloadError, TimeoutError) as error:
        # The status line is sent: all that can be told is that this is not all, by ending the connection.
        raise ConnectionAbortedError("the other server went away") from error
    await response.write_eof()
    return response


async def _page(
    http: web.BaseRequest, answer: aiohttp.ClientResponse, headers: list[tuple[str, str]], links: Links
) -> web.StreamResponse:
    """Send an HTML page with its links rewritten, if it is in a form that can be read."""
    body = await _whole(answer)
    encoding = answer.headers.get("Content-Encoding", "")
    # In a thread: a page may be large, and consist of nothing but links.
    body = await asyncio.to_thread(_rewritten, body, encoding, links)
    kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "content-type")]
    content_type = answer.headers.get("Content-Type", _TEXT)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=CIMultiDict(kept))
    response.headers["Content-Type"] = content_type
    response.content_length = len(body)
    await response.prepare(http)
    await response.write(body)
    await response.write_eof()
    return response


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises ApiError 503 if it ends too early or never."""
    body = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > PAGE_BYTES_MAX:
                raise service_unavailable(f"a page of more than {PAGE_BYTES_MAX} bytes can't be rewritten")
    except (aiohttp.ClientPayloadError, TimeoutError) as error:
        raise service_unavailable(f"error trying to reach service: {error}") from error
    return bytes(body)


def _rewritten(body: bytes, encoding: str, links: Links) -> bytes:
    """A page with its links rewritten, compressed as it was; as it is if it can't be read."""
    plain = _plain(body, encoding)
    if plain is None:
        return body
    # Tags are ASCII whatever the page says of its characters, and by this name every byte stays what it is.
    rewritten = links.rewrite_page(plain.decode("latin-1")).encode("latin-1", "xmlcharrefreplace")
    return gzip.compress(rewritten, mtime=0) if encoding == "gzip" else rewritten


def _plain(body: bytes, encoding: str) -> bytes | None:
    """A body without its compression; None if it is in another form, in none that it claims to be in, or a bomb."""
    if encoding != "gzip":
        return body if not encoding else None
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacking.decompress(body, PAGE_BYTES_MAX)
    except zlib.error:
        return None
    return plain if unpacking.eof and not unpacking.unused_data else None


async def _joined(http: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Join both connections until either side ends its own."""
    connection = answer.connection
    if connection is None or connection.protocol is None or connection.transport is None:
        raise service_unavailable("the other server went away")
    theirs = asyncio.StreamReader(READ_BYTES_MAX)
    theirs.set_transport(connection.transport)
    ours = take_over(http, answer.headers.items())
    connection.protocol.set_parser(Feed(theirs), None)
    writer = StreamWriter(connection.protocol, asyncio.get_running_loop())
    ways = (
        asyncio.create_task(_up(ours, connection.transport, writer)),
        asyncio.create_task(_down(theirs, ours)),
    )
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        answer.close()
        ours.close()
    return answered()


async def _up(ours: Upgraded, theirs: asyncio.WriteTransport, writer: StreamWriter) -> None:
    while data := await ours.read():
        theirs.write(data)
        await writer.drain()


async def _down(theirs: asyncio.StreamReader, ours: Upgraded) -> None:
    while data := await theirs.read(READ_BYTES_MAX):
        await ours.write(data)
