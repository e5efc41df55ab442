"""Removes what pods have left, whatever they left, and nothing else.

A container may fill its volumes with symbolic links to the node's files, with folders nested deeper than any
stack, or (if privileged) with mounts of something precious. So nothing here goes by a path of more than one
step: every step is taken from an open directory, follows no link, and stops at a mount point. Nested folders are
moved up beside their parent before they are emptied, so that depth costs neither stack nor descriptors.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from kubelet.runtime import syscalls

RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x01, 0x04, 0x08
_ONE_STEP = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove(parent: Path, name: str) -> None:
    """Remove `name` and all below it from a directory; nothing happens if it is gone. Raises OSError.

    What is mounted there or below is left as it is, with the folders that lead to it, and is an OSError (EBUSY
    or EXDEV) that names it.
    """
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_entry(descriptor, name)
    except OSError as error:
        raise OSError(error.errno, f"remove {parent / name}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _remove_entry(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # unlink(2) of a directory: EISDIR on Linux, EPERM elsewhere; a file that refuses fails below, named.
        pass
    top = _open(parent, name)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty(top: int) -> None:
    """Empty a directory. `waiting` are folders right below it: those found deeper are moved there first."""
    mark, moved = f"..removed-{os.urandom(6).hex()}", 0
    waiting = _unlink_files(top)
    while waiting:
        name = waiting.pop()
        folder = _open(top, name)
        try:
            for nested in _unlink_files(folder):
                moved += 1
                os.rename(nested, f"{mark}-{moved}", src_dir_fd=folder, dst_dir_fd=top)
                waiting.append(f"{mark}-{moved}")
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)


def _unlink_files(folder: int) -> list[str]:
    """Remove all but the folders, whose names are returned; one entry at a time, for there may be millions."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _open(parent: int, name: str) -> int:
    try:
        return syscalls.openat2(parent, name, _DIRECTORY, _ONE_STEP)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, f"{name} is a mount point") from error
        raise
