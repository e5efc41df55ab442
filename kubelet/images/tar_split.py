"""Keeps what of a layer's tar is no content of files, so that the tar can be had again from the unpacked files.

An image's identity is the digest of its layers' tars, and no two programs write a folder as the same tar. Keeping the
tars beside the folders would take twice the room; headers and padding alone, compressed, take a hundredth. A file of
this kind is a zlib stream of records (type, length, data):

    R  bytes as they stand in the tar
    F  here follows the content of a file: JSON [path, [[offset, length], …]]
    K  at the very end: JSON [[path, number of F records before it was replaced, name], …], the files that later
       entries of the same layer replaced; their content is kept aside under that name, in a folder FILE.kept

The idea is that of https://github.com/vbatts/tar-split, which Docker and Podman use.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from kubelet.runtime import syscalls

_HEAD = struct.Struct("<cI")
_RAW_BYTES_MAX = 1 << 16
_RECORD_BYTES_MAX = 1 << 22
_COPY_BYTES = 1 << 18
_LEVEL = 3


class SplitError(Exception):
    """The tar of a layer can't be put together again."""


class Writer:
    """Writes such a file while a layer is unpacked, or packed for the first time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._compressor = zlib.compressobj(_LEVEL)
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._kept: list[tuple[str, int, str]] = []
        self.files = 0

    def raw(self, data: bytes) -> None:
        """Bytes that are no content."""
        self._raw.append(data)
        self._raw_bytes += len(data)
        if self._raw_bytes >= _RAW_BYTES_MAX:
            self._flush()

    def content(self, path: str, segments: Sequence[tuple[int, int]]) -> None:
        """The content of a file, or the parts of it that are in the tar, in the order in which they are."""
        self._flush()
        self._record(b"F", orjson.dumps([path.encode("utf-8", "surrogateescape").hex(), segments]))
        self.files += 1

    def replaced(self, path: str, name: str) -> None:
        """A file that was written before now has its content elsewhere."""
        self._kept.append((path.encode("utf-8", "surrogateescape").hex(), self.files, name))

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        if self._kept:
            self._record(b"K", orjson.dumps(self._kept))
        self._file.write(self._compressor.flush())

    def _flush(self) -> None:
        if self._raw:
            self._record(b"R", b"".join(self._raw))
            self._raw, self._raw_bytes = [], 0

    def _record(self, kind: bytes, data: bytes) -> None:
        self._file.write(self._compressor.compress(_HEAD.pack(kind, len(data)) + data))


def assemble(split: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Iterator[bytes]:
    """The tar of an unpacked layer, in pieces. Raises SplitError, OSError."""
    kept = _kept(split)
    files = 0
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for kind, data in _records(split):
            if kind == b"R":
                yield data
            elif kind == b"F":
                path_hex, segments = orjson.loads(data)
                place = next((name for path, before, name in kept if path == path_hex and before > files), None)
                files += 1
                if place is not None:
                    descriptor = os.open(
                        f"{os.fspath(split)}.kept/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                    )
                else:
                    path = bytes.fromhex(path_hex).decode("utf-8", "surrogateescape")
                    # As when it was unpacked: links on the way count from the layer's root.
                    descriptor = syscalls.openat2(root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    yield from _parts(descriptor, segments)
                finally:
                    os.close(descriptor)
    finally:
        os.close(root)


def _parts(descriptor: int, segments: Sequence[Sequence[int]]) -> Iterator[bytes]:
    for offset, length in segments:
        end = offset + length
        while offset < end:
            piece = os.pread(descriptor, min(_COPY_BYTES, end - offset), offset)
            if not piece:
                raise SplitError("a file of the layer is shorter than it was")
            offset += len(piece)
            yield piece


def _kept(split: str | os.PathLike[str]) -> list[tuple[str, int, str]]:
    """The last record, if anything was replaced; it stands at the end and is needed from the start."""
    if not Path(f"{os.fspath(split)}.kept").is_dir():
        return []
    kept: list[tuple[str, int, str]] = []
    for kind, data in _records(split):
        if kind == b"K":
            kept = [(path, before, name) for path, before, name in orjson.loads(data)]
    return kept


def _records(split: str | os.PathLike[str]) -> Iterator[tuple[bytes, bytes]]:
    decompressor = zlib.decompressobj()
    buffer = b""
    with open(split, "rb") as file:
        while True:
            while len(buffer) >= _HEAD.size:
                kind, length = _HEAD.unpack_from(buffer)
                if length > _RECORD_BYTES_MAX:
                    raise SplitError(f"{os.fspath(split)} is damaged")
                if len(buffer) < _HEAD.size + length:
                    break
                yield kind, buffer[_HEAD.size : _HEAD.size + length]
                buffer = buffer[_HEAD.size + length :]
            data = decompressor.unconsumed_tail or file.read(_COPY_BYTES)
            if not data:
                break
            try:
                buffer += decompressor.decompress(data, _COPY_BYTES)
            except zlib.error as error:
                raise SplitError(f"{os.fspath(split)} is damaged: {error}") from error
    if buffer or not decompressor.eof:
        raise SplitError(f"{os.fspath(split)} is damaged: it ends too early")
