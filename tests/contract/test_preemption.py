"""Room is made for pods that matter more: real processes, classes of priority, budgets, all through the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, name
from apimachinery.resources import EVENTS, NODES, PODDISRUPTIONBUDGETS, PODS, PRIORITYCLASSES
from tests.support.apiserver import ApiServerProcess
from tests.support.scheduler import scheduling

WAIT_SECONDS_MAX = 90.0
# They follow each other: none has to wait until another one's lead is over.
ALONE = ["--leader-elect=false"]
CLASSES: dict[str, dict[str, Any]] = {
    "usual": {"value": 10, "globalDefault": True},
    "urgent": {"value": 1000},
    "patient": {"value": 1000, "preemptionPolicy": "Never"},
}


class Pods:
    """The pods of one test."""

    def __init__(self, client: Client, scope: str) -> None:
        self.client = client
        self.scope = scope

    async def create(self, called: str, cpu: str, priority: str = "", **spec: Any) -> Object:
        container = {"name": "app", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        classed = {"priorityClassName": priority} if priority else {}
        metadata = {"name": called, "labels": {"app": called}}
        pod = {"metadata": metadata, "spec": {"containers": [container], **classed, **spec}}
        return await self.client.create(PODS, pod, self.scope)

    async def get(self, called: str) -> Object:
        return await self.client.get(PODS, called, self.scope)

    async def gone(self, called: str) -> None:
        """What the node agent does when a pod's containers have ended."""
        await self.client.delete(PODS, called, self.scope, grace_period_seconds=0)

    async def node_of(self, called: str) -> str:
        """The node that a pod is bound to, once it is."""

        async def assigned() -> Any:
            return (await self.get(called))["spec"].get("nodeName")

        found: str = await until(assigned)
        return found

    async def nominated(self, called: str) -> str:
        """The node where room is made for a pod, once there is one."""

        async def told() -> Any:
            return (await self.get(called))["status"].get("nominatedNodeName")

        found: str = await until(told)
        return found

    async def told(self, called: str, reason: str) -> set[str]:
        """What events of a pod with this reason say, once there are any."""

        async def messages() -> set[str]:
            events = (await self.client.list(EVENTS, self.scope))["items"]
            of_pod = [event for event in events if event["involvedObject"]["name"] == called]
            return {event["message"] for event in of_pod if event["reason"] == reason}

        found: set[str] = await until(messages)
        return found

    async def terminating(self) -> set[str]:
        pods = (await self.client.list(PODS, self.scope))["items"]
        return {name(pod) for pod in pods if pod["metadata"].get("deletionTimestamp")}

    async def until_these_terminate(self, *called: str) -> None:
        async def all_of_them() -> bool:
            return await self.terminating() == set(called)

        await until(all_of_them)


async def until(what: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (found := await what()):  # noqa: ASYNC110 - the API is asked, there is no event to wait for
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
async def pods(client: Client, scope: str) -> AsyncIterator[Pods]:
    """A namespace, and classes of priority; the nodes are gone for the next test, which needs others (pods stay)."""
    for called, fields in CLASSES.items():
        await client.create(PRIORITYCLASSES, {"metadata": {"name": called}, **fields})
    yield Pods(client, scope)
    for called in CLASSES:
        await client.delete(PRIORITYCLASSES, called)
    for node in (await client.list(NODES))["items"]:
        await client.delete(NODES, name(node))


async def create_node(client: Client, called: str) -> None:
    """A node of 4 cores that is ready: the taint that it gets at first is taken away, as the controllers do it."""
    has = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "110"}
    status = {"capacity": has, "allocatable": has}
    made = await client.create(NODES, {"metadata": {"name": called}, "status": status})
    await client.update(NODES, {**made, "spec": {}})


async def test_a_pod_gets_the_room_of_less_important_ones_whoever_leads_meanwhile(
    server: ApiServerProcess, client: Client, pods: Pods
) -> None:
    await create_node(client, "a")
    victims = ("low-0", "low-1")
    with scheduling(server, "first", ALONE):
        for victim in victims:
            assert (await pods.create(victim, "2"))["spec"]["priority"] == 10
            assert await pods.node_of(victim) == "a"

        await pods.create("patient", "3", "patient")
        assert await pods.told("patient", "FailedScheduling") == {
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
        }
        assert await pods.terminating() == set()
        await pods.gone("patient")

        urgent = await pods.create("urgent", "3", "urgent")
        assert await pods.nominated("urgent") == "a"
        await pods.until_these_terminate(*victims)
        for victim in victims:
            condition = find_condition(await pods.get(victim), "DisruptionTarget")
            assert condition is not None
            assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
            assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
            assert await pods.told(victim, "Preempted") == {f"Preempted by pod {urgent['metadata']['uid']} on node a"}

    # Whoever leads next knows only what the API says: whose the room is, and that it is being made.
    await create_node(client, "b")
    await pods.create("low-b", "4", nodeName="b")
    with scheduling(server, "second", ALONE):
        await pods.create("later", "1")
        await pods.told("later", "FailedScheduling")
        for victim in victims:
            await pods.gone(victim)
        assert await pods.node_of("urgent") == "a"
        assert "nominatedNodeName" not in (await pods.get("urgent"))["status"]
        assert await pods.node_of("later") == "a", "there is room for both"
        assert await pods.terminating() == set()


async def test_a_budget_is_kept_as_long_as_there_is_another_way(
    server: ApiServerProcess, client: Client, pods: Pods
) -> None:
    for node in "cd":
        await create_node(client, node)
    await pods.create("guarded", "4", nodeName="c")
    await pods.create("free", "4", "urgent", nodeName="d")
    budget = {"metadata": {"name": "budget"}, "spec": {"selector": {"matchLabels": {"app": "guarded"}}}}
    budget["spec"]["minAvailable"] = 1
    await client.create(PODDISRUPTIONBUDGETS, budget, pods.scope)
    with scheduling(server, "scheduler", ALONE):
        await pods.create("critical", "1", "system-node-critical")
        assert await pods.nominated("critical") == "d", "though the pod that is there matters more"
        await pods.until_these_terminate("free")
        await pods.gone("free")
        assert await pods.node_of("critical") == "d"
