"""How long a lost node's pods are away: a node is cut off and killed, and its pods must run elsewhere.

    sudo .venv/bin/python -m bench.node_loss [--nodes 3] [--replicas 6]

Kubernetes' own defaults take 40 to 50 s to notice and 300 s to evict.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import DEPLOYMENTS, NODES, PODS
from bench import cluster
from bench.pod_start import deployment

WAIT_SECONDS_MAX = 90
KUBERNETES_SECONDS = 340


async def until(client: Client, replicas: int, lost: str, *, elsewhere: bool) -> list[Object]:
    """Wait, watching, until so many pods are ready (on other nodes than the lost one)."""
    listing = await client.list(PODS, "default")
    pods = {item["metadata"]["name"]: item for item in listing["items"]}
    version = listing["metadata"]["resourceVersion"]

    def ready() -> list[Object]:
        return [
            pod
            for pod in pods.values()
            if not pod["metadata"].get("deletionTimestamp")
            and (find_condition(pod, "Ready") or {}).get("status") == "True"
            and not (elsewhere and get_path(pod, "spec", "nodeName") == lost)
        ]

    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while len(ready()) < replicas:
            async for kind, item in client.watch(PODS, "default", resource_version=version):
                version = item["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    pods.pop(item["metadata"]["name"], None)
                elif kind != "BOOKMARK":
                    pods[item["metadata"]["name"]] = item
                if len(ready()) >= replicas:
                    break
    return ready()


async def until_node(client: Client, name: str, *, ready: bool) -> None:
    """Wait until the node is Ready, or is not."""
    listing = await client.list(NODES)
    version = listing["metadata"]["resourceVersion"]
    node = next(item for item in listing["items"] if item["metadata"]["name"] == name)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while ((find_condition(node, "Ready") or {}).get("status") == "True") != ready:
            async for kind, item in client.watch(NODES, resource_version=version):
                version = item["metadata"]["resourceVersion"]
                if kind != "BOOKMARK" and item["metadata"]["name"] == name:
                    node = item
                    break


async def measure(data_dir: Path, replicas: int) -> None:
    """Lose the node that runs most, and have it back."""
    async with await cluster.client_of(data_dir) as client:
        await client.create(DEPLOYMENTS, deployment("web", replicas))
        pods = await until(client, replicas, "", elsewhere=False)
        nodes = [get_path(pod, "spec", "nodeName") for pod in pods]
        lost = max(set(nodes), key=nodes.count)
        began = time.monotonic()
        cluster.kctl(data_dir, "node", "kill", lost)
        killed = time.monotonic() - began
        await until_node(client, lost, ready=False)
        noticed = time.monotonic() - began
        await until(client, replicas, lost, elsewhere=True)
        took = time.monotonic() - began
        print(f"{lost} with {nodes.count(lost)} of {replicas} pods was killed (in {killed:.2f} s)")
        print(f"noticed after {noticed:.2f} s")
        print(f"all pods run on other nodes after {took:.2f} s   (goal: at most 15 s)")
        print(f"Kubernetes' defaults: about {KUBERNETES_SECONDS} s, {KUBERNETES_SECONDS / took:.0f} times as long")
        began = time.monotonic()
        cluster.kctl(data_dir, "node", "start", lost)
        await until_node(client, lost, ready=True)
        print(f"{lost} is Ready again {time.monotonic() - began:.2f} s after its start")


def main() -> None:
    """Start a cluster, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=6)
    args = parser.parse_args()
    with cluster.running(args.nodes) as data_dir:
        asyncio.run(measure(data_dir, args.replicas))


if __name__ == "__main__":
    main()
