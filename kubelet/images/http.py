"""HTTP towards registries: blocking, for a process that does nothing else. One thread uses a response at a time.

Answers are read by apiclient's strict parser. What waits is bounded: connecting, silence, and a peer that sends so
slowly that it would take days. A failure of the connection is HttpError, and may be tried again.

Source: RFC 9110, RFC 9112
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from apiclient.http1 import Headers, ProtocolError, ResponseParser, header_lines, request_line
from kubelet.images import proxies

CONNECT_SECONDS = 15.0
SILENCE_SECONDS = 60.0
# Slower than this over a whole window is as good as silent.
RATE_WINDOW_SECONDS = 60.0
RATE_WINDOW_BYTES_MIN = 64 << 10
RECEIVE_BYTES = 1 << 18
IDLE_CONNECTIONS_MAX = 8
# A rest of an answer that is worth reading for the connection's sake.
DRAIN_BYTES_MAX = 64 << 10
USER_AGENT = "wherry/0.1"
_PORTS = {"http": 80, "https": 443}


class HttpError(Exception):
    """The other side can't be reached, went away, or does not speak HTTP."""


class Unreachable(HttpError):
    """Nobody listens there, or the way there is cut."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust and who we are; files in PEM. Without `ca_file` it is the authorities that the machine trusts."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: `length` bytes, in pieces."""

    length: int
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class _Key:
    scheme: str
    host: str
    port: int
    tls: Tls


class Http:
    """Connections to any servers, kept for the next request."""

    def __init__(self) -> None:
        self._idle: dict[_Key, list[socket.socket]] = {}
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], *, body: Body | None = None, tls: Tls | None = None
    ) -> Response:
        """Send a request; returns when the head of the answer is there. Raises HttpError."""
        parts = urlsplit(url)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError) as error:
            raise HttpError(f"unsupported URL {url!r}") from error
        key = _Key(parts.scheme, parts.hostname or "", port, tls or Tls())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": USER_AGENT, **headers}
        if body is not None:
            fields["Content-Length"] = str(body.length)
        while True:
            connection, is_fresh = self._connection(key)
            try:
                head = (
                    request_line(method, self._target(key, target, fields)) + header_lines(fields.items()) + b"\r\n"
                )
            except ValueError as error:
                connection.close()
                raise HttpError(str(error)) from error
            try:
                return self._ask(key, connection, method, head, body)
            except _Stale as stale:
                if is_fresh or body is not None:
                    raise HttpError(f"{key.host}: {stale}") from stale

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _ask(self, key: _Key, connection: socket.socket, method: str, head: bytes, body: Body | None) -> Response:
        response = Response(self, key, connection)
        try:
            connection.settimeout(SILENCE_SECONDS)
            connection.sendall(head)
            if body is not None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    # A server that has heard enough answers before the end: that answer is what counts.
                    for piece in body.pieces:
                        connection.sendall(piece)
            response.read_head(method)
        except (OSError, ProtocolError) as error:
            connection.close()
            if not response.has_begun and isinstance(error, (ConnectionError, ProtocolError)):
                raise _Stale(str(error) or "the server closed the connection") from error
            raise HttpError(f"{key.host}: {_words(error)}") from error
        except BaseException:
            connection.close()
            raise
        return response

    def _connection(self, key: _Key) -> tuple[socket.socket, bool]:
        with self._lock:
            idle = self._idle.get(key)
            if idle:
                return idle.pop(), False
        return self._connect(key), True

    def _connect(self, key: _Key) -> socket.socket:
        proxy = proxies.for_host(key.scheme, key.host, key.port)
        address = (proxy.host, proxy.port) if proxy else (key.host, key.port)
        try:
            connection = socket.create_connection(address, CONNECT_SECONDS)
        except OSError as error:
            raise Unreachable(f"dial tcp {address[0]}:{address[1]}: {_words(error)}") from error
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if key.scheme == "https":
                if proxy:
                    proxies.tunnel(connection, proxy, key.host, key.port)
                return self._context(key.tls).wrap_socket(connection, server_hostname=key.host)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise HttpError(f"tls: failed to verify certificate of {key.host}: {error.verify_message}") from error
        except ssl.SSLError as error:
            connection.close()
            raise HttpError(f"{key.host}: no TLS: {error.reason or error}") from error
        except (OSError, ValueError) as error:
            connection.close()
            raise HttpError(f"{key.host}: {_words(error)}") from error
        return connection

    def _target(self, key: _Key, target: str, fields: dict[str, str]) -> str:
        """A proxy for plain HTTP is asked by the whole URL (RFC 9112, section 3.2.2)."""
        proxy = proxies.for_host(key.scheme, key.host, key.port) if key.scheme == "http" else None
        if proxy is None:
            return target
        if proxy.authorization:
            fields["Proxy-Authorization"] = proxy.authorization
        return f"http://{fields['Host']}{target}"

    def _context(self, tls: Tls) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get(tls)
            if context is None:
                context = self._contexts[tls] = _make_context(tls)
            return context

    def _keep(self, key: _Key, connection: socket.socket) -> None:
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if len(idle) < IDLE_CONNECTIONS_MAX:
                idle.append(connection)
                return
        connection.close()


