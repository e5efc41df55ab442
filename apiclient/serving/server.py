"""A small HTTPS server of a process that has something else to do.

    GET /healthz, /livez, /readyz    anybody; `/healthz/NAME` and so on by right
    GET /metrics, /metrics/slis      who may `get` these paths
    GET /configz                     who may `get` this path; how the process is run

Somebody asks a few times a minute: each connection is for one request, and a full HTTP server would weigh more than
all that it tells. A port that is taken is told of and tried again: what the process is there for does not need it.

Source: https://kubernetes.io/docs/concepts/cluster-administration/system-metrics/
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.serving import health
from apiclient.serving.exposition import CONTENT_TYPE
from apiclient.serving.figures import Figures
from apiclient.serving.health import Health
from apiclient.serving.reviews import Reviews
from apiclient.serving.users import MASTERS
from apimachinery.errors import ApiError, forbidden, method_not_allowed, path_not_found
from apimachinery.meta import Object

logger = logging.getLogger(__name__)

HEAD_BYTES_MAX = 16 << 10
REQUEST_SECONDS_MAX = 30.0
REQUESTS_MAX = 32
BIND_AGAIN_SECONDS = 10.0
PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen and as whom; `client_ca_file` is the authority that vouches for clients' certificates."""

    address: str
    port: int
    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def tls(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError) for files that can't be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            # Whoever shows no certificate is told so with 401, not with a broken connection.
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True, slots=True)
class Pages:
    """What is served."""

    health: Health
    figures: Figures
    configuration: Callable[[], Object]


class ComponentServer:
    """Serves until cancelled."""

    def __init__(self, place: Place, pages: Pages, reviews: Reviews, clock: Clock) -> None:
        """Raises OSError if the certificates can't be used."""
        self._place = place
        self._tls = place.tls()
        self._pages = pages
        self._reviews = reviews
        self._clock = clock
        self._running = 0
        self._listening = asyncio.Event()
        self.port = 0

    async def run(self) -> None:
        """Listen and serve."""
        while True:
            try:
                server = await asyncio.start_server(
                    self._serve, self._place.address, self._place.port, ssl=self._tls, limit=HEAD_BYTES_MAX
                )
                break
            except OSError as error:
                logger.error(kv("not serving yet", address=self._place.address, port=self._place.port, error=error))
                await self._clock.sleep(BIND_AGAIN_SECONDS)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            self._listening.set()
            logger.info(kv("serving", address=self._place.address, port=self.port))
            await server.serve_forever()

    async def listening(self) -> None:
        """Wait until the server can be reached."""
        await self._listening.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._running += 1
        try:
            if self._running > REQUESTS_MAX:
                return
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answered(head, writer.get_extra_info("peercert")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug(kv("request not served", error=repr(error)))
        finally:
            self._running -= 1
            writer.transport.abort()

    async def _answered(self, head: bytes, certificate: Mapping[str, Any] | None) -> bytes:
        try:
            method, target, fields = _parsed(head)
        except ValueError:
            return _message(400, PLAIN, b"400 Bad Request\n")
        try:
            status, kind, body = await self._answer(method, target, fields.get("authorization", ""), certificate)
        except ApiError as error:
            status, kind, body = error.code, JSON, orjson.dumps(error.status())
        return _message(status, kind, body, whole=method != "HEAD")

    async def _answer(
        self, method: str, target: str, authorization: str, certificate: Mapping[str, Any] | None
    ) -> tuple[int, str, bytes]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query, keep_blank_values=True)
        if path not in health.ENDPOINTS:
            user = await self._reviews.user(certificate, authorization)
            may = MASTERS in user.groups or await self._reviews.may(user, {"verb": "get", "path": path})
            if not may:
                raise forbidden(f'forbidden: User "{user.name}" cannot get path "{path}"')
        if method not in ("GET", "HEAD"):
            raise method_not_allowed()
        match path:
            case "/metrics":
                return 200, CONTENT_TYPE, self._pages.figures.page().encode()
            case "/metrics/slis":
                return 200, CONTENT_TYPE, self._pages.health.figures().encode()
            case "/configz":
                return 200, JSON, orjson.dumps(self._pages.configuration())
        if f"/{path.split('/')[1]}" in health.ENDPOINTS:
            found = self._pages.health.answer(path, query)
            if found is not None:
                return found.status, PLAIN, found.text.encode()
        raise path_not_found()


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """(method, target, header fields). Raises ValueError for what is no request."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise ValueError(first)
    pairs = (line.split(":", 1) for line in lines)
    return method, target, {name.lower(): value.strip() for name, value in pairs}


def _message(status: int, kind: str, body: bytes, *, whole: bool = True) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-cache, private",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + (body if whole else b"")
