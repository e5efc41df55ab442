"""Gives a volume that is there already to a pod's group: fsGroup, for kinds whose files outlive their pod.

Every file gets the group, and may be read and written by it; folders hand the group on to what is made in them. The
top folder is changed last, so that whoever goes by it (OnRootMismatch) never takes half the work for done. Other pods
may be using the volume at the same time: no step follows a link.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kubelet.runtime import syscalls
from kubelet.volumes.removal import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS

ON_ROOT_MISMATCH = "OnRootMismatch"
_WRITES, _READS, _ENTERS = 0o660, 0o440, 0o110
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


def give_to_group(directory: Path, group: int, *, policy: str = "Always", read_only: bool = False) -> None:
    """Change owner and permissions of a folder and all below it. Raises OSError."""
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if policy == ON_ROOT_MISMATCH and fits(os.fstat(top), group, read_only=read_only):
            return
        waiting = ["."]
        while waiting:
            path = waiting.pop()
            folder = syscalls.openat2(top, path, _DIRECTORY, _INSIDE)
            try:
                inner = _give_entries(folder, group, read_only=read_only)
                if path != ".":
                    _give(folder, group, read_only=read_only)
            finally:
                os.close(folder)
            waiting += [f"{path}/{name}" for name in inner]
        _give(top, group, read_only=read_only)
    finally:
        os.close(top)


def fits(found: os.stat_result, group: int, *, read_only: bool) -> bool:
    """Whether a volume's top folder says that all of it is the group's."""
    needed = (_READS if read_only else _WRITES) | _ENTERS | stat.S_ISGID
    return found.st_gid == group and found.st_mode & needed == needed


def _give_entries(folder: int, group: int, *, read_only: bool) -> list[str]:
    """Give all entries of a folder but its folders, whose names are returned."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                _give_entry(folder, entry.name, group, read_only=read_only)
    return folders


def _give_entry(folder: int, name: str, group: int, *, read_only: bool) -> None:
    try:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return  # another pod has removed it
    try:
        _give(descriptor, group, read_only=read_only)
    finally:
        os.close(descriptor)


def _give(descriptor: int, group: int, *, read_only: bool) -> None:
    """What the descriptor (O_PATH too) names, which may be a link: that has no permissions of its own."""
    found = os.fstat(descriptor)
    # Through /proc both reach the link itself, and never what it leads to.
    os.chown(f"/proc/self/fd/{descriptor}", -1, group)
    if stat.S_ISLNK(found.st_mode):
        return
    mask = _READS if read_only else _WRITES
    if stat.S_ISDIR(found.st_mode):
        mask |= _ENTERS | stat.S_ISGID
    Path(f"/proc/self/fd/{descriptor}").chmod(stat.S_IMODE(found.st_mode) | mask)
