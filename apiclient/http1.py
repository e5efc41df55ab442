"""HTTP/1.1 as bytes: requests are written and answers are read here, without any I/O.

Reading is strict. What two readers could understand differently (a line that ends in a bare newline, two lengths that
differ, a folded header) is refused, since whoever is wrong about an answer's end takes the next answer for its rest.

Source: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping

HEAD_BYTES_MAX = 64 << 10
CHUNK_LINE_BYTES_MAX = 4 << 10
# Answers of 1xx that may precede the one that counts.
INTERIM_ANSWERS_MAX = 16
SWITCHING_PROTOCOLS = 101

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*)*")
# What of the header decides where an answer ends and what may follow.
_FRAMING = re.compile(r"(?i)\r\n(connection|content-encoding|content-length|transfer-encoding):([^\r]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e]")
_UNSENDABLE_IN_TARGET = re.compile(r"[^\x21-\x7e]")

# What comes next.
_HEAD, _SIZED, _UNTIL_CLOSED, _CHUNK_LINE_NEXT, _CHUNK, _CHUNK_END, _TRAILER, _NOTHING = range(8)


class ProtocolError(ConnectionError):
    """The other side does not keep to HTTP; nothing that follows on this connection can be trusted."""


class Headers(Mapping[str, str]):
    """Header fields by name, in whatever case; fields of one name are joined by commas. Read when first asked for."""

    __slots__ = ("_fields", "_text")

    def __init__(self, text: str = "") -> None:
        """`text` is well-formed: lines with CR LF before each."""
        self._text = text
        self._fields: dict[str, list[str]] | None = None

    def _read(self) -> dict[str, list[str]]:
        if self._fields is None:
            self._fields = {}
            for line in self._text.split("\r\n")[1:]:
                name, _, value = line.partition(":")
                self._fields.setdefault(name.lower(), []).append(value.strip("\t "))
        return self._fields

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._read()[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"Headers({dict(self)})"

    def getall(self, name: str, default: list[str] | None = None) -> list[str]:
        """The values of all fields of this name, each as it was sent. Raises KeyError without a default."""
        values = self._read().get(name.lower(), default)
        if values is None:
            raise KeyError(name)
        return list(values)


class ResponseParser:
    """Reads one answer after the other: `begin`, then `feed` until `complete`."""

    __slots__ = (
        *("status", "headers", "encoding", "keeps_alive", "complete", "rest"),
        *("_next", "_left", "_held", "_bodyless", "_upgrades", "_interim", "_trailer_bytes"),
    )

    def __init__(self) -> None:
        self.begin("GET")

    def begin(self, method: str, *, upgrades: bool = False) -> None:
        """Expect the answer to a request with this method; `upgrades`: 101 may answer it, and ends HTTP."""
        self.status = 0
        self.headers = _NO_HEADERS
        self.encoding = ""
        # Whether another request may follow on this connection.
        self.keeps_alive = True
        self.complete = False
        # What came after the end of the answer.
        self.rest = b""
        self._next = _HEAD
        self._left = 0
        self._held = b""
        self._bodyless = method == "HEAD"
        self._upgrades = upgrades
        self._interim = 0
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what of it belongs to the body. Raises ProtocolError."""
        if self._held:
            data, self._held = self._held + data, b""
        position = 0
        if self._next == _HEAD:
            position = self._read_heads(data)
        if self._next == _SIZED:
            piece = data[position : position + self._left] if position or len(data) > self._left else data
            self._left -= len(piece)
            position += len(piece)
            if not self._left:
                self._next = _NOTHING
        elif self._next == _UNTIL_CLOSED:
            return data[position:]
        elif self._next in (_HEAD, _NOTHING):
            piece = b""
        else:
            piece, position = self._read_chunks(data, position)
        if self._next == _NOTHING:
            self.complete = True
            if position < len(data):
                self.rest += data[position:]
                self.keeps_alive = False
        return piece

    def eof(self) -> None:
        """Nothing more will come. Raises ProtocolError if something was to come."""
        self.keeps_alive = False
        if self._next == _UNTIL_CLOSED:
            self._next, self.complete = _NOTHING, True
        elif not self.complete:
            when = "within its answer" if self.status or self._held else "before it answered"
            raise ProtocolError(f"the server closed the connection {when}")

    def _read_heads(self, data: bytes) -> int:
        """Read the head, and those of interim answers before it; returns where the body begins."""
        position = 0
        while self._next == _HEAD:
            end = data.find(b"\r\n\r\n", position)
            if (end if end >= 0 else len(data)) - position > HEAD_BYTES_MAX:
                raise ProtocolError(f"the head of the server's answer is larger than {HEAD_BYTES_MAX} bytes")
            if end < 0:
                self._held = data[position:]
                if not _may_become_answer(self._held):
                    raise ProtocolError(f"the server does not speak HTTP: {self._held[:40]!r}")
                return len(data)
            self._read_head(data[position:end].decode("latin-1"))
            position = end + 4
        return position

    def _read_head(self, text: str) -> None:
        match = _STATUS_LINE.match(text)
        if match is None:
            raise ProtocolError(f"the server does not speak HTTP: {text[:40]!r}")
        if _FIELDS.fullmatch(text, match.end()) is None:
            raise ProtocolError("the server's answer has a malformed header")
        status = int(match[2])
        if 100 <= status < 200 and not (status == SWITCHING_PROTOCOLS and self._upgrades):
            self._interim += 1
            if self._interim > INTERIM_ANSWERS_MAX or status == SWITCHING_PROTOCOLS:
                raise ProtocolError(f"the server's answers do not end with {status}")
            return
        self.status, self.headers = status, Headers(text[match.end() :])
        told: dict[str, str] = {}
        for name, value in _FRAMING.findall(text):
            key = name.lower()
            told[key] = f"{told[key]},{value}" if key in told else value
        connection = told.get("connection", "").lower()
        if match[1] == "1":
            self.keeps_alive = "close" not in connection
        else:
            self.keeps_alive = "keep-alive" in connection
        self.encoding = told.get("content-encoding", "").strip().lower()
        self._frame(told.get("transfer-encoding"), told.get("content-length"))

    def _frame(self, coding: str | None, length: str | None) -> None:
        """Find out how the body's end is told (RFC 9112, section 6.3)."""
        if self.status == SWITCHING_PROTOCOLS or self.status in (204, 304) or self._bodyless:
            self._next = _NOTHING
        elif coding is not None:
            if coding.strip().lower() != "chunked":
                raise ProtocolError(f"the server's answer has the unknown transfer coding {coding[:40]!r}")
            self._next = _CHUNK_LINE_NEXT
            # Two ways of telling the end: the chunks count, and nothing else is believed on this connection.
            self.keeps_alive = self.keeps_alive and length is None
        elif length is not None:
            first, *others = [one.strip() for one in length.split(",")]
            if not (first.isascii() and first.isdigit() and len(first) <= 15) or any(o != first for o in others):
                raise ProtocolError(f"the server's answer has the impossible length {length[:40]!r}")
            self._left = int(first)
            self._next = _SIZED
        else:
            self._next = _UNTIL_CLOSED
            self.keeps_alive = False

    def _read_chunks(self, data: bytes, position: int) -> tuple[bytes, int]:
        """Read as many chunks as there are; returns what was in them, and where reading stopped."""
        pieces = []
        size = len(data)
        while self._next != _NOTHING:
            if self._next == _CHUNK:
                end = position + self._left
                pieces.append(data[position:end])
                if end > size:
                    self._left = end - size
                    return _joined(pieces), size
                self._left, position = 0, end
                self._next = _CHUNK_END
            limit = HEAD_BYTES_MAX if self._next == _TRAILER else CHUNK_LINE_BYTES_MAX
            end = data.find(b"\r\n", position)
            if (end if end >= 0 else size) - position > limit:
                raise ProtocolError("a line between the chunks of the server's answer is too long")
            if end < 0:
                self._held = data[position:]
                return _joined(pieces), size
            self._read_line(data, position, end)
            position = end + 2
        return _joined(pieces), position

    def _read_line(self, data: bytes, position: int, end: int) -> None:
        """A line between chunks: the end of one, the size of the next, or a trailer, which nobody needs."""
        if self._next == _CHUNK_END:
            if position != end:
                raise ProtocolError("a chunk of the server's answer is longer than it says")
            self._next = _CHUNK_LINE_NEXT
        elif self._next == _CHUNK_LINE_NEXT:
            match = _CHUNK_LINE.fullmatch(data, position, end)
            if match is None:
                raise ProtocolError(f"the server's answer has a malformed chunk: {data[position:end][:40]!r}")
            self._left = int(match[1], 16)
            self._next = _CHUNK if self._left else _TRAILER
        elif position == end:
            self._next = _NOTHING
        else:
            self._trailer_bytes += end - position
            if self._trailer_bytes > HEAD_BYTES_MAX:
                raise ProtocolError("the server's answer does not end")


