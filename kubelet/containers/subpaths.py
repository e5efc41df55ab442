"""Parts of volumes as mounts (`subPath`), safe from what the pod's own containers do to the volume.

A container may replace a folder of its volume with a link to /etc at any moment. So the part is opened once, in such
a way that no link leads out of the volume (openat2(2), RESOLVE_BENEATH), and what was opened is bound to a place of
our own, where no container can reach it (CVE-2017-1002101, CVE-2021-25741). The container's mount is made from there,
and the place is needed no longer than its start takes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubelet.runtime import syscalls
from kubelet.volumes import mounts
from kubelet.volumes.removal import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS


class OutsideVolume(Exception):
    """The part is none of the volume's."""


@contextmanager
def bound_part(volume: Path, part: str, place: Path, *, make: bool = True) -> Iterator[Path]:
    """A part of a volume, bound to `place` while the context lasts. Raises OSError, OutsideVolume."""
    descriptor = open_part(volume, part, make=make)
    try:
        mounts.unmount_below(place)  # what a node agent that was killed has left
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_place(place, directory=stat.S_ISDIR(os.fstat(descriptor).st_mode))
        syscalls.mount(f"/proc/self/fd/{descriptor}", str(place), None, syscalls.MS_BIND | syscalls.MS_REC)
    finally:
        os.close(descriptor)
    try:
        yield place
    finally:
        mounts.unmount_below(place)


def _make_place(place: Path, *, directory: bool) -> None:
    """A folder, or a file, where a former start may have needed the other."""
    if directory:
        if place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
    else:
        if place.is_dir():
            place.rmdir()
        place.touch()


def open_part(volume: Path, part: str, *, make: bool = True) -> int:
    """A descriptor (O_PATH) of a part of a volume; missing folders are made. Raises OSError, OutsideVolume."""
    steps = [step for step in part.split("/") if step not in ("", ".")]
    if part.startswith("/"):
        raise OutsideVolume(f"error SubPath `{part}` must not be an absolute path")
    if ".." in steps:
        raise OutsideVolume(f"unable to provision SubPath `{part}`: must not contain '..'")
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for count in range(1, len(steps)):
            os.close(_open(root, volume, "/".join(steps[:count]), make=make))
        return _open(root, volume, "/".join(steps) or ".", make=make)
    finally:
        os.close(root)


def _open(root: int, volume: Path, path: str, *, make: bool) -> int:
    try:
        return syscalls.openat2(root, path, os.O_PATH, RESOLVE_BENEATH)
    except FileNotFoundError:
        if not make:
            raise
        _make_folder(root, path)
        return syscalls.openat2(root, path, os.O_PATH, RESOLVE_BENEATH)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _open_resolved(root, volume, path)


def _open_resolved(root: int, volume: Path, path: str) -> int:
    """A link with an absolute path is taken as the node's, and may lead back into the volume.

    Where it leads is looked up, and then gone to without following any link, so that nobody can change the way.
    """
    top = volume.resolve()
    aim = (top / path).resolve()
    if not aim.is_relative_to(top):
        raise OutsideVolume(f"subPath leads out of the volume: {path}")
    return syscalls.openat2(root, str(aim.relative_to(top)), os.O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def _make_folder(root: int, path: str) -> None:
    """A folder with the permissions of the volume's own, as Kubernetes makes it, and owned as the one above."""
    parent_path, _, name = path.rpartition("/")
    parent = syscalls.openat2(root, parent_path or ".", os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        made = syscalls.openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        try:
            above = os.fstat(parent)
            os.fchown(made, above.st_uid, above.st_gid)
            # After the owner, whose change takes setgid away, and regardless of our own umask.
            os.fchmod(made, stat.S_IMODE(os.stat(f"/proc/self/fd/{root}").st_mode))
        finally:
            os.close(made)
    except FileExistsError:
        return  # by another container, or a link whose aim the next step judges
    finally:
        os.close(parent)
