"""Puts a set of files into a volume so that a reader sees all of the old ones or all of the new ones.

    VOLUME/..version-x7k2/key      the files themselves
    VOLUME/..data -> ..version-x7k2
    VOLUME/key -> ..data/key       what a container reads

A new set is written beside the old one; then `..data` is replaced by a rename, which is one step for every
reader. One that was on its way through the old link would find nothing if the old set were gone: it goes with the
next write, as does what a crash leaves behind, which is named `..` something. Whoever waits for changes watches
`..data`, as programs that run on Kubernetes do.

Source: https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kubelet.volumes import removal
from kubelet.volumes.failure import VolumeError

PATH_BYTES_MAX, NAME_BYTES_MAX = 4096, 255
_DATA, _NEW_DATA = "..data", "..data_tmp"
# What a group gets of files that nobody may write: reading, and the way into folders.
_GROUP_READS, _GROUP_ENTERS, _SET_GROUP = 0o440, 0o110, 0o2000


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume: its content, its permissions, and to whom it is given when it is written (None: nobody)."""

    content: bytes
    mode: int
    owner: int | None = field(default=None, compare=False)


Payload = Mapping[str, File]


def write(directory: Path, payload: Payload, *, fs_group: int | None = None, keep: Collection[str] = ()) -> bool:
    """Make the volume show exactly these files; True if anything had to change. Raises VolumeError, OSError.

    Folders that are named in `keep` stay beside the files, unless a file has the name.
    """
    for path in payload:
        _check(path)
    payload = {path: replace(file, mode=_mode(file.mode, fs_group)) for path, file in payload.items()}
    current = _current(directory)
    if current is not None and _read(current) == payload:
        return False
    replaced = {current.name} if current is not None else set()
    # Room first: no more than two versions are there at a time.
    _sweep(directory, keep={name for name in os.listdir(directory) if name[:2] != ".."} | {_DATA} | replaced)
    version = Path(tempfile.mkdtemp(prefix="..version-", dir=directory))
    for folder in (version, *_write_files(version, payload)):
        give(folder, 0o755 if fs_group is None else 0o755 | _GROUP_ENTERS | _SET_GROUP, fs_group)
    _give_files(version, payload, fs_group)
    names = {path.partition("/")[0] for path in payload}
    _link(directory, names)
    _point(directory, version.name)
    folders = {name for name in keep if (directory / name).is_dir() and not (directory / name).is_symlink()}
    _sweep(directory, keep={_DATA, version.name, *replaced, *names, *folders})
    return True


def _check(path: str) -> None:
    steps = path.split("/")
    if not path:
        raise VolumeError("invalid path: must not be empty")
    if path.startswith("/"):
        raise VolumeError(f"invalid path: must be relative path: {path}")
    if len(path.encode()) > PATH_BYTES_MAX:
        raise VolumeError(f"invalid path: must be less than or equal to {PATH_BYTES_MAX} characters")
    if ".." in steps:
        raise VolumeError(f"invalid path: must not contain '..': {path}")
    if steps[0].startswith(".."):
        raise VolumeError(f"invalid path: must not start with '..': {path}")
    if any(step in ("", ".") for step in steps):
        raise VolumeError(f"invalid path: must be in its shortest form: {path}")
    if any(len(step.encode()) > NAME_BYTES_MAX for step in steps):
        raise VolumeError(f"invalid path: filenames must be less than or equal to {NAME_BYTES_MAX} characters")


def _mode(mode: int, fs_group: int | None) -> int:
    return mode if fs_group is None else mode | _GROUP_READS


def _current(directory: Path) -> Path | None:
    try:
        name = (directory / _DATA).readlink()
    except FileNotFoundError:
        return None
    return directory / name


def _read(version: Path) -> dict[str, File]:
    """What a version holds; empty folders don't count."""
    return {
        str(path.relative_to(version)): File(path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in _files(version)
    }


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent) / name


def _write_files(version: Path, payload: Payload) -> list[Path]:
    """Write the content of all files, for us alone at first; returns the folders that this took."""
    folders: dict[str, Path] = {}
    for path, file in payload.items():
        *steps, name = path.split("/")
        for number in range(len(steps)):
            inner = "/".join(steps[: number + 1])
            if inner not in folders:
                folders[inner] = version / inner
                folders[inner].mkdir()
        target = f"{folders['/'.join(steps)] if steps else version}/{name}"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, file.content)
        finally:
            os.close(descriptor)
    return list(folders.values())


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _give_files(version: Path, payload: Payload, fs_group: int | None) -> None:
    for path, file in payload.items():
        give(version / path, file.mode, fs_group, file.owner)


def give(path: Path, mode: int, fs_group: int | None, owner: int | None = None) -> None:
    # The group first: chown takes setgid away again.
    if fs_group is not None or owner is not None:
        user, group = (-1 if number is None else number for number in (owner, fs_group))
        os.chown(path, user, group, follow_symlinks=False)
    path.chmod(mode)


def _link(directory: Path, names: set[str]) -> None:
    for name in names:
        aim = f"{_DATA}/{name}"
        link = directory / name
        if not (link.is_symlink() and str(link.readlink()) == aim):
            removal.remove(directory, name)
            link.symlink_to(aim)


def _point(directory: Path, version: str) -> None:
    removal.remove(directory, _NEW_DATA)
    (directory / _NEW_DATA).symlink_to(version)
    (directory / _NEW_DATA).rename(directory / _DATA)


def _sweep(directory: Path, keep: set[str]) -> None:
    for name in os.listdir(directory):
        if name not in keep:
            removal.remove(directory, name)
