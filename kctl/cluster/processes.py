"""Starts and stops the parts of a cluster as processes of their own.

A part runs in a session of its own and outlives the command that started it. Its process id is remembered
with its start time, so that a recycled id is never taken for it or killed in its place.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from kctl.errors import CommandError

STOP_TIMEOUT_SECONDS = 10.0
LOG_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Part:
    """A running part: its name, process id, and the kernel's start time of that process (clock ticks)."""

    name: str
    pid: int
    start_time: int

    @property
    def running(self) -> bool:
        """True while this very process lives."""
        return _start_time(self.pid) == self.start_time


def spawn(data_dir: Path, name: str, command: list[str], *, netns: str | None = None) -> Part:
    """Start a part as `python -m …` unless it runs already, in a network namespace if one is named."""
    running = find(data_dir, name)
    if running is not None:
        return running
    for folder in ("run", "log"):
        (data_dir / folder).mkdir(exist_ok=True)
    argv = [sys.executable, "-m", *command]
    if netns is not None:
        argv = ["nsenter", f"--net=/run/netns/{netns}", "--", *argv]
    with log_path(data_dir, name).open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    part = Part(name, process.pid, _start_time(process.pid) or 0)
    path = data_dir / "run" / f"{name}.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": part.pid, "start_time": part.start_time}))
    temporary.replace(path)
    return part


def find(data_dir: Path, name: str) -> Part | None:
    """The part of this name if it runs."""
    try:
        document = json.loads((data_dir / "run" / f"{name}.json").read_text())
        part = Part(name, int(document["pid"]), int(document["start_time"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return part if part.running else None


def all_running(data_dir: Path) -> list[Part]:
    """Every part that runs."""
    names = sorted(path.stem for path in (data_dir / "run").glob("*.json"))
    return [part for name in names if (part := find(data_dir, name)) is not None]


def stop(data_dir: Path, *names: str, kill: bool = False) -> None:
    """End parts with SIGTERM (SIGKILL if told so, or after ten seconds) and wait until they are gone."""
    parts = [part for name in names if (part := find(data_dir, name)) is not None]
    handles = [(part, fd) for part in parts if (fd := _open_pidfd(part.pid)) is not None]
    try:
        for _, handle in handles:
            signal.pidfd_send_signal(handle, signal.SIGKILL if kill else signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for part, handle in handles:
            if not _wait_ended(handle, deadline - time.monotonic()):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not _wait_ended(handle, STOP_TIMEOUT_SECONDS):
                    raise CommandError(f"{part.name} (process {part.pid}) does not end even when killed")
    except ProcessLookupError:
        pass  # ended by itself between the look and the signal, which is what was wanted
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


def _start_time(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot (field 22 of proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _wait_ended(handle: int, timeout_seconds: float) -> bool:
    return bool(select.select([handle], [], [], max(0.0, timeout_seconds))[0])
