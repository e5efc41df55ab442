"""How long a pod takes to start, beside `runc run` on the same root, and what an idle pod costs in memory.

    python bench/container_start.py [--runs N] [--pods N] [--dir DIR]

Needs root. The two take turns, so that both see the same machine; runc is left out where it is not installed.
runc has no pod sandbox: its figure is that of the container alone, in namespaces of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.containers import Node


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50, help="starts of each kind")
    parser.add_argument("--pods", type=int, default=20, help="idle pods for the memory figure")
    parser.add_argument("--dir", help="where to make the node's folder (default: the folder for temporary files)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-container-start-", dir=options.dir))
    node = Node(folder)
    await node.start()
    try:
        await starts(node, options.runs)
        await memory(node, options.pods)
    finally:
        await node.stop()
        shutil.rmtree(folder)


async def starts(node: Node, runs: int) -> None:
    """Start pods and runc containers in turn."""
    ours: dict[str, list[float]] = {"sandbox": [], "container to execve": [], "both": [], "both, to the end": []}
    theirs: list[float] = []
    for number in range(runs + 3):
        begin = time.perf_counter()
        pod = await node.pod()
        made = time.perf_counter()
        started = await node.run("/bin/true", "", process={"args": ["/bin/true"]}, pod=pod)
        running = time.perf_counter()
        await node.ended(started.id)
        ended = time.perf_counter()
        await node.runtime.remove_sandbox(pod.pod_uid)
        if number < 3:
            continue  # warming up
        ours["sandbox"].append(made - begin)
        ours["container to execve"].append(running - made)
        ours["both"].append(running - begin)
        ours["both, to the end"].append(ended - begin)
        if shutil.which("runc"):
            theirs.append(await asyncio.to_thread(runc, node, f"bench{number}"))
    print(f"{runs} starts of /bin/true on the node's own /usr, one after the other, in ms")
    for name, seconds in ours.items():
        line(name, seconds)
    if not theirs:
        print("runc is not installed (Debian: apt install runc)")
        return
    line("runc run, to the end", theirs)
    print(f"runc / ours: {statistics.median(theirs) / statistics.median(ours['both, to the end']):.1f} x at p50")


def runc(node: Node, name: str) -> float:
    """Run the same config on the same root by runc; seconds from start to end."""
    spec = node.spec("/bin/true", "", process={"args": ["/bin/true"]})
    config = spec.config
    config["root"] = {"path": str(node.image), "readonly": True}
    config["hostname"] = name
    config["linux"]["cgroupsPath"] = f"/{node.cgroup_root}/{name}"
    # The pod's own shared memory is something that only our runtime has.
    for mount in config["mounts"]:
        if mount["destination"] == "/dev/shm":
            mount.update(type="tmpfs", options=["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])
    bundle = node.folder / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config))
    command = ["runc", "--root", str(node.folder / "runc"), "run", "--bundle", str(bundle), name]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise SystemExit(f"runc: {done.stderr.strip()}")
    return seconds


async def memory(node: Node, count: int) -> None:
    """What supervisors weigh while their pods do nothing."""
    pods = [await node.pod() for _ in range(count)]
    for pod in pods:
        await node.run("exec sleep 1000", pod=pod)
    each = [pss_kib(pod.supervisor_pid) for pod in pods]
    zygote = next(pid for pid in processes() if comm(pid) == "kubelet-zygote" and node.cgroup_root in cgroup(pid))
    print(f"\n{count} idle pods with one container each: PSS in KiB, shared pages divided by who shares them")
    print(f"  supervisor: mean {statistics.mean(each):.0f}, max {max(each):.0f}; zygote: {pss_kib(zygote):.0f}")
    print(f"  all of it per pod: {(sum(each) + pss_kib(zygote)) / count:.0f}")


def processes() -> list[int]:
    """The process ids of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def comm(pid: int) -> str:
    """A process's name, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def cgroup(pid: int) -> str:
    """A process's cgroups, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def pss_kib(pid: int) -> float:
    """The proportional set size of a process."""
    for entry in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if entry.startswith("Pss:"):
            return float(entry.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")


def line(name: str, seconds: Sequence[float]) -> None:
    """Print p50 and p99."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"  {name:22} p50 {statistics.median(ordered) * 1000:6.1f}   p99 {p99 * 1000:6.1f}")


if __name__ == "__main__":
    asyncio.run(main())
