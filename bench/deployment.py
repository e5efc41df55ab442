"""How fast a Deployment gets its pods, is rolled over, and goes again: the controllers' own speed, end to end.

    .venv/bin/python -m bench.deployment [--replicas 1000] [--runs 5] [--pending]

First a real API server and a real manager alone, so that the pods stay Pending: the clock starts before the POST and
stops when the Deployment's status counts all pods; for the deletion (foreground: the Deployment goes last) it stops
when the Deployment is gone. Then a real scheduler and hollow nodes run too, on which bound pods are ready at once:
how long until all pods are bound, and until the status says that they are available; and a full rolling update by the
default limits (25 % more, 25 % fewer) from the PATCH until all pods are new and no other is counted. All processor
times are those of whole processes. `--pending`: the first part alone.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import DEPLOYMENTS, NODES, PODS, SERVICEACCOUNTS, Resource
from bench.cluster import summary
from bench.processes import cpu_seconds, pss_mb
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.manager import condition_status, managing
from tests.support.scheduler import scheduling

# kube-controller-manager 1.20 on this kind of machine, 1,000 replicas counted in the Deployment's status; nobody
# bound its pods meanwhile, and there is no figure of it for an update.
PEER_REPLICAS = 1000
PEER_MS = 1550
PEER_TOLD = "1.3 to 1.8 s to all counted, nobody binding"
PEER_IDLE = "108 MB RSS"
COUNTED = "POST to all counted"
PODS_PER_NODE, NODES_MIN = 100, 3
SECONDS_MAX = 300.0
RUNS_MIN = 2
IDLE_SECONDS = 2.0
# Who leads is not what is measured: a machine that is busy for a moment must not make another start.
PATIENT = (
    "--leader-elect-lease-duration=15s",
    "--leader-elect-renew-deadline=10s",
    "--leader-elect-retry-period=2s",
)


def deployment(replicas: int) -> Object:
    """The Deployment of the benchmark."""
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "bench"}}, "template": template("3.10")}
    metadata = {"name": "bench", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def template(version: str) -> Object:
    """Its pods, with one version of their image."""
    containers = [{"name": "pause", "image": f"registry.k8s.io/pause:{version}"}]
    return {"metadata": {"labels": {"app": "bench"}}, "spec": {"containers": containers}}


async def until(
    client: Client,
    resource: Resource,
    version: str,
    reached: Callable[[str, Object], bool],
    *,
    field_selector: str | None = None,
) -> None:
    """Watch a collection until an event is the one that is waited for."""
    scope = "default" if resource.namespaced else None
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            async for kind, obj in client.watch(
                resource, scope, resource_version=version, field_selector=field_selector
            ):
                version = obj["metadata"]["resourceVersion"]
                if kind != "BOOKMARK" and reached(kind, obj):
                    return


class Watched:
    """A Deployment from its POST on: counts its writes, and tells when its status has reached something."""

    def __init__(self, client: Client, replicas: int) -> None:
        self.writes = 0
        self._client = client
        self._replicas = replicas

    async def create(self) -> str:
        """POST it; returns the version to watch from."""
        made = await self._client.create(DEPLOYMENTS, deployment(self._replicas))
        version: str = made["metadata"]["resourceVersion"]
        return version

    async def change_image(self, version: str) -> str:
        """PATCH its template; returns the version to watch from."""
        patch = {"spec": {"template": template(version)}}
        changed = await self._client.patch(DEPLOYMENTS, "bench", patch, "default")
        current: str = changed["metadata"]["resourceVersion"]
        return current

    async def counts(self, version: str, *counts: str) -> None:
        """Until these counts are what is wanted, and none of an earlier template is left."""

        def reached(_: str, obj: Object) -> bool:
            self.writes += 1
            status = obj.get("status") or {}
            if status.get("observedGeneration") != obj["metadata"]["generation"]:
                return False
            return all(status.get(count, 0) == self._replicas for count in counts)

        await until(self._client, DEPLOYMENTS, version, reached)

    async def delete(self) -> None:
        """DELETE it, and all that it has before it."""
        page = await self._client.list(PODS, "default", limit=1)
        await self._client.delete(DEPLOYMENTS, "bench", "default", propagation_policy="Foreground")
        gone = page["metadata"]["resourceVersion"]
        await until(self._client, DEPLOYMENTS, gone, lambda kind, _: kind == "DELETED")


async def bound(client: Client, version: str, replicas: int) -> float:
    """The moment at which so many pods have been seen to be bound."""
    seen: set[str] = set()

    def reached(kind: str, pod: Object) -> bool:
        seen.add(pod["metadata"]["uid"])
        return len(seen) >= replicas

    await until(client, PODS, version, reached, field_selector="spec.nodeName!=")
    return time.perf_counter()


class Results:
    """Milliseconds by what took them, and processor time by who used it."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self.milliseconds: dict[str, list[float]] = {}
        self.writes: list[int] = []
        self.used: dict[str, dict[str, float]] = {}
        self._processes = processes

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Time something."""
        started = time.perf_counter()
        before = {who: cpu_seconds(pid) for who, pid in self._processes.items()}
        yield
        self.took(what, started)
        used = self.used.setdefault(what, dict.fromkeys(before, 0.0))
        for who, pid in self._processes.items():
            used[who] += cpu_seconds(pid) - before[who]

    def took(self, what: str, started: float, ended: float | None = None) -> None:
        """Note how long something took."""
        now = time.perf_counter() if ended is None else ended
        self.milliseconds.setdefault(what, []).append((now - started) * 1000)

    def print(self, replicas: int) -> None:
        """Each figure, beside the peer's where there is one."""
        for what, times in self.milliseconds.items():
            print(f"{replicas} replicas, {what}: {summary(times)}")
            if replicas == PEER_REPLICAS and "deletion" not in what:
                ratio = PEER_MS / statistics.median(times)
                told = f"; this is {ratio:.1f} times as fast" if what == COUNTED else ""
                print(f"    kube-controller-manager 1.20 with etcd: {PEER_TOLD}{told}")
            if what in self.used:
                used = self.used[what].items()
                told = ", ".join(f"{who} {seconds / len(times):.2f} s" for who, seconds in used)
                print(f"    processor time: {told}")
        print(f"writes of the Deployment on the way up: at most {max(self.writes)}")


