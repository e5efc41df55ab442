"""Header blocks of HTTP/2, as far as a client needs them that keeps no table of its peer's headers.

Headers are sent as they are. Those that come may be abbreviated by the static table and by the Huffman code; a peer
that was told a header table size of 0 abbreviates in no other way.

Source: RFC 7541 (section numbers below are its own).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

Header = tuple[str, str]

# Appendix A; names that stand there more than once have their values here, all others have none.
_STATIC_TABLE: tuple[Header, ...] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *((":status", code) for code in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *(
        (name, "")
        for name in [
            "accept-language",
            "accept-ranges",
            "accept",
            "access-control-allow-origin",
            "age",
            "allow",
            "authorization",
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-length",
            "content-location",
            "content-range",
            "content-type",
            "cookie",
            "date",
            "etag",
            "expect",
            "expires",
            "from",
            "host",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "if-unmodified-since",
            "last-modified",
            "link",
            "location",
            "max-forwards",
            "proxy-authenticate",
            "proxy-authorization",
            "range",
            "referer",
            "refresh",
            "retry-after",
            "server",
            "set-cookie",
            "strict-transport-security",
            "transfer-encoding",
            "user-agent",
            "vary",
            "via",
            "www-authenticate",
        ]
    ),
)

# Appendix B: which bytes have codes of how many bits. The code is canonical: codes are given out in the order of
# their lengths, and of the bytes among those of one length. All that is not named here has 28 bits.
_CODE_LENGTHS: dict[int, str] = {
    5: "012aceiost",
    6: " %-./3456789=A_bdfghlmnpru",
    7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: "&*,;XZ",
    10: '!"()?',
    11: "'+|",
    12: "#>",
    13: "\0$@[]~",
    14: "^}",
    15: "<`{",
    19: "\\\xc3\xd0",
    20: "\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: "\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: "\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: (
        "\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf"
        "\xc5\xe7\xef"
    ),
    24: "\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: "\xc7\xcf\xea\xeb",
    26: "\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: "\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    30: "\n\r\x16",
}
_OTHERS_BITS = 28
_CODE_BITS_MAX = 30
_INTEGER_BYTES_MAX = 5


class HeaderError(ValueError):
    """A header block can't be read."""


def encode(headers: Iterable[Header]) -> bytes:
    """A header block; nothing in it is abbreviated, or to be remembered (6.2.2)."""
    block = bytearray()
    for name, value in headers:
        block.append(0)
        for text in (name, value):
            data = text.encode()
            block += _integer(len(data), prefix_bits=7) + data
    return bytes(block)


def decode(block: bytes) -> list[Header]:
    """The headers of a block. Raises HeaderError."""
    found: list[Header] = []
    at = 0
    try:
        while at < len(block):
            first = block[at]
            if first & 0x80:  # a whole header of the table (6.1)
                index, at = _read_integer(block, at, prefix_bits=7)
                found.append(_table_entry(index))
            elif first & 0xE0 == 0x20:  # a new size of a table that is not kept here (6.3)
                _, at = _read_integer(block, at, prefix_bits=5)
            else:  # a header that is written out, its name perhaps in the table (6.2)
                index, at = _read_integer(block, at, prefix_bits=6 if first & 0x40 else 4)
                if index:
                    name = _table_entry(index)[0]
                else:
                    name, at = _read_text(block, at)
                value, at = _read_text(block, at)
                found.append((name, value))
    except IndexError:
        raise HeaderError("the header block ends too early") from None
    return found


def _table_entry(index: int) -> Header:
    if not 1 <= index <= len(_STATIC_TABLE):
        raise HeaderError(f"no header {index} in the table")
    return _STATIC_TABLE[index - 1]


def _integer(number: int, *, prefix_bits: int) -> bytes:
    """A number whose first byte has other bits, left at 0, in front (5.1)."""
    limit = (1 << prefix_bits) - 1
    if number < limit:
        return bytes((number,))
    data = bytearray((limit,))
    number -= limit
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _read_integer(data: bytes, at: int, *, prefix_bits: int) -> tuple[int, int]:
    limit = (1 << prefix_bits) - 1
    number = data[at] & limit
    at += 1
    if number < limit:
        return number, at
    for place in range(_INTEGER_BYTES_MAX):
        byte = data[at]
        at += 1
        number += (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, at
    raise HeaderError("a number in the header block is too large")


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    is_coded = data[at] & 0x80
    length, at = _read_integer(data, at, prefix_bits=7)
    raw = data[at : at + length]
    if len(raw) < length:
        raise IndexError
    return (_decoded(raw) if is_coded else raw).decode(errors="replace"), at + length


@cache
def _codes() -> dict[tuple[int, int], int]:
    """(length in bits, code) of every byte; made when it is first needed."""
    lengths = dict.fromkeys(range(256), _OTHERS_BITS)
    lengths |= {ord(character): bits for bits, characters in _CODE_LENGTHS.items() for character in characters}
    codes: dict[tuple[int, int], int] = {}
    code = last = 0
    for byte, bits in sorted(lengths.items(), key=lambda entry: (entry[1], entry[0])):
        code <<= bits - last
        codes[bits, code] = byte
        code, last = code + 1, bits
    return codes


def _decoded(data: bytes) -> bytes:
    """A text in the Huffman code; what is left in its last byte is padding (5.2)."""
    codes = _codes()
    text = bytearray()
    code = bits = 0
    for byte in data:
        for place in range(7, -1, -1):
            code, bits = code << 1 | byte >> place & 1, bits + 1
            found = codes.get((bits, code))
            if found is not None:
                text.append(found)
                code = bits = 0
            elif bits >= _CODE_BITS_MAX:
                raise HeaderError("a text in the header block is in no known code")
    return bytes(text)
