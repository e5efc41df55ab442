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
import select
import signal
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair

from kubelet.runtime import cgroupfs, sandbox, supervisor, wire
from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# So long after the last request a spare is forked: not while a pod's containers are being started.
IDLE_MILLISECONDS = 30
SUPERVISOR_OOM_SCORE = -998
SPARE_NAMESPACES = sc.CLONE_NEWNET | sc.CLONE_NEWUTS | sc.CLONE_NEWIPC


def main(arguments: list[str]) -> None:
    """Serve requests until the kubelet goes away."""
    kubelet, lock_fd = keep_descriptors(int(arguments[0]), int(arguments[1]))
    sc.set_process_name("kubelet-zygote")
    # Nobody in a container may trace or open what this process and those that it forks have (ptrace(2)).
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    reset_signals()
    # The kernel reaps supervisors by itself (sigaction(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    protect_from_oom_killer()
    os.chdir("/")
    os.umask(0o022)
    gc.collect()
    # What is loaded by now is never looked at by a collection, which would write to its pages and unshare them.
    gc.freeze()
    Zygote(kubelet, lock_fd).serve()


def reset_signals() -> None:
    """What is ignored or blocked would stay so through every fork and execve, as with a kubelet under nohup(1)."""
    for signo in range(1, signal.NSIG):
        if signal.getsignal(signo) == signal.SIG_IGN:
            signal.signal(signo, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def protect_from_oom_killer() -> None:
    """Let the kernel kill anything before a supervisor, which would take its whole pod along.

    Some hosts keep the right to (CAP_SYS_RESOURCE) even from root; there supervisors are as likely as others of
    their small size. Containers set a score of their own.
    """
    try:
        cgroupfs.write("/proc/self/oom_score_adj", str(SUPERVISOR_OOM_SCORE))
    except PermissionError:
        pass


def keep_descriptors(socket_fd: int, lock_fd: int) -> tuple[socket, int]:
    """Close everything else that came through execve; neither goes through another."""
    for fd in (socket_fd, lock_fd):
        os.set_inheritable(fd, False)
    low, high = sorted((socket_fd, lock_fd))
    for first, last in ((3, low - 1), (low + 1, high - 1), (high + 1, 0xFFFFFFFF)):
        if first <= last:
            sc.close_range(first, last)
    return socket(fileno=socket_fd), lock_fd


class Zygote:
    """Forks supervisors when they are asked for, and while idle one ahead of time: a spare.

    A spare has the namespaces that most pods have and waits for its pod, which so starts some 2 ms sooner.
    """

    def __init__(self, kubelet: socket, lock_fd: int) -> None:
        self._kubelet = kubelet
        self._lock_fd = lock_fd
        self._spare: socket | None = None

    def serve(self) -> None:
        """Take requests until the kubelet goes away."""
        poll = select.poll()
        poll.register(self._kubelet.fileno(), select.POLLIN)
        while True:
            if not poll.poll(None if self._spare else IDLE_MILLISECONDS):
                self._fork_spare()
                continue
            message, fds = wire.receive(self._kubelet)
            if message is None:
                return
            if message["op"] == "join":
                join_cgroups(message["cgroup"])
            elif not self._hand_to_spare(message, fds[0]):
                self._fork_supervisor(message, fds[0])
            for fd in fds:
                os.close(fd)

    def _hand_to_spare(self, message: dict[str, Any], connection_fd: int) -> bool:
        """Let the spare keep this pod; False if there is none, or the pod wants other namespaces."""
        plan = message["plan"]
        unusual = plan["host_pid"] or plan["first_id"] or plan["namespaces"] != SPARE_NAMESPACES
        if self._spare is None or unusual:
            return False
        spare, self._spare = self._spare, None
        try:
            wire.send(spare, message, [connection_fd])
        except OSError:
            return False  # somebody has killed it
        finally:
            spare.close()
        return True

    def _fork_spare(self) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            pid, pidfd = sc.clone3(sc.CLONE_NEWPID)
        except OSError as error:
            sys.stderr.write(f"fork a spare supervisor: {error}\n")
            ours.close()
            theirs.close()
            return
        if pid:
            os.close(pidfd)
            theirs.close()
            self._spare = ours
            return
        ours.close()
        self._be_child(lambda: wait_for_pod(theirs, self._lock_fd))

    def _fork_supervisor(self, message: dict[str, Any], connection_fd: int) -> None:
        try:
            pid, pidfd = sc.clone3(0 if message["plan"]["host_pid"] else sc.CLONE_NEWPID)
        except OSError as error:
            connection = socket(fileno=os.dup(connection_fd))
            text = f"fork the pod's supervisor: {error.strerror}"
            wire.send(connection, {"failed": {"reason": "CreatePodSandboxError", "message": text}})
            connection.close()
            return
        if pid:
            os.close(pidfd)
            return
        connection = socket(fileno=connection_fd)
        self._be_child(lambda: supervisor.run(message["plan"], message["directory"], connection, self._lock_fd))

    def _be_child(self, life: Callable[[], None]) -> NoReturn:
        """Live as another process, and never return into the zygote's code."""
        self._kubelet.close()
        if self._spare is not None:
            self._spare.close()
        try:
            life()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - see above
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(1)


def wait_for_pod(zygote: socket, lock_fd: int) -> None:
    """Be a spare: make the usual namespaces, then wait for the pod; end when the zygote does."""
    sc.set_process_name("kubelet-spare")
    sandbox.make_namespaces(SPARE_NAMESPACES)
    message, fds = wire.receive(zygote)
    zygote.close()
    if message is not None:
        connection = socket(fileno=fds[0])
        supervisor.run(message["plan"], message["directory"], connection, lock_fd, made=SPARE_NAMESPACES)


def join_cgroups(plan: dict[str, Any]) -> None:
    """Move to the cgroup that this process and all supervisors stay in, apart from every pod's limits."""
    cgroupfs.apply(plan)
    for directory in plan["join"]:
        cgroupfs.write(f"{directory}/tasks", "0")
    if plan["unified"]:
        cgroupfs.write(f"{plan['unified']}/cgroup.procs", "0")
