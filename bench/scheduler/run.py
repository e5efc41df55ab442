"""Runs one workload: a server, a scheduler that waits for the lead, the steps, and what the measured pods take."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, namespace
from apimachinery.resources import LEASES, NODES, PODS, PRIORITYCLASSES, SERVICEACCOUNTS, SERVICES, Resource
from apimachinery.time import rfc3339_micro
from bench.processes import cpu_seconds, pss_mb
from bench.scheduler.bound import BoundPods
from bench.scheduler.workloads import HIGH, Churn, Delete, Nodes, Pods, Template, Workload
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running

REQUESTS_AT_ONCE = 8
TOGETHER = 32
# No pod is admitted without its account, and none has a priority without a class: controllers do not run here.
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": HIGH},
    "value": 10,
}
KINDS: dict[str, Resource] = {"Node": NODES, "Pod": PODS, "Service": SERVICES}
LEASE_NAMESPACE, LEASE = "kube-system", "kube-scheduler"
LEASE_FLAGS = ("--leader-elect-retry-period=0.05s",)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the measured pods took: seconds, and processor time of both processes; `pss` of the scheduler in MB."""

    pods: int
    seconds: float
    apiserver_cpu: float
    scheduler_cpu: float
    pss: float

    @property
    def rate(self) -> float:
        """Pods per second."""
        return self.pods / self.seconds


async def measure(workload: Workload, folder: Path, *, waiting: bool) -> Measured:
    """Run a workload. `waiting`: the measured pods are there before the scheduler begins to place any of them."""
    with running(folder) as server:
        await server.wait_ready()
        async with await server.client() as client:
            await client.create(SERVICEACCOUNTS, ACCOUNT)
            await client.create(PRIORITYCLASSES, PRIORITY)
            with scheduler(server) as process:
                return await _Run(client, server, process).run(workload, waiting=waiting)


@contextmanager
def scheduler(server: ApiServerProcess) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler process with its log beside the server's."""
    command = [sys.executable, "-m", "scheduler", "--kubeconfig", str(server.data_dir / "scheduler.kubeconfig")]
    with (server.data_dir.parent / "scheduler.log").open("ab") as log:
        process = subprocess.Popen([*command, *LEASE_FLAGS], cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


async def hold_lead(client: Client) -> Object:
    """Take the lead that the scheduler waits for; it gets it when this is given back."""
    spec = {"holderIdentity": "bench", "leaseDurationSeconds": 3600, "leaseTransitions": 0}
    now = rfc3339_micro(time.time())
    spec |= {"acquireTime": now, "renewTime": now}
    metadata = {"name": LEASE, "namespace": LEASE_NAMESPACE}
    return await client.create(
        LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    )


async def create_all(client: Client, count: int, template: Template, group: str) -> None:
    """Make objects `GROUP-NUMBER`, many at once; pods in lists, as controllers make them."""
    objects = (template(f"{group}-{number}") for number in range(count))
    parts = iter(lambda: list(itertools.islice(objects, TOGETHER)), [])

    async def work() -> None:
        for part in parts:
            if part[0]["kind"] == "Pod":
                for answer in await client.create_each(PODS, part, namespace(part[0])):
                    if isinstance(answer, ApiError):
                        raise answer
            else:
                for obj in part:
                    await create(client, obj)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(REQUESTS_AT_ONCE):
            tasks.create_task(work())


async def create(client: Client, obj: Object) -> None:
    """Make one object; a node is ready at once, without controllers that would see to it."""
    created = await client.create(KINDS[obj["kind"]], obj)
    if obj["kind"] == "Node":
        await client.update(NODES, {**created, "spec": {}})


async def delete(client: Client, obj: Object) -> None:
    """Delete one object, be it that it is gone."""
    with contextlib.suppress(ApiError):
        scope = namespace(obj) if obj["kind"] != "Node" else None
        await client.delete(KINDS[obj["kind"]], obj["metadata"]["name"], scope)


class _Run:
    def __init__(self, client: Client, server: ApiServerProcess, process: subprocess.Popen[bytes]) -> None:
        assert server.process is not None, "the server runs"
        self._client = client
        self._pids = server.process.pid, process.pid
        self._bound = BoundPods()

    async def run(self, workload: Workload, *, waiting: bool) -> Measured:
        lease = await hold_lead(self._client)
        if not waiting:
            await self._give_lead(lease)
        version = (await self._client.list(PODS, limit=1))["metadata"]["resourceVersion"]
        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(self._bound.watch(self._client, version))]
            for step in workload.steps:
                match step:
                    case Nodes():
                        await create_all(self._client, step.count, step.template, "node")
                    case Pods():
                        await self._make(step, settle=step.settle and not waiting)
                    case Churn():
                        tasks.append(background.create_task(self._churn(step)))
                    case Delete():
                        tasks.append(background.create_task(self._delete(step)))
            wanted = workload.measured
            if waiting:
                await self._make(wanted, settle=False)
            cpu, started = self._cpu(), time.perf_counter()
            if waiting:
                await self._give_lead(lease)
            else:
                await self._make(wanted, settle=False)
            seconds = await self._bound.wait_for(wanted.group, wanted.count) - started
            apiserver, placing = (now - before for now, before in zip(self._cpu(), cpu, strict=True))
            for task in tasks:
                task.cancel()
        return Measured(wanted.count, seconds, apiserver, placing, pss_mb(self._pids[1]))

    async def _give_lead(self, lease: Object) -> None:
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        await self._client.update(LEASES, {**lease, "spec": spec})

    def _cpu(self) -> list[float]:
        return [cpu_seconds(pid) for pid in self._pids]

    async def _make(self, pods: Pods, *, settle: bool) -> None:
        await create_all(self._client, pods.count, pods.template, pods.group)
        if settle:
            await self._bound.wait_for(pods.group, pods.count)

    async def _churn(self, churn: Churn) -> None:
        for number in itertools.count():
            made = [template(f"churn-{index}-{number}") for index, template in enumerate(churn.templates)]
            for obj in made:
                await create(self._client, obj)
            await asyncio.sleep(churn.seconds)
            for obj in made if churn.recreate else ():
                await delete(self._client, obj)

    async def _delete(self, deletion: Delete) -> None:
        for number in itertools.count():
            try:
                await self._client.delete(PODS, f"{deletion.group}-{number}", "default")
            except ApiError as error:
                if not is_not_found(error):
                    raise
                return
            await asyncio.sleep(1 / deletion.per_second)
