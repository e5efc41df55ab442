"""A process that an OCI runtime has made, as the supervisor sees it.

The program makes the process, writes down its number and ends; the process, an orphan then, becomes the
supervisor's child, as process 1 of the pod's pid namespace or by PR_SET_CHILD_SUBREAPER (prctl(2)). It may have ended
before the program has, so that the wait statuses of unknown children are kept for as long as a program runs.
"""

from __future__ import annotations

import os
import signal

from kubelet.runtime import child as children
from kubelet.runtime.handlers import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubelet.runtime.child import Child, Failure
    from kubelet.runtime.handlers.commands import Run
    from kubelet.runtime.loop import Loop


class Family:
    """The supervisor's children: those that somebody waits for, and those that nobody has claimed yet."""

    def __init__(self, loop: Loop, waited_for: dict[int, Child | Process]) -> None:
        self.loop = loop
        self._waited_for = waited_for
        self._unclaimed: dict[int, int] = {}
        self._running = 0

    def start(
        self, run: Run, stdio: Sequence[int], *, on_notice: Callable[[str], None], on_end: Callable[[str], None]
    ) -> Child:
        """Run a program; see commands.start."""
        self._running += 1

        def ended(failure: str) -> None:
            try:
                on_end(failure)
            finally:
                self._running -= 1
                if not self._running:
                    self._unclaimed.clear()

        try:
            child = commands.start(self.loop, run, stdio, on_notice=on_notice, on_end=ended)
        except OSError:
            self._running -= 1
            raise
        self._waited_for[child.pid] = child
        return child

    def orphan_ended(self, pid: int, wait_status: int) -> None:
        """A child that nobody waits for has ended."""
        if self._running:
            self._unclaimed[pid] = wait_status

    def claim(self, pid: int, process: Process) -> int | None:
        """Have `process` hear of the end of this child; its wait status if it has ended already."""
        try:
            process.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return self._unclaimed.pop(pid, signal.SIGKILL)
        process.pid = pid
        self._waited_for[pid] = process
        return None


class Process:
    """One process from the program that makes it to its end; has what a Child has.

    `runs` are the programs that make and start it, in this order, all with `stdio` as their standard streams. The
    first writes the number of the process to `pid_file`. `on_started` and `on_exit` are called as a Child's are.
    """

    def __init__(
        self,
        family: Family,
        runs: Sequence[Run],
        stdio: Sequence[int],
        pid_file: str,
        *,
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self.pid = 0
        self.pidfd = -1
        self.notices: list[str] = []
        self._family = family
        self._runs = list(runs)
        self._pid_file = pid_file
        self._on_started = on_started
        self._on_exit = on_exit
        self._started = False
        self._wait_status: int | None = None
        self._command: Child | None = None
        self._next(stdio)

    @property
    def host_pid(self) -> int:
        """The process's number on this node; 0 once it has ended."""
        return children.host_pid(self.pidfd) if self.pidfd >= 0 else 0

    def kill(self, signo: int) -> None:
        """Send a signal unless the process has ended; one that is still being made is not made any further."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signo)
            except ProcessLookupError:
                pass
        elif self._command is not None and signo == signal.SIGKILL:
            self._command.kill(signo)

    def ended(self, wait_status: int) -> None:
        """The supervisor has waited for this process."""
        self._wait_status = wait_status
        os.close(self.pidfd)
        self.pidfd = -1
        if self._started:
            self._on_exit(wait_status)

    def _next(self, stdio: Sequence[int]) -> None:
        run = self._runs.pop(0)

        def ended(failure: str) -> None:
            self._command = None
            failure = failure or self._claim()
            if failure:
                self.kill(signal.SIGKILL)
                self._on_started({"reason": "RunContainerError", "message": failure})
            elif self._runs:
                self._next((0, 0, 0))
            else:
                self._started = True
                self._on_started(None)
                if self._wait_status is not None:
                    self._on_exit(self._wait_status)

        self._command = self._family.start(run, stdio, on_notice=self.notices.append, on_end=ended)

    def _claim(self) -> str:
        """After the first program: be told of the end of what it made; why not, if that can't be."""
        if self.pid or self._wait_status is not None:
            return ""
        try:
            with open(self._pid_file, "rb") as file:
                pid = int(file.read())
        except (OSError, ValueError) as error:
            return f"the number of the process is not known: {error}"
        self._wait_status = self._family.claim(pid, self)
        return ""
