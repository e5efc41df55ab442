"""A process that the supervisor forked: how its start went, and how it ended.

A start succeeds when the status socket reports "exec" and then ends: execve has closed it. The child stays a
zombie until the supervisor has waited for it, so that its pid and pidfd can't mean another process.
"""

from __future__ import annotations

import os
import signal
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair

from kubelet.runtime import wire
from kubelet.runtime.loop import READABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Failure = dict[str, str]

START_SECONDS_MAX = 120.0


def status_pair() -> tuple[socket, socket]:
    """The supervisor's and the child's end of a status socket."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    ours.setblocking(False)
    return ours, theirs


class Child:
    """One forked process, from its first step to its end.

    `on_started` gets None, or the failure once the process is gone; `on_exit` gets the wait status, and comes
    after `on_started` got None, never after a failure.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        pid: int,
        pidfd: int,
        status: socket,
        on_console: Callable[[int], None],
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.notices: list[str] = []
        self._loop = loop
        self._status: socket | None = status
        self._on_console = on_console
        self._on_started = on_started
        self._on_exit = on_exit
        self._executing = False
        self._failure: Failure | None = None
        self._timer = loop.call_later(START_SECONDS_MAX, self._too_slow)
        loop.watch(status.fileno(), READABLE, self._status_ready)

    @property
    def host_pid(self) -> int:
        """The process's number in the pid namespace of this mount namespace's /proc, where ours differs.

        0 once it has ended.
        """
        return host_pid(self.pidfd)

    def kill(self, signo: int) -> None:
        """Send a signal unless the process has ended."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signo)
            except ProcessLookupError:
                pass

    def ended(self, wait_status: int) -> None:
        """The supervisor has waited for this process."""
        while self._status is not None and self._receive():
            pass
        if self._status is not None:
            self._settled(_died())
        os.close(self.pidfd)
        self.pidfd = -1
        if self._failure is not None:
            self._on_started(self._failure)
        else:
            self._on_exit(wait_status)

    def _status_ready(self, _events: int) -> None:
        self._receive()

    def _receive(self) -> bool:
        """Take one message; False when there is none for now or ever."""
        assert self._status is not None
        try:
            message, fds = wire.receive(self._status)
        except BlockingIOError:
            return False
        except OSError:
            message, fds = None, []
        if message is None:
            self._settled(None if self._executing else _died())
            return False
        if "notice" in message:
            self.notices.append(message["notice"])
        elif "console" in message:
            self._on_console(fds[0])
        elif "exec" in message:
            self._executing = True
        else:
            self._settled(message["failed"])
            return False
        return True

    def _too_slow(self) -> None:
        if self._status is not None:
            text = f"the container did not start within {START_SECONDS_MAX:.0f} seconds"
            self._settled({"reason": "CreateContainerError", "message": text})

    def _settled(self, failure: Failure | None) -> None:
        if self._status is None:
            return
        self._timer.cancel()
        self._loop.forget(self._status.fileno())
        self._status.close()
        self._status = None
        self._failure = failure
        if failure is None:
            self._on_started(None)
        else:
            self.kill(signal.SIGKILL)


def host_pid(pidfd: int) -> int:
    """The number of a pidfd's process as this mount namespace's /proc counts; 0 once it has ended."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
        for line in file:
            if line.startswith(b"Pid:"):
                return max(0, int(line.split()[1]))
    return 0


def _died() -> Failure:
    text = "the container's process was killed before it could execute its command (out of memory?)"
    return {"reason": "CreateContainerError", "message": text}


def exit_code_of(wait_status: int) -> tuple[int, int | None]:
    """Exit code in Kubernetes' way, and the signal if one ended the process (wait(2))."""
    if os.WIFSIGNALED(wait_status):
        signo = os.WTERMSIG(wait_status)
        return 128 + signo, signo
    return os.WEXITSTATUS(wait_status), None