async def pending_pods(client: Client, replicas: int, results: Results) -> None:
    """One run with nobody but the controllers."""
    watched = Watched(client, replicas)
    with results.timed(COUNTED):
        version = await watched.create()
        await watched.counts(version, "replicas")
    results.writes.append(watched.writes)
    pods = await client.list(PODS, "default")
    if len(pods["items"]) != replicas:
        raise SystemExit(f"the status counts {replicas} pods, but there are {len(pods['items'])}")
    with results.timed("foreground deletion"):
        await watched.delete()


async def running_pods(client: Client, replicas: int, results: Results) -> None:
    """One run with a scheduler and nodes."""
    watched = Watched(client, replicas)
    started = time.perf_counter()
    with results.timed("POST to all available, on hollow nodes"):
        version = await watched.create()
        seeing = asyncio.ensure_future(bound(client, version, replicas))
        await watched.counts(version, "replicas", "availableReplicas")
    results.took("POST to all bound", started, await seeing)
    with results.timed("full rolling update, on hollow nodes"):
        version = await watched.change_image("3.11")
        await watched.counts(version, "replicas", "updatedReplicas", "availableReplicas")
    with results.timed("foreground deletion, on hollow nodes"):
        await watched.delete()
    started = time.perf_counter()
    while (await client.list(PODS, "default", limit=1))["items"]:
        if time.perf_counter() - started > SECONDS_MAX:
            raise SystemExit("pods are left over")
        await asyncio.sleep(0.1)


@contextmanager
def hollow_nodes(server: ApiServerProcess, count: int) -> Iterator[int]:
    """A process of so many nodes that run nothing; yields its number."""
    command = [sys.executable, "-m", "kubelet.hollow", "--kubeconfig", str(server.kubeconfig), "--nodes", str(count)]
    with (server.data_dir.parent / "hollow.log").open("ab") as log:
        process = subprocess.Popen([*command, "--capacity=cpu=64,memory=256Gi,pods=250"], cwd=REPOSITORY, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


async def ready_nodes(client: Client, count: int) -> None:
    """Until so many nodes can be given pods."""
    ready: set[str] = set()

    def reached(_: str, node: Object) -> bool:
        usable = condition_status(node, "Ready") == "True" and not get_path(node, "spec", "taints")
        (ready.add if usable else ready.discard)(node["metadata"]["name"])
        return len(ready) == count

    await until(client, NODES, "0", reached)


async def run(replicas: int, runs: int, *, pending: bool) -> None:
    """Measure, and print the figures beside the peer's."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder, ExitStack() as stack:
        server = stack.enter_context(running(Path(folder)))
        await server.wait_ready()
        started = time.perf_counter()
        manager = stack.enter_context(managing(server, *PATIENT))
        async with await server.client() as client:
            page = await client.list(SERVICEACCOUNTS, "default")
            if not page["items"]:
                await until(client, SERVICEACCOUNTS, page["metadata"]["resourceVersion"], lambda *_: True)
            first_work = time.perf_counter() - started
            assert manager.process is not None and server.process is not None
            pid = manager.process.pid
            await asyncio.sleep(IDLE_SECONDS)
            idle = pss_mb(pid)
            processes = {"controllers": pid, "API server": server.process.pid}
            results = Results(processes)
            try:
                for _ in range(runs):
                    await pending_pods(client, replicas, results)
                if not pending:
                    scheduler = stack.enter_context(scheduling(server))
                    assert scheduler.process is not None
                    processes["scheduler"] = scheduler.process.pid
                    nodes = max(NODES_MIN, replicas // PODS_PER_NODE)
                    processes["nodes"] = stack.enter_context(hollow_nodes(server, nodes))
                    await ready_nodes(client, nodes)
                    for _ in range(runs):
                        await running_pods(client, replicas, results)
            except TimeoutError:
                raise SystemExit(
                    f"not done in {SECONDS_MAX:g} s; the manager says:\n{manager.log()[-4000:]}"
                ) from None
            after = pss_mb(pid)
    results.print(replicas)
    print(f"manager: first work done {first_work:.2f} s after its start")
    print(f"manager's PSS: {idle:.1f} MB idle, {after:.1f} MB after   (kube-controller-manager, idle: {PEER_IDLE})")


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pending", action="store_true", help="no scheduler and no nodes")
    args = parser.parse_args()
    if args.runs < RUNS_MIN:
        parser.error(f"a figure needs {RUNS_MIN} runs at least")
    uvloop.run(run(args.replicas, args.runs, pending=args.pending))


if __name__ == "__main__":
    main()
