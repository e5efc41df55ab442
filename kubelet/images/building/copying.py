"""Carries out COPY, ADD and WORKDIR inside of an image's files, in a process of its own (unpackers.py forks it).

The image is mounted as it will be (overlayfs), and the process enters it with chroot(2): a link in the image that
leads to /etc leads to the image's /etc. What changed is in the upper layer afterwards, FOLDER/target/upper.

    {"lowers": [folder, …], "binds": [[source, destination], …],      the image, top first
     "trees": [{"path": folder, "ignore": text} | {"lowers": …, "binds": …}, …],
     "steps": [{"do": "folder", "path": P, "owner": [uid, gid]},
               {"do": "copy", "tree": N, "paths": [P, …] | "patterns": [P, …], "to": D, "into": bool,
                "owner": [uid, gid] | null, "mode": M | null, "unpack": bool,
                "owned": bool},                                           (owned: the files of an archive, too)
               {"do": "write", "name": N, "text": T, "to": D, "into": bool, "owner": …, "mode": …}]}
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubelet.images.building import ignore
from kubelet.images.building.context import Tree
from kubelet.images.decompress import CompressionError, Stream
from kubelet.images.unpack import unpack_plain
from kubelet.runtime import mounts, syscalls

_COPY_BYTES = 1 << 20
_TAR_MAGIC = b"ustar"
_COPIED_ATTRIBUTES = ("user.", "security.capability")


def carry_out(what: dict[str, Any], folder: str) -> dict[str, Any]:
    """All steps. Raises LayerError, OSError."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.isolate_mount_propagation()
    trees = [_tree(entry, Path(folder) / f"tree-{number}") for number, entry in enumerate(what["trees"])]
    _load_readers()
    target = Path(folder) / "target"
    target.mkdir()
    root = mount_image(what["lowers"], what["binds"], target)
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")
    for step in what["steps"]:
        if step["do"] == "folder":
            _make_folder(step["path"], step["owner"])
        elif step["do"] == "write":
            _write(step)
        else:
            _copy(step, trees[step["tree"]])
    return {}


def _paths(step: dict[str, Any], tree: Tree) -> list[str]:
    """What is copied; of another image its patterns are told, which are only looked up now."""
    if "paths" in step:
        paths: list[str] = step["paths"]
        return paths
    found = [path for pattern in step["patterns"] for path in tree.find(pattern)]
    step["into"] = step["into"] or len(found) > 1
    return found


def mount_image(lowers: Sequence[str], binds: Sequence[Sequence[str]], place: Path) -> int:
    """Mount an image at a folder of the caller's own mount namespace; returns an O_PATH descriptor of its root."""
    if not lowers:
        empty = place.with_name(f"{place.name}-empty")
        empty.mkdir()
        lowers = [str(empty)]
    root = mounts.mount_overlay(lowers, str(place))
    for source, destination in binds:
        entry = {"source": source, "destination": destination, "recursive": True, "recursive_attributes": True}
        attributes = {"set": syscalls.MOUNT_ATTR_RDONLY, "clear": 0, "propagation": syscalls.MS_PRIVATE}
        mounts.bind_mount(root, {**entry, **attributes})
    return root


def _tree(entry: dict[str, Any], place: Path) -> Tree:
    if "path" in entry:
        return Tree(entry["path"], ignore.parse(entry["ignore"]))
    place.mkdir()
    mount_image(entry["lowers"], entry["binds"], place)
    return Tree(str(place))


def _load_readers() -> None:
    """What reads archives is loaded before the chroot, where nothing can be imported any more."""
    import bz2  # noqa: F401
    import lzma  # noqa: F401

    import zstandard  # noqa: F401


def _make_folder(path: str, owner: Sequence[int]) -> None:
    for part in _missing(path):
        Path(part).mkdir(mode=0o755)
        os.chown(part, *owner)


def _missing(path: str) -> list[str]:
    """The folders on the way to a path that do not exist yet, the outermost first. Raises OSError."""
    missing: list[str] = []
    while not Path(path).is_dir():
        if os.path.lexists(path):
            raise OSError(errno.ENOTDIR, "not a directory", path)
        missing.insert(0, path)
        path = posixpath.dirname(path)
    return missing


def _write(step: dict[str, Any]) -> None:
    target = _target(step, step["name"])
    descriptor = _create(target)
    try:
        os.write(descriptor, step["text"].encode("utf-8", "surrogateescape"))
        _finish(descriptor, step, 0o644, None)
    finally:
        os.close(descriptor)


def _copy(step: dict[str, Any], tree: Tree) -> None:
    for path in _paths(step, tree):
        descriptor = tree.open(path)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                _copy_folder(tree, descriptor, path, step["to"].rstrip("/") or "/", step, is_top=True)
            elif step["unpack"] and _is_archive(descriptor):
                _unpack(descriptor, step)
            elif stat.S_ISREG(found.st_mode):
                _copy_file(descriptor, found, _target(step, posixpath.basename(path)), step)
            else:
                raise OSError(errno.EINVAL, "it is neither a file nor a folder", path)
        finally:
            os.close(descriptor)


