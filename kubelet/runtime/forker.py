"""The kubelet's side of the zygote: spawns it, has it fork supervisors, and spawns another when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet.runtime import syscalls as sc
from kubelet.runtime import wire

_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); from kubelet.runtime import zygote; zygote.main(sys.argv[1:])"
)
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
EXIT_SECONDS_MAX = 5.0


class Forker:
    """Keeps one zygote alive while it is open."""

    def __init__(self, lock_fd: int, log: Path, cgroup: Mapping[str, Any]) -> None:
        self._lock_fd = lock_fd
        self._log = log
        self._cgroup = cgroup
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Spawn the zygote."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        executable = open_readonly_copy(sys.executable)
        numbers = [str(theirs.fileno()), str(self._lock_fd)]
        # Supervisors outlive the kubelet, and so must not hold its standard error: what they have to say when
        # they fail goes to a file.
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGE_ROOT, *numbers],
                executable=f"/proc/self/fd/{executable}",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), executable, self._lock_fd),
                cwd="/",
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(executable)
            os.close(log)
        ours.setblocking(False)
        self._socket = ours
        wire.send(ours, {"op": "join", "cgroup": self._cgroup})

    def fork_supervisor(self, plan: Mapping[str, Any], directory: Path) -> socket.socket:
        """Have a supervisor forked; return the connection to it. OSError if that can't even be asked for."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        message = {"op": "sandbox", "plan": plan, "directory": str(directory)}
        try:
            self._send(message, [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """Let the zygote end; the supervisors that it forked live on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(EXIT_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait(EXIT_SECONDS_MAX)
            self._process = None

    def _send(self, message: Mapping[str, Any], fds: list[int]) -> None:
        """Send to the zygote, or to a new one if it has died."""
        for attempt in range(2):
            if self._socket is None:
                self.start()
            assert self._socket is not None
            try:
                wire.send(self._socket, dict(message), fds)
                return
            except (BrokenPipeError, ConnectionResetError):
                self.close()
                if attempt:
                    raise


def open_readonly_copy(path: str) -> int:
    """A descriptor of a program through a read-only mount of it that is in nobody's mount table.

    What runs by it can be reached as /proc/PID/exe from inside a container that an exec enters; a write
    through that path would change the node's own Python (CVE-2019-5736), and this mount refuses it.
    """
    tree = sc.open_tree(sc.AT_FDCWD, os.path.realpath(path), sc.OPEN_TREE_CLONE)
    try:
        sc.mount_setattr(tree, set_=sc.MOUNT_ATTR_RDONLY)
        return os.open(f"/proc/self/fd/{tree}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(tree)
