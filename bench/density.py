"""How many pods of one small container a node holds, and what each costs: time, memory, and the processor while idle.

    sudo .venv/bin/python -m bench.density [--pods 500] [--step 100]

Pods come as replicas of one Deployment, so many a step; it ends early at the first step that does not get to run.
Memory is the sum over all processes (PSS, pages divided by who shares them) that came with the pods, in the control
plane, the node agent, and what keeps and runs the pods; divided by the pods.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from apiclient.rest import Client
from apimachinery.meta import get_path
from apimachinery.resources import DEPLOYMENTS, PODS
from bench import busybox, cluster
from bench.memory import descendants
from bench.pod_start import deployment
from bench.processes import pss_mb

STEP_SECONDS_MAX = 120
IDLE_SECONDS = 10
NAME = "dense"


def processes(data_dir: Path) -> dict[str, list[int]]:
    """The processes of each part; those of pods, which outlive their node agent, stand apart from it."""
    found = {}
    for path in sorted((data_dir / "run").glob("*.json")):
        pid = json.loads(path.read_text())["pid"]
        found[path.stem] = [pid] if path.stem == "supervisor" else descendants(pid)
    for record in data_dir.glob("nodes/*/pods/*/sandbox.json"):
        pid = json.loads(record.read_text())["supervisor_pid"]
        found.setdefault("pods", []).extend(descendants(pid))
    own = set(found.get("pods", []))
    return {part: [pid for pid in pids if part == "pods" or pid not in own] for part, pids in found.items()}


def memory_mb(data_dir: Path) -> dict[str, float]:
    """The memory of each part."""
    return {part: sum(map(pss_mb, pids)) for part, pids in processes(data_dir).items()}


def processor_seconds(data_dir: Path) -> float:
    """What all parts and pods have used of the processors so far."""
    ticks = 0
    for pids in processes(data_dir).values():
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def count_reached(client: Client, count: int) -> bool:
    """Wait until so many pods run, none: until there is none; False when that takes too long."""
    listing = await client.list(PODS, "default")
    phases = {pod["metadata"]["name"]: get_path(pod, "status", "phase") for pod in listing["items"]}
    version = listing["metadata"]["resourceVersion"]
    try:
        async with asyncio.timeout(STEP_SECONDS_MAX):
            async for kind, pod in client.watch(PODS, "default", resource_version=version):
                if kind != "BOOKMARK":
                    phases[pod["metadata"]["name"]] = get_path(pod, "status", "phase") if kind != "DELETED" else ""
                if _reached(phases, count):
                    return True
    except TimeoutError:
        return _reached(phases, count)
    return False


def _reached(phases: Mapping[str, str], count: int) -> bool:
    if count == 0:
        return not any(phases.values())
    return sum(1 for phase in phases.values() if phase == "Running") >= count


async def measure(data_dir: Path, args: argparse.Namespace) -> None:
    """Fill the node step by step, then empty it."""
    before = memory_mb(data_dir)
    held = 0
    async with await cluster.client_of(data_dir) as client:
        await client.create(DEPLOYMENTS, deployment(NAME, 0))
        for wanted in range(args.step, args.pods + 1, args.step):
            began = time.monotonic()
            await client.patch(DEPLOYMENTS, NAME, {"spec": {"replicas": wanted}}, "default")
            if not await count_reached(client, wanted):
                print(f"{wanted} pods do not get to run within {STEP_SECONDS_MAX} s")
                break
            took = time.monotonic() - began
            after = memory_mb(data_dir)
            each = {part: (after[part] - before.get(part, 0.0)) * 1000 / wanted for part in after}
            print(
                f"{wanted} pods: the last {args.step} in {took:.2f} s ({took / args.step * 1000:.0f} ms each);",
                end=" ",
            )
            print(f"{sum(each.values()):.0f} kB a pod:", ", ".join(f"{part} {kb:.0f}" for part, kb in each.items()))
            held = wanted
        used, began = processor_seconds(data_dir), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        share = (processor_seconds(data_dir) - used) / (time.monotonic() - began)
        print(f"idle with {held} pods: {share * 100:.1f} % of one processor")
        began = time.monotonic()
        await client.delete(DEPLOYMENTS, NAME, "default", propagation_policy="Foreground")
        await count_reached(client, 0)
        took = time.monotonic() - began
        print(f"all {held} gone in {took:.2f} s ({took / max(held, 1) * 1000:.0f} ms each)")


def main() -> None:
    """Start a cluster of one node, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--step", type=int, default=100)
    args = parser.parse_args()
    flags = ("--kubelet-flag=--max-pods=1000", "--controllers-flag=--node-cidr-mask-size=20")
    with cluster.running(1, flags) as data_dir:
        context = busybox.build_context(busybox.root(data_dir.parent))
        cluster.kctl(data_dir, "image", "build", "--tag", busybox.IMAGE, str(context))
        asyncio.run(measure(data_dir, args))


if __name__ == "__main__":
    main()
