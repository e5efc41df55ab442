"""Connections to one server: kept open between requests, and each used for one request at a time.

What a request may cost is limited: the time to connect, the time until its answer is complete, or the time for which
a stream may be silent; one timer a connection watches over whichever counts, and over idleness too. A request that
is cancelled or fails takes its connection with it, since nobody could tell whose answer comes next.

A server may close an idle connection at the very moment at which a request leaves on it. The request is then sent
once more, on a new connection, if nothing of an answer was seen and sending it twice does no harm.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
import ssl
from collections.abc import Callable
from typing import cast

from apiclient.http1 import Headers, ProtocolError, ResponseParser, gunzip

# Raises whatever forbids a request.
Check = Callable[[], None]

CONNECT_TIMEOUT_SECONDS = 5.0
# Less than servers wait before they close an idle connection themselves (this project's API server: 180 s).
IDLE_SECONDS_MAX = 90.0
# A burst of requests leaves many connections behind, each of which costs both sides some 50 KiB.
SURPLUS_IDLE_SECONDS_MAX = 5.0
STREAM_BUFFER_BYTES = 1 << 20
BODY_BYTES_MAX = 1 << 30
JOINED_BYTES_MAX = 64 << 10
# A peer that is gone without a word is noticed after a minute, also on a stream that may be silent for hours.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))
PLAIN = ("", "identity")
GZIP = b"Accept-Encoding: gzip\r\n"

# What a connection is doing.
_IDLE, _WHOLE, _STREAM, _CLOSED = range(4)


class Connection(asyncio.Protocol):
    """One connection. `ask` sends a request; the answer is in `parser`, and its body in `take`."""

    def __init__(self, *, expired: Callable[[Connection], bool], gone: Callable[[Connection], None]) -> None:
        """`expired` decides whether an idle connection is closed now; `gone` is told of its end."""
        self.parser = ResponseParser()
        self.heard = False
        self.idle_since = 0.0
        self.nearby = False
        self._expired, self._gone = expired, gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._doing = _IDLE
        self._waiter: asyncio.Future[None] | None = None
        self._failure: OSError | None = None
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._silence = math.inf
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._poll: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS included."""
        self._transport = cast(asyncio.Transport, transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.nearby = bool(peer and own and peer[0] == own[0])
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                raw.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        if self._doing == _IDLE:
            self.fail(ProtocolError("the server sent what it was not asked for"))
            return
        self.heard = True
        try:
            piece = self.parser.feed(data)
        except ProtocolError as error:
            self.fail(error)
            return
        if piece:
            self._pieces.append(piece)
            self._buffered += len(piece)
        if self.parser.complete:
            self._wake()
        elif self._doing == _STREAM:
            if self.parser.status:
                self._heard_of_stream()
        elif self._buffered > BODY_BYTES_MAX:
            self.fail(ProtocolError(f"the server's answer is larger than {BODY_BYTES_MAX} bytes"))

    def eof_received(self) -> None:
        """The server sends nothing more; it may mean that the answer is complete."""
        try:
            self.parser.eof()
        except ProtocolError as error:
            self.fail(error)
        else:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        if self._doing in (_WHOLE, _STREAM) and not self.parser.complete:
            why = error if isinstance(error, OSError) else ConnectionResetError("the server closed the connection")
            self._failure = self._failure or why
        self._doing = _CLOSED
        if self._timer is not None:
            self._timer.cancel()
        self._wake()
        self._gone(self)

    @property
    def usable(self) -> bool:
        """Whether an idle connection may be used: it is open, and nothing has arrived that was not heard of yet."""
        assert self._transport is not None, "it was connected"
        if self._doing != _IDLE or self._transport.is_closing():
            return False
        if self._poll is None:
            raw = self._transport.get_extra_info("socket")
            if raw is None:
                return True  # no socket is behind it: what arrives is heard at once
            self._poll = select.poll()
            self._poll.register(raw, select.POLLIN)
        return not self._poll.poll(0)

    async def ask(
        self, method: str, head: bytes, body: bytes, *, seconds: float, stream: bool = False, upgrades: bool = False
    ) -> None:
        """Send a request and wait for its answer; for `stream` only for its head. Raises OSError."""
        assert self._transport is not None, "it was connected"
        if self._failure is not None:
            raise self._failure
        if self._doing == _CLOSED:
            raise ConnectionResetError("the server closed the connection")
        assert self._doing == _IDLE, "one request at a time"
        self.parser.begin(method, upgrades=upgrades)
        self.heard = False
        self._pieces, self._buffered = [], 0
        self._doing = _STREAM if stream else _WHOLE
        self._silence = seconds
        self._limit(seconds)
        # Compression is worth its time when the answer travels.
        rest = b"\r\n" if stream or self.nearby else GZIP + b"\r\n"
        if len(body) <= JOINED_BYTES_MAX:
            self._transport.write(b"".join((head, rest, body)))
        else:
            self._transport.writelines((head, rest, body))
        while not self.parser.complete and not (stream and self.parser.status):
            await self._news()

    def listen(self, silence_seconds: float) -> None:
        """The head of a stream is there; from now on it may be silent for so long."""
        self._silence = silence_seconds
        self._due = self._loop.time() + silence_seconds
        self._arm()

    async def piece(self) -> bytes:
        """What has arrived of a stream's body since the last call; empty at its end. Raises OSError."""
        while not self._pieces:
            if self.parser.complete:
                return b""
            await self._news()
        return self.take()

    def take(self) -> bytes:
        """What there is of the body."""
        pieces, self._pieces, self._buffered = self._pieces, [], 0
        if self._paused:
            self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def rest(self, now: float) -> bool:
        """Wait for the next request, if the answer was read to its end and another may follow."""
        assert self._transport is not None, "it was connected"
        if self._doing == _CLOSED or self._pieces or not (self.parser.complete and self.parser.keeps_alive):
            return False
        if self._transport.get_write_buffer_size():
            return False  # the server answered before it had the whole request: it may take the rest for the next
        self._doing = _IDLE
        self.idle_since = now
        self._limit(SURPLUS_IDLE_SECONDS_MAX)
        return True

    def hand_over(self) -> asyncio.Transport:
        """Give the connection to another protocol, which the server has agreed to."""
        assert self._transport is not None
        if self._timer is not None:
            self._timer.cancel()
        self._doing = _CLOSED
        self._gone(self)
        return self._transport

    def fail(self, error: OSError) -> None:
        """Give the connection up."""
        self._failure = self._failure or error
        self.abort()
        self._wake()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        """Wait until something has changed. Raises OSError if there will be no more; cancelled, it gives up."""
        if self._failure is not None:
            raise self._failure
        if self._doing == _CLOSED:
            raise ConnectionResetError("the server closed the connection")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _heard_of_stream(self) -> None:
        assert self._transport is not None
        if self._buffered > STREAM_BUFFER_BYTES and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._due = math.inf  # it is we who make it silent
            self._transport.pause_reading()
        elif not self._paused:
            self._due = self._loop.time() + self._silence
        self._wake()

    def _resume(self) -> None:
        assert self._transport is not None
        self._paused = False
        self.listen(self._silence)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _limit(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._arm()

    def _arm(self) -> None:
        """Have the timer go off when the limit is reached, or before: it looks again then."""
        if self._due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._due
            self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        if now < self._due:
            if self._due != math.inf:
                self._arm()
        elif self._doing != _IDLE:
            self.fail(TimeoutError("the server does not answer" if not self.heard else "the server has gone silent"))
        elif self._expired(self):
            self.abort()
        else:
            self._due = self.idle_since + IDLE_SECONDS_MAX
            self._arm()


class Answer:
    """An answer whose body is read piece by piece."""

    def __init__(self, connection: Connection, done: Callable[[Connection], None]) -> None:
        self.status, self.headers = connection.parser.status, connection.parser.headers
        self._connection = connection
        self._done = done

    async def piece(self) -> bytes:
        """The next bytes, as they arrive; empty at the end. Raises OSError."""
        return await self._connection.piece()

    def close(self) -> None:
        """Keep the connection if all was read; close it otherwise."""
        self._done(self._connection)


class Pool:
    """The connections to one server."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, *, server_name: str | None = None) -> None:
        """`server_name` is whom the server's certificate must name, if not `host`."""
        self._host, self._port, self._tls = host, port, tls
        self._server_name = (server_name or host) if tls is not None else None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self._all_gone = asyncio.Event()

    async def request(
        self, method: str, head: bytes, body: bytes = b"", *, seconds: float, check: Check | None = None
    ) -> tuple[int, Headers, bytes]:
        """Send a request; `head` is without its last, empty line. Raises OSError.

        `check` is called at the last moment before it is sent, and may raise.
        """
        connection = await self._ask(method, head, body, seconds=seconds, check=check)
        answer, data = connection.parser, connection.take()
        self._done(connection)
        if data and answer.encoding not in PLAIN:
            if answer.encoding not in ("gzip", "x-gzip"):
                raise ProtocolError(f"the server's answer has the unknown coding {answer.encoding[:40]!r}")
            data = gunzip(data, BODY_BYTES_MAX)
        return answer.status, answer.headers, data

    async def stream(self, head: bytes, *, head_seconds: float, silence_seconds: float) -> Answer:
        """GET something that is read as it comes; whoever gets the answer closes it. Raises OSError."""
        connection = await self._ask("GET", head, b"", seconds=head_seconds, stream=True)
        if connection.parser.encoding not in PLAIN:
            connection.abort()
            raise ProtocolError("the server compresses a stream without being asked to")
        connection.listen(silence_seconds)
        return Answer(connection, self._done)

    async def upgrade(self, head: bytes, *, seconds: float) -> tuple[int, Headers, bytes, asyncio.Transport | None]:
        """GET with a wish for another protocol: the connection if the server agrees, its answer otherwise.

        The bytes are what the server has already sent in the new protocol, or the body of its answer.
        """
        connection = await self._ask("GET", head, b"", seconds=seconds, upgrades=True)
        answer = connection.parser
        if answer.status == 101:
            return answer.status, answer.headers, answer.rest, connection.hand_over()
        data = connection.take()
        self._done(connection)
        return answer.status, answer.headers, data, None

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        for connection in list(self._open):
            connection.fail(ConnectionAbortedError("the client is closed"))
        if self._open:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await self._all_gone.wait()

    async def _ask(
        self,
        method: str,
        head: bytes,
        body: bytes,
        *,
        seconds: float,
        stream: bool = False,
        upgrades: bool = False,
        check: Check | None = None,
    ) -> Connection:
        if check is not None:
            check()
        connection = self._reusable()
        if connection is not None:
            try:
                await connection.ask(method, head, body, seconds=seconds, stream=stream, upgrades=upgrades)
                return connection
            except TimeoutError:
                raise
            except OSError:
                if connection.heard or method not in REPEATABLE or upgrades or self._closed:
                    raise
        connection = await self._connect()
        try:
            if check is not None:
                check()  # connecting has taken its time
        except BaseException:
            connection.abort()
            raise
        await connection.ask(method, head, body, seconds=seconds, stream=stream, upgrades=upgrades)
        return connection

    def _reusable(self) -> Connection | None:
        """The connection that was used last, so that those which nobody needs become old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._closed:
            raise ConnectionAbortedError("the client is closed")
        connection = Connection(expired=self._is_surplus, gone=self._forget)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, self._host, self._port, ssl=self._tls, server_hostname=self._server_name
                )
        except BaseException:
            connection.abort()
            raise
        self._open.add(connection)
        self._all_gone.clear()
        return connection

    def _done(self, connection: Connection) -> None:
        if not self._closed and connection.rest(asyncio.get_running_loop().time()):
            self._idle.append(connection)
        else:
            connection.abort()

    def _is_surplus(self, connection: Connection) -> bool:
        """Whether an idle connection is one too many: one is kept for longer, for whoever asks now and then."""
        now = asyncio.get_running_loop().time()
        if len(self._idle) == 1 and now - connection.idle_since < IDLE_SECONDS_MAX:
            return False
        self._idle.remove(connection)
        return True

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open:
            self._all_gone.set()
