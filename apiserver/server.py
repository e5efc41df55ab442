"""HTTPS: connections, the time and size that a request may take, and an end without losses.

Every request goes to one handler, the pipeline; there is no router and no middleware in between, since each layer
would cost every request. Whatever a handler raises becomes a `Status` object here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from apimachinery.errors import ApiError, internal, request_entity_too_large, timeout
from apiserver import forms
from apiserver.connection import Connection, Trusted
from apiserver.front_proxy import FrontProxy, fingerprints
from apiserver.logs import kv
from apiserver.metrics import Metrics, is_long_running
from apiserver.request_info import RequestInfo, parse
from apiserver.responses import ReadyResponse, error_response
from apiserver.upgrade import is_upgraded, limit_time

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest, RequestInfo], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX = 3 << 20
# A line of a request carries selectors, and the words of a command for exec.
HEADER_BYTES_MAX = 64 << 10
KEEPALIVE_SECONDS = 180.0
BACKLOG_CONNECTIONS = 1024
HANDSHAKE_SECONDS = 10.0
# Twice at most: to let requests end, and then to end them.
STOP_SECONDS_MAX = 4.0
# What is counted for a request whose client went away before it was answered.
CLIENT_GONE = 499


class TlsError(Exception):
    """A certificate or key can't be used; the message names the files."""


class Server:
    """Serves one handler over HTTPS."""

    def __init__(
        self, handler: Handler, metrics: Metrics, *, trusted: Trusted, request_timeout_seconds: float
    ) -> None:
        self._handler = handler
        self._metrics = metrics
        self._timeout_seconds = request_timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._http = _Http(self._serve, trusted, request_factory=self._request, handler_cancellation=True)
        self._listening: asyncio.Server | None = None

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept connections from now on."""
        self._listening = await self._loop.create_server(
            self._http,
            sock=listener,
            ssl=tls,
            backlog=BACKLOG_CONNECTIONS,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
        )

    def refuse(self) -> None:
        """Accept no more connections, and on those that there are no more requests."""
        if self._listening is not None:
            self._listening.close()
        self._http.pre_shutdown()

    async def finish(self) -> None:
        """Let running requests end (what would never do so must have been ended before), then close."""
        await self._http.shutdown(STOP_SECONDS_MAX)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=BODY_BYTES_MAX)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, has_query, _ = request.raw_path.partition("?")
        info = parse(request.method, path, request.query if has_query else {})
        started = perf_counter()
        self._metrics.begin(info)
        # Most watches end because their client does; any other request should have had its answer.
        code = 200 if is_long_running(info) else CLIENT_GONE
        try:
            response = await self._answer(request, info)
            code = response.status
            return response
        finally:
            self._metrics.end(info, code, perf_counter() - started)

    async def _answer(self, request: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        try:
            if is_long_running(info):
                return await self._handler(request, info)
            async with asyncio.timeout(self._timeout_seconds) as limit:
                limit_time(request, limit)
                return await self._handler(request, info)
        except ApiError as error:
            return _refusal(request, error)
        except web.HTTPRequestEntityTooLarge:
            response = _refusal(
                request, request_entity_too_large(f"Request entity too large: limit is {BODY_BYTES_MAX}")
            )
            response.force_close()
            return response
        except TimeoutError:
            told = f"the request did not complete within {self._timeout_seconds:g} seconds"
            return _refusal(request, timeout(told))
        except ConnectionError:
            raise  # the client is gone: there is nobody to answer
        except Exception as error:
            log.exception(kv("request failed", method=request.method, path=info.path))
            return _refusal(request, internal(type(error).__name__))


def _refusal(request: web.BaseRequest, error: ApiError) -> ReadyResponse:
    """The answer with an error. Raises ConnectionError, which ends the connection, if another answer has begun."""
    if request.writer.output_size or is_upgraded(request):
        raise ConnectionAbortedError(f"an answer was broken off: {error}") from error
    form = forms.wanted(request)
    return error_response(error, None if form == forms.PLAIN else partial(forms.render, form=form))


class _Http(web.Server):
    """aiohttp's server with connections of our own kind."""

    def __init__(self, handler: Any, trusted: Trusted, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._trusted = trusted

    def __call__(self) -> Connection:
        return Connection(
            self,
            trusted=self._trusted,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            auto_decompress=False,
        )


def tls_context(certificate: Path, key: Path, *authorities: Path) -> ssl.SSLContext:
    """TLS that asks clients for a certificate of one of these authorities and does not insist. Raises TlsError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, certificate, key, *authorities)
    # A certificate of any other authority ends the handshake: OpenSSL offers no way to let it in and answer 401.
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    # A session that is taken up again does not tell by which authority its client was verified.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def node_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS towards agents of nodes: trusts the cluster's authority alone, and says who we are. Raises TlsError."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, certificate, key, authority)


def trusted(clients: Path, proxies: FrontProxy) -> Trusted:
    """Whose certificates are good for what. Raises TlsError."""
    try:
        return Trusted(fingerprints(clients), fingerprints(proxies.authority), proxies.names)
    except (OSError, ValueError) as error:
        raise TlsError(f"{clients} or {proxies.authority} can't be used: {error}") from error


def _context(protocol: int, certificate: Path, key: Path, *authorities: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        for authority in authorities:
            context.load_verify_locations(authority)
    except OSError as error:
        raise TlsError(
            f"{certificate}, {key} or {' or '.join(one.name for one in authorities)} can't be used: "
            f"{error.strerror or error}"
        ) from error
    return context
