"""A real scheduler process for tests, beside a real API server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.apiserver import REPOSITORY, ApiServerProcess


class SchedulerProcess:
    """One `python -m scheduler`; may be killed and started again."""

    def __init__(self, server: ApiServerProcess, name: str = "scheduler", flags: Sequence[str] = ()) -> None:
        self.server = server
        self.log_path = server.data_dir.parent / f"{name}.log"
        self.flags = list(flags)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """The scheduler's own credentials."""
        return self.server.data_dir / "scheduler.kubeconfig"

    def start(self) -> None:
        """Start the process; the API server must be ready."""
        command = [sys.executable, "-m", "scheduler", "--kubeconfig", str(self.kubeconfig), *self.flags]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def send(self, signo: int) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(signo)

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """End the process and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signo)
            self.process.wait(timeout=60)
            self.process = None


@contextmanager
def scheduling(
    server: ApiServerProcess, name: str = "scheduler", flags: Sequence[str] = ()
) -> Iterator[SchedulerProcess]:
    """A scheduler that has been started and is killed in the end."""
    scheduler = SchedulerProcess(server, name, flags)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.kill()
