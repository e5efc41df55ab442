"""Reads a tar stream entry by entry, as it arrives, and keeps apart what is content and what is not.

Python's tarfile can't be used for layers: it does not tell which bytes of a stream were content of files and which
were headers and padding, without which the layer could not be put together again byte by byte (tar_split.py).
Reading is strict about sizes and lenient about dialects: ustar, GNU (long names, sparse files), pax (and its sparse
files), and the old V7.

Sources: pax(1) of POSIX.1-2017, "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format" and "Storing Sparse
Files"; the kernel's capabilities(7) for what SCHILY.xattr carries.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BLOCK = 512
EXTENSION_BYTES_MAX = 1 << 20
SPARSE_SEGMENTS_MAX = 1 << 16
ID_MAX = 0xFFFFFFFE
_ZEROS = bytes(BLOCK)
_KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_XATTR = b"SCHILY.xattr."

Read = Callable[[int], bytes]
Segments = list[tuple[int, int]]


class TarError(Exception):
    """The data is no tar, or a damaged one."""


@dataclass(slots=True)
class Entry:
    """One entry. `path` is relative to the root and clean: no `..`, no leading slash; "" is the root itself.

    `stored` counts the bytes of content that follow in the stream, `size` those of the file. They differ where
    `segments`, (offset, length) pairs, say which parts of a sparse file these are.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    link: str
    stored: int
    size: int
    device: tuple[int, int] = (0, 0)
    segments: Segments | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Extensions:
    """What precedes an entry and changes it."""

    path: bytes | None = None
    link: bytes | None = None
    pax: dict[bytes, bytes] = field(default_factory=dict)
    sparse_pairs: list[int] = field(default_factory=list)


