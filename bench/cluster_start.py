"""How long `kctl up` takes, from an empty folder and again after `kctl down`, and what of it is waited for.

    sudo .venv/bin/python -m bench.cluster_start [--runs 5] [--nodes 1 3]

The clock starts before kctl does, and every moment is the first at which the API showed it: the API server answers,
all nodes are registered, all nodes are Ready; and at last kctl has ended. Bytecode is cached, as after `pip install`,
and a first run that is not counted fills the cache. The processor time is that of kctl and all parts until the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from apiclient.kubeconfig import KubeconfigError, load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import LEASES, NODES, Resource
from apimachinery.time import parse_rfc3339
from bench import cluster
from bench.memory import descendants

START_SECONDS_MAX = 60.0
POLL_SECONDS = 0.005
CONNECT_SECONDS_MAX = 0.05
MOMENTS = ("API server ready", "nodes registered", "nodes ready", "kctl ended", "processor time")


def environment(cache: Path) -> dict[str, str]:
    """That of a user: with compiled modules, wherever this machine wants them."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache)}


def cpu_seconds(data_dir: Path) -> float:
    """What kctl, which has ended, and all parts, their children included, have used of the processors."""
    kctl = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = kctl.ru_utime + kctl.ru_stime
    pids = {
        pid for path in (data_dir / "run").glob("*.json") for pid in descendants(json.loads(path.read_text())["pid"])
    }
    for pid in pids:
        # User and system time of it and of its children that have ended (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        seconds += sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")
    return seconds


def is_ready(node: Object) -> bool:
    """Whether its Ready condition is true."""
    ready = find_condition(get_path(node, "status", "conditions", default=[]), "Ready")
    return ready is not None and ready["status"] == "True"


class Following:
    """Notes when the API server answers, when all nodes are there, and when all are ready and heard of."""

    def __init__(self, data_dir: Path, count: int) -> None:
        self.moments: dict[str, float] = {}
        self._data_dir = data_dir
        self._count = count
        self._began = time.time()
        self._ready: dict[str, bool] = {}
        # After a restart nodes look as ready as they were: what tells is that they renew their leases.
        self._alive: set[str] = set()

    async def run(self) -> None:
        """Watch until all nodes are ready."""
        async with await _connected(self._data_dir) as client:
            self.moments["API server ready"] = time.perf_counter()
            following = [asyncio.create_task(self._follow(client, what)) for what in (NODES, LEASES)]
            try:
                await asyncio.wait(following, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in following:
                    task.cancel()

    async def _follow(self, client: Client, what: Resource) -> None:
        version = "0"
        while "nodes ready" not in self.moments:
            async for kind, obj in client.watch(what, resource_version=version):
                version = obj["metadata"]["resourceVersion"]
                if kind in ("ADDED", "MODIFIED"):
                    self._note(obj)
                if "nodes ready" in self.moments:
                    return

    def _note(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if obj["kind"] == "Node":
            self._ready[name] = is_ready(obj)
        elif parse_rfc3339(get_path(obj, "spec", "renewTime") or "1970-01-01T00:00:00Z") > self._began:
            self._alive.add(name)
        if len(self._ready) == self._count:
            self.moments.setdefault("nodes registered", time.perf_counter())
            if all(ready and node in self._alive for node, ready in self._ready.items()):
                self.moments.setdefault("nodes ready", time.perf_counter())


async def _connected(data_dir: Path) -> Client:
    path = data_dir / "apiserver" / "admin.kubeconfig"
    while True:
        try:
            config = load(str(path))
            url = urlsplit(config.server)
            # Before a restart its address is nobody's on this machine, and who connects then waits for long.
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                _, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.close()
            client = await Client.connect(config)
            try:
                await client.request("GET", "/readyz")
            except ApiError:
                await client.close()
                raise
            return client
        except (ApiError, KubeconfigError, OSError):
            await asyncio.sleep(POLL_SECONDS)


async def start(data_dir: Path, nodes: int, cache: Path) -> dict[str, float]:
    """Run `kctl up`; the seconds until each moment."""
    argv = [sys.executable, "-m", "kctl", "up", "--data-dir", str(data_dir), "--nodes", str(nodes)]
    following = Following(data_dir, nodes)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *argv, "--no-kubeconfig", "--quiet", env=environment(cache), stdout=subprocess.DEVNULL
    )
    async with asyncio.timeout(START_SECONDS_MAX):
        watching = asyncio.create_task(following.run())
        status = await process.wait()
        following.moments["kctl ended"] = time.perf_counter()
        if status != 0:
            raise SystemExit(f"kctl up ended with status {status}")
        await watching
    found = {name: moment - began for name, moment in following.moments.items()}
    return {**found, "processor time": cpu_seconds(data_dir) - before.ru_utime - before.ru_stime}


def measure(nodes: int, runs: int, cache: Path) -> None:
    """Several starts from nothing, each followed by a stop and a restart; prints medians."""
    cold: list[dict[str, float]] = []
    warm: list[dict[str, float]] = []
    for number in range(runs + 1):
        with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as folder:
            data_dir = Path(folder) / "cluster"
            try:
                for times in (cold, warm):
                    found = asyncio.run(start(data_dir, nodes, cache))
                    if number:
                        times.append(found)
                    cluster.kctl(data_dir, "down", "--quiet")
            finally:
                cluster.kctl(data_dir, "down", "--purge", "--quiet")
    print(f"{nodes} node{'s' if nodes > 1 else ''}, median of {runs} (fastest to slowest), seconds")
    for name, times in (("from an empty folder", cold), ("after kctl down", warm)):
        print(f"  {name}")
        for moment in MOMENTS:
            seconds = [one[moment] for one in times]
            print(f"    {moment:<18} {statistics.median(seconds):5.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")


def main() -> None:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 3])
    options = parser.parse_args()
    cache = Path(tempfile.mkdtemp(prefix="wherry-bench-pycache-"))
    try:
        for nodes in options.nodes:
            measure(nodes, options.runs, cache)
    finally:
        shutil.rmtree(cache)


if __name__ == "__main__":
    main()
