"""Unpacks one image layer: `python -m kubelet.images.unpack FOLDER < layer.tar` (plain or gzip).

Layers come from strangers. This process therefore enters the folder with chroot(2) before it reads the
first byte: whatever `..`, absolute name or symbolic link a layer holds, it can lead nowhere else. Deletions
become overlayfs whiteouts. What was read is hashed, and the digest of the uncompressed layer (its diff id) is
printed.

Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md, the kernel's overlayfs.rst, chroot(2).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
import sys
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
READ_BYTES = 1 << 18
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
XATTR_PREFIX = "SCHILY.xattr."


class LayerError(Exception):
    """The layer is damaged or of a kind that can't be unpacked."""


class HashingReader(io.RawIOBase):
    """Reads a layer, gunzips it when it is gzip, and hashes the uncompressed bytes on the way."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._buffer = source.read(READ_BYTES)
        if self._buffer.startswith(ZSTD_MAGIC):
            raise LayerError("the layer is compressed with zstd; only plain and gzip layers can be unpacked")
        self._gunzip = zlib.decompressobj(wbits=31) if self._buffer.startswith(GZIP_MAGIC) else None
        self._hash = hashlib.sha256()
        self._ready = b""

    def readable(self) -> bool:
        """Part of the file protocol: this can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` uncompressed bytes; empty at the end."""
        while not self._ready:
            data, self._buffer = self._buffer, b""
            data = data or self._source.read(READ_BYTES)
            if not data:
                if self._gunzip is not None and not self._gunzip.eof:
                    raise LayerError("the gzip data ends too early")
                return b""
            self._ready = data if self._gunzip is None else self._inflate(data)
            self._hash.update(self._ready)
        if size < 0:
            size = len(self._ready)
        chunk, self._ready = self._ready[:size], self._ready[size:]
        return chunk

    def _inflate(self, data: bytes) -> bytes:
        assert self._gunzip is not None
        try:
            out = self._gunzip.decompress(data)
            while self._gunzip.eof and self._gunzip.unused_data:
                # gzip allows several members one after the other; pigz and others write them.
                rest = self._gunzip.unused_data
                self._gunzip = zlib.decompressobj(wbits=31)
                out += self._gunzip.decompress(rest)
            return out
        except zlib.error as error:
            raise LayerError(f"the gzip data is damaged: {error}") from error

    def diff_id(self) -> str:
        """The digest of everything, once the rest (tar's padding) has been read too."""
        while self.read(READ_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def unpack(source: BinaryIO, root: Path) -> str:
    """Unpack a layer below `root` (to be called inside the chroot, with `/`); returns its diff id."""
    reader = HashingReader(source)
    directories: list[tuple[Path, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=reader, mode="r|", bufsize=READ_BYTES) as archive:
            for member in archive:
                path = root / os.path.normpath("/" + member.name).lstrip("/")
                if path == root:
                    directories.append((path, member))
                elif path.name.startswith(WHITEOUT_PREFIX):
                    _white_out(path)
                else:
                    _place(archive, member, path, root)
                    if member.isdir():
                        directories.append((path, member))
    except (tarfile.TarError, EOFError) as error:
        raise LayerError(f"the tar data is damaged: {error}") from error
    for path, member in reversed(directories):
        # Last, since every file placed in a folder moves the folder's time.
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
    return reader.diff_id()


def _white_out(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == OPAQUE_MARKER:
        os.setxattr(path.parent, "trusted.overlay.opaque", b"y")
        return
    target = path.with_name(path.name.removeprefix(WHITEOUT_PREFIX))
    _clear(target)
    os.mknod(target, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (member.isdir() and path.is_dir() and not path.is_symlink()):
        _clear(path)
    mode = stat.S_IMODE(member.mode)
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, READ_BYTES)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(root / os.path.normpath("/" + member.linkname).lstrip("/"), path, follow_symlinks=False)
        return
    elif member.ischr() or member.isblk() or member.isfifo():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK if member.isblk() else stat.S_IFIFO
        os.mknod(path, kind | mode, os.makedev(member.devmajor, member.devminor))
    else:
        raise LayerError(f"{member.name}: an entry of unknown type {member.type!r}")
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(mode)
    _set_xattrs(member, path)
    if not member.isdir():
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _set_xattrs(member: tarfile.TarInfo, path: Path) -> None:
    for key, value in member.pax_headers.items():
        if not key.startswith(XATTR_PREFIX):
            continue
        try:
            data = value.encode("utf-8", "surrogateescape")
            os.setxattr(path, key.removeprefix(XATTR_PREFIX), data, follow_symlinks=False)
        except OSError as error:
            # A file system without this kind of attribute still holds a usable file.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main() -> int:
    """Enter the folder named on the command line, unpack standard input there, print the diff id."""
    source = sys.stdin.buffer
    # Loaded now, since nothing can be imported from inside the chroot.
    "".encode("idna")
    os.chroot(sys.argv[1])
    os.chdir("/")
    os.umask(0)
    try:
        print(unpack(source, Path("/")))
    except (LayerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
