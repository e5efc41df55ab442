"""How fast pods run: POST of a pod to `Running`, one at a time; and a Deployment of 50 replicas, all at once.

    sudo .venv/bin/python -m bench.pod_start [--pods 50] [--replicas 50]

The first figure is broken down by what the API shows: bound to a node, then running. The same container started
by the runtime alone (`bench.container_start`) is the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import DEPLOYMENTS, PODS
from bench import cluster

WAIT_SECONDS_MAX = 60
CONTAINER = {"name": "main", "image": "localhost/host", "command": ["sleep", "infinity"]}


def pod(name: str) -> Object:
    """A pod that starts at once and ends at once."""
    spec = {"containers": [CONTAINER], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def deployment(name: str, replicas: int) -> Object:
    """A Deployment of such pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name)["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


class Watching:
    """Notes the moment at which each pod is first seen bound, running and gone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: dict[tuple[str, str], float] = {}
        self._news = asyncio.Event()

    async def run(self, version: str) -> None:
        """Watch until cancelled."""
        async for kind, item in self._client.watch(PODS, "default", resource_version=version):
            if kind == "BOOKMARK":
                continue
            now, name = time.monotonic(), item["metadata"]["name"]
            if kind == "DELETED":
                self.seen.setdefault((name, "gone"), now)
            if get_path(item, "spec", "nodeName"):
                self.seen.setdefault((name, "bound"), now)
            if get_path(item, "status", "phase") == "Running":
                self.seen.setdefault((name, "running"), now)
            self._news.set()

    async def wait(self, name: str, what: str) -> float:
        """The moment at which it was seen."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while (name, what) not in self.seen:
                self._news.clear()
                await self._news.wait()
        return self.seen[name, what]

    async def count(self, what: str, number: int, prefix: str) -> None:
        """Wait until so many pods have been seen so."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while sum(1 for name, seen in self.seen if seen == what and name.startswith(prefix)) < number:
                self._news.clear()
                await self._news.wait()


async def one_by_one(client: Client, watching: Watching, pods: int) -> None:
    """Create, run and delete pods one after the other."""
    samples: dict[str, list[float]] = {"answered": [], "bound": [], "running": [], "gone": []}
    for number in range(pods + 3):
        name = f"single-{number}"
        began = time.monotonic()
        await client.create(PODS, pod(name))
        answered = time.monotonic()
        bound, running = await watching.wait(name, "bound"), await watching.wait(name, "running")
        asked = time.monotonic()
        await client.delete(PODS, name, "default")
        gone = await watching.wait(name, "gone")
        if number >= 3:  # the first ones warm every part up
            moments = {"answered": answered - began, "bound": bound - began, "running": running - began}
            for key, seconds in {**moments, "gone": gone - asked}.items():
                samples[key].append(seconds * 1000)
    print(f"POST of a pod to answered: {cluster.summary(samples['answered'])}")
    print(f"POST of a pod to bound:    {cluster.summary(samples['bound'])}")
    print(f"POST of a pod to Running:  {cluster.summary(samples['running'])}   (goal: p50 at most 60 ms)")
    print(f"DELETE of a pod to gone:   {cluster.summary(samples['gone'])}")


async def all_at_once(client: Client, watching: Watching, replicas: int) -> None:
    """Create a Deployment and wait until all of its pods run."""
    began = time.monotonic()
    await client.create(DEPLOYMENTS, deployment("many", replicas))
    await watching.count("running", replicas, "many-")
    took = time.monotonic() - began
    print(f"Deployment of {replicas} replicas to all running: {took:.2f} s   (goal: at most 5 s)")
    began = time.monotonic()
    await client.delete(DEPLOYMENTS, "many", "default", propagation_policy="Background")
    await watching.count("gone", replicas, "many-")
    print(f"its deletion to all gone: {time.monotonic() - began:.2f} s")


async def measure(data_dir: Any, args: argparse.Namespace) -> None:
    """Both figures on one cluster."""
    async with await cluster.client_of(data_dir) as client:
        version = (await client.list(PODS, "default"))["metadata"]["resourceVersion"]
        watching = Watching(client)
        task = asyncio.create_task(watching.run(version))
        try:
            await one_by_one(client, watching, args.pods)
            await all_at_once(client, watching, args.replicas)
        finally:
            task.cancel()


def main() -> None:
    """Start a cluster, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--replicas", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=1)
    args = parser.parse_args()
    with cluster.running(args.nodes) as data_dir:
        asyncio.run(measure(data_dir, args))


if __name__ == "__main__":
    main()
