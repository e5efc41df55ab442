"""Reads a compressed stream as what it was before, whichever way it was compressed.

However little a stranger sends, what it swells to is handed out in pieces of a bounded size: a kilobyte that stands
for gigabytes costs no memory here.

Sources: RFC 1952 (gzip: several members may follow one another), RFC 8878 (Zstandard, with skippable frames).
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

READ_BYTES = 1 << 18
# What one call may hand out.
PIECE_BYTES_MAX = 1 << 20
# Memory that a zstd stream may ask for; `zstd --long`, and all that builders of images use, needs no more.
ZSTD_WINDOW_BYTES_MAX = 1 << 27
_MAGIC_BYTES_MAX = 6
_BY_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    # A skippable frame, which may precede the first one with content.
    *((bytes((byte,)) + b"\x2a\x4d\x18", "zstd") for byte in range(0x50, 0x60)),
)

Read = Callable[[int], bytes]


class CompressionError(Exception):
    """The stream is damaged, ends too early, or is compressed in a way that can't be read here."""


class Stream:
    """The uncompressed bytes of what `source` reads; `kind` is gzip, zstd, bzip2, xz, or "" for plain."""

    def __init__(self, source: Read) -> None:
        head = source(READ_BYTES)
        while 0 < len(head) < _MAGIC_BYTES_MAX and (more := source(READ_BYTES)):
            head += more
        self.kind = next((name for magic, name in _BY_MAGIC if head.startswith(magic)), "")
        source = _Pushback(head, source).read
        self._read = _reader(self.kind, source)

    def read(self, size: int = PIECE_BYTES_MAX) -> bytes:
        """Some bytes, at most `size`; empty at the end. Raises CompressionError."""
        try:
            return self._read(min(size, PIECE_BYTES_MAX))
        except (CompressionError, OSError):
            raise
        except Exception as error:  # each library has an exception of its own, without a common base
            raise CompressionError(f"the {self.kind} data is damaged: {error}") from error


class _Pushback:
    """What was read to find out the kind comes first."""

    def __init__(self, head: bytes, source: Read) -> None:
        self._head, self._source = head, source

    def read(self, size: int = -1) -> bytes:
        if self._head:
            size = len(self._head) if size < 0 else size
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._source(size)


class _Members:
    """Streams that end by themselves and may follow one another, by decompressors as bz2's and lzma's are."""

    def __init__(self, kind: str, make: Callable[[], Any], source: Read) -> None:
        self._kind, self._make, self._source = kind, make, source
        self._decompressor = make()

    def read(self, size: int) -> bytes:
        """The next piece."""
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data or self._source(READ_BYTES)
                if not data:
                    return b""
                self._decompressor = self._make()
            elif self._decompressor.needs_input:
                data = self._source(READ_BYTES)
                if not data:
                    raise CompressionError(f"the {self._kind} data ends too early")
            if out := self._decompressor.decompress(data, size):
                return bytes(out)


class _Gzip:
    """zlib's decompressor with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether this member has ended."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond its end."""
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        """Whether all that was fed has been used."""
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more input, or with none what is left of the last."""
        return self._inner.decompress(data or self._inner.unconsumed_tail, max_length)


def _reader(kind: str, source: Read) -> Read:
    """Only what is asked for is loaded: most layers are gzip."""
    if kind == "gzip":
        return _Members(kind, _Gzip, source).read
    if kind == "zstd":
        return _zstd(source)
    if kind == "bzip2":
        return _Members(kind, importlib.import_module("bz2").BZ2Decompressor, source).read
    if kind == "xz":
        return _Members(kind, importlib.import_module("lzma").LZMADecompressor, source).read
    return source


def _zstd(source: Read) -> Read:
    package = importlib.import_module("zstandard")
    decompressor = package.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    # Its stream reader bounds what a call returns, which its `decompressobj` does not.
    reader = decompressor.stream_reader(_Pushback(b"", source), read_size=READ_BYTES, read_across_frames=True)
    read: Read = reader.read
    return read