def _target(step: dict[str, Any], name: str) -> str:
    """Where a single file goes: into a folder if it is said to be one, or is one."""
    to = step["to"]
    into = step["into"] or Path(to).is_dir()
    folder = to if into else posixpath.dirname(to.rstrip("/"))
    _make_folder(folder or "/", step["owner"] or (0, 0))
    return posixpath.join(folder, name) if into else to


def _copy_folder(
    tree: Tree, descriptor: int, path: str, target: str, step: dict[str, Any], *, is_top: bool = False
) -> None:
    """The content of a folder, into another."""
    found = os.fstat(descriptor)
    is_new = not Path(target).is_dir()
    if is_new:
        _make_folder(posixpath.dirname(target) or "/", step["owner"] or (0, 0))
        if os.path.lexists(target):
            raise OSError(errno.ENOTDIR, "cannot copy a folder over a file", target)
        Path(target).mkdir()
    for name, inner in tree.entries(descriptor, path):
        entry = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        place = posixpath.join(target, name)
        if stat.S_ISDIR(entry.st_mode):
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                _copy_folder(tree, child, inner, place, step)
            finally:
                os.close(child)
        elif tree.ignore.excludes(inner):
            continue
        elif stat.S_ISREG(entry.st_mode):
            child = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                _copy_file(child, entry, place, step)
            finally:
                os.close(child)
        else:
            _copy_special(descriptor, name, entry, place, step)
    if is_new or not is_top:
        directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _finish(directory, step, stat.S_IMODE(found.st_mode), found)
        finally:
            os.close(directory)


def _copy_file(source: int, found: os.stat_result, target: str, step: dict[str, Any]) -> None:
    descriptor = _create(target)
    try:
        offset = 0
        while offset < found.st_size:
            sent = os.sendfile(descriptor, source, offset, min(_COPY_BYTES, found.st_size - offset))
            if not sent:
                break  # it has become shorter
            offset += sent
        _finish(descriptor, step, stat.S_IMODE(found.st_mode), found)
        _copy_attributes(source, descriptor)
    finally:
        os.close(descriptor)


def _copy_special(folder: int, name: str, entry: os.stat_result, target: str, step: dict[str, Any]) -> None:
    """A link, a pipe or a device; sockets are nothing without the program that listens on them."""
    _clear(target)
    if stat.S_ISLNK(entry.st_mode):
        Path(target).symlink_to(os.readlink(name, dir_fd=folder))
    elif stat.S_ISSOCK(entry.st_mode):
        return
    else:
        os.mknod(target, entry.st_mode, entry.st_rdev)
    os.chown(target, *_owner(step, entry), follow_symlinks=False)
    os.utime(target, ns=(entry.st_mtime_ns, entry.st_mtime_ns), follow_symlinks=False)


def _create(target: str) -> int:
    _clear(target)
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _clear(target: str) -> None:
    try:
        Path(target).unlink()
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise OSError(errno.EISDIR, "cannot copy a file over a folder", target) from None


def _finish(descriptor: int, step: dict[str, Any], mode: int, found: os.stat_result | None) -> None:
    """Owner, mode and time, in this order."""
    os.fchown(descriptor, *_owner(step, found))
    os.fchmod(descriptor, step["mode"] if step["mode"] is not None else mode)
    if found is not None:
        os.utime(descriptor, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _owner(step: dict[str, Any], found: os.stat_result | None) -> tuple[int, int]:
    if step["owner"] is not None:
        uid, gid = step["owner"]
        return int(uid), int(gid)
    return (found.st_uid, found.st_gid) if found is not None else (0, 0)


def _copy_attributes(source: int, target: int) -> None:
    for name in os.listxattr(source):
        if name.startswith(_COPIED_ATTRIBUTES):
            os.setxattr(target, name, os.getxattr(source, name))


def _is_archive(descriptor: int) -> bool:
    """Whether a file is a tar, compressed or not."""
    try:
        stream = Stream(_reader(descriptor))
        head = b""
        while len(head) < 512 and (more := stream.read(512 - len(head))):
            head += more
    except CompressionError:
        return False
    return head[257:262] == _TAR_MAGIC


def _unpack(descriptor: int, step: dict[str, Any]) -> None:
    """A local archive that ADD names, unpacked into a folder; nothing of it can leave that folder."""
    target = step["to"].rstrip("/") or "/"
    _make_folder(target, step["owner"] or (0, 0))
    outer = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(target)
        os.chdir("/")
        owner = (step["owner"][0], step["owner"][1]) if step["owned"] else None
        unpack_plain(Stream(_reader(descriptor)), owner)
    finally:
        os.fchdir(outer)
        os.chroot(".")
        os.chdir("/")
        os.close(outer)


def _reader(descriptor: int) -> Any:
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        data = os.pread(descriptor, size, position)
        position += len(data)
        return data

    return read
