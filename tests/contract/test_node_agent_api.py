"""What a node agent writes and watches, against a real API server: its Node, its Lease, the objects of its pods."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apiclient.clock import SystemClock
from apiclient.rest import Client
from apimachinery.meta import Object, find_condition
from apimachinery.resources import CONFIGMAPS, LEASES, NODES, SECRETS
from kubelet.node.node_lease import NAMESPACE, NodeLease
from kubelet.node.node_settings import NodeSettings, parse_labels, parse_taints
from kubelet.node.node_status import NodeReporter
from kubelet.objects import ObjectCache, ObjectKey
from tests.support.apiserver import ApiServerProcess, running

NODE = "node-1"
SECONDS_MAX = 60.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as started:
        await started.wait_ready()
        yield started


@asynccontextmanager
async def task(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    running_task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        running_task.cancel()
        await asyncio.gather(running_task, return_exceptions=True)


def reporter(client: Client, folder: Path, **settings: Any) -> NodeReporter:
    return NodeReporter(
        client,
        SystemClock(),
        NodeSettings(NODE, settings.pop("address", "192.0.2.11"), eviction={}, **settings),
        node_dir=folder,
        image_dir=folder,
        images=list,
        runtime_version="wherry://1.0",
        rng=random.Random(1),
    )


async def node_that(client: Client, condition: Callable[[Object], bool]) -> Object:
    """Watch the Node until a condition holds."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            listed = await client.list(NODES, field_selector=f"metadata.name={NODE}")
            for node in listed["items"]:
                if condition(node):
                    found: Object = node
                    return found
            version = listed["metadata"]["resourceVersion"]
            async for _ in client.watch(NODES, resource_version=version):
                break


def is_ready(node: Object) -> bool:
    return (find_condition(node, "Ready") or {}).get("status") == "True"


async def test_a_node_registers_and_is_ready_once_it_can_run_pods(client: Client, tmp_path: Path) -> None:
    told = reporter(client, tmp_path, labels=parse_labels("zone=a"), taints=parse_taints("mine=1:NoExecute"))
    async with task(told.run()):
        async with asyncio.timeout(SECONDS_MAX):
            node = await told.registered()
        assert node["metadata"]["labels"]["zone"] == "a"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == NODE
        assert {"key": "mine", "value": "1", "effect": "NoExecute"} in node["spec"]["taints"]
        assert not is_ready(await client.get(NODES, NODE))
        told.runtime_ready()
        told.network_ready()
        node = await node_that(client, is_ready)
        assert [condition["type"] for condition in node["status"]["conditions"]] == [
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
            "Ready",
        ]
        assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
        await client.patch(NODES, NODE, {"spec": {"podCIDR": "10.1.2.0/24"}})
        assert await asyncio.wait_for(told.pod_cidr(), SECONDS_MAX) == "10.1.2.0/24"


async def test_what_the_server_stores_is_what_was_meant_so_that_nothing_is_sent_twice(
    client: Client, tmp_path: Path
) -> None:
    told = reporter(client, tmp_path, capacity={"memory": "4096Mi", "cpu": "1500m"})
    async with task(told.run()):
        told.runtime_ready()
        told.network_ready()
        before = await node_that(client, is_ready)
        assert not await told._send(heartbeat=False)
        assert (await client.get(NODES, NODE))["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert before["status"]["capacity"]["memory"] == "4Gi"


async def test_a_restarted_agent_moves_its_node_to_its_new_address_and_keeps_what_others_said(
    client: Client, tmp_path: Path
) -> None:
    first = reporter(client, tmp_path)
    async with task(first.run()):
        first.runtime_ready()
        first.network_ready()
        await node_that(client, is_ready)
    conditions = [{"type": "KernelDeadlock", "status": "False", "reason": "x", "message": "by another"}]
    others = {"status": {"capacity": {"example.com/device": "2"}, "conditions": conditions}}
    await client.patch(NODES, NODE, others, kind="strategic", subresource="status")
    second = reporter(client, tmp_path, address="192.0.2.99")
    async with task(second.run()):
        second.runtime_ready()
        second.network_ready()
        node = await node_that(client, lambda n: n["status"]["addresses"][0]["address"] == "192.0.2.99")
    assert len(node["status"]["addresses"]) == 2
    assert node["status"]["allocatable"]["example.com/device"] == "2"
    assert find_condition(node, "KernelDeadlock") is not None
    assert is_ready(node)


async def test_the_lease_is_renewed_across_a_restart_of_the_api_server(
    server: ApiServerProcess, client: Client, tmp_path: Path
) -> None:
    told = reporter(client, tmp_path)
    lease = NodeLease(client, SystemClock(), NODE, node=told.registered, duration_seconds=1)
    async with task(told.run()), task(lease.run()):
        first = await lease_after(client, "")
        assert first["metadata"]["ownerReferences"][0]["uid"] == (await told.registered())["metadata"]["uid"]
        assert first["spec"]["leaseDurationSeconds"] == 1
        second = await lease_after(client, first["spec"]["renewTime"])
        server.kill()
        server.start()
        await server.wait_ready()
        await lease_after(client, second["spec"]["renewTime"])


async def lease_after(client: Client, time: str) -> Object:
    """Watch the Lease until it was renewed after this time."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            listed = await client.list(LEASES, NAMESPACE)
            for lease in listed["items"]:
                if lease["spec"]["renewTime"] > time:
                    found: Object = lease
                    return found
            async for _ in client.watch(LEASES, NAMESPACE, resource_version=listed["metadata"]["resourceVersion"]):
                break


async def test_the_objects_of_pods_are_followed(client: Client) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
    await client.create(CONFIGMAPS, {**config_map, "data": {"a": "1"}})
    pod = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"volumes": []}}
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}}]
    pod["spec"]["volumes"] = volumes
    cache = ObjectCache(client)
    changes: asyncio.Queue[ObjectKey] = asyncio.Queue()
    cache.add_listener(changes.put_nowait)
    async with task(cache.run()):
        await asyncio.sleep(0)
        cache.register(pod)
        assert (await cache.config_map("default", "c") or {})["data"] == {"a": "1"}
        assert await cache.secret("default", "s") is None
        assert await asyncio.wait_for(changes.get(), SECONDS_MAX) == ObjectKey(CONFIGMAPS, "default", "c")
        await client.patch(CONFIGMAPS, "c", {"data": {"a": "2"}}, "default")
        assert await asyncio.wait_for(changes.get(), SECONDS_MAX) == ObjectKey(CONFIGMAPS, "default", "c")
        assert (await cache.config_map("default", "c") or {})["data"] == {"a": "2"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
        await client.create(SECRETS, secret)
        assert await asyncio.wait_for(changes.get(), SECONDS_MAX) == ObjectKey(SECRETS, "default", "s")
        assert await cache.secret("default", "s") is not None