class _Stale(Exception):
    """A kept connection had been closed by the other side."""


class Response:
    """An answer. Its body is read once, by `pieces` or by `read`; `close` comes last, in any case."""

    def __init__(self, owner: Http, key: _Key, connection: socket.socket) -> None:
        self._owner, self._key, self._connection = owner, key, connection
        self._parser = ResponseParser()
        self._first = b""
        self._is_open = True
        self.has_begun = False

    @property
    def status(self) -> int:
        """The status code."""
        return self._parser.status

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._parser.headers

    def read_head(self, method: str) -> None:
        """Wait for the head. Raises OSError, ProtocolError."""
        self._parser.begin(method)
        while not self._parser.status and not self._parser.complete:
            self._first += self._feed()
        if self._parser.encoding not in ("", "identity"):
            raise ProtocolError(f"the answer is compressed ({self._parser.encoding[:40]!r}) without being asked to")

    def pieces(self) -> Iterator[bytes]:
        """The body, as it arrives. Raises HttpError."""
        if self._first:
            first, self._first = self._first, b""
            yield first
        window_began, window_bytes = time.monotonic(), 0
        while not self._parser.complete:
            try:
                piece = self._feed()
            except (OSError, ProtocolError) as error:
                raise HttpError(f"{self._key.host}: {_words(error)}") from error
            window_bytes += len(piece)
            now = time.monotonic()
            if now - window_began > RATE_WINDOW_SECONDS:
                if window_bytes < RATE_WINDOW_BYTES_MIN:
                    raise HttpError(
                        f"{self._key.host}: it sends less than {RATE_WINDOW_BYTES_MIN >> 10} KiB a minute"
                    )
                window_began, window_bytes = now, 0
            if piece:
                yield piece

    def read(self, bytes_max: int) -> bytes:
        """The whole body, which must not be larger. Raises HttpError."""
        data = b""
        for piece in self.pieces():
            data += piece
            if len(data) > bytes_max:
                raise HttpError(f"{self._key.host}: the answer is larger than {bytes_max} bytes")
        return data

    def close(self) -> None:
        """Keep the connection if nothing is left to read on it."""
        if not self._is_open:
            return
        self._is_open = False
        if self._drain() and self._parser.keeps_alive:
            self._owner._keep(self._key, self._connection)
        else:
            self._connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drain(self) -> bool:
        left = DRAIN_BYTES_MAX
        self._connection.settimeout(1.0)
        while not self._parser.complete and left > 0:
            try:
                left -= len(self._feed())
            except (OSError, ProtocolError):
                return False
        return self._parser.complete

    def _feed(self) -> bytes:
        data = self._connection.recv(RECEIVE_BYTES)
        if not data:
            self._parser.eof()
            return b""
        self.has_begun = True
        return self._parser.feed(data)


def _make_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        if tls.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif tls.ca_file:
            context.load_verify_locations(cafile=tls.ca_file)
        else:
            context.load_default_certs()
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise HttpError(f"a certificate or key of the registry's configuration can't be used: {error}") from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
