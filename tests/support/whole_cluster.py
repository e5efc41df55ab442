"""A whole cluster for tests, as a user gets it: `kctl up` in a folder of its own, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND_SECONDS_MAX = 180


class WholeCluster:
    """The cluster in one data folder, and the command line to it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.kubeconfig = data_dir / "apiserver" / "admin.kubeconfig"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run any client with this cluster's kubeconfig."""
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
            env=self.environment,
        )

    def try_kctl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kctl, whatever comes of it."""
        return self.run(sys.executable, "-m", "kctl", *arguments, stdin=stdin)

    def kctl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kctl; it must succeed. Returns what it prints."""
        done = self.try_kctl(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kctl {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def machine(self, command: str, *arguments: str) -> str:
        """Run a kctl command that looks after this machine's cluster (up, down, node, image)."""
        return self.kctl(command, "--data-dir", str(self.data_dir), *arguments)

    def get(self, *what: str) -> Any:
        """An object (or the items of a list) as JSON."""
        found = json.loads(self.kctl("get", *what, "-o", "json"))
        return found["items"] if found["kind"] == "List" else found

    def wait(self, what: str, goal: str, *more: str, timeout: str = "120s") -> None:
        """`kctl wait`."""
        self.kctl("wait", what, "--for", goal, "--timeout", timeout, *more)

    def apply(self, text: str) -> str:
        """Apply YAML text."""
        return self.kctl("apply", "-f", "-", stdin=text)

    def eventually(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that no command waits for."""
        deadline = time.monotonic() + COMMAND_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, f"it never came to hold\n{self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        """The ends of all parts' logs, for the message of a test that failed."""
        parts = sorted((self.data_dir / "log").glob("*.log"))
        return "\n".join(f"== {part.name}\n{part.read_text(errors='replace')[-1500:]}" for part in parts)


@contextmanager
def whole_cluster(nodes: int, *flags: str) -> Iterator[WholeCluster]:
    """A cluster of so many nodes, all Ready."""
    with tempfile.TemporaryDirectory(prefix="wherry-test-", dir="/var/tmp") as folder:
        cluster = WholeCluster(Path(folder) / "cluster")
        try:
            cluster.machine("up", "--nodes", str(nodes), "--no-kubeconfig", "--quiet", *flags)
            yield cluster
        finally:
            cluster.machine("down", "--purge", "--quiet")
