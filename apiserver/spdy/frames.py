"""Frames of SPDY/3.1 and their bytes. Pure.

control:  1 | version 15 bits | type 16 | flags 8 | length 24 | …
data:     0 | stream 31 bits            | flags 8 | length 24 | data
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from apiserver.spdy.headers import Compressor, Decompressor, HeaderError

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 6, 7, 8, 9
FIN = 0x01
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
FRAME_BYTES_MAX = 1 << 20
_CONTROL = 0x80000000
_STREAM_MASK = 0x7FFFFFFF
_HEAD = struct.Struct(">II")
_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")
_SYN_STREAM = struct.Struct(">IIH")


class FrameError(Exception):
    """What arrives are no frames of this protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that arrived. `kind` is 0 for data; for a ping `stream` is its number."""

    kind: int
    stream: int = 0
    fin: bool = False
    data: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Decoder:
    """Finds the frames in what arrives, however it is cut."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._headers = Decompressor()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; those that mean nothing to us are left out. Raises FrameError."""
        self._pending += data
        while len(self._pending) >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._pending)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise FrameError(f"a frame of {length} bytes is too long")
            end = _HEAD.size + length
            if len(self._pending) < end:
                return
            payload = bytes(memoryview(self._pending)[_HEAD.size : end])
            del self._pending[:end]
            if not first & _CONTROL:
                yield Frame(0, first, bool(flags & FIN), payload)
            elif (frame := self._control(first, flags, payload)) is not None:
                yield frame

    def _control(self, first: int, flags: int, payload: bytes) -> Frame | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise FrameError(f"version {version} of SPDY is not spoken")
        try:
            if kind in (SYN_STREAM, SYN_REPLY, HEADERS):  # each block must be read, for the next ones to be readable
                (stream,) = _WORD.unpack_from(payload)
                start = _SYN_STREAM.size if kind == SYN_STREAM else _WORD.size
                return Frame(
                    kind, stream & _STREAM_MASK, bool(flags & FIN), headers=self._headers.headers(payload[start:])
                )
            if kind in (RST_STREAM, PING, GOAWAY, WINDOW_UPDATE):
                (word,) = _WORD.unpack_from(payload)
                return Frame(kind, word if kind == PING else word & _STREAM_MASK)
        except (struct.error, HeaderError) as error:
            raise FrameError(str(error)) from error
        return None


class Encoder:
    """Makes the frames of one side."""

    def __init__(self) -> None:
        self._headers = Compressor()

    def syn_stream(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """Open a stream."""
        return _control(SYN_STREAM, FIN if fin else 0, _SYN_STREAM.pack(stream, 0, 0) + self._headers.block(headers))

    def syn_reply(self, stream: int) -> bytes:
        """Accept a stream that the other side has opened."""
        return _control(SYN_REPLY, 0, _WORD.pack(stream) + self._headers.block({}))


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """Data of a stream; with `fin` the last."""
    return _HEAD.pack(stream, (FIN if fin else 0) << 24 | len(payload)) + payload


def rst_stream(stream: int, status: int) -> bytes:
    """End a stream at once, in both directions."""
    return _control(RST_STREAM, 0, _TWO_WORDS.pack(stream, status))


def ping(number: int) -> bytes:
    """A ping, or the answer to one of the same number."""
    return _control(PING, 0, _WORD.pack(number))


def window_update(stream: int, count: int) -> bytes:
    """So many more bytes may be sent on a stream."""
    return _control(WINDOW_UPDATE, 0, _TWO_WORDS.pack(stream, count))


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | VERSION << 16 | kind, flags << 24 | len(payload)) + payload
