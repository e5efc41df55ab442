"""Parts of volumes as mounts (`subPath`), safe from what the pod's own containers do to the volume.

A container may replace a folder of its volume with a link to /etc at any moment. So the part is opened once,
in such a way that no link leads out of the volume (openat2(2), RESOLVE_IN_ROOT), and what was opened is bound to
a place of our own, where no container can reach it (CVE-2017-1002101). The container's mount is made from there,
and the place is needed no longer than its start takes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubelet.runtime import syscalls
from kubelet.volumes import mounts


@contextmanager
def bound_part(volume: Path, part: str, place: Path) -> Iterator[Path]:
    """A part of a volume, bound to `place` while the context lasts; missing folders are made. Raises OSError."""
    descriptor = open_part(volume, part)
    try:
        mounts.unmount_below(place)  # what a node agent that was killed has left
        # Closed to all but root: other users of the node must not come upon what a container may have made setuid.
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            place.mkdir(exist_ok=True)
        else:
            place.touch()
        syscalls.mount(f"/proc/self/fd/{descriptor}", str(place), None, syscalls.MS_BIND | syscalls.MS_REC)
    finally:
        os.close(descriptor)
    try:
        yield place
    finally:
        mounts.unmount_below(place)


def open_part(volume: Path, part: str) -> int:
    """A descriptor (O_PATH) of a part of a volume; folders that are missing are made. Raises OSError."""
    steps = [step for step in part.split("/") if step not in ("", ".")]
    if part.startswith("/") or ".." in steps:
        raise OSError(f'subPath "{part}" must be a relative path that does not contain ".."')
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for count in range(1, len(steps)):
            _make_folder(root, "/".join(steps[:count]))
        try:
            return syscalls.openat2(root, "/".join(steps) or ".", os.O_PATH)
        except FileNotFoundError:
            _make_folder(root, "/".join(steps))
            return syscalls.openat2(root, "/".join(steps), os.O_PATH)
    finally:
        os.close(root)


def _make_folder(root: int, path: str) -> None:
    """A folder below root, with the rights of the one above, as Kubernetes gives it."""
    parent_path, _, name = path.rpartition("/")
    parent = syscalls.openat2(root, parent_path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        above = os.fstat(parent)
        os.mkdir(name, above.st_mode & 0o7777, dir_fd=parent)
        os.chown(name, above.st_uid, above.st_gid, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        return  # a folder, or a link whose aim the next step judges
    finally:
        os.close(parent)
