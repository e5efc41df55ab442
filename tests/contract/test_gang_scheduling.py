"""Gangs as their users see them: a Workload, pods that refer to it, real processes, everything through the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, name
from apimachinery.resources import EVENTS, NODES, PODS, PRIORITYCLASSES, WORKLOADS
from scheduler.gangs import TOO_FEW_PODS
from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current
from tests.support.kubectl import in_new_namespace
from tests.support.scheduler import SchedulerProcess, scheduling

WAIT_SECONDS_MAX = 60.0
pytestmark = pytest.mark.usefixtures("scheduler")


@pytest.fixture(scope="module")
def scheduler(server: ApiServerProcess) -> Iterator[SchedulerProcess]:
    """One scheduler for all tests of this module; each has nodes of its own."""
    with scheduling(server) as process:
        yield process


def make_workload(named: str, minimum: int) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1alpha1",
        "kind": "Workload",
        "metadata": {"name": named},
        "spec": {"podGroups": [{"name": "workers", "policy": {"gang": {"minCount": minimum}}}]},
    }


async def create_nodes(client: Client, scope: str, *cpus: int) -> None:
    """Nodes for the pods of one namespace, ready at once."""
    for number, cpu in enumerate(cpus):
        allocatable = {"cpu": str(cpu), "memory": "8Gi", "pods": "110"}
        made = {
            "metadata": {"name": f"{scope}-{number}", "labels": {"for": scope}},
            "status": {"capacity": allocatable, "allocatable": allocatable},
        }
        created = await client.create(NODES, made)
        await client.update(NODES, {**created, "spec": {}})


async def create_pods(client: Client, scope: str, workload: str, *numbers: int, **fields: Any) -> None:
    """Pods of a gang, a cpu each."""
    container = {"name": "app", "image": "x", "resources": {"requests": {"cpu": "1"}}}
    for number in numbers:
        spec = {
            "containers": [container],
            "nodeSelector": {"for": scope},
            "workloadRef": {"name": workload, "podGroup": "workers"},
            **fields,
        }
        await client.create(PODS, {"metadata": {"name": f"{workload}-{number}"}, "spec": spec}, scope)


async def until(what: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (found := await what()):  # noqa: ASYNC110 - the API is asked, there is no event to wait for
            await asyncio.sleep(0.02)
    return found


async def bound(client: Client, scope: str, workload: str = "") -> list[str]:
    """The pods that have a node."""
    pods = (await client.list(PODS, scope))["items"]
    return sorted(name(pod) for pod in pods if pod["spec"].get("nodeName") and name(pod).startswith(workload))


async def all_bound(client: Client, scope: str, workload: str, count: int) -> None:
    async def there() -> bool:
        return len(await bound(client, scope, workload)) == count

    await until(there)


async def told(client: Client, scope: str, pod: str, message: str) -> None:
    """Wait until a pod's condition says why it has no node."""

    async def said() -> bool:
        condition = find_condition(await client.get(PODS, pod, scope), "PodScheduled")
        return condition is not None and (condition["reason"], condition["message"]) == ("Unschedulable", message)

    await until(said)


async def test_pods_wait_for_their_workload_and_for_each_other(client: Client, scope: str) -> None:
    await create_nodes(client, scope, 4)
    await create_pods(client, scope, "train", 0, 1)
    await told(client, scope, "train-1", 'waiting for pods\'s workload "train" to appear in scheduling queue')
    await client.create(WORKLOADS, make_workload("train", 3), scope)
    await told(client, scope, "train-0", TOO_FEW_PODS)
    await told(client, scope, "train-1", TOO_FEW_PODS)
    assert not await bound(client, scope)
    await create_pods(client, scope, "train", 2)
    await all_bound(client, scope, "train", 3)
    await create_pods(client, scope, "train", 3)
    await all_bound(client, scope, "train", 4)


async def test_a_gang_that_does_not_fit_takes_nothing_from_others_and_is_placed_once_it_does(
    client: Client, scope: str
) -> None:
    await create_nodes(client, scope, 1, 1)
    await client.create(WORKLOADS, make_workload("train", 3), scope)
    await create_pods(client, scope, "train", 0, 1, 2)
    why = 'pod group "workers" of workload "train" needs 3 pods placed at once, and '

    async def said() -> bool:
        events = (await client.list(EVENTS, scope))["items"]
        pods = {e["involvedObject"]["name"] for e in events if e["message"].startswith(why)}
        return pods == {"train-0", "train-1", "train-2"}

    await until(said)
    await client.create(WORKLOADS, make_workload("small", 2), scope)
    await create_pods(client, scope, "small", 0, 1)
    await all_bound(client, scope, "small", 2)
    for number in range(2):
        grown = {"status": {"allocatable": {"cpu": "3"}}}
        await client.patch(NODES, f"{scope}-{number}", grown, subresource="status")
    await all_bound(client, scope, "train", 3)


async def test_of_two_gangs_that_fit_alone_but_not_together_one_is_placed_and_then_the_other(
    client: Client, scope: str
) -> None:
    await create_nodes(client, scope, 2, 2, 1)
    for named in ("one", "two"):
        await client.create(WORKLOADS, make_workload(named, 4), scope)
    for number in range(4):
        for named in ("one", "two"):
            await create_pods(client, scope, named, number)

    async def there() -> list[str]:
        return await bound(client, scope)

    first = (await until(there))[0].partition("-")[0]
    await all_bound(client, scope, first, 4)
    second = "two" if first == "one" else "one"
    assert len(await bound(client, scope)) == 4
    for number in range(4):
        await client.delete(PODS, f"{first}-{number}", scope, grace_period_seconds=0)
    await all_bound(client, scope, second, 4)


async def test_a_gang_sends_less_important_pods_away_if_all_of_it_fits_then(client: Client, scope: str) -> None:
    await client.create(PRIORITYCLASSES, {"metadata": {"name": scope}, "value": 1000})
    await create_nodes(client, scope, 1, 1)
    await client.create(WORKLOADS, make_workload("low", 1), scope)
    await create_pods(client, scope, "low", 0, 1, terminationGracePeriodSeconds=0)
    await all_bound(client, scope, "low", 2)
    for named, size in (("large", 3), ("high", 2)):
        await client.create(WORKLOADS, make_workload(named, size), scope)
        await create_pods(client, scope, named, *range(size), priorityClassName=scope)
    await all_bound(client, scope, "high", 2)
    assert not await bound(client, scope, "large")
    assert not await bound(client, scope, "low")


def test_kubectl_reads_and_writes_workloads(server: ApiServerProcess, tmp_path: Path) -> None:
    run = in_new_namespace(kubectl_current(), server.kubeconfig, tmp_path)
    train = json.dumps(make_workload("train", 3))
    assert run("apply", "-f", "-", stdin=train) == "workload.scheduling.k8s.io/train created\n"
    assert run("apply", "-f", "-", stdin=train) == "workload.scheduling.k8s.io/train unchanged\n"
    assert run.lines("get", "workloads")[1][0] == "train"
    assert "Min Count:  3" in run("describe", "workload", "train")
    assert "minCount" in run("explain", "workload.spec.podGroups.policy.gang")
    assert run.get("workload", "train")["apiVersion"] == "scheduling.k8s.io/v1alpha1"
    wrong = run("apply", "-f", "-", stdin=json.dumps(make_workload("train", 4)), fails=True)
    assert "field is immutable" in wrong
    assert run("delete", "workload", "train").startswith('workload.scheduling.k8s.io "train" deleted')
