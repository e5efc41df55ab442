"""A large cluster that goes on as usual: how fast it answers meanwhile, and what it costs.

    .venv/bin/python -m bench.steady [--nodes 5000] [--pods 50000] [--seconds 60] [--profile FILE]

API server, controllers, scheduler and hollow nodes run as processes of their own; the pods come from Deployments.
Once all of them are ready, single pods, single nodes and short lists are read for a minute, while Leases and node
statuses are renewed and pods are deleted and replaced. A read counts from before the request is written until the
answer is decoded. With --profile the API server notes what it does in that minute (bench/sampled_apiserver.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, get_path, name
from apimachinery.resources import DEPLOYMENTS, NODES, PODS, SERVICEACCOUNTS
from bench.cluster import summary
from bench.processes import cpu_seconds, pss_mb
from bench.request_cost import SampledServer
from tests.support.apiserver import ApiServerProcess
from tests.support.hollow import hollow_kubeconfig, hollow_nodes_of
from tests.support.manager import managing, until
from tests.support.scheduler import scheduling

PODS_PER_DEPLOYMENT = 500
SECONDS_MAX = 1800.0
READERS = 4
READS_PER_SECOND = 100
CHURN_PER_SECOND = 5
GOAL_MS = 100.0
STACKS_SHOWN = 25
# Leases as Kubernetes' kubelets have them, which a cluster of this size can bear, and controllers that know it.
LEASES = "--node-lease-duration-seconds=40"
CONTROLLERS = (
    "--node-monitor-grace-period=50s",
    # As they are by default, and not as impatient as tests are.
    "--leader-elect-lease-duration=15s",
    "--leader-elect-renew-deadline=10s",
    "--leader-elect-retry-period=2s",
)


def deployment(number: int, replicas: int) -> Object:
    """One of the Deployments."""
    labels = {"app": f"app-{number}"}
    resources = {"requests": {"cpu": "100m", "memory": "100Mi"}}
    containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.10", "resources": resources}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {"name": f"app-{number}", "namespace": "default"},
        "spec": spec,
    }


async def until_nodes_ready(client: Client, count: int) -> None:
    """Until all nodes are ready and nothing keeps pods from them."""
    ready: set[str] = set()
    page = await client.list(NODES)
    version = page["metadata"]["resourceVersion"]
    for node in page["items"]:
        _note_node(ready, node)
    while len(ready) < count:
        async for kind, node in client.watch(NODES, resource_version=version):
            version = node["metadata"]["resourceVersion"]
            if kind != "BOOKMARK":
                _note_node(ready, node)
            if len(ready) >= count:
                return


def _note_node(ready: set[str], node: Object) -> None:
    is_ready = (find_condition(node, "Ready") or {}).get("status") == "True" and not node["spec"].get("taints")
    (ready.add if is_ready else ready.discard)(name(node))


async def until_pods_ready(client: Client, count: int, started: float) -> None:
    """Until the Deployments count so many ready pods; tells how far they are now and then."""
    told = 0
    ready: dict[str, int] = {}
    page = await client.list(DEPLOYMENTS, "default")
    version = page["metadata"]["resourceVersion"]
    while True:
        async for kind, obj in client.watch(DEPLOYMENTS, "default", resource_version=version):
            version = obj["metadata"]["resourceVersion"]
            if kind != "BOOKMARK":
                ready[name(obj)] = get_path(obj, "status", "readyReplicas", default=0)
            total = sum(ready.values())
            if total >= told + count // 5:
                told = total
                print(f"  {total} pods are ready after {time.perf_counter() - started:.1f} s", flush=True)
            if total >= count:
                return


class Reads:
    """What is read, and how long each read took (milliseconds)."""

    def __init__(self, client: Client, nodes: int, pods: list[str]) -> None:
        self._client = client
        self._nodes = nodes
        self._pods = pods
        self._rng = random.Random(1)
        self.milliseconds: dict[str, list[float]] = {}

    async def run(self, until_: float) -> None:
        """Read now this, now that, at an even pace."""
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._read(until_))

    async def _read(self, until_: float) -> None:
        what: tuple[tuple[str, Callable[[], Awaitable[Object]]], ...] = (
            ("GET a pod", self._pod),
            ("GET a node", lambda: self._client.get(NODES, f"hollow-{self._rng.randrange(self._nodes)}")),
            ("LIST 20 pods", lambda: self._client.list(PODS, "default", limit=20)),
            ("LIST 20 nodes", lambda: self._client.list(NODES, limit=20)),
        )
        while time.perf_counter() < until_:
            kind, read = what[self._rng.randrange(len(what))]
            began = time.perf_counter()
            await read()
            self.milliseconds.setdefault(kind, []).append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(READERS / READS_PER_SECOND * self._rng.uniform(0.5, 1.5))

    async def _pod(self) -> Object:
        return await self._client.get(PODS, self._rng.choice(self._pods), "default")


async def churn(client: Client, pods: list[str], seconds: float) -> None:
    """Delete some pods each second; their Deployments replace them."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for _ in range(CHURN_PER_SECOND):
            await client.delete(PODS, pods.pop(), "default")
        await asyncio.sleep(1)


