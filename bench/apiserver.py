"""How fast the API server is, each figure beside that of Kubernetes 1.20's own (kube-apiserver with etcd).

    .venv/bin/python -m bench.apiserver [--pods 10000] [--watchers 100] [--updates 1000]

A real server process with TLS, bearer token, authorization and admission; the load comes from processes of its own
(`bench.load`, `bench.watchers`). The peer's figures were measured on the same kind of machine: 2 cores, quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from apimachinery.resources import NAMESPACES, SERVICEACCOUNTS
from bench.load import STAMP
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running

LOAD_SECONDS_MAX = 1000
PODS_PATH = "/api/v1/namespaces/bench/pods"
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "generateName": "web-5d4f8c7b9-",
        "namespace": "bench",
        "labels": {"app": "web", "tier": "backend", "pod-template-hash": "5d4f8c7b9"},
    },
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "registry.example/app:1.0",
                "command": ["/bin/app", "--serve"],
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "env": [{"name": "MODE", "value": "production"}, {"name": "LOG", "value": "info"}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "64Mi"},
                    "limits": {"cpu": "500m", "memory": "128Mi"},
                },
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "nodeSelector": {"disk": "ssd"},
    },
}


class Bench:
    """One server under load."""

    def __init__(self, server: ApiServerProcess, folder: Path) -> None:
        self.server = server
        self.token = (server.data_dir / "tokens.csv").read_text().partition(",")[0]
        self.body = folder / "pod.json"
        self.body.write_text(json.dumps(POD, separators=(",", ":")))

    def arguments(self, module: str, path: str) -> list[str]:
        """The beginning of a load process's command line."""
        port = str(self.server.port)
        return [sys.executable, "-m", module, "--port", port, "--token", self.token, "--path", path]

    def load(
        self, path: str, *, connections: int, requests: int, post: bool = False, patch: Path | None = None
    ) -> dict[str, Any]:
        """Run a load to its end: GETs, or POSTs of the pod, or patches."""
        command = self.arguments("bench.load", path)
        command += ["--connections", str(connections), "--requests", str(requests)]
        command += ["--body", str(self.body)] if post else []
        command += ["--body", str(patch), "--patch"] if patch is not None else []
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=LOAD_SECONDS_MAX, cwd=REPOSITORY
        )
        found: dict[str, Any] = json.loads(done.stdout)
        if found["failures"]:
            raise SystemExit(f"the server refused: {found['failures']}")
        return found

    def process(self, field: str) -> float:
        """`cpu` seconds used so far, or `rss` in MiB."""
        assert self.server.process is not None
        folder = Path(f"/proc/{self.server.process.pid}")
        if field == "cpu":
            threads = [path.read_text() for path in folder.glob("task/*/schedstat")]
            return sum(int(thread.split()[0]) for thread in threads) / 1e9
        pages = int(folder.joinpath("statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def say(what: str, figure: str, peer: str = "") -> None:
    """One line of the result."""
    print(f"{what:<38} {figure:<46} {peer}", flush=True)


async def prepare(server: ApiServerProcess) -> None:
    """The namespace and the service account that pods need."""
    await server.wait_ready()
    async with await server.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": "bench"}})
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "bench")


def writes(bench: Bench, pods: int) -> None:
    """POST with one client, then with many, up to the wanted number of pods."""
    bench.load(PODS_PATH, connections=1, requests=20, post=True)  # schemas are compiled at the first pod
    one = bench.load(PODS_PATH, connections=1, requests=1000, post=True)
    rate = one["requests"] / one["seconds"]
    say("POST pods, 1 client", f"{rate:.0f} /s, p50 {one['p50_ms']:.2f} ms", "540 /s, p50 1.6 ms")
    before = bench.process("cpu")
    many = bench.load(PODS_PATH, connections=64, requests=pods - 1020, post=True)
    cpu_ms = (bench.process("cpu") - before) * 1000 / many["requests"]
    figure = f"{many['requests'] / many['seconds']:.0f} /s, p50 {many['p50_ms']:.0f} ms, p99 {many['p99_ms']:.0f} ms"
    say("POST pods, 64 clients", figure, "1,226 /s, p50 48 ms, p99 144 ms")
    say("CPU a pod", f"{cpu_ms:.2f} ms", "1.5 ms")


async def any_pod(bench: Bench) -> str:
    """The name of the first pod."""
    async with await bench.server.client() as client:
        _, _, body = await client.request("GET", PODS_PATH, params={"limit": "1"})
    return str(json.loads(body)["items"][0]["metadata"]["name"])


async def reads(bench: Bench) -> None:
    """GET one, LIST many."""
    name = await any_pod(bench)
    before = bench.process("cpu")
    found = bench.load(f"{PODS_PATH}/{name}", connections=32, requests=20_000)
    cpu_ms = (bench.process("cpu") - before) * 1000 / found["requests"]
    figure = f"{found['requests'] / found['seconds']:.0f} /s, {cpu_ms:.2f} ms of CPU each"
    say("GET one pod, 32 clients", figure, "2,980 /s")
    for query, peer in (("limit=5000", "0.31 to 0.58 s"), ("resourceVersion=0", "0.36 to 0.56 s (9,900 pods)")):
        found = bench.load(f"{PODS_PATH}?{query}", connections=1, requests=10)
        megabytes = found["bytes"] / found["requests"] / 1e6
        rate = megabytes * 1000 / found["min_ms"]
        figure = (
            f"{found['min_ms'] / 1000:.3f} to {found['max_ms'] / 1000:.3f} s, {megabytes:.1f} MB, {rate:.0f} MB/s"
        )
        say(f"LIST ?{query}", figure, peer)


def fan_out(bench: Bench, folder: Path, watchers: int, updates: int) -> None:
    """Every watcher sees every update of a pod; the next is made when the last one is done."""
    patch = folder / "patch.json"
    patch.write_bytes(b'{"metadata":{"annotations":{"sent":"' + STAMP + b'"}}}')
    name = asyncio.run(any_pod(bench))
    command = [*bench.arguments("bench.watchers", PODS_PATH), "--watchers", str(watchers), "--events", str(updates)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()  # all are connected
        before = bench.process("cpu")
        bench.load(f"{PODS_PATH}/{name}", connections=1, requests=updates, patch=patch)
        found = json.loads(watching.stdout.readline())
    cpu_us = (bench.process("cpu") - before) * 1e6 / (watchers * updates)
    figure = f"{watchers * updates / found['seconds']:.0f} events/s, {cpu_us:.0f} µs of CPU each"
    say(f"watch, {watchers} watchers of {updates} updates", figure)
    say("  from sending to seeing", f"p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms")


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--updates", type=int, default=1000)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name, running(Path(name)) as server:
        asyncio.run(prepare(server))
        bench = Bench(server, Path(name))
        say("", "Wherry", "Kubernetes 1.20")
        say("memory, idle", f"{bench.process('rss'):.0f} MB", "290 MB + etcd 44 MB")
        writes(bench, found.pods)
        say(f"memory, {found.pods} pods", f"{bench.process('rss'):.0f} MB", "560 MB + etcd")
        asyncio.run(reads(bench))
        say(f"memory, {found.pods} pods listed", f"{bench.process('rss'):.0f} MB", "1,000 MB + etcd")
        fan_out(bench, Path(name), found.watchers, found.updates)


if __name__ == "__main__":
    main()
