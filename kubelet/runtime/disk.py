"""What a node's pods leave on disk and in the kernel, and how to take it away.

    ROOT/pods/UID/sandbox.json          spec, supervisor and cgroups, written before anything else is made
    ROOT/pods/UID/control               the supervisor's socket
    ROOT/pods/UID/shm                   the pod's /dev/shm, a mount
    ROOT/pods/UID/containers/ID/        state.json and the container's own files (overlayfs)
    ROOT/runtime/lock                   held while somebody may make pods (zygote.py)
    ROOT/runtime/seccomp/               compiled filters
    ROOT/runtime/supervisors.log        last words of supervisors that failed

Everything here blocks and is safe to repeat.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubelet.runtime import cgroupfs, wire
from kubelet.runtime import syscalls as sc

LOCK_SECONDS_MAX = 10.0
LOCK_PAUSE_SECONDS = 0.01
DEATH_SECONDS_MAX = 10.0


class StillThere(Exception):
    """Something could not be removed; the message says what."""


def make_folders(root: Path) -> None:
    """The runtime's folders, closed to everybody but root: the control sockets are in them."""
    for name in ("pods", "runtime"):
        (root / name).mkdir(mode=0o700, parents=True, exist_ok=True)


def lock(root: Path, *, seconds_max: float = LOCK_SECONDS_MAX) -> int:
    """Take the node's lock; TimeoutError when another kubelet holds it."""
    fd = os.open(root / "runtime" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise TimeoutError(f"{root} is in use by another kubelet") from None
        time.sleep(LOCK_PAUSE_SECONDS)


def sandbox_folders(root: Path) -> list[Path]:
    """The folder of every pod."""
    folder = root / "pods"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def read_record(folder: Path) -> dict[str, Any] | None:
    """A pod's sandbox.json, None if there is none that can be read: then nothing was made for it yet."""
    try:
        record: dict[str, Any] = wire.read_json(f"{folder}/sandbox.json")
    except (OSError, ValueError):
        return None
    return record


def read_container_states(folder: Path) -> list[dict[str, Any]]:
    """The state of each container of a pod, in the order of their starts."""
    states = []
    for path in (folder / "containers").glob("*/state.json"):
        try:
            states.append(wire.read_json(str(path)))
        except (OSError, ValueError):
            continue  # removed just now; it is replaced in one step, so that it can't be half written
    return sorted(states, key=lambda state: (state.get("started_at") or 0.0, state["attempt"]))


def open_process(pid: int, start_ticks: int) -> int:
    """A pidfd of the process that started then, -1 if it is gone: its number may be another's by now."""
    if pid <= 0:
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if wire.process_start_ticks(pid) != start_ticks:
        os.close(pidfd)
        return -1
    return pidfd


def kill_process(pid: int, start_ticks: int) -> None:
    """SIGKILL a supervisor and wait until it, and with it its pid namespace, is gone."""
    pidfd = open_process(pid, start_ticks)
    if pidfd < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not select.select([pidfd], [], [], DEATH_SECONDS_MAX)[0]:
            raise StillThere(f"process {pid} does not end even when killed")
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def remove_sandbox(folder: Path, cgroups: Sequence[str]) -> None:
    """Kill a pod and remove its cgroups, mounts and files. StillThere if something would not go."""
    record = read_record(folder) or {}
    kill_process(record.get("supervisor_pid", 0), record.get("supervisor_start_ticks", 0))
    remove_cgroups([*cgroups, *record.get("cgroups", [])])
    unmount_below(folder)
    remove_tree(folder)


def remove_cgroups(directories: Sequence[str]) -> None:
    """Kill what is in these cgroups and remove them. StillThere if that does not help."""
    wanted = list(dict.fromkeys(directories))
    cgroupfs.kill_all(wanted)
    left = cgroupfs.remove(wanted)
    if left:
        raise StillThere(f"cgroup {left[0]} still has processes: {cgroupfs.processes(left[0])[:5]}")


def unmount_below(folder: Path) -> None:
    """Detach every mount in a folder, the last one first."""
    prefix = f"{os.path.realpath(folder)}/"
    with open("/proc/self/mountinfo", "rb") as file:
        mount_points = [os.fsdecode(_unescape(line.split()[4])) for line in file]
    for mount_point in reversed(mount_points):
        if mount_point.startswith(prefix):
            try:
                sc.umount2(mount_point, sc.MNT_DETACH)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT):
                    raise  # else it went with the one below it


def _unescape(path: bytes) -> bytes:
    """Blanks and their kin stand as octal numbers in /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it; symbolic links are removed, never followed."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StillThere(f"{folder}: {error}") from error
