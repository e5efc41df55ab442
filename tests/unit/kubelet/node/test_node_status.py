"""A node tells of itself when something changes, at once, and otherwise rarely."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition
from apimachinery.resources import LEASES, NODES, Resource
from kubelet.node.node_lease import NodeLease
from kubelet.node.node_settings import NodeSettings
from kubelet.node.node_status import NodeReporter
from tests.support.clock import ManualClock


class Server:
    """The API as a node uses it: one Node, one Lease, and a watch of the Node. Writes are written down."""

    def __init__(self) -> None:
        self.objects: dict[Resource, Object] = {}
        self.version = 0
        self.writes: list[tuple[str, Any]] = []
        self.events: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()
        self.failing: ApiError | None = None

    def _store(self, resource: Resource, obj: Object) -> Object:
        self.version += 1
        stored = {**obj, "metadata": {"uid": f"uid-{self.version}", **obj["metadata"]}}
        stored["metadata"]["resourceVersion"] = str(self.version)
        known = self.objects.get(resource)
        self.objects[resource] = stored
        if resource == NODES:
            self.events.put_nowait(("MODIFIED" if known else "ADDED", stored))
        return stored

    def change(self, **spec: Any) -> None:
        """Somebody else changes the Node."""
        node = self.objects[NODES]
        self._store(NODES, {**node, **spec})

    def delete_node(self) -> None:
        self.version += 1
        node = self.objects.pop(NODES)
        node = {**node, "metadata": {**node["metadata"], "resourceVersion": str(self.version)}}
        self.events.put_nowait(("DELETED", node))

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        if self.failing:
            raise self.failing
        if resource in self.objects:
            raise errors.already_exists(resource.group_resource, obj["metadata"]["name"])
        self.writes.append(("create", obj))
        return self._store(resource, obj)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        if resource not in self.objects:
            raise errors.not_found(resource.group_resource, name)
        return self.objects[resource]

    async def update(self, resource: Resource, obj: Object) -> Object:
        if self.failing:
            raise self.failing
        known = await self.get(resource, obj["metadata"]["name"])
        if known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise errors.conflict(resource.group_resource, obj["metadata"]["name"], errors.MODIFIED)
        self.writes.append(("update", obj))
        return self._store(resource, obj)

    async def patch(self, resource: Resource, name: str, patch: Object, **kind: Any) -> Object:
        if self.failing:
            raise self.failing
        node = await self.get(resource, name)
        self.writes.append(("patch", patch))
        if "metadata" in patch:
            merged = {**node["metadata"], "labels": {**node["metadata"]["labels"], **patch["metadata"]["labels"]}}
            return self._store(resource, {**node, "metadata": merged})
        return self._store(resource, {**node, "status": {**node.get("status", {}), **patch["status"]}})

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> Object:
        items = [self.objects[resource]] if resource in self.objects else []
        return {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    async def watch(self, resource: Resource, namespace: str | None = None, **_: Any) -> AsyncIterator[Any]:
        while True:
            yield await self.events.get()

    def condition(self, kind: str) -> tuple[str, str]:
        condition = find_condition(self.objects[NODES], kind) or {}
        return condition.get("status", ""), condition.get("message", "")


@asynccontextmanager
async def reporting(server: Server, clock: ManualClock, folder: Path, **more: Any) -> AsyncIterator[NodeReporter]:
    reporter = NodeReporter(
        server,  # type: ignore[arg-type]
        clock,
        NodeSettings("node-1", "192.0.2.11", eviction={}, **more),
        node_dir=folder,
        image_dir=folder,
        images=list,
        runtime_version="wherry://1.0",
        rng=random.Random(1),
    )
    task = asyncio.create_task(reporter.run())
    await clock.settle()
    try:
        yield reporter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_node_is_ready_in_the_moment_in_which_runtime_and_network_are(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        assert server.condition("Ready")[0] == "False"
        assert server.condition("Ready")[1].startswith(
            "container runtime is down,container runtime network not ready"
        )
        reporter.runtime_ready()
        await clock.settle()
        assert server.condition("Ready")[1].startswith("container runtime network not ready: NetworkReady=false")
        reporter.network_ready()
        await clock.settle()
        assert server.condition("Ready") == ("True", "kubelet is posting ready status")
        assert [kind for kind, _ in server.writes] == ["create", "patch", "patch"]
        assert reporter.allocatable()["pods"] == "110"


async def test_nothing_is_sent_without_a_change_but_a_heartbeat_every_few_minutes(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.settle()
        writes = len(server.writes)
        await clock.advance(140)
        assert len(server.writes) == writes
        await clock.advance(320)
        assert len(server.writes) == writes + 1
        assert server.writes[-1][1]["status"].keys() == {"conditions"}


async def test_problems_that_come_and_go_are_told_as_they_do(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.settle()
        reporter.problem("runtime", "container runtime is down")
        await clock.settle()
        assert server.condition("Ready") == ("False", "container runtime is down")
        reporter.solved("runtime")
        await clock.settle()
        assert server.condition("Ready")[0] == "True"


async def test_a_node_that_was_taken_for_lost_speaks_up_at_once(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.settle()
        lost = [{**c, "status": "Unknown"} for c in server.objects[NODES]["status"]["conditions"]]
        server.change(status={**server.objects[NODES]["status"], "conditions": lost})
        await clock.settle()
        assert server.condition("Ready")[0] == "True"
        assert server.condition("MemoryPressure")[0] == "False"


async def test_a_restarted_agent_keeps_the_node_as_users_have_labelled_it(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.settle()
    labels = {**server.objects[NODES]["metadata"]["labels"], "mine": "1", "kubernetes.io/os": "windows"}
    taints = [{"key": "mine", "effect": "NoSchedule"}]
    server.change(metadata={**server.objects[NODES]["metadata"], "labels": labels}, spec={"taints": taints})
    async with reporting(server, clock, tmp_path, labels={"other": "2"}) as reporter:
        node = server.objects[NODES]
        assert node["metadata"]["labels"] == {**labels, "kubernetes.io/os": "linux"}
        assert node["spec"] == {"taints": taints}
        # It is not said to be unready only because its agent has yet to look.
        assert server.condition("Ready")[0] == "True"
        reporter.problem("runtime", "container runtime is down: no zygote")
        reporter.network_ready()
        await clock.settle()
        assert server.condition("Ready") == ("False", "container runtime is down: no zygote")


async def test_an_agent_that_can_say_nothing_for_long_is_not_ready(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.settle()
    async with reporting(server, clock, tmp_path):
        await clock.advance(41)
        assert server.condition("Ready")[0] == "False"


async def test_the_range_of_pod_addresses_is_waited_for(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        waiting = asyncio.create_task(reporter.pod_cidr())
        await clock.settle()
        assert not waiting.done()
        server.change(spec={"podCIDR": "10.1.2.0/24"})
        assert await asyncio.wait_for(waiting, 5) == "10.1.2.0/24"


async def test_registering_is_tried_until_it_succeeds(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    server.failing = errors.service_unavailable("not yet")
    async with reporting(server, clock, tmp_path) as reporter:
        await clock.advance(60)
        assert reporter.node is None
        server.failing = None
        await clock.advance(8)
        assert reporter.node is not None


async def test_a_status_that_could_not_be_sent_is_sent_again(tmp_path: Path) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        server.failing = errors.service_unavailable("gone for a while")
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.advance(30)
        server.failing = None
        await clock.advance(8)
        assert server.condition("Ready")[0] == "True"


async def test_a_deleted_node_stays_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, clock = Server(), ManualClock()
    async with reporting(server, clock, tmp_path) as reporter:
        server.delete_node()
        await clock.settle()
        assert reporter.node is None
        reporter.runtime_ready()
        reporter.network_ready()
        await clock.advance(600)
        assert NODES not in server.objects
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
            'msg="the node was deleted" node=node-1'
        ]


async def test_the_reporter_ends_at_once_whenever_it_is_cancelled(tmp_path: Path) -> None:
    for steps in range(60):
        server, clock = Server(), ManualClock()
        async with reporting(server, clock, tmp_path) as reporter:
            reporter.runtime_ready()
            for _ in range(steps):
                await asyncio.sleep(0)
            # It is woken and (by leaving this block, which waits for its end) cancelled in the same moment.
            reporter.network_ready()


async def test_the_lease_belongs_to_the_node_and_is_renewed_four_times_in_its_duration() -> None:
    server, clock = Server(), ManualClock()
    node: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
    lease = NodeLease(server, clock, "node-1", node=lambda: asyncio.shield(node), rng=random.Random(1))  # type: ignore[arg-type]
    task = asyncio.create_task(lease.run())
    await clock.advance(10)
    assert server.writes == []
    node.set_result({"metadata": {"name": "node-1", "uid": "n-1"}})
    await clock.settle()
    stored = server.objects[LEASES]
    assert stored["metadata"]["namespace"] == "kube-node-lease"
    assert stored["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "n-1"}
    ]
    assert (stored["spec"]["holderIdentity"], stored["spec"]["leaseDurationSeconds"]) == ("node-1", 4)
    first = stored["spec"]["renewTime"]
    await clock.advance(12)
    assert [kind for kind, _ in server.writes] == ["create"] + ["update"] * 11
    assert server.objects[LEASES]["spec"]["renewTime"] > first
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_is_renewed_again_whatever_happened_to_it() -> None:
    server, clock = Server(), ManualClock()

    async def node() -> Object:
        return {"metadata": {"name": "node-1", "uid": "n-1"}}

    lease = NodeLease(server, clock, "node-1", node=node, rng=random.Random(1))  # type: ignore[arg-type]
    task = asyncio.create_task(lease.run())
    await clock.settle()
    server._store(LEASES, server.objects[LEASES])  # somebody else has written it
    await clock.advance(2)
    assert server.writes[-1][0] == "update"
    del server.objects[LEASES]
    await clock.advance(2)
    assert LEASES in server.objects
    server.failing = errors.service_unavailable("gone for a while")
    await clock.advance(20)
    server.failing, writes = None, len(server.writes)
    await clock.advance(1.1)
    assert len(server.writes) == writes + 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