class TarReader:
    """Iterate for the entries; read the `content` of one before asking for the next (what is left is passed over).

    `raw` is given every byte that was not handed out as content, in order.
    """

    def __init__(self, read: Read, *, raw: Callable[[bytes], object] = lambda _: None) -> None:
        self._read = read
        self._raw = raw
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._padding = 0
        self._global: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        extensions = _Extensions()
        while True:
            self._pass_over()
            header = self._block(at_end=True)
            if header is None:
                return
            if header == _ZEROS:
                self._drain()
                return
            _check_sum(header)
            kind = header[156:157]
            if kind in b"xXgLK":
                self._extend(extensions, kind, header)
                continue
            entry = self._entry(header, extensions)
            extensions = _Extensions()
            yield entry

    def content(self) -> Iterator[bytes | memoryview]:
        """The content of the entry that was handed out last, in pieces."""
        while self._left:
            if self._position == len(self._buffer):
                self._fill()
            end = min(len(self._buffer), self._position + self._left)
            piece = memoryview(self._buffer)[self._position : end]
            self._left -= len(piece)
            self._position = end
            yield piece

    def _entry(self, header: bytes, extensions: _Extensions) -> Entry:
        kind_byte = header[156:157]
        pax = {**self._global, **extensions.pax}
        stored = _pax_number(pax, b"size") if b"size" in pax else _number(header, 124, 12)
        path = _decoded(_name(header, extensions, pax))
        kind = _KINDS.get(kind_byte)
        if kind is None:
            raise TarError(f"{path[:200]}: an entry of unknown type {kind_byte!r}")
        if kind_byte == b"\0" and path.endswith("/"):
            kind = "dir"  # V7 knew no folders
        entry = Entry(
            path=posixpath.normpath(f"/{path}").lstrip("/"),
            kind=kind,
            mode=_number(header, 100, 8) & 0o7777,
            uid=_pax_number(pax, b"uid") if b"uid" in pax else _number(header, 108, 8),
            gid=_pax_number(pax, b"gid") if b"gid" in pax else _number(header, 116, 8),
            mtime_ns=_mtime(pax, header),
            link=_decoded(_link(header, extensions, pax)),
            stored=stored,
            size=stored,
            xattrs={_decoded(k[len(_XATTR) :]): v for k, v in pax.items() if k.startswith(_XATTR)},
        )
        if "\0" in entry.path or "\0" in entry.link:
            raise TarError("a name holds a NUL character")
        if max(entry.uid, entry.gid) > ID_MAX:
            raise TarError(f"{entry.path[:200]}: owner {entry.uid}:{entry.gid} is out of range")
        if kind in ("char", "block"):
            entry.device = (_number(header, 329, 8), _number(header, 337, 8))
        # Links and folders have no content, though some programs write a size.
        self._left = stored if kind in ("file", "hardlink") or stored == 0 else 0
        self._padding = -self._left % BLOCK
        if kind == "file":
            self._sparse(entry, header, pax, extensions.sparse_pairs)
        return entry

    def _sparse(self, entry: Entry, header: bytes, pax: dict[bytes, bytes], pairs: list[int]) -> None:
        """Find out which parts of a sparse file follow."""
        if header[156:157] == b"S":
            numbers = self._old_gnu_map(header)
            size = _number(header, 483, 12)
        elif pax.get(b"GNU.sparse.major") == b"1":
            numbers = self._map_in_content()
            size = _pax_number(pax, b"GNU.sparse.realsize")
        elif b"GNU.sparse.map" in pax or pairs:
            text = pax.get(b"GNU.sparse.map", b"")
            numbers = [_decimal(word) for word in text.split(b",")] if text else pairs
            size = _pax_number(pax, b"GNU.sparse.size" if b"GNU.sparse.size" in pax else b"GNU.sparse.realsize")
        else:
            return
        if len(numbers) % 2 or len(numbers) > 2 * SPARSE_SEGMENTS_MAX:
            raise TarError(f"{entry.path[:200]}: damaged map of a sparse file")
        segments = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]
        end = 0
        for offset, length in segments:
            if offset < end or offset + length > size:
                raise TarError(f"{entry.path[:200]}: damaged map of a sparse file")
            end = offset + length
        if sum(length for _, length in segments) != self._left:
            raise TarError(f"{entry.path[:200]}: damaged map of a sparse file")
        entry.segments = [(offset, length) for offset, length in segments if length]
        entry.stored, entry.size = self._left, size

    def _old_gnu_map(self, header: bytes) -> list[int]:
        numbers = _sparse_structs(header, 386, 4)
        extended = header[482]
        while extended:
            block = self._block()
            numbers += _sparse_structs(block, 0, 21)
            extended = block[504]
            if len(numbers) > 2 * SPARSE_SEGMENTS_MAX:
                raise TarError("a sparse file has too many parts")
        return numbers

    def _map_in_content(self) -> list[int]:
        """Sparse format 1.0: the map is lines of decimal numbers before the content, up to a full block."""
        text = b""
        wanted = -1
        while True:
            if self._left < BLOCK:
                raise TarError("damaged map of a sparse file")
            text += self._block()
            self._left -= BLOCK
            lines = text.split(b"\n")
            if wanted < 0 and len(lines) > 1:
                wanted = 2 * _decimal(lines[0])
                if wanted > 2 * SPARSE_SEGMENTS_MAX:
                    raise TarError("a sparse file has too many parts")
            if 0 <= wanted < len(lines) - 1:
                return [_decimal(line) for line in lines[1 : wanted + 1]]
            if len(text) > EXTENSION_BYTES_MAX:
                raise TarError("damaged map of a sparse file")

    def _extend(self, extensions: _Extensions, kind: bytes, header: bytes) -> None:
        size = _number(header, 124, 12)
        if size > EXTENSION_BYTES_MAX:
            raise TarError(f"an extended header of {size} bytes is too large")
        padded = self._bytes(size + -size % BLOCK)
        self._raw(padded)
        data = padded[:size]
        if kind == b"L":
            extensions.path = data.split(b"\0", 1)[0]
        elif kind == b"K":
            extensions.link = data.split(b"\0", 1)[0]
        elif kind == b"g":
            self._global.update(_pax_records(data, []))
        else:
            extensions.pax.update(_pax_records(data, extensions.sparse_pairs))

    def _block(self, *, at_end: bool = False) -> bytes:
        """A block that is no content; None where the data may end and does."""
        block = self._bytes(BLOCK, at_end=at_end)
        if at_end and not block:
            return None  # type: ignore[return-value]
        self._raw(block)
        return block

    def _bytes(self, size: int, *, at_end: bool = False) -> bytes:
        position = self._position
        if len(self._buffer) - position >= size:
            self._position = position + size
            return self._buffer[position : position + size]
        parts = [self._buffer[position:]]
        missing = size - len(parts[0])
        self._buffer, self._position = b"", 0
        while missing:
            piece = self._read(max(missing, 1 << 18))
            if not piece:
                if at_end and missing == size:
                    return b""
                raise TarError("the tar data ends too early")
            parts.append(piece[:missing])
            if len(piece) > missing:
                self._buffer, self._position = piece, missing
                missing = 0
            else:
                missing -= len(piece)
        return b"".join(parts)

    def _fill(self) -> None:
        self._buffer, self._position = self._read(1 << 18), 0
        if not self._buffer:
            raise TarError("the tar data ends too early")

    def _pass_over(self) -> None:
        """What nobody read of the last content, and its padding, are no content."""
        for piece in self.content():
            self._raw(bytes(piece))
        if self._padding:
            self._raw(self._bytes(self._padding))
            self._padding = 0

    def _drain(self) -> None:
        """What follows the end means nothing, but belongs to the layer's digest."""
        rest = self._buffer[self._position :]
        self._buffer, self._position = b"", 0
        while rest or (rest := self._read(1 << 18)):
            self._raw(rest)
            rest = b""


