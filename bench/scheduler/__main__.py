"""How fast pods are bound: the workloads of Kubernetes' own scheduler benchmark, end to end through the API.

    .venv/bin/python -m bench.scheduler [WORKLOAD …] [--scale 1.0] [--waiting] [--nodes N --pods N] [--latencies 200]

Of every workload the measured pods are made while the scheduler places them, as in Kubernetes' benchmark: the clock
runs from the first POST until the last of them is seen to be bound, so that making them counts. (They are posted in
lists of 32, as our controllers post them.) With `--waiting` they are all there before, and it runs from the moment at
which the scheduler may begin; SchedulingBasic is measured both ways. With `--latencies` pods are made one at a time
in the end, and the time from each POST to the event of its binding is measured.

The floors are those of Kubernetes' continuous integration, on a large machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from apimachinery.resources import NODES, PODS, SERVICEACCOUNTS
from bench.cluster import summary
from bench.scheduler.bound import BoundPods
from bench.scheduler.run import ACCOUNT, Measured, create_all, measure, scheduler
from bench.scheduler.workloads import WORKLOADS, Workload, basic, node, pod, scaled
from tests.support.apiserver import running

# kube-scheduler 1.20 with etcd on this kind of machine: 5,000 nodes, 10,000 waiting pods.
PEER_PODS_PER_SECOND = 168
BASIC = WORKLOADS[0].name


def report(workload: Workload, measured: Measured, *, waiting: bool) -> str:
    """One line."""
    what = f"{workload.name}{' (waiting)' if waiting else ''}"
    cpu = [1e6 * seconds / measured.pods for seconds in (measured.apiserver_cpu, measured.scheduler_cpu)]
    line = (
        f"{what:<37} {workload.nodes:>6,} nodes {measured.pods:>6,} pods in {measured.seconds:6.2f} s: "
        f"{measured.rate:5.0f} pods/s, {measured.rate / workload.floor:4.1f} times the floor of {workload.floor:,}; "
        f"CPU a pod: API server {cpu[0]:4.0f} us, scheduler {cpu[1]:4.0f} us ({measured.pss:.0f} MB PSS)"
    )
    if waiting:
        line += f"; {measured.rate / PEER_PODS_PER_SECOND:.1f} times kube-scheduler 1.20 on this kind of machine"
    return line


async def measure_latencies(nodes: int, pods: int, folder: Path) -> str:
    """Pods one at a time: from before the POST to the event that it is bound."""
    milliseconds = []
    with running(folder) as server:
        await server.wait_ready()
        async with await server.client() as client:
            await client.create(SERVICEACCOUNTS, ACCOUNT)
            await create_all(client, nodes, node, "node")
            bound = BoundPods()
            version = (await client.list(NODES, limit=1))["metadata"]["resourceVersion"]
            watch = asyncio.create_task(bound.watch(client, version))
            with scheduler(server):
                for number in range(pods + 1):
                    started = time.perf_counter()
                    await client.create(PODS, pod(f"one-{number}"))
                    milliseconds.append((await bound.wait_for("one", number + 1) - started) * 1e3)
            watch.cancel()
    return f"one pod at a time, POST to bound: {summary(milliseconds[1:])}"  # the first one waits for the scheduler


async def run(workloads: list[Workload], latencies: int, *, waiting: bool) -> None:
    """Measure, and print."""
    for workload in workloads:
        for waits in [False, True] if workload.name == BASIC and not waiting else [waiting]:
            with temporary_folder() as folder:
                measured = await measure(workload, folder, waiting=waits)
            print(report(workload, measured, waiting=waits), flush=True)
    if latencies:
        with temporary_folder() as folder:
            print(await measure_latencies(workloads[0].nodes, latencies, folder))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder on a disk."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as folder:
        yield Path(folder)


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the nodes and pods (default 1.0)")
    parser.add_argument("--waiting", action="store_true", help="the pods are there before they are placed")
    parser.add_argument("--nodes", type=int, help=f"nodes of {BASIC}, which alone is run then")
    parser.add_argument("--pods", type=int, default=10_000, help=f"pods of {BASIC}, with --nodes")
    parser.add_argument("--latencies", type=int, default=0, help="pods that are made one at a time in the end")
    options = parser.parse_args()
    unknown = sorted(set(options.workloads) - set(names))
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [scaled(each, options.scale) for each in WORKLOADS if each.name in (options.workloads or names)]
    if options.nodes:
        chosen = [basic(options.nodes, min(1_000, options.nodes), options.pods, WORKLOADS[0].floor)]
    uvloop.run(run(chosen, options.latencies, waiting=options.waiting))


if __name__ == "__main__":
    main()
