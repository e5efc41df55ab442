"""Writes tars: the headers of entries, and a layer's folder as the tar of a layer.

The same folder always gives the same bytes: entries in the order of their names, times in whole seconds, the pax
dialect with extended headers only where a value has no room.

Sources: pax(1) of POSIX.1-2017; https://github.com/opencontainers/image-spec/blob/main/layer.md (whiteouts)
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubelet.images.tar_reader import BLOCK
from kubelet.images.tar_split import Writer
from kubelet.images.unpack import OPAQUE_ATTRIBUTE, OPAQUE_MARKER, WHITEOUT_PREFIX, Unpacked

END = bytes(2 * BLOCK)
_OCTAL_8, _OCTAL_12 = 0o7777777, 0o77777777777
_NAME_BYTES_MAX = 100
_COPY_BYTES = 1 << 18
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says of an entry."""

    path: str
    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The header's blocks, extended ones first."""
        name, link = _encoded(self.path), _encoded(self.link)
        records = {f"SCHILY.xattr.{key}".encode(): value for key, value in sorted(self.xattrs.items())}
        for key, text in ((b"path", name), (b"linkpath", link)):
            if len(text) > _NAME_BYTES_MAX or not text.isascii():
                records[key] = text
        numbers = {b"size": (self.size, _OCTAL_12), b"uid": (self.uid, _OCTAL_8), b"gid": (self.gid, _OCTAL_8)}
        for key, (value, largest) in numbers.items():
            if value > largest:
                records[key] = str(value).encode()
        if not 0 <= self.mtime <= _OCTAL_12:
            records[b"mtime"] = str(self.mtime).encode()
        block = self._block(name, link)
        return _extended(records) + block if records else block

    def _block(self, name: bytes, link: bytes) -> bytes:
        parts = (
            name[:_NAME_BYTES_MAX].ljust(100, b"\0"),
            _octal(self.mode & 0o7777, 8),
            _octal(min(self.uid, _OCTAL_8), 8),
            _octal(min(self.gid, _OCTAL_8), 8),
            _octal(min(self.size, _OCTAL_12), 12),
            _octal(min(max(self.mtime, 0), _OCTAL_12), 12),
            b" " * 8,
            _TYPES[self.kind],
            link[:_NAME_BYTES_MAX].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(self.device[0], 8),
            _octal(self.device[1], 8),
        )
        return _summed(b"".join(parts).ljust(BLOCK, b"\0"))


def padding(size: int) -> bytes:
    """What fills the last block of a content."""
    return bytes(-size % BLOCK)


def pack(folder: Path, split: Writer) -> Unpacked:
    """Read a layer's folder as a tar, without writing it anywhere: its diff id, and what makes it again, remain."""
    packing = _Packing(folder, split)
    packing.run()
    return packing.result()


class _Packing:
    """One folder on its way."""

    def __init__(self, folder: Path, split: Writer) -> None:
        self._folder = os.fspath(folder)
        self._split = split
        self._digest = hashlib.sha256()
        self._links: dict[tuple[int, int], str] = {}
        self._size = self._tar_bytes = self._entries = 0

    def run(self) -> None:
        """All of it."""
        self._folder_entries("")
        self._raw(END)
        self._split.close()

    def result(self) -> Unpacked:
        """What came of it."""
        return Unpacked(f"sha256:{self._digest.hexdigest()}", self._size, self._entries, "", self._tar_bytes)

    def _folder_entries(self, path: str) -> None:
        with os.scandir(f"{self._folder}/{path}") as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            inner = f"{path}/{entry.name}" if path else entry.name
            self._entry(inner, entry.stat(follow_symlinks=False))
            if entry.is_dir(follow_symlinks=False):
                self._folder_entries(inner)

    def _entry(self, path: str, found: os.stat_result) -> None:
        self._entries += 1
        full = f"{self._folder}/{path}"
        mode = found.st_mode
        if stat.S_ISCHR(mode) and found.st_rdev == 0:
            self._white_out(path)
            return
        xattrs = _attributes(full)
        is_opaque = xattrs.pop(OPAQUE_ATTRIBUTE, b"") == b"y"
        if stat.S_ISSOCK(mode):
            return  # a socket is nothing without the program that listens on it, and no tar holds one
        kind = next(kind for kind, test in _TESTS.items() if test(mode))
        link = os.readlink(full) if kind == "symlink" else ""  # noqa: PTH115
        identity = (found.st_dev, found.st_ino)
        if kind != "dir" and found.st_nlink > 1:
            if identity in self._links:
                kind, link, xattrs = "hardlink", self._links[identity], {}
            else:
                self._links[identity] = path
        header = Header(
            path=f"{path}/" if kind == "dir" else path,
            kind=kind,
            mode=stat.S_IMODE(mode),
            uid=found.st_uid,
            gid=found.st_gid,
            size=found.st_size if kind == "file" else 0,
            mtime=int(found.st_mtime),
            link=link,
            device=(os.major(found.st_rdev), os.minor(found.st_rdev)),
            xattrs=xattrs,
        )
        self._raw(header.encode())
        if kind == "file" and header.size:
            self._content(path, full, header.size)
        if is_opaque:
            self._raw(Header(f"{path}/{OPAQUE_MARKER}", "file").encode())

    def _white_out(self, path: str) -> None:
        parent, slash, name = path.rpartition("/")
        self._raw(Header(f"{parent}{slash}{WHITEOUT_PREFIX}{name}", "file").encode())

    def _content(self, path: str, full: str, size: int) -> None:
        self._split.content(path, [(0, size)])
        left = size
        with open(full, "rb", buffering=0) as file:
            while left:
                data = file.read(min(_COPY_BYTES, left))
                if not data:
                    raise OSError(f"{full} has become shorter while it was read")
                self._digest.update(data)
                left -= len(data)
        self._size += size
        self._tar_bytes += size
        self._raw(padding(size))

    def _raw(self, data: bytes) -> None:
        if data:
            self._digest.update(data)
            self._split.raw(data)
            self._tar_bytes += len(data)


_TESTS = {
    "file": stat.S_ISREG,
    "dir": stat.S_ISDIR,
    "symlink": stat.S_ISLNK,
    "fifo": stat.S_ISFIFO,
    "char": stat.S_ISCHR,
    "block": stat.S_ISBLK,
}


def _attributes(path: str) -> dict[str, bytes]:
    """The extended attributes that belong to a layer; overlayfs's own bookkeeping does not."""
    attributes = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if name == OPAQUE_ATTRIBUTE or name.startswith(("user.", "security.capability", "system.posix_acl_")):
            attributes[name] = os.getxattr(path, name, follow_symlinks=False)
    return attributes


def _extended(records: Mapping[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records.items())
    header = Header("PaxHeaders/entry", "file", size=len(data))._block(b"PaxHeaders/entry", b"")
    return _summed(header[:156] + b"x" + header[157:]) + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _summed(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def _octal(value: int, length: int) -> bytes:
    return b"%0*o\0" % (length - 1, value)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