async def run(options: argparse.Namespace, folder: Path) -> None:
    """Bring the cluster up, and measure."""
    nodes, pods = options.nodes, options.pods
    server = SampledServer(folder / "apiserver") if options.profile else ApiServerProcess(folder / "apiserver")
    server.data_dir.mkdir()
    server.start()
    with ExitStack() as stack:
        stack.callback(server.kill, signal.SIGTERM)
        await server.wait_ready()
        kubeconfig = await hollow_kubeconfig(server)
        begun = time.perf_counter()
        manager = stack.enter_context(managing(server, *CONTROLLERS))
        scheduler = stack.enter_context(scheduling(server))
        hollow = stack.enter_context(hollow_nodes_of(kubeconfig, nodes, LEASES))
        processes = {
            "API server": server.process,
            "controllers": manager.process,
            "scheduler": scheduler.process,
            "hollow nodes": hollow.process,
        }
        pids = {title: process.pid for title, process in processes.items() if process is not None}
        async with await server.client() as client:
            async with asyncio.timeout(SECONDS_MAX):
                await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
                await until_nodes_ready(client, nodes)
                print(f"{nodes} nodes ready after {time.perf_counter() - begun:.1f} s", flush=True)
                await place_pods(client, pods, pids)
            names = [name(pod) for pod in (await client.list(PODS, "default"))["items"]]
            await measure(client, options, server, names, pids)
        for title, log in (
            ("controllers", manager.log()),
            ("scheduler", scheduler.log()),
            ("hollow nodes", hollow.log()),
        ):
            if troubles := [line for line in log.splitlines() if " warn " in line or " error " in line]:
                print(f"{title} complained {len(troubles)} times, last: {troubles[-1]}")


async def place_pods(client: Client, count: int, pids: dict[str, int]) -> None:
    """Have so many pods made, placed and run; tells what that took."""
    before = {title: cpu_seconds(pid) for title, pid in pids.items()}
    started = time.perf_counter()
    sizes = [min(PODS_PER_DEPLOYMENT, count - done) for done in range(0, count, PODS_PER_DEPLOYMENT)]
    ready = asyncio.create_task(until_pods_ready(client, count, started))
    await asyncio.sleep(0)
    for number, size in enumerate(sizes):
        await client.create(DEPLOYMENTS, deployment(number, size))
    await ready
    took = time.perf_counter() - started
    print(f"{count} pods of {len(sizes)} Deployments ready in {took:.1f} s ({count / took:.0f} pods/s)")
    used = ", ".join(f"{title} {cpu_seconds(pid) - before[title]:.1f} s" for title, pid in pids.items())
    print(f"  CPU: {used}", flush=True)


async def measure(
    client: Client, options: argparse.Namespace, server: ApiServerProcess, pods: list[str], pids: dict[str, int]
) -> None:
    """Read for a while, and print how long that took and what all processes used."""
    rng = random.Random(2)
    rng.shuffle(pods)
    leaving = [pods.pop() for _ in range(min(len(pods) // 2, CHURN_PER_SECOND * (options.seconds + 2)))]
    await asyncio.sleep(5)
    before = {title: cpu_seconds(pid) for title, pid in pids.items()}
    if isinstance(server, SampledServer):
        server.toggle()
    own = time.process_time()
    began = time.perf_counter()
    reads = Reads(client, options.nodes, pods)
    async with asyncio.TaskGroup() as group:
        group.create_task(churn(client, leaving, options.seconds))
        group.create_task(reads.run(began + options.seconds))
    took = time.perf_counter() - began
    print(f"{took:.0f} s of steady running, {CHURN_PER_SECOND} pods replaced each second:")
    for kind, milliseconds in sorted(reads.milliseconds.items()):
        print(f"  {kind:<14} {summary(milliseconds)}")
    everything = [one for milliseconds in reads.milliseconds.values() for one in milliseconds]
    print(f"  {'all':<14} {summary(everything)}   (goal: p99 below {GOAL_MS:.0f} ms)")
    total = 0.0
    for title, pid in pids.items():
        used, memory = (cpu_seconds(pid) - before[title]) / took, pss_mb(pid)
        total += memory
        print(f"  {title:<14} {used * 100:5.1f} % of a core, {memory:7.1f} MB PSS")
    print(
        f"  {'together':<14} {'':>18} {total:7.1f} MB PSS   (this client: {(time.process_time() - own) / took:.1%})"
    )
    if isinstance(server, SampledServer):
        tell_profile(server.found(), options.profile)


def tell_profile(found: dict[str, Any], file: Path) -> None:
    """Keep what the API server was found doing, and print where most of it was."""
    file.write_text(json.dumps(found))
    inclusive: Counter[str] = Counter()
    for stack, count in found["stacks"]:
        inclusive.update({call: count for call in stack})
    total = max(1, sum(count for _, count in found["stacks"]))
    print(
        f"  API server: main thread {found['main_seconds']:.1f} s, others {found['others_seconds']:.1f} s; of it in"
    )
    for call, count in inclusive.most_common(STACKS_SHOWN):
        print(f"    {count / total:6.1%} {call}")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=50000)
    parser.add_argument("--seconds", type=int, default=60, help="how long is measured")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="where the API server's call stacks go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as folder:
        uvloop.run(run(options, Path(folder)))


if __name__ == "__main__":
    main()
