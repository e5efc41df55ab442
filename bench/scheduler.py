"""How fast waiting pods are bound, end to end through the API: SchedulingBasic of Kubernetes' scheduler benchmark.

    .venv/bin/python -m bench.scheduler [--nodes 1000] [--pods 2000] [--latencies 200]

Nodes and pods are made through the API while no scheduler runs. The clock starts when the scheduler's process does
(so its start and its first list count) and stops when the last pod is seen to be bound. Then pods are made one at a
time, and the time from each POST to the event of its binding is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from apiclient.rest import Client
from apimachinery.meta import Object, name
from apimachinery.resources import NODES, PODS, SERVICEACCOUNTS
from bench.cluster import summary
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running

# kube-scheduler 1.20 with etcd on this kind of machine, 5,000 nodes and 10,000 pods; and the floor that Kubernetes'
# own continuous integration holds SchedulingBasic to, on a large machine.
PEER_PODS_PER_SECOND = 168
FLOOR_PODS_PER_SECOND = 680
REQUESTS_AT_ONCE = 32
PODS_PER_NODE = 40
WAIT_SECONDS_MAX = 300.0
# No pod is admitted without it; the controllers, which make it otherwise, do not run here.
SERVICE_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "default", "namespace": "default"},
}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def node(number: int) -> Object:
    """A node of the benchmark: 4 cores, 32 GiB, 110 pods."""
    allocatable = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": f"node-{number}", "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    metadata = {"name": f"node-{number}", "labels": labels}
    status = {"capacity": allocatable, "allocatable": allocatable}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def pod(number: int) -> Object:
    """A pod of the benchmark: 100m of cpu, 500 MiB."""
    resources = {"requests": {"cpu": "100m", "memory": "500Mi"}}
    containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.10", "resources": resources}]
    metadata = {"name": f"pod-{number}", "namespace": "default", "labels": {"app": "bench"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


async def create_all(client: Client, resource: Any, objects: list[Object]) -> float:
    """Create objects, many at once; seconds that it took."""
    started = time.perf_counter()
    waiting = iter(objects)

    async def work() -> None:
        for obj in waiting:
            created = await client.create(resource, obj)
            if resource is NODES:
                # A new node is tainted as not ready until the controllers, which do not run here, see that it is.
                await client.update(NODES, {**created, "spec": {}})

    async with asyncio.TaskGroup() as group:
        for _ in range(REQUESTS_AT_ONCE):
            group.create_task(work())
    return time.perf_counter() - started


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def pss_mb(pid: int) -> float:
    """The proportional set size of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def start_scheduler(server: ApiServerProcess) -> subprocess.Popen[bytes]:
    """A scheduler process with its log beside the server's."""
    command = [sys.executable, "-m", "scheduler", "--kubeconfig", str(server.data_dir / "scheduler.kubeconfig")]
    with (server.data_dir.parent / "scheduler.log").open("ab") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)


class BoundPods:
    """Sees pods being bound, through a watch of its own that is told of nothing else."""

    def __init__(self) -> None:
        self.names: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def watch(self, client: Client, version: str) -> None:
        """Watch until cancelled."""
        async for kind, seen in client.watch(PODS, resource_version=version, field_selector="spec.nodeName!="):
            if kind != "BOOKMARK":
                self.names.setdefault(name(seen), time.perf_counter())
                self._changed.set()

    async def wait_for(self, count: int) -> None:
        """Until so many are bound. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while len(self.names) < count:
                self._changed.clear()
                await self._changed.wait()


async def run(nodes: int, pods: int, latencies: int, folder: Path) -> None:
    """Measure, and print."""
    with running(folder) as server:
        await server.wait_ready()
        async with await server.client() as client:
            await client.create(SERVICEACCOUNTS, SERVICE_ACCOUNT)
            took = await create_all(client, NODES, [node(number) for number in range(nodes)])
            print(f"{nodes} nodes made in {took:.1f} s")
            took = await create_all(client, PODS, [pod(number) for number in range(pods)])
            print(f"{pods} pods made in {took:.1f} s ({pods / took:.0f} pods/s)")
            version = (await client.list(PODS, limit=1))["metadata"]["resourceVersion"]
            bound = BoundPods()
            watch = asyncio.create_task(bound.watch(client, version))
            assert server.process is not None, "the server runs"
            server_cpu = cpu_seconds(server.process.pid)
            started = time.perf_counter()
            scheduler = start_scheduler(server)
            try:
                await bound.wait_for(pods)
                took = time.perf_counter() - started
                first = min(bound.names.values()) - started
                rate = pods / took
                print(f"{pods} pods on {nodes} nodes bound in {took:.2f} s: {rate:.0f} pods/s")
                print(f"  of which {first:.2f} s until the first; after it {pods / (took - first):.0f} pods/s")
                cpu = cpu_seconds(scheduler.pid), cpu_seconds(server.process.pid) - server_cpu
                print(f"  CPU: scheduler {cpu[0]:.2f} s, API server {cpu[1]:.2f} s")
                print(
                    f"  {rate / PEER_PODS_PER_SECOND:.1f} times kube-scheduler 1.20 on this kind of machine "
                    f"({PEER_PODS_PER_SECOND} pods/s at 5,000 nodes, 10,000 pods), "
                    f"{rate / FLOOR_PODS_PER_SECOND:.1f} times Kubernetes' own floor ({FLOOR_PODS_PER_SECOND})"
                )
                if latencies:
                    await measure_latencies(client, bound, pods, latencies)
                print(f"  scheduler: {pss_mb(scheduler.pid):.1f} MB PSS")
            finally:
                watch.cancel()
                scheduler.terminate()
                scheduler.wait(timeout=20)


async def measure_latencies(client: Client, bound: BoundPods, pods: int, count: int) -> None:
    """Pods one at a time: from before the POST to the event that it is bound."""
    milliseconds = []
    for number in range(pods, pods + count):
        started = time.perf_counter()
        await client.create(PODS, pod(number))
        await bound.wait_for(number + 1)
        milliseconds.append((bound.names[f"pod-{number}"] - started) * 1e3)
    print(f"one pod at a time, POST to bound: {summary(milliseconds)}")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--latencies", type=int, default=200, help="pods that are then made one at a time")
    options = parser.parse_args()
    if options.pods + options.latencies > PODS_PER_NODE * options.nodes:
        parser.error(f"a node has room for {PODS_PER_NODE} of these pods")
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as folder:
        uvloop.run(run(options.nodes, options.pods, options.latencies, Path(folder)))


if __name__ == "__main__":
    main()
