"""The mounts that volumes are made of: memory, and taking away whatever is mounted below a folder.

Sources: mount(2), umount(2), proc_pid_mountinfo(5), tmpfs(5), Documentation/admin-guide/mm/hugetlbpage.rst.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from kubelet.runtime import syscalls
from kubelet.volumes.removal import RESOLVE_NO_SYMLINKS

# Mounts may be stacked on one place and hide others: each round takes away what the last one has laid bare.
ROUNDS_MAX = 16
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def mount_tmpfs(directory: Path, *, mode: int, gid: int = 0, size_bytes: int = 0, flags: int = 0) -> None:
    """Mount memory on a folder, unless something is mounted there already (as after a restart of the agent)."""
    if os.path.ismount(directory):
        return
    options = f"mode={mode:o},gid={gid}" + (f",size={size_bytes}" if size_bytes else "")
    try:
        # What is kept in memory for its secrecy must not get to a disk by way of swap (Linux 6.4).
        syscalls.mount("tmpfs", str(directory), "tmpfs", flags, f"{options},noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        syscalls.mount("tmpfs", str(directory), "tmpfs", flags, options)


def mount_huge_pages(directory: Path, *, mode: int, gid: int, page_bytes: int) -> None:
    """Mount huge pages on a folder, unless something is mounted there already. OSError if there are none such."""
    if not os.path.ismount(directory):
        syscalls.mount("hugetlbfs", str(directory), "hugetlbfs", 0, f"gid={gid},pagesize={page_bytes}")
    directory.chmod(mode)  # the mount option of this name knows no setgid


def mounts_below(directory: Path) -> list[str]:
    """Where something is mounted at or below a folder, in the order in which it was mounted."""
    top = str(directory)
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    places = [unescaped(line.split(b" ", 5)[4]) for line in lines]
    return [place for place in places if place == top or place.startswith(f"{top}/")]


def unescaped(place: bytes) -> str:
    """A path as mountinfo has it, where blanks and their kin stand as octal numbers."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), place))


def unmount_below(directory: Path) -> None:
    """Take away every mount at or below a folder, the last one first. Raises OSError.

    A mount that is in use goes on existing for its users alone (MNT_DETACH). The place is opened without
    following any link, and unmounted by that descriptor: a link that a container planted on the way would lead
    to a mount of the node.
    """
    for _ in range(ROUNDS_MAX):
        places = mounts_below(directory)
        if not places:
            return
        for place in reversed(places):
            try:
                descriptor = syscalls.openat2(syscalls.AT_FDCWD, place, os.O_PATH, RESOLVE_NO_SYMLINKS)
            except FileNotFoundError:
                continue  # hidden by a mount above it, which has gone in this round
            try:
                syscalls.umount2(f"/proc/self/fd/{descriptor}", syscalls.MNT_DETACH)
            finally:
                os.close(descriptor)
    if left := mounts_below(directory):
        raise OSError(f"unmount {left[-1]}: still mounted after {ROUNDS_MAX} rounds")
