"""Podman with a store of its own, to measure ourselves against; nothing of it stays behind.

It is given the runtime `runc` and limits of open files and processes that need no CAP_SYS_RESOURCE, without which it
would not start a container on every machine that these benchmarks run on. Its pods get no network (ours do), since
its own would need a program that is not always there: that is to its advantage.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import busybox

_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
COMMAND_SECONDS_MAX = 300


class Podman:
    """The command line of one store; `environment` goes with every call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        config = folder / "containers.conf"
        config.write_text(_CONFIG)
        self.environment = {**os.environ, "CONTAINERS_CONF": str(config)}

    def command(self, *arguments: str) -> list[str]:
        """A command line."""
        store, run = str(self._folder / "store"), str(self._folder / "run")
        return ["podman", "--root", store, "--runroot", run, "--storage-driver", "overlay", *arguments]

    def run(self, *arguments: str) -> str:
        """Run a command to its end; returns what it prints. Raises SystemExit with what it complains about."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"podman {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def run_to_the_end(self, *argv: str) -> list[str]:
        """The command line of a container that goes when it has ended."""
        return self.command("run", "--rm", "--network", "none", busybox.IMAGE, *argv)

    def monitors(self) -> list[int]:
        """The process ids of the monitors (conmon) of all containers of this store."""
        listed = json.loads(self.run("ps", "--all", "--format", "json"))
        names = [self.run("inspect", "--format", "{{.ConmonPidFile}}", entry["Id"]).strip() for entry in listed]
        return [int(Path(name).read_text()) for name in names]


@contextmanager
def podman(folder: Path) -> Iterator[Podman | None]:
    """Podman with the shared image in its store; None where it is not installed."""
    if not (shutil.which("podman") and shutil.which("runc")):
        yield None
        return
    place = folder / "podman"
    place.mkdir()
    made = Podman(place)
    made.run("import", str(busybox.archive(place, busybox.root(place))), busybox.IMAGE)
    try:
        yield made
    finally:
        made.run("rm", "--all", "--force", "--time", "0")
        made.run("pod", "rm", "--all", "--force", "--time", "0")
        made.run("rmi", "--all", "--force")
        subprocess.run(["umount", str(place / "store" / "overlay")], check=False, capture_output=True)
