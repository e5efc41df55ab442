"""Unpacks one image layer into an empty folder, from a stream that comes from strangers.

The process that does it has entered the folder with chroot(2) before it makes the first file (unpackers.py):
whatever `..`, absolute name or symbolic link a layer holds, it can lead nowhere else. Deletions become overlayfs
whiteouts. What was read is hashed: the digest of the uncompressed layer is its diff id. Extended attributes that
would mean something to overlayfs, or to the node's own security modules, are not taken over, and the disk is never
filled to its last byte.

Sources: https://github.com/opencontainers/image-spec/blob/main/layer.md, the kernel's overlayfs.rst, chroot(2).
"""

# A layer has tens of thousands of entries: plain strings, and a system call a call.
# ruff: noqa: PTH102, PTH103, PTH101, PTH108, PTH112
from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import shutil
import stat
from dataclasses import dataclass

from kubelet.images.decompress import CompressionError, Stream
from kubelet.images.tar_reader import Entry, TarError, TarReader
from kubelet.images.tar_split import Writer

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
# AUFS's own bookkeeping, which old layers hold.
_META_PREFIX = ".wh..wh."
OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"

LAYER_BYTES_MAX = 64 << 30
ENTRIES_MAX = 2_000_000
# Room that no image may take: the node itself, its pods and its logs live on.
FREE_BYTES_MIN = 256 << 20
FREE_INODES_MIN = 1000
_CHECK_BYTES = 64 << 20
_CHECK_ENTRIES = 4096
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_TAKEN_OVER = ("user.", "security.capability", "system.posix_acl_")


class LayerError(Exception):
    """The layer is damaged, too large, or of a kind that can't be unpacked."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of a layer: its diff id, the size of its files, its entries, its compression, the size of its tar."""

    diff_id: str
    size_bytes: int
    entries: int
    compression: str
    tar_bytes: int


def unpack(stream: Stream, split: Writer, kept_fd: int) -> Unpacked:
    """Unpack a layer into "/"; files that it replaces itself go to the folder `kept_fd`. Raises LayerError."""
    return _Unpacking(split, kept_fd).run(stream)


def unpack_plain(stream: Stream, owner: tuple[int, int] | None) -> None:
    """Unpack a tar that is no layer over what is in "/": names that mean deletions in layers are only names.

    `owner` is whom all of it is given to, None to leave that to the tar. Raises LayerError, OSError.
    """
    _Unpacking(None, -1, owner=owner).run(stream)


