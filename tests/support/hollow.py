"""Hollow nodes for tests, as a process of its own with the identity and role that `kctl up` gives it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apiserver import node_credentials
from kctl.cluster import hollow_nodes
from tests.support.apiserver import REPOSITORY, ApiServerProcess

END_SECONDS_MAX = 60


async def hollow_kubeconfig(server: ApiServerProcess) -> Path:
    """Who hollow nodes are to this server, which lets them be that from now on."""
    folder = server.data_dir.parent
    where = ["--data-dir", str(server.data_dir), "--server", server.url, "--out-dir", str(folder)]
    node_credentials.main([*where, "--hollow-nodes"])
    async with await server.client() as client:
        await hollow_nodes.grant(client)
    return folder / "hollow-nodes" / "kubeconfig"


class HollowProcess:
    """One `python -m kubelet.hollow`."""

    def __init__(self, kubeconfig: Path, count: int, *flags: str) -> None:
        self.log_path = kubeconfig.parent / "log"
        command = [sys.executable, "-m", "kubelet.hollow", "--kubeconfig", str(kubeconfig), "--nodes", str(count)]
        self.command = [*command, *flags]
        self.start()

    def start(self) -> None:
        """Start it, for the first time or once it has ended."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=REPOSITORY)

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def end(self) -> None:
        """End it and wait for its end."""
        self.process.terminate()
        self.process.wait(timeout=END_SECONDS_MAX)


@contextmanager
def hollow_nodes_of(kubeconfig: Path, count: int, *flags: str) -> Iterator[HollowProcess]:
    """So many hollow nodes, which end in the end."""
    process = HollowProcess(kubeconfig, count, *flags)
    try:
        yield process
    finally:
        process.end()
