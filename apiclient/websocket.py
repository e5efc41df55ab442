"""A WebSocket to the API server: commands in containers converse over it.

Messages are bytes; text is given as its bytes. Pings are answered here. What is received is kept until it is asked
for, up to a limit beyond which nothing more is read; a sender waits while the other side takes nothing.

Source: RFC 6455.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from apiclient.http1 import ProtocolError

MESSAGE_BYTES_MAX = 32 << 20
BUFFER_BYTES = 1 << 20
CLOSE_SECONDS_MAX = 2.0
CONTROL_BYTES_MAX = 125
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR = 1000, 1002
_FINAL, _MASKED, _RESERVED = 0x80, 0x80, 0x70
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key() -> str:
    """What a handshake is known by."""
    return base64.b64encode(os.urandom(16)).decode()


def request_fields(key: str, protocols: Sequence[str]) -> dict[str, str]:
    """The header fields that ask for a WebSocket which speaks one of these protocols."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": ", ".join(protocols),
    }


class WebSocket(asyncio.Protocol):
    """An open WebSocket; `protocol` is what the server has chosen to speak."""

    def __init__(
        self, transport: asyncio.Transport, fields: Mapping[str, str], key: str, *, received: bytes = b""
    ) -> None:
        """Take over a connection whose server has agreed with these header fields. Raises ProtocolError."""
        expected = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        if fields.get("Sec-WebSocket-Accept") != expected or fields.get("Upgrade", "").lower() != "websocket":
            transport.abort()
            raise ProtocolError("the server does not agree to a WebSocket as it should")
        self.protocol = fields.get("Sec-WebSocket-Protocol", "")
        self._transport = transport
        self._reader = FrameReader()
        self._messages: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._failure: OSError | None = None
        self._closing = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        transport.set_protocol(self)
        if transport.is_closing():
            self.connection_lost(None)
        elif received:
            self.data_received(received)

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> bytes:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self) -> bytes | None:
        """The next message; None once the server has closed the WebSocket. Raises OSError if it broke."""
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._closing:
                return None
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        self._buffered -= len(message)
        if self._paused and self._buffered <= BUFFER_BYTES:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return message

    async def send_bytes(self, data: bytes) -> None:
        """Send one message. Raises OSError."""
        await self._writable.wait()
        if self._failure is not None:
            raise self._failure
        if self._closing or self._transport.is_closing():
            raise ConnectionResetError("the WebSocket is closed")
        self._transport.write(frame(BINARY, data))

    async def close(self) -> None:
        """Say goodbye, and close; does nothing if it is closed already."""
        if not self._lost.is_set():
            self._say_goodbye(NORMAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await self._lost.wait()
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        try:
            for kind, payload in self._reader.feed(data):
                self._take(kind, payload)
        except ProtocolError as error:
            self._failure = error
            self._say_goodbye(PROTOCOL_ERROR)
            self._transport.close()
        self._news.set()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == PING and not self._closing:
            self._transport.write(frame(PONG, payload))
        elif kind == CLOSE:
            self._say_goodbye(NORMAL)
            self._transport.close()
        elif kind in (TEXT, BINARY):
            self._messages.append(payload)
            self._buffered += len(payload)
            if self._buffered > BUFFER_BYTES and not self._paused and not self._transport.is_closing():
                self._paused = True
                self._transport.pause_reading()

    def _say_goodbye(self, code: int) -> None:
        if not self._closing and not self._transport.is_closing():
            self._transport.write(frame(CLOSE, code.to_bytes(2, "big")))
        self._closing = True

    def eof_received(self) -> None:
        """The server sends nothing more."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, after a goodbye or without one."""
        if not self._closing and self._failure is None:
            self._failure = error if isinstance(error, OSError) else ConnectionResetError("the server hung up")
        self._closing = True
        self._lost.set()
        self._writable.set()
        self._news.set()

    def pause_writing(self) -> None:
        """The server takes less than we send."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The server has taken most of it."""
        self._writable.set()


class FrameReader:
    """Puts messages together from a server's frames, without any I/O."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._kind = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(kind, payload) of every message that is complete now. Raises ProtocolError."""
        self._held += data
        while (found := self._frame()) is not None:
            final, kind, payload = found
            if kind >= CLOSE:
                yield kind, payload
                continue
            if (kind == CONTINUATION) != bool(self._kind):
                raise ProtocolError("the server's frames do not follow on each other")
            self._kind = self._kind or kind
            self._parts.append(payload)
            self._size += len(payload)
            if self._size > MESSAGE_BYTES_MAX:
                raise ProtocolError(f"the server's message is larger than {MESSAGE_BYTES_MAX} bytes")
            if final:
                yield self._kind, b"".join(self._parts)
                self._kind, self._parts, self._size = 0, [], 0

    def _frame(self) -> tuple[bool, int, bytes] | None:
        held = self._held
        if len(held) < 2:
            return None
        final, kind, size, begin = bool(held[0] & _FINAL), held[0] & 0x0F, held[1], 2
        if held[0] & _RESERVED or size & _MASKED or kind not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolError("the server's frame is of no kind that was agreed on")
        if kind >= CLOSE and (not final or size > CONTROL_BYTES_MAX):
            raise ProtocolError("the server's control frame is too large or in parts")
        if size >= 126:
            begin = 4 if size == 126 else 10
            if len(held) < begin:
                return None
            size = int.from_bytes(held[2:begin], "big")
            if size > MESSAGE_BYTES_MAX:
                raise ProtocolError(f"the server's message is larger than {MESSAGE_BYTES_MAX} bytes")
        if len(held) < begin + size:
            return None
        payload = bytes(held[begin : begin + size])
        del held[: begin + size]
        return final, kind, payload


def frame(kind: int, payload: bytes) -> bytes:
    """A client's frame: a whole message, masked."""
    size, mask = len(payload), os.urandom(4)
    head = bytes([_FINAL | kind])
    if size <= CONTROL_BYTES_MAX:
        head += bytes([_MASKED | size])
    elif size < 1 << 16:
        head += bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([_MASKED | 127]) + size.to_bytes(8, "big")
    # One operation on two large numbers instead of one a byte.
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