def _check_sum(header: bytes) -> None:
    told = _number(header, 148, 8)
    found = sum(header) - sum(header[148:156]) + 8 * 0x20
    if told == found:
        return
    # Some old programs summed up signed bytes.
    signed = found - 256 * sum(1 for byte in header[:148] + header[156:] if byte > 127)
    if told != signed:
        raise TarError("a header's checksum is wrong")


def _number(header: bytes, start: int, length: int) -> int:
    text = header[start : start + length]
    if text[0] & 0x80:  # GNU's way to write what octal has no room for
        if text[0] not in (0x80, 0xFF):
            raise TarError("a header has a malformed number")
        value = int.from_bytes(text[1:], "big")
        if text[0] == 0xFF:
            value -= 1 << (8 * (length - 1))
        if value < 0 and start != 136:
            raise TarError("a header has a negative number")
        return value
    digits = text.split(b"\0", 1)[0].strip(b" ")
    try:
        value = int(digits, 8) if digits else 0
    except ValueError:
        raise TarError("a header has a malformed number") from None
    if value < 0:
        raise TarError("a header has a negative number")
    return value


def _sparse_structs(block: bytes, start: int, count: int) -> list[int]:
    numbers = []
    for position in range(start, start + 24 * count, 24):
        if not block[position : position + 24].strip(b"\0 "):
            break
        numbers += [_number(block, position, 12), _number(block, position + 12, 12)]
    return numbers


def _pax_records(data: bytes, sparse_pairs: list[int]) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n`, one after the other; of one key the last counts, but for pairs of sparse files."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + 12)
        length = _decimal(data[position:space]) if space > 0 else 0
        end = position + length
        if length < 5 or end > len(data) or data[end - 1 : end] != b"\n":
            raise TarError("damaged pax header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise TarError("damaged pax header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse_pairs.append(_decimal(value))
        records[key] = value
        position = end
    return records


def _pax_number(pax: dict[bytes, bytes], key: bytes) -> int:
    return _decimal(pax.get(key, b""))


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise TarError(f"{text[:40]!r} is no number")
    return int(text)


def _mtime(pax: dict[bytes, bytes], header: bytes) -> int:
    """In nanoseconds: a float would lose some."""
    text = pax.get(b"mtime")
    if text is None:
        return _number(header, 136, 12) * 1_000_000_000
    sign = -1 if text.startswith(b"-") else 1
    seconds, _, fraction = text.removeprefix(b"-").partition(b".")
    return sign * (_decimal(seconds) * 1_000_000_000 + int(_decimal(fraction[:9].ljust(9, b"0"))))


def _name(header: bytes, extensions: _Extensions, pax: dict[bytes, bytes]) -> bytes:
    for key in (b"GNU.sparse.name", b"path"):
        if key in pax:
            return pax[key]
    if extensions.path is not None:
        return extensions.path
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    # GNU's dialect keeps other things where ustar has the prefix.
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _link(header: bytes, extensions: _Extensions, pax: dict[bytes, bytes]) -> bytes:
    if b"linkpath" in pax:
        return pax[b"linkpath"]
    return extensions.link if extensions.link is not None else header[157:257].split(b"\0", 1)[0]


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
