"""How fast a Deployment gets its pods, and how fast they go again: the controllers' own speed, end to end.

    .venv/bin/python -m bench.deployment [--replicas 1000] [--runs 5]

A real API server and a real manager; no scheduler and no node agent run, so the pods stay Pending. The clock starts
before the POST and stops when the Deployment's status counts all pods; for the deletion (foreground: the Deployment
goes last) it stops when the Deployment is gone. The manager's processor time and memory are its whole process'.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import DEPLOYMENTS, PODS, SERVICEACCOUNTS, Resource
from bench.cluster import summary
from bench.processes import cpu_seconds, pss_mb
from tests.support.apiserver import running
from tests.support.manager import managing

# kube-controller-manager 1.20 on this kind of machine, 1,000 replicas counted in the Deployment's status.
PEER_REPLICAS = 1000
PEER_MS = 1550
PEER_TOLD = "1.3 to 1.8 s"
PEER_IDLE = "108 MB RSS"
SECONDS_MAX = 120.0
IDLE_SECONDS = 2.0


def deployment(replicas: int) -> Object:
    """The Deployment of the benchmark."""
    containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}]
    template = {"metadata": {"labels": {"app": "bench"}}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "bench"}}, "template": template}
    metadata = {"name": "bench", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def until(client: Client, resource: Resource, version: str, reached: Callable[[str, Object], bool]) -> None:
    """Watch a collection until an event is the one that is waited for."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            async for kind, obj in client.watch(resource, "default", resource_version=version):
                version = obj["metadata"]["resourceVersion"]
                if kind != "BOOKMARK" and reached(kind, obj):
                    return


async def measure(client: Client, replicas: int) -> tuple[float, float, int]:
    """(milliseconds to all pods counted, and to all gone; writes of the Deployment on the way up)."""
    writes = 0

    def counted(kind: str, obj: Object) -> bool:
        nonlocal writes
        writes += 1
        return bool(get_path(obj, "status", "replicas", default=0) == replicas)

    started = time.perf_counter()
    made = await client.create(DEPLOYMENTS, deployment(replicas))
    await until(client, DEPLOYMENTS, made["metadata"]["resourceVersion"], counted)
    up = (time.perf_counter() - started) * 1000
    pods = await client.list(PODS, "default")
    if len(pods["items"]) != replicas:
        raise SystemExit(f"the status counts {replicas} pods, but there are {len(pods['items'])}")
    started = time.perf_counter()
    await client.delete(DEPLOYMENTS, "bench", "default", propagation_policy="Foreground")
    await until(client, DEPLOYMENTS, pods["metadata"]["resourceVersion"], lambda kind, obj: kind == "DELETED")
    return up, (time.perf_counter() - started) * 1000, writes


async def run(replicas: int, runs: int) -> None:
    """Measure, and print the figures beside the peer's."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder, running(Path(folder)) as server:
        await server.wait_ready()
        started = time.perf_counter()
        with managing(server) as manager:
            async with await server.client() as client:
                page = await client.list(SERVICEACCOUNTS, "default")
                if not page["items"]:
                    await until(client, SERVICEACCOUNTS, page["metadata"]["resourceVersion"], lambda *_: True)
                ready = time.perf_counter() - started
                assert manager.process is not None
                pid = manager.process.pid
                await asyncio.sleep(IDLE_SECONDS)
                idle = pss_mb(pid)
                before = cpu_seconds(pid)
                try:
                    results = [await measure(client, replicas) for _ in range(runs)]
                except TimeoutError:
                    raise SystemExit(
                        f"not done in {SECONDS_MAX:g} s; the manager says:\n{manager.log()[-4000:]}"
                    ) from None
                used = (cpu_seconds(pid) - before) / runs / replicas * 1000
                after = pss_mb(pid)
    ups, downs, writes = ([result[part] for result in results] for part in range(3))
    print(f"{replicas} replicas, POST to all counted: {summary(ups)}")
    if replicas == PEER_REPLICAS:
        ratio = PEER_MS / statistics.median(ups)
        print(f"    kube-controller-manager 1.20 with etcd: {PEER_TOLD}; this is {ratio:.1f} times as fast")
    print(f"{replicas} replicas, foreground deletion: {summary(downs)}")
    print(f"writes of the Deployment on the way up: at most {max(writes)}")
    print(
        f"manager: first work done {ready:.2f} s after its start; {used:.2f} ms of processor a pod made and removed"
    )
    print(f"manager's PSS: {idle:.1f} MB idle, {after:.1f} MB after   (kube-controller-manager, idle: {PEER_IDLE})")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    uvloop.run(run(args.replicas, args.runs))


if __name__ == "__main__":
    main()
