"""A name for this very process, by which others on the same machine can tell that it has ended.

    HOST_BOOT_NAMESPACE_PID_TICKS

HOST is for people. The rest is proof: a process id means a process only within one pid namespace of one boot of one
machine, and only together with the moment at which the process started. An id of a namespace may be used again, but
not before every process in the old one is gone; so where the names of boot and namespace are our own, either /proc
can tell of the process, or it is gone already.

Source: proc_pid_stat(5), pid_namespaces(7), proc_sys_kernel(5).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

ENDED = ("Z", "X")


def own_identity(proc: Path = Path("/proc")) -> str:
    """The name of this process; a random one where /proc does not tell what makes it unique."""
    pid = os.getpid()
    boot, namespace, found = _boot(proc), _namespace(proc), _stat(proc, pid)
    if boot and namespace and found is not None:
        return f"{socket.gethostname()}_{boot}_{namespace}_{pid}_{found[1]}"
    return f"{socket.gethostname()}_{os.urandom(16).hex()}"


def has_ended(identity: str, proc: Path = Path("/proc")) -> bool:
    """Whether the process of this name is certainly gone; False wherever that can't be known from here.

    A process that is stopped, or that we may not look at, is not gone.
    """
    try:
        _, boot, namespace, pid, ticks = identity.rsplit("_", 4)
        if not boot or boot != _boot(proc) or namespace != _namespace(proc):
            return False
        # /proc may be that of another namespace than ours.
        if str((proc / "self").readlink()) != str(os.getpid()):
            return False
        return _is_gone(proc, int(pid), int(ticks))
    except (OSError, ValueError):
        return False


def _is_gone(proc: Path, pid: int, ticks: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is there, and somebody else's
    found = _stat(proc, pid)
    if found is None:
        return False  # hidden from us, or gone this moment: whoever asks will ask again
    state, started = found
    if started != ticks:
        return True  # another process has its id
    # The first thread may have ended before others, which go on working.
    return state in ENDED and os.listdir(proc / str(pid) / "task") == [str(pid)]


def _stat(proc: Path, pid: int) -> tuple[str, int] | None:
    """(state, start time in clock ticks since boot)."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def _boot(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace(proc: Path) -> str:
    try:
        return str((proc / "self/ns/pid").stat().st_ino)
    except OSError:
        return ""