def request_line(method: str, target: str) -> bytes:
    """The first line of a request. Raises ValueError."""
    if _UNSENDABLE_IN_TARGET.search(target):
        raise ValueError(f"{target!r} can't be sent as the target of a request")
    return f"{method} {target} HTTP/1.1\r\n".encode()


def header_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields as lines; nothing in a value may end its line. Raises ValueError."""
    lines = []
    for name, value in fields:
        if _UNSENDABLE.search(value):
            raise ValueError(f"the header {name} has characters that can't be sent")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


def gunzip(data: bytes, bytes_max: int) -> bytes:
    """Unpack a gzip body, of at most this size. Raises ProtocolError."""
    pieces, left = [], bytes_max
    while data:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            piece = unpacker.decompress(data, left + 1)
        except zlib.error as error:
            raise ProtocolError(f"the server's answer is no gzip: {error}") from error
        left -= len(piece)
        if left < 0:
            raise ProtocolError(f"the server's answer is larger than {bytes_max} bytes when unpacked")
        if not unpacker.eof:
            raise ProtocolError("the server's answer is cut off within its gzip")
        pieces.append(piece)
        data = unpacker.unused_data
    return _joined(pieces)


def _may_become_answer(held: bytes) -> bool:
    """Whether an answer may begin like this; a server that speaks something else is found out at once."""
    return held.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(held)


def _joined(pieces: list[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


_NO_HEADERS = Headers()
