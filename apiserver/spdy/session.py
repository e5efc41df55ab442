"""The server's side of a SPDY connection: the streams that a client opens, read and written one by one.

What arrives is read by one task and put into its stream. A stream that nobody reads holds up the connection once it
has `BUFFER_BYTES_MAX` waiting, since frames come in one order; that is how clients' own libraries behave, and it is
what keeps memory bounded. Clients are told of every read (WINDOW_UPDATE), as those that count want to know it. What
we send is not counted, since the libraries of Kubernetes' clients never report what they have read; the connection's
own flow control does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from apiserver.spdy import frames
from apiserver.spdy.frames import Decoder, Encoder, Frame

BUFFER_BYTES_MAX = 256 << 10
STREAMS_MAX = 4096
DATA_BYTES_MAX = 32 << 10
# Reads are reported when this much has been read; the window is 64 KiB to begin with.
WINDOW_REPORT_BYTES = 16 << 10


class StreamLost(ConnectionError):
    """The stream was reset, or the connection is gone."""


class Carrier(Protocol):
    """What carries the bytes of a connection."""

    async def read(self) -> bytes:
        """What comes next; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side takes nothing. Raises ConnectionError."""


class Stream:
    """One stream. `headers` are those that it was opened with, their names in small letters."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.number = number
        self._session = session
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._read_unreported = 0
        self.buffered = 0
        self._remote_ended = False
        self._local_ended = False
        self._lost = False
        self._discards = False

    async def read(self) -> bytes:
        """What comes next; b"" at the end. Raises StreamLost."""
        while not self._pieces:
            if self._lost:
                raise StreamLost("the stream was reset")
            if self._remote_ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        piece = self._pieces.popleft()
        self.buffered -= len(piece)
        self._read_unreported += len(piece)
        self._session.has_room.set()
        if self._read_unreported >= WINDOW_REPORT_BYTES and not self._remote_ended:
            count, self._read_unreported = self._read_unreported, 0
            await self._session.send(frames.window_update(self.number, count))
        return piece

    async def write(self, data: bytes) -> None:
        """Send. Raises StreamLost."""
        for start in range(0, len(data), DATA_BYTES_MAX):
            if self._lost or self._local_ended:
                raise StreamLost("the stream has ended")
            await self._session.send(frames.data(self.number, data[start : start + DATA_BYTES_MAX]))

    async def finish(self) -> None:
        """Nothing more will be sent; harmless if the stream has ended."""
        if not self._local_ended and not self._lost:
            self._local_ended = True
            await self._session.send(frames.data(self.number, b"", fin=True))
            self._session.forget_if_over(self)

    async def reset(self) -> None:
        """End the stream at once; harmless if it has ended."""
        if not self._lost and not self.over:
            self.lose()
            await self._session.send(frames.rst_stream(self.number, frames.CANCEL))
            self._session.forget_if_over(self)

    @property
    def over(self) -> bool:
        """Whether neither side sends any more."""
        return self._lost or (self._remote_ended and self._local_ended)

    async def lost(self) -> None:
        """Wait until the stream is reset or the connection gone."""
        while not self._lost:
            self._changed.clear()
            await self._changed.wait()

    def arrived(self, data: bytes, *, fin: bool) -> None:
        """The other side has sent something."""
        if data and not self._remote_ended and not self._discards:
            self._pieces.append(data)
            self.buffered += len(data)
        self._remote_ended = self._remote_ended or fin
        self._changed.set()

    def discard(self) -> None:
        """Whatever still comes is dropped: nobody reads it any more."""
        self._discards = True
        self._pieces.clear()
        self.buffered = 0
        self._session.has_room.set()

    def lose(self) -> None:
        """The stream is no more."""
        self._lost = True
        self._pieces.clear()
        self.buffered = 0
        self._changed.set()


class Session:
    """One connection. `run` reads from it; `accept` gives the streams that the client opens."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._decoder, self._encoder = Decoder(), Encoder()
        self._streams: dict[int, Stream] = {}
        self._opened: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._last = 0
        # Set whenever something was read of a stream.
        self.has_room = asyncio.Event()

    async def run(self) -> None:
        """Read until the client goes. Raises frames.FrameError."""
        try:
            while data := await self._carrier.read():
                for frame in self._decoder.feed(data):
                    await self._handle(frame)
        except ConnectionError:
            pass  # the client is gone, which its streams tell
        finally:
            for stream in self._streams.values():
                stream.lose()
            self._streams.clear()
            self.has_room.set()
            self._opened.put_nowait(None)

    async def accept(self) -> Stream | None:
        """The next stream that the client opens; None when the connection is gone."""
        stream = await self._opened.get()
        if stream is None:
            self._opened.put_nowait(None)
        return stream

    async def send(self, frame: bytes) -> None:
        """Send a frame. Raises StreamLost if the client is gone."""
        try:
            await self._carrier.write(frame)
        except ConnectionError as error:
            raise StreamLost("the client is gone") from error

    def forget_if_over(self, stream: Stream) -> None:
        """A stream that is over can't get anything any more."""
        if stream.over:
            self._streams.pop(stream.number, None)

    async def _handle(self, frame: Frame) -> None:
        if frame.kind == 0:
            await self._data(frame)
        elif frame.kind == frames.SYN_STREAM:
            await self._open(frame)
        elif frame.kind == frames.RST_STREAM:
            if (stream := self._streams.pop(frame.stream, None)) is not None:
                stream.lose()
        elif frame.kind == frames.PING and frame.stream % 2 == 1:
            await self.send(frames.ping(frame.stream))

    async def _open(self, frame: Frame) -> None:
        # Clients' streams have odd numbers, which grow.
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            await self.send(frames.rst_stream(frame.stream, frames.PROTOCOL_ERROR))
            return
        self._last = frame.stream
        if len(self._streams) >= STREAMS_MAX:
            await self.send(frames.rst_stream(frame.stream, frames.REFUSED_STREAM))
            return
        stream = self._streams[frame.stream] = Stream(self, frame.stream, frame.headers)
        await self.send(self._encoder.syn_reply(frame.stream))
        if frame.fin:
            stream.arrived(b"", fin=True)
        self._opened.put_nowait(stream)

    async def _data(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None:
            return  # it was on its way when the stream ended
        stream.arrived(frame.data, fin=frame.fin)
        self.forget_if_over(stream)
        while stream.buffered > BUFFER_BYTES_MAX:
            self.has_room.clear()
            await self.has_room.wait()
