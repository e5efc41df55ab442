"""A real manager process for tests, beside a real API server; and stand-ins for what others do to its objects."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, deletion_requested, find_condition, get_path, name, namespace
from apimachinery.resources import LEASES, NODES, PODS, Resource
from apimachinery.time import rfc3339, rfc3339_micro
from tests.support.apiserver import REPOSITORY, ApiServerProcess

WAIT_SECONDS_MAX = 60.0
NODE_LEASES = "kube-node-lease"
# For tests of who leads: a candidate takes a lost lead over after this long.
IMPATIENT = (
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=3s",
    "--leader-elect-retry-period=200ms",
)


class ManagerProcess:
    """One `python -m controllers`; may be killed and started again.

    It leads without being elected, unless its flags say otherwise: a leader loses its lead on a machine that is slow
    for some seconds, and begins anew.
    """

    def __init__(self, server: ApiServerProcess, flags: Sequence[str] = (), name: str = "controllers") -> None:
        self.server = server
        self.flags = ["--cluster-cidr=10.244.0.0/16", *flags]
        if not any(flag.startswith("--leader-elect") for flag in flags):
            self.flags.append("--leader-elect=false")
        self.log_path = server.data_dir.parent / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; the API server must be ready."""
        kubeconfig = self.server.data_dir / "controller-manager.kubeconfig"
        command = [sys.executable, "-m", "controllers", "--kubeconfig", str(kubeconfig), *self.flags]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)

    def send(self, signo: int) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(signo)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """What it has logged."""
        return self.log_path.read_text(errors="replace")

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """End the process and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signo)
            self.process.wait(timeout=60)
            self.process = None


@contextmanager
def managing(server: ApiServerProcess, *flags: str, name: str = "controllers") -> Iterator[ManagerProcess]:
    """A manager that has been started and is killed in the end."""
    manager = ManagerProcess(server, flags, name)
    manager.start()
    try:
        yield manager
    finally:
        manager.kill()


async def until(
    client: Client,
    resource: Resource,
    scope: str | None,
    condition: Callable[[dict[str, Object]], Any],
    *,
    seen: Callable[[dict[str, Object]], None] | None = None,
) -> dict[str, Object]:
    """Wait until the objects of a collection, by name, satisfy a condition; returns them.

    `seen` is called with every state on the way: what must hold always is asserted there.
    """
    objects: dict[str, Object] = {}
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            page = await client.list(resource, scope)
            objects = {name(obj): obj for obj in page["items"]}
            version = page["metadata"]["resourceVersion"]
            while True:
                if seen is not None:
                    seen(objects)
                if condition(objects):
                    return objects
                async for kind, obj in client.watch(resource, scope, resource_version=version):
                    version = obj["metadata"]["resourceVersion"]
                    if kind == "BOOKMARK":
                        continue
                    objects = {key: one for key, one in objects.items() if key != name(obj)}
                    if kind != "DELETED":
                        objects[name(obj)] = obj
                    if seen is not None:
                        seen(objects)
                    if condition(objects):
                        return objects
    except TimeoutError:
        raise AssertionError(f"{resource.plural} did not get there: {list(objects.values())}") from None


@asynccontextmanager
async def node_agent(client: Client, scope: str) -> AsyncIterator[None]:
    """Stands in for scheduler and node agents: every pod of a namespace runs and is ready at once."""
    task = asyncio.create_task(_run_pods(client, scope))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run_pods(client: Client, scope: str) -> None:
    page = await client.list(PODS, scope)
    for pod in page["items"]:
        await run_pod(client, pod)
    version = page["metadata"]["resourceVersion"]
    while True:
        async for kind, pod in client.watch(PODS, scope, resource_version=version):
            version = pod["metadata"]["resourceVersion"]
            if kind in ("ADDED", "MODIFIED"):
                await run_pod(client, pod)


async def run_pod(client: Client, pod: Object) -> None:
    """Do for a pod what its node's agent would do next: make it ready, or end it."""
    with contextlib.suppress(ApiError):  # it may be gone, or be changed by others: its next event comes
        if deletion_requested(pod):
            await client.delete(PODS, name(pod), namespace(pod), grace_period_seconds=0)
        elif get_path(pod, "status", "phase") == "Pending":
            await set_ready(client, pod)


async def set_ready(client: Client, pod: Object, *, ready: bool = True, since: float | None = None) -> None:
    """Have a pod run, ready or not."""
    stamp = rfc3339(time.time() if since is None else since)
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp}
    patch = {"status": {"phase": "Running", "conditions": [condition]}}
    await client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status")


class FakeNode:
    """A node whose agent only shows that it lives."""

    def __init__(self, client: Client, node: str, *, period_seconds: float = 0.3) -> None:
        self._client = client
        self.name = node
        self._period = period_seconds
        self._task: asyncio.Task[None] | None = None

    async def register(self, **spec: Any) -> None:
        """Create the node and have it ready, alive from now on."""
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}, "spec": spec}
        with contextlib.suppress(ApiError):
            await self._client.create(NODES, made)
        await self.come_back()

    async def come_back(self) -> None:
        """Renew the Lease and say ready, as an agent does when it starts or can be heard again."""
        await self._renew()
        await self.post_ready()
        self._task = asyncio.create_task(self._live())

    async def fall_silent(self) -> None:
        """Renew nothing any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            with contextlib.suppress(ApiError):
                await self._renew()

    async def post_ready(self, status: str = "True") -> None:
        """Post the node's conditions."""
        stamp = rfc3339(time.time())
        told = {"reason": "KubeletReady", "message": "", "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
        kinds = {"Ready": status, "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
        conditions = [{"type": kind, "status": value, **told} for kind, value in kinds.items()]
        patch = {"status": {"conditions": conditions}}
        await self._client.patch(NODES, self.name, patch, kind="strategic", subresource="status")

    async def _renew(self) -> None:
        stamp = rfc3339_micro(time.time())
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": stamp}
        try:
            await self._client.patch(LEASES, self.name, {"spec": spec}, NODE_LEASES)
        except ApiError as error:
            if not is_not_found(error):
                raise
            node = await self._client.get(NODES, self.name)
            owner = {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node["metadata"]["uid"]}
            metadata = {"name": self.name, "namespace": NODE_LEASES, "ownerReferences": [owner]}
            lease = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._client.create(LEASES, lease)


def condition_status(obj: Object, kind: str) -> str | None:
    """The status of one of an object's conditions."""
    found = find_condition(obj, kind)
    return found["status"] if found is not None else None
