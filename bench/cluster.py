"""A real cluster for the benchmarks: `kctl up` in a folder of its own, and everything gone afterwards."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from apiclient.kubeconfig import load
from apiclient.rest import Client

COMMAND_SECONDS_MAX = 300


def kctl(data_dir: Path, command: str, *arguments: str) -> str:
    """Run `kctl COMMAND --data-dir …`; returns what it prints. Raises CalledProcessError."""
    argv = [sys.executable, "-m", "kctl", command, "--data-dir", str(data_dir), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
    if done.returncode != 0:
        print(done.stdout, done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


@contextmanager
def running(nodes: int, flags: Sequence[str] = ()) -> Iterator[Path]:
    """A cluster of so many nodes, ready; yields its data folder."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as folder:
        data_dir = Path(folder) / "cluster"
        try:
            kctl(data_dir, "up", "--nodes", str(nodes), "--no-kubeconfig", "--quiet", *flags)
            yield data_dir
        finally:
            kctl(data_dir, "down", "--purge", "--quiet")


async def client_of(data_dir: Path) -> Client:
    """A client with the administrator's credentials."""
    return await Client.connect(load(str(data_dir / "apiserver" / "admin.kubeconfig")))


def summary(milliseconds: Sequence[float]) -> str:
    """`p50 41.2 ms, p90 48.0 ms, p99 60.1 ms, max 61.0 ms (n=50)`."""
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    p50, p90, p99 = cuts[49], cuts[89], cuts[98]
    tail = f"max {max(milliseconds):.1f} ms (n={len(milliseconds)})"
    return f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms, {tail}"
