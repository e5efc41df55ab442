"""Reading and emptying cgroup directories; the few functions that the small processes need.

What to write where is decided in cgroups.py, in the kubelet.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from signal import SIGKILL

from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAKE_ATTEMPTS_MAX = 5
VACATE_ROUNDS_MAX = 20
VACATED = "node-agent"
REMOVE_ATTEMPTS_MAX = 2000
REMOVE_PAUSE_SECONDS = 0.005


def write(path: str, value: str) -> None:
    """Write a control file; OSError names it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {value!r} to {path}: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(fd)


def apply(plan: dict[str, Any]) -> None:
    """Make a cgroup as cgroups.py planned it: directories, then values, then values that may be refused.

    A file that this kernel does not have (memory.memsw.* without swap accounting) is passed over when the
    plan calls it optional.
    """
    for directory in plan["directories"]:
        make(directory)
    for path, value in plan["writes"]:
        write(path, value)
    for path, value in plan["optional"]:
        if os.path.exists(path):
            write(path, value)
    if plan["device_program"]:
        attach_device_program(plan["unified"], bytes.fromhex(plan["device_program"]))


def change(writes: Sequence[tuple[str, str]]) -> None:
    """Change limits that depend on each other: what the kernel refuses at first is tried again after the rest.

    On v1 memory can't be limited higher than memory and swap together, nor these lower than memory alone.
    """
    refused = []
    for path, value in writes:
        try:
            write(path, value)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBUSY):
                raise
            refused.append((path, value))
    for path, value in refused:
        write(path, value)


def vacate(root: str) -> None:
    """Move the processes in the root of a cgroup namespace into a child, unless it is the whole machine's root.

    On v2 a group that hands its controllers on may hold no processes itself (cgroups(7), "no internal
    processes"); in a container, the node agent and what started it are in the very group that must.
    """
    if not os.path.exists(f"{root}/cgroup.type"):
        return  # only the machine's root has no such file, and is exempt from the rule
    make(f"{root}/{VACATED}")
    for _ in range(VACATE_ROUNDS_MAX):
        pids = read(f"{root}/cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            try:
                write(f"{root}/{VACATED}/cgroup.procs", pid)
            except ProcessLookupError:
                pass  # ended meanwhile; those that it forked are found in the next round


def make(directory: str) -> None:
    """Make a cgroup and those above it, though another node's clean-up may take an empty one away meanwhile."""
    for attempt in range(MAKE_ATTEMPTS_MAX):
        try:
            os.makedirs(directory, 0o755, exist_ok=True)
            return
        except FileNotFoundError:
            if attempt == MAKE_ATTEMPTS_MAX - 1:
                raise


def attach_device_program(directory: str, program: bytes) -> None:
    """Let an eBPF program decide which devices a cgroup's processes may use (cgroup v2, bpf(2))."""
    instructions = ctypes.create_string_buffer(program, len(program))
    program_type, license_ = 15, ctypes.create_string_buffer(b"Apache-2.0")
    count, code, terms = len(program) // 8, ctypes.addressof(instructions), ctypes.addressof(license_)
    load = struct.pack("=IIQQIIQII16s", program_type, count, code, terms, 0, 0, 0, 0, 0, b"wherry_devices")
    program_fd = sc.bpf(sc.BPF_PROG_LOAD, load)
    group_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach_type, allow_multi = 6, 2
        sc.bpf(sc.BPF_PROG_ATTACH, struct.pack("=IIII", group_fd, program_fd, attach_type, allow_multi))
    finally:
        os.close(group_fd)
        os.close(program_fd)


def read(path: str) -> str:
    """A control file's text, "" when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read().decode()
    except OSError:
        return ""


def processes(directory: str) -> list[int]:
    """The processes of a cgroup and of those below it, as this process numbers them (0: not visible)."""
    found = [int(pid) for pid in read(f"{directory}/cgroup.procs").split()]
    for child in children(directory):
        found += processes(child)
    return found


def children(directory: str) -> list[str]:
    """The cgroups right below one."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def oom_kills(directory: str) -> int:
    """How many processes the kernel killed for lack of memory in this cgroup (v2, then v1)."""
    text = read(f"{directory}/memory.events") or read(f"{directory}/memory.oom_control")
    for line in text.splitlines():
        key, _, count = line.partition(" ")
        if key == "oom_kill":
            return int(count)
    return 0


def kill_all(directories: Sequence[str]) -> None:
    """SIGKILL every process in these cgroups, faster than they can fork.

    cgroup.kill (Linux 5.14) does it at once; elsewhere pids.max = 0 stops new forks first.
    """
    for directory in directories:
        try:
            write(f"{directory}/cgroup.kill", "1")
            return
        except OSError:
            pass
    for directory in directories:
        try:
            write(f"{directory}/pids.max", "0")
        except OSError:
            pass
    for directory in directories:
        for pid in processes(directory):
            if pid > 0:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass


def remove(directories: Sequence[str], *, attempts_max: int = REMOVE_ATTEMPTS_MAX) -> list[str]:
    """Remove cgroups with all below them, killing what is inside; return those that would not go.

    A dying process holds its cgroup busy for a moment, hence the bounded retries.
    """
    left = list(directories)
    for attempt in range(attempts_max):
        left = [directory for directory in left if not _remove_tree(directory)]
        if not left:
            break
        kill_all(left)
        time.sleep(REMOVE_PAUSE_SECONDS if attempt else 0.001)
    return left


def remove_empty_parents(directories: Sequence[str], levels: int) -> None:
    """Remove the groups above these, so many levels up, as long as they are empty."""
    for directory in directories:
        for _ in range(levels):
            directory = os.path.dirname(directory)
            try:
                os.rmdir(directory)
            except OSError:
                break  # not empty: others use it


def _remove_tree(directory: str) -> bool:
    for child in children(directory):
        _remove_tree(child)
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True
