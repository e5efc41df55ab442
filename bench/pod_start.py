"""How fast pods run, beside `podman kube play`: one at a time, and 50 at once; then how fast they go.

    sudo .venv/bin/python -m bench.pod_start [--pods 50] [--replicas 50]

Here a pod goes from its POST through the API server, the scheduler and the node agent to `Running`, with an address
of its own; there one command starts it, without a network. Both run the same image. The same container started by
the runtime alone (`bench.container_start`) is the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import DEPLOYMENTS, PODS
from bench import busybox, cluster
from bench.podman import Podman, podman

WAIT_SECONDS_MAX = 60
# Ends as soon as it is asked to, so that what is measured is the end of a pod and not its patience.
SCRIPT = "trap 'exit 0' TERM; sleep 100000 & wait"
CONTAINER = {"name": "main", "image": busybox.IMAGE, "command": ["/bin/sh", "-c", SCRIPT]}


def pod(name: str) -> Object:
    """A pod that starts at once and ends at once, and is gone only when nothing of it is left on its node."""
    spec = {"containers": [CONTAINER], "terminationGracePeriodSeconds": 10}
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

    def since(self, moment: float, what: str, prefix: str) -> str:
        """When after a moment each of these pods was seen so, summed up."""
        seen = [when for (name, kind), when in self.seen.items() if kind == what and name.startswith(prefix)]
        return cluster.summary([(when - moment) * 1000 for when in seen])

    async def count(self, what: str, number: int, prefix: str) -> None:
        """Wait until so many pods have been seen so."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while sum(1 for name, seen in self.seen if seen == what and name.startswith(prefix)) < number:
                self._news.clear()
                await self._news.wait()


async def one_by_one(client: Client, watching: Watching, pods: int) -> float:
    """Create, run and delete pods one after the other; the median of POST to Running in milliseconds."""
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
    return statistics.median(samples["running"])


async def all_at_once(client: Client, watching: Watching, replicas: int) -> tuple[float, float]:
    """Create a Deployment and wait until all of its pods run, then until they are gone; pods a second, of each."""
    began = time.monotonic()
    await client.create(DEPLOYMENTS, deployment("many", replicas))
    await watching.count("running", replicas, "many-")
    started = time.monotonic() - began
    print(f"Deployment of {replicas} replicas to all running: {started:.2f} s   (goal: at most 5 s)")
    print(f"  each from the POST of the Deployment: {watching.since(began, 'running', 'many-')}")
    began = time.monotonic()
    await client.delete(DEPLOYMENTS, "many", "default", propagation_policy="Background")
    await watching.count("gone", replicas, "many-")
    ended = time.monotonic() - began
    print(f"its deletion to all gone: {ended:.2f} s")
    print(f"  each from the DELETE of the Deployment: {watching.since(began, 'gone', 'many-')}")
    return replicas / started, replicas / ended


async def podman_one_by_one(peer: Podman, folder: Path, pods: int) -> float:
    """Play and remove pods one after the other; the median of a start in milliseconds."""
    starts, ends = [], []
    for number in range(pods):
        path = _pods_file(folder / f"single-{number}.json", [pod(f"single-{number}")])
        began = time.monotonic()
        await asyncio.to_thread(peer.run, "kube", "play", "--network", "none", str(path))
        running = time.monotonic()
        await asyncio.to_thread(peer.run, "kube", "down", str(path))
        starts.append((running - began) * 1000)
        ends.append((time.monotonic() - running) * 1000)
    print(f"podman kube play:          {cluster.summary(starts)}")
    print(f"podman kube down:          {cluster.summary(ends)}")
    return statistics.median(starts)


async def podman_all_at_once(peer: Podman, folder: Path, pods: int) -> tuple[float, float]:
    """One file of many pods, as a Deployment has many; pods a second that start, and that end."""
    path = _pods_file(folder / "many.yaml", [pod(f"many-{number}") for number in range(pods)])
    began = time.monotonic()
    await asyncio.to_thread(peer.run, "kube", "play", "--network", "none", str(path))
    running = time.monotonic()
    await asyncio.to_thread(peer.run, "kube", "down", str(path))
    ended = time.monotonic() - running
    print(f"podman kube play of {pods} pods: {running - began:.2f} s; kube down: {ended:.2f} s")
    return pods / (running - began), pods / ended


def _pods_file(path: Path, pods: list[Object]) -> Path:
    path.write_text("\n---\n".join(json.dumps({**entry, "metadata": _named(entry)}) for entry in pods))
    return path


def _named(entry: Object) -> Object:
    return {"name": entry["metadata"]["name"]}  # Podman has no namespaces


async def measure(data_dir: Path, args: argparse.Namespace) -> None:
    """All figures, ours on one cluster and then Podman's."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as scratch:
        folder = Path(scratch)
        context = busybox.build_context(busybox.root(folder))
        cluster.kctl(data_dir, "image", "build", "--tag", busybox.IMAGE, str(context))
        single, (started, ended) = await ours(data_dir, args)
        (folder / "peer").mkdir()
        with podman(folder / "peer") as peer:
            if peer is None:
                print("podman and runc are not installed (Debian: apt install podman runc)")
                return
            their_single = await podman_one_by_one(peer, folder, args.pods)
            their_started, their_ended = await podman_all_at_once(peer, folder, args.replicas)
        print(f"podman / ours, one pod: {their_single / single:.1f} x")
        print(f"pods a second: ours {started:.0f} at start and {ended:.0f} at delete,", end=" ")
        print(f"podman {their_started:.1f} and {their_ended:.1f}: {started / their_started:.1f} x", end=" ")
        print(f"and {ended / their_ended:.1f} x")


async def ours(data_dir: Path, args: argparse.Namespace) -> tuple[float, tuple[float, float]]:
    """Both figures of our own cluster."""
    async with await cluster.client_of(data_dir) as client:
        version = (await client.list(PODS, "default"))["metadata"]["resourceVersion"]
        watching = Watching(client)
        task = asyncio.create_task(watching.run(version))
        try:
            single = await one_by_one(client, watching, args.pods)
            return single, await all_at_once(client, watching, args.replicas)
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
