"""The parts of a cluster as processes: asks the supervisor to start them, finds them, and ends them.

A part runs in a session of its own and outlives the command that had it started. Its process id is remembered with
its start time, so that a recycled id is never taken for it or killed in its place.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kctl.cluster.supervise import MESSAGE_BYTES_MAX, start_time
from kctl.errors import CommandError

SUPERVISOR = "supervisor"
STOP_TIMEOUT_SECONDS = 10.0
ANSWER_SECONDS_MAX = 30.0
LOG_TAIL_BYTES = 2000
PR_SET_CHILD_SUBREAPER = 36
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from kctl.cluster import supervise; "
    "supervise.main(sys.argv[2], int(sys.argv[3]))"
)
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Spec:
    """What a part is to run: a command line, in a network namespace if one is named."""

    name: str
    argv: list[str]
    netns: str | None = None

    @classmethod
    def module(cls, name: str, command: list[str], netns: str | None = None) -> Spec:
        """`python -m …`."""
        return cls(name, [sys.executable, "-m", *command], netns)


@dataclass(frozen=True, slots=True)
class Part:
    """A running part: its name, process id, and the kernel's start time of that process (clock ticks)."""

    name: str
    pid: int
    start_time: int

    @property
    def running(self) -> bool:
        """True while this very process lives."""
        return start_time(self.pid) == self.start_time


class Supervisor:
    """A conversation with the supervisor of one data folder."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def prepare(self, specs: Iterable[Spec]) -> None:
        """Have what these parts need imported already, while this conversation lasts."""
        self._ask({"op": "prepare", "parts": [asdict(spec) for spec in specs], "env": dict(os.environ)})

    def start(self, specs: Iterable[Spec]) -> None:
        """Have these parts run; what runs is left alone."""
        self._ask({"op": "start", "parts": [asdict(spec) for spec in specs], "env": dict(os.environ)})

    def release(self, names: Iterable[str]) -> None:
        """These parts are about to be ended on purpose: they must not be started again."""
        self._ask({"op": "release", "names": list(names)})

    def end(self) -> None:
        """Let it end; what still runs goes on without it."""
        self._ask({"op": "end"})

    def close(self) -> None:
        """End the conversation."""
        self._connection.close()

    def _ask(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send(json.dumps(message).encode())
            if self._connection.recv(MESSAGE_BYTES_MAX):
                return
        except OSError as error:
            raise CommandError(f"the supervisor does not answer: {error}") from error
        raise CommandError("the supervisor has ended in the middle of it; try again")


def supervisor(data_dir: Path) -> Supervisor:
    """A conversation with the supervisor, which is started if there is none."""
    for folder in ("run", "log"):
        (data_dir / folder).mkdir(exist_ok=True)
    connection = _connected(data_dir)
    if connection is None:
        _start_supervisor(data_dir)
        connection = _connected(data_dir)
    if connection is None:
        raise CommandError(f"the supervisor could not be started (see {log_path(data_dir, SUPERVISOR)})")
    return Supervisor(connection)


def _connected(data_dir: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(ANSWER_SECONDS_MAX)
    # Whole lists of parts go in one packet.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES_MAX)
    try:
        with _SocketPath(data_dir) as path:
            connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _start_supervisor(data_dir: Path) -> None:
    """Start it, listening already, so that nobody has to wait for it to be ready."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(listener), _SocketPath(data_dir) as path:
        Path(path).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen()
        descriptor = listener.fileno()
        with log_path(data_dir, SUPERVISOR).open("ab") as log:
            # Nothing but the standard library, and little of it: it starts in ten milliseconds.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGE_ROOT, str(data_dir), str(descriptor)],
                pass_fds=(descriptor,),
                preexec_fn=_become_subreaper,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
    _remember(data_dir, Part(SUPERVISOR, process.pid, start_time(process.pid) or 0))


def _become_subreaper() -> None:
    """Orphans among our descendants become our children (prctl(2)); this outlasts the execution of a program."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _SocketPath:
    """A path to the socket that is short enough for an address (108 bytes), wherever the folder is."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = os.open(data_dir / "run", os.O_PATH | os.O_DIRECTORY)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._folder}/supervisor.sock"

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


def _remember(data_dir: Path, part: Part) -> None:
    path = data_dir / "run" / f"{part.name}.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": part.pid, "start_time": part.start_time}))
    temporary.replace(path)


def find(data_dir: Path, name: str) -> Part | None:
    """The part of this name if it runs."""
    try:
        document = json.loads((data_dir / "run" / f"{name}.json").read_text())
        part = Part(name, int(document["pid"]), int(document["start_time"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return part if part.running else None


def stop(data_dir: Path, *names: str, kill: bool = False) -> None:
    """End parts for good with SIGTERM (SIGKILL if told so, or after ten seconds) and wait until they are gone."""
    connection = _connected(data_dir) if (data_dir / "run").exists() else None
    if connection is not None:
        with closing(Supervisor(connection)) as supervising:
            try:
                supervising.release(names)
            except CommandError:
                _end(data_dir, [SUPERVISOR], kill=True)  # it is stuck, and must not start them again when it is not
    _end(data_dir, names, kill=kill)


def stop_supervisor(data_dir: Path) -> None:
    """End the supervisor; what it has started and still runs goes on."""
    connection = _connected(data_dir) if (data_dir / "run").exists() else None
    if connection is not None:
        with closing(Supervisor(connection)) as supervising, suppress(CommandError):
            supervising.end()
    _end(data_dir, [SUPERVISOR], kill=False)
    (data_dir / "run" / "supervisor.sock").unlink(missing_ok=True)


def _end(data_dir: Path, names: Iterable[str], *, kill: bool) -> None:
    parts = [part for name in names if (part := find(data_dir, name)) is not None]
    handles = [(part, fd) for part in parts if (fd := _open_pidfd(part.pid)) is not None]
    try:
        for _, handle in handles:
            with suppress(ProcessLookupError):  # it ended by itself, which is what was wanted
                signal.pidfd_send_signal(handle, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for part, handle in handles:
            if not _wait_ended(handle, deadline - time.monotonic()):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not _wait_ended(handle, STOP_TIMEOUT_SECONDS):
                    raise CommandError(f"{part.name} (process {part.pid}) does not end even when killed")
    finally:
        for _, handle in handles:
            os.close(handle)
    for name in names:
        (data_dir / "run" / f"{name}.json").unlink(missing_ok=True)


def log_path(data_dir: Path, name: str) -> Path:
    """Where a part's log is."""
    return data_dir / "log" / f"{name}.log"


def last_words(data_dir: Path, name: str) -> str:
    """The end of a part's log, for the message that says that it died."""
    try:
        with log_path(data_dir, name).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _wait_ended(handle: int, timeout_seconds: float) -> bool:
    return bool(select.select([handle], [], [], max(0.0, timeout_seconds))[0])
