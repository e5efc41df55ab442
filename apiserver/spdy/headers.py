"""Header blocks: names and values, compressed by zlib with a dictionary that both sides know from the start.

All blocks of one direction are one compressed stream, so each side keeps a compressor and a decompressor for as long
as the connection lives.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

BLOCK_BYTES_MAX = 64 << 10
_LENGTH = struct.Struct(">I")
# The dictionary: names and values of headers as they were, each behind its length, and what occurs within values.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_PARTS = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _text(value: str) -> bytes:
    encoded = value.encode("latin-1", "replace")
    return _LENGTH.pack(len(encoded)) + encoded


DICTIONARY = b"".join(_text(word.replace("_", " ")) for word in _WORDS.split()) + _PARTS.encode()


class HeaderError(Exception):
    """A header block can't be read: what follows on the connection can't be either."""


class Compressor:
    """Makes the header blocks of one direction."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def block(self, headers: Mapping[str, str]) -> bytes:
        """The block of these headers, whose names are in small letters."""
        plain = _LENGTH.pack(len(headers)) + b"".join(_text(name) + _text(value) for name, value in headers.items())
        return self._zlib.compress(plain) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Decompressor:
    """Reads the header blocks of one direction."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def headers(self, block: bytes) -> dict[str, str]:
        """The headers of a block; of several values of a name the first. Raises HeaderError."""
        try:
            plain = self._zlib.decompress(block, BLOCK_BYTES_MAX)
        except zlib.error as error:
            raise HeaderError(f"the header block is not compressed as it should be: {error}") from error
        if self._zlib.unconsumed_tail:
            raise HeaderError(f"the header block is larger than {BLOCK_BYTES_MAX} bytes")
        return _pairs(plain)


def _pairs(plain: bytes) -> dict[str, str]:
    position, found = _LENGTH.size, {}
    try:
        (count,) = _LENGTH.unpack_from(plain)
        for _ in range(count):
            name, position = _read(plain, position)
            value, position = _read(plain, position)
            found[name.decode("latin-1").lower()] = value.partition(b"\0")[0].decode("latin-1")
    except (struct.error, IndexError) as error:
        raise HeaderError("the header block ends too early") from error
    return found


def _read(plain: bytes, position: int) -> tuple[bytes, int]:
    (length,) = _LENGTH.unpack_from(plain, position)
    start = position + _LENGTH.size
    if start + length > len(plain):
        raise IndexError(length)
    return plain[start : start + length], start + length