class _Unpacking:
    """One layer on its way."""

    def __init__(self, split: Writer | None, kept_fd: int, *, owner: tuple[int, int] | None = None) -> None:
        self._split = split
        self._owner = owner
        self._kept_fd = kept_fd
        self._kept = 0
        self._size = 0
        self._written = self._check_at = 0
        self._entries = 0
        self._folders: list[tuple[str, int]] = []
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._make = {
            "file": self._file,
            "dir": self._dir,
            "symlink": self._symlink,
            "hardlink": self._hardlink,
            "fifo": self._node,
            "char": self._node,
            "block": self._node,
        }

    def run(self, stream: Stream) -> Unpacked:
        """All of it."""
        digest = hashlib.sha256()
        tar_bytes = 0

        def read(size: int) -> bytes:
            nonlocal tar_bytes
            data = stream.read(size)
            digest.update(data)
            tar_bytes += len(data)
            return data

        self._reader = TarReader(read, raw=self._split.raw if self._split is not None else lambda _: None)
        try:
            for entry in self._reader:
                self._entry(entry)
        except (TarError, CompressionError) as error:
            raise LayerError(str(error)) from error
        for path, mtime_ns in reversed(self._folders):
            # Last, since every file placed in a folder moves the folder's time.
            try:
                os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
            except FileNotFoundError:
                pass  # replaced by something else meanwhile
        if self._split is not None:
            self._split.close()
        return Unpacked(f"sha256:{digest.hexdigest()}", self._size, self._entries, stream.kind, tar_bytes)

    def _entry(self, entry: Entry) -> None:
        self._entries += 1
        if self._entries % _CHECK_ENTRIES == 0:
            self._check_room()
        path = f"/{entry.path}"
        if entry.kind != "file":
            self._entries_max()
        name = posixpath.basename(path)
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if name.startswith(WHITEOUT_PREFIX) and self._split is not None:
            self._white_out(path, name)
        else:
            self._make[entry.kind](path, entry)

    def _entries_max(self) -> None:
        if self._entries > ENTRIES_MAX:
            raise LayerError(f"the layer has more than {ENTRIES_MAX} entries")

    def _file(self, path: str, entry: Entry) -> None:
        self._entries_max()
        if entry.size > LAYER_BYTES_MAX or self._written + entry.stored > LAYER_BYTES_MAX:
            raise LayerError(f"the layer is larger than {LAYER_BYTES_MAX} bytes")
        descriptor = self._create(path, entry.mode)
        try:
            segments = entry.segments if entry.segments is not None else [(0, entry.size)] if entry.size else []
            if self._split is not None:
                self._split.content(entry.path, segments)
            if entry.segments is None:
                self._write(descriptor, entry)
            else:
                os.ftruncate(descriptor, entry.size)
                self._write_sparse(descriptor, entry.segments)
            if entry.uid or entry.gid:
                os.fchown(descriptor, entry.uid, entry.gid)
            if entry.mode & _SPECIAL_BITS or entry.uid or entry.gid:
                os.fchmod(descriptor, entry.mode)  # a change of owner takes the setuid bit away
            _set_attributes(descriptor, entry)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)
        self._size += entry.size

    def _create(self, path: str, mode: int) -> int:
        try:
            return os.open(path, _FILE_FLAGS, mode & 0o777)
        except FileNotFoundError:
            self._make_parents(path)
        except FileExistsError:
            self._clear(path)
        return os.open(path, _FILE_FLAGS, mode & 0o777)

    def _write(self, descriptor: int, entry: Entry) -> None:
        for piece in self._reader.content():
            self._count(len(piece))
            _write_all(descriptor, piece)

    def _write_sparse(self, descriptor: int, segments: list[tuple[int, int]]) -> None:
        parts = iter(segments)
        offset = left = 0
        for piece in self._reader.content():
            self._count(len(piece))
            view = memoryview(piece)
            while len(view):
                if not left:
                    offset, left = next(parts)
                    os.lseek(descriptor, offset, os.SEEK_SET)
                part = view[:left]
                _write_all(descriptor, part)
                left -= len(part)
                view = view[len(part) :]

    def _dir(self, path: str, entry: Entry) -> None:
        if path != "/":
            try:
                os.mkdir(path)
            except FileNotFoundError:
                self._make_parents(path)
                os.mkdir(path)
            except FileExistsError:
                self._replace_by_dir(path)
        self._own(path, entry)
        self._folders.append((path, entry.mtime_ns))

    def _replace_by_dir(self, path: str) -> None:
        """A folder that is there gets new attributes; anything else makes way."""
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            return
        self._clear(path)
        os.mkdir(path)
        if _is_whiteout(found):
            os.setxattr(path, OPAQUE_ATTRIBUTE, b"y")  # what was deleted below must not shine through

    def _symlink(self, path: str, entry: Entry) -> None:
        self._place(path, lambda: os.symlink(entry.link, path))
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _hardlink(self, path: str, entry: Entry) -> None:
        target = posixpath.normpath(f"/{entry.link}")
        if target == path:
            return
        self._place(path, lambda: os.link(target, path, follow_symlinks=False))

    def _node(self, path: str, entry: Entry) -> None:
        """A pipe or a device. What the container may do with a device is not the file's to say but the cgroup's."""
        kind = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}[entry.kind]
        if kind == stat.S_IFCHR and entry.device == (0, 0):
            return  # overlayfs would take it for a deletion; a layer says so by name
        try:
            self._place(path, lambda: os.mknod(path, kind | entry.mode & 0o777, os.makedev(*entry.device)))
        except PermissionError:
            return  # a node that may make no devices (it is a container itself) could not open them either
        self._own(path, entry)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _white_out(self, path: str, name: str) -> None:
        parent = posixpath.dirname(path)
        if name == OPAQUE_MARKER:
            if not os.path.isdir(parent):
                self._make_parents(path)
            os.setxattr(parent, OPAQUE_ATTRIBUTE, b"y")
            return
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        if name.startswith(_META_PREFIX) or hidden in ("", ".", ".."):
            return
        target = posixpath.join(parent, hidden)
        try:
            os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
        except FileNotFoundError:
            self._make_parents(target)
            os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
        except FileExistsError:
            # It hides what lies in lower layers, and nothing of its own.
            if stat.S_ISDIR(os.lstat(target).st_mode):
                os.setxattr(target, OPAQUE_ATTRIBUTE, b"y")

    def _place(self, path: str, make: object) -> None:
        assert callable(make)
        try:
            make()
        except FileNotFoundError:
            self._make_parents(path)
            make()
        except FileExistsError:
            self._clear(path)
            make()

    def _own(self, path: str, entry: Entry) -> None:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(path, entry.mode)
        _set_attributes(path, entry)

    def _make_parents(self, path: str) -> None:
        os.makedirs(posixpath.dirname(path), 0o755, exist_ok=True)

    def _clear(self, path: str) -> None:
        """Make way for a later entry of the same name; what a file held is kept for the layer's tar."""
        if path == "/":
            raise LayerError("an entry would replace the root")
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            for folder, _, files in os.walk(path):
                for name in files:
                    self._keep(posixpath.join(folder, name))
            shutil.rmtree(path)
        elif stat.S_ISREG(found.st_mode):
            self._keep(path)
        else:
            os.unlink(path)

    def _keep(self, path: str) -> None:
        if self._split is None:
            os.unlink(path)
        elif stat.S_ISREG(os.lstat(path).st_mode):
            self._kept += 1
            os.rename(path, str(self._kept), dst_dir_fd=self._kept_fd)
            self._split.replaced(path[1:], str(self._kept))

    def _count(self, size: int) -> None:
        self._written += size
        if self._written > self._check_at:
            self._check_at = self._written + _CHECK_BYTES
            self._check_room()

    def _check_room(self) -> None:
        free = os.fstatvfs(self._root)
        if free.f_bavail * free.f_frsize < FREE_BYTES_MIN:
            raise LayerError(f"no space left on device: less than {FREE_BYTES_MIN >> 20} MiB are free")
        if free.f_files and free.f_favail < FREE_INODES_MIN:
            raise LayerError(f"no space left on device: less than {FREE_INODES_MIN} inodes are free")


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _set_attributes(target: int | str, entry: Entry) -> None:
    for name, value in entry.xattrs.items():
        if not name.startswith(_TAKEN_OVER):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # A file system without this kind of attribute still holds a usable file.
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                raise
