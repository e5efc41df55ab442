"""The process that forks a supervisor for each pod.

A fork of the kubelet would be slow (its memory is large) and unsafe (it has threads). This process is small,
has one thread, and has loaded whatever a supervisor needs, which supervisors then share with it. It ends when
the kubelet does; supervisors live on. Started by client.py as

    python -I -S -c "…" SOCKET_FD LOCK_FD

The lock is held by the kubelet, this process, and each supervisor until its pod can be found on disk. A new
kubelet that gets the lock therefore sees every pod that there is.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from _socket import socket

from kubelet.runtime import supervisor, wire
from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(arguments: list[str]) -> None:
    """Serve requests until the kubelet goes away."""
    kubelet, lock_fd = keep_descriptors(int(arguments[0]), int(arguments[1]))
    sc.set_process_name("kubelet-zygote")
    # Nobody in a container may trace or open what this process and those that it forks have (ptrace(2)).
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    # The kernel reaps supervisors by itself (sigaction(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o022)
    gc.collect()
    # What is loaded by now is never looked at by a collection, which would write to its pages and unshare them.
    gc.freeze()
    while True:
        message, fds = wire.receive(kubelet)
        if message is None:
            return
        if message["op"] == "join":
            _join_cgroups(message["cgroup"])
        else:
            fork_supervisor(message, fds[0], kubelet, lock_fd)
        for fd in fds:
            os.close(fd)


def _join_cgroups(plan: dict[str, Any]) -> None:
    """Move to the cgroup that this process and all supervisors stay in, apart from every pod's limits."""
    from kubelet.runtime import cgroupfs

    cgroupfs.apply(plan)
    for directory in plan["join"]:
        cgroupfs.write(f"{directory}/tasks", "0")
    if plan["unified"]:
        cgroupfs.write(f"{plan['unified']}/cgroup.procs", "0")


def keep_descriptors(socket_fd: int, lock_fd: int) -> tuple[socket, int]:
    """Close everything else that came through execve; neither goes through another."""
    for fd in (socket_fd, lock_fd):
        os.set_inheritable(fd, False)
    low, high = sorted((socket_fd, lock_fd))
    for first, last in ((3, low - 1), (low + 1, high - 1), (high + 1, 0xFFFFFFFF)):
        if first <= last:
            sc.close_range(first, last)
    return socket(fileno=socket_fd), lock_fd


def fork_supervisor(message: dict[str, Any], connection_fd: int, kubelet: socket, lock_fd: int) -> None:
    """Fork a supervisor, which gets the connection to the kubelet."""
    flags = 0 if message["plan"]["host_pid"] else sc.CLONE_NEWPID
    try:
        pid, pidfd = sc.clone3(flags)
    except OSError as error:
        connection = socket(fileno=os.dup(connection_fd))
        text = f"fork the pod's supervisor: {error.strerror}"
        wire.send(connection, {"failed": {"reason": "CreatePodSandboxError", "message": text}})
        connection.close()
        return
    if pid:
        os.close(pidfd)
        return
    kubelet.close()
    try:
        supervisor.run(message["plan"], message["directory"], socket(fileno=connection_fd), lock_fd)
    except BaseException as error:  # noqa: BLE001 - a child must never return into its parent's code
        sys.stderr.write(f"supervisor of {message['directory']}: {error!r}\n")
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
