"""How long a container takes to start and end, beside `runc run` and `podman run` on the same image; and what an
idle pod weighs.

    sudo .venv/bin/python -m bench.container_start [--runs 50] [--at-once 50] [--pods 20] [--dir DIR]

All take turns, so that they see the same machine; what is not installed is left out. runc has no pod, no log and no
image: its figure is that of the container alone, on an unpacked root. Podman's containers have no network.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from bench import busybox
from bench.podman import Podman, podman
from bench.processes import pss_mb
from kubelet.runtime import ContainerSpec
from tests.support.containers import Node

TRUE = ("/bin/true",)
Start = Callable[[int], Awaitable[None]]


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="starts of each kind, one after the other")
    parser.add_argument("--at-once", type=int, default=50, help="starts of each kind, all at once")
    parser.add_argument("--pods", type=int, default=20, help="idle pods for the memory figure")
    parser.add_argument("--dir", help="where to make the node's folder (default: the folder for temporary files)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-container-start-", dir=options.dir))
    node = Node(folder)
    await node.start()
    try:
        with podman(folder) as peer:
            bench = Bench(node, busybox.root(folder), peer)
            await bench.one_by_one(options.runs)
            await bench.all_at_once(options.at_once)
            await bench.memory(options.pods)
    finally:
        await node.stop()
        shutil.rmtree(folder)


class Bench:
    """The same container, by each runtime."""

    def __init__(self, node: Node, root: Path, peer: Podman | None) -> None:
        self._node = node
        self._root = root
        self._podman = peer
        self._steps: dict[str, list[float]] = {}

    @property
    def runtimes(self) -> Mapping[str, Start]:
        """Each runtime's way to run a container to its end."""
        found: dict[str, Start] = {"ours": self._ours}
        if shutil.which("runc"):
            found["runc run"] = self._runc
        if self._podman is not None:
            found["podman run"] = self._podman_run
        return found

    async def one_by_one(self, runs: int) -> None:
        """Run containers in turn, one at a time."""
        took: dict[str, list[float]] = {name: [] for name in self.runtimes}
        for number in range(-3, runs):  # the first ones warm everything up
            if number == 0:
                self._steps.clear()
            for name, start in self.runtimes.items():
                began = time.perf_counter()
                await start(number)
                if number >= 0:
                    took[name].append(time.perf_counter() - began)
        print(f"{runs} times /bin/true on the same busybox, one after the other, from start to end, in ms")
        _table(took)
        for name, seconds in self._steps.items():
            _line(f"  ours: {name}", seconds)

    async def all_at_once(self, count: int) -> None:
        """Run containers all at the same time."""
        print(f"\n{count} of them at once, in ms; and how many a second")
        took: dict[str, list[float]] = {}
        for name, start in self.runtimes.items():

            async def timed(number: int, start: Start = start, name: str = name) -> None:
                began = time.perf_counter()
                await start(number)
                took.setdefault(name, []).append(time.perf_counter() - began)

            began = time.perf_counter()
            await asyncio.gather(*(timed(number) for number in range(count)))
            print(f"  {name:28} {count / (time.perf_counter() - began):6.0f} /s")
        _table(took)

    async def memory(self, count: int) -> None:
        """What keeps idle pods: supervisors here, monitors there."""
        print(f"\n{count} idle pods: PSS of what keeps them, in KiB a pod (pages are divided by who shares them)")
        pods = [await self._node.pod() for _ in range(count)]
        for pod in pods:
            await self._node.runtime.start_container(pod.pod_uid, self._spec("/bin/sleep", "1000"))
        each = [1000 * pss_mb(pod.supervisor_pid) / 1.024 for pod in pods]
        print(f"  supervisor: mean {statistics.mean(each):.0f}, max {max(each):.0f}")
        if self._podman is None:
            return
        kube = "\n---\n".join(_pod_yaml(number) for number in range(count))
        path = self._node.folder / "pods.yaml"
        path.write_text(kube)
        self._podman.run("kube", "play", "--network", "none", str(path))
        monitors = self._podman.monitors()
        total = sum(1000 * pss_mb(pid) / 1.024 for pid in monitors)
        print(f"  podman's conmon, {len(monitors) // count} a pod: {total / count:.0f}")
        print(f"  podman / ours: {total / sum(each):.2f} x")
        self._podman.run("kube", "down", str(path))

    async def _ours(self, number: int) -> None:
        began = time.perf_counter()
        pod = await self._node.pod()
        made = time.perf_counter()
        started = await self._node.runtime.start_container(pod.pod_uid, self._spec(*TRUE))
        running = time.perf_counter()
        await self._node.ended(started.id)
        steps = {"sandbox": made - began, "container to execve": running - made, "both": running - began}
        for name, seconds in steps.items():
            self._steps.setdefault(name, []).append(seconds)
        await self._node.runtime.remove_sandbox(pod.pod_uid)

    def _spec(self, *argv: str) -> ContainerSpec:
        spec = self._node.spec("", "", process={"args": list(argv)}, lower_dirs=[str(self._root)])
        # The host's programs are not part of this image.
        spec.config["mounts"] = [entry for entry in spec.config["mounts"] if entry["type"] != "bind"]
        return spec

    async def _runc(self, number: int) -> None:
        name = f"bench{number}"
        config = self._spec(*TRUE).config
        config["root"] = {"path": str(self._root), "readonly": True}
        config["hostname"] = name
        config["linux"]["cgroupsPath"] = f"/{self._node.cgroup_root}/{name}"
        bundle = self._node.folder / f"bundle{number}"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(config))
        await _run(["runc", "--root", str(self._node.folder / "runc"), "run", "--bundle", str(bundle), name])

    async def _podman_run(self, _number: int) -> None:
        assert self._podman is not None
        await _run(self._podman.run_to_the_end(*TRUE), self._podman.environment)


async def _run(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{command[0]}: {complaint.decode().strip()}")


def _pod_yaml(number: int) -> str:
    container = {"name": "main", "image": busybox.IMAGE, "command": ["/bin/sleep", "1000"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"idle-{number}"}}
    return json.dumps({**pod, "spec": {"containers": [container]}})  # JSON is YAML


def _table(took: Mapping[str, Sequence[float]]) -> None:
    ours = statistics.median(took["ours"])
    for name, seconds in took.items():
        ratio = "" if name == "ours" else f"   {statistics.median(seconds) / ours:5.1f} x ours"
        _line(name, seconds, ratio)


def _line(name: str, seconds: Sequence[float], more: str = "") -> None:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"  {name:28} p50 {statistics.median(ordered) * 1000:7.1f}   p99 {p99 * 1000:7.1f}{more}")


if __name__ == "__main__":
    asyncio.run(main())
