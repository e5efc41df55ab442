"""ReplicaSets as their users see them, and what must hold when the manager is killed in the middle."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, controller_of, find_condition
from apimachinery.resources import CONFIGMAPS, EVENTS, PODS, REPLICASETS, SERVICEACCOUNTS
from controllers.deletion_ranking import DELETION_COST
from tests.support.apiserver import ApiServerProcess, running
from tests.support.manager import IMPATIENT, ManagerProcess, managing, node_agent, set_ready, until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as process:
        await process.wait_ready()
        yield process


@pytest.fixture
async def manager(server: ApiServerProcess, client: Client) -> AsyncIterator[ManagerProcess]:
    with managing(server) as process:
        # No pod is admitted without it.
        await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
        yield process


def replica_set(which: str = "web", *, replicas: int = 3, app: str = "web", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": app}}, "spec": pod_spec()}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": which, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template, **spec},
    }


def pod_spec() -> Object:
    return {"containers": [{"name": "app", "image": "web:1"}]}


def pod(which: str, app: str = "web", **meta: Any) -> Object:
    metadata = {"name": which, "namespace": "default", "labels": {"app": app}, **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}


def counted(**counts: int) -> Any:
    """A condition on the ReplicaSet `web`: its status says these counts."""
    return lambda found: all((found["web"].get("status") or {}).get(k, 0) == v for k, v in counts.items())


def owned(found: dict[str, Object], owner: Object) -> set[str]:
    return {
        which for which, obj in found.items() if (controller_of(obj) or {}).get("uid") == owner["metadata"]["uid"]
    }


async def test_orphans_that_match_are_adopted_instead_of_new_pods(client: Client, manager: ManagerProcess) -> None:
    for which in ("one", "two"):
        await client.create(PODS, pod(which))
    web = await client.create(REPLICASETS, replica_set())
    await until(client, REPLICASETS, "default", counted(replicas=3))
    pods = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 3)
    assert {"one", "two"} <= set(pods) and len(pods) == 3


async def test_a_pod_whose_labels_change_is_released_and_replaced(client: Client, manager: ManagerProcess) -> None:
    web = await client.create(REPLICASETS, replica_set(replicas=2))
    before = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 2)
    strayed = next(iter(before))
    await client.patch(PODS, strayed, {"metadata": {"labels": {"app": "debug"}}}, "default")
    after = await until(client, PODS, "default", lambda found: len(owned(found, web) - {strayed}) == 2)
    assert controller_of(after[strayed]) is None


async def test_a_pod_owned_by_another_is_left_alone(client: Client, manager: ManagerProcess) -> None:
    holder = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holder", "namespace": "default"}}
    other = await client.create(CONFIGMAPS, holder)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "holder", "uid": other["metadata"]["uid"]}
    await client.create(PODS, pod("theirs", ownerReferences=[{**reference, "controller": True}]))
    web = await client.create(REPLICASETS, replica_set(replicas=1))
    pods = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 1)
    assert owned(pods, other) == {"theirs"}


async def test_a_deleted_or_finished_pod_is_replaced(client: Client, manager: ManagerProcess) -> None:
    web = await client.create(REPLICASETS, replica_set(replicas=2))
    first, second = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 2)
    await client.delete(PODS, first, "default")
    await client.patch(PODS, second, {"status": {"phase": "Failed"}}, "default", subresource="status")
    active = lambda found: {n for n in owned(found, web) if found[n]["status"]["phase"] == "Pending"}  # noqa: E731
    pods = await until(client, PODS, "default", lambda found: len(active(found) - {first, second}) == 2)
    assert second in pods  # a finished pod stays for whoever wants to look at it


async def test_the_cheapest_pods_go_first(client: Client, manager: ManagerProcess) -> None:
    async with node_agent(client, "default"):
        web = await client.create(REPLICASETS, replica_set(replicas=4))
        await until(client, REPLICASETS, "default", counted(readyReplicas=4))
        pods = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 4)
        dear = set(list(pods)[:2])
        for which in dear:
            await client.patch(PODS, which, {"metadata": {"annotations": {DELETION_COST: "10"}}}, "default")
    # The manager hears of pods and ReplicaSets on two connections: let it know the costs before the new size.
    marker = await client.create(REPLICASETS, replica_set("marker", replicas=1, app="marker"))
    await until(client, PODS, "default", lambda found: len(owned(found, marker)) == 1)
    await client.patch(REPLICASETS, "web", {"spec": {"replicas": 2}}, "default")
    left = await until(client, PODS, "default", lambda found: len(owned(found, web)) == 2)
    assert owned(left, web) == dear


async def test_pods_count_as_available_when_they_have_been_ready_for_long_enough(
    client: Client, manager: ManagerProcess
) -> None:
    await client.create(REPLICASETS, replica_set(replicas=2, minReadySeconds=3))
    pods = await until(client, PODS, "default", lambda found: len(found) == 2)
    for one, age in zip(pods.values(), (100.0, 0.0), strict=True):
        await set_ready(client, one, since=time.time() - age)
    await until(client, REPLICASETS, "default", counted(readyReplicas=2, availableReplicas=1))
    await until(client, REPLICASETS, "default", counted(readyReplicas=2, availableReplicas=2))


async def test_pods_that_can_not_be_created_are_told_of_until_they_can(
    client: Client, manager: ManagerProcess
) -> None:
    broken = replica_set()
    broken["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
    await client.create(REPLICASETS, broken)

    def failing(found: dict[str, Object]) -> bool:
        failure = find_condition(found["web"], "ReplicaFailure") or {}
        return failure.get("reason") == "FailedCreate" and "nobody" in failure.get("message", "")

    await until(client, REPLICASETS, "default", failing)
    await until(client, EVENTS, "default", lambda found: any(e["reason"] == "FailedCreate" for e in found.values()))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "default"}}
    await client.create(SERVICEACCOUNTS, account)
    healed = lambda found: counted(replicas=3)(found) and not failing(found)  # noqa: E731
    await until(client, REPLICASETS, "default", healed)


async def test_a_manager_killed_in_the_middle_is_followed_by_another_that_creates_no_pod_too_many(
    client: Client, server: ApiServerProcess
) -> None:
    most = 0

    def note(found: dict[str, Object]) -> None:
        nonlocal most
        most = max(most, len(found))

    with managing(server, *IMPATIENT, name="first") as first, managing(server, *IMPATIENT, name="second"):
        await client.create(REPLICASETS, replica_set(replicas=400))
        await until(client, PODS, "default", lambda found: len(found) >= 50)
        first.kill()
        await until(client, REPLICASETS, "default", counted(replicas=400), seen=None)
        await until(client, PODS, "default", lambda found: len(found) == 400, seen=note)
    assert most == 400


async def test_a_server_that_is_killed_in_the_middle_leaves_no_pod_too_many_behind(
    client: Client, server: ApiServerProcess, manager: ManagerProcess
) -> None:
    web = await client.create(REPLICASETS, replica_set(replicas=300))
    await until(client, PODS, "default", lambda found: len(found) >= 50)
    server.kill()
    server.start()
    await server.wait_ready()
    async with await server.client() as again:
        await until(again, REPLICASETS, "default", counted(replicas=300, observedGeneration=1))
        pods = await until(again, PODS, "default", lambda found: len(found) == 300)
        assert len(owned(pods, web)) == 300


async def test_a_manager_that_stops_in_order_hands_over_at_once(client: Client, server: ApiServerProcess) -> None:
    with managing(server, *IMPATIENT, name="first") as first, managing(server, *IMPATIENT, name="second"):
        await client.create(REPLICASETS, replica_set("before", app="before"))
        await until(client, PODS, "default", lambda found: len(found) == 3)
        first.kill(signal.SIGTERM)
        await client.create(REPLICASETS, replica_set("after", app="after"))
        await until(client, PODS, "default", lambda found: len(found) == 6)


async def test_a_stopped_manager_wakes_up_to_another_leader_and_does_nothing_twice(
    client: Client, server: ApiServerProcess
) -> None:
    with managing(server, *IMPATIENT, name="first") as first:
        await client.create(REPLICASETS, replica_set("before", app="before"))
        await until(client, PODS, "default", lambda found: len(found) == 3)
        first.send(signal.SIGSTOP)
        with managing(server, *IMPATIENT, name="second"):
            await client.create(REPLICASETS, replica_set(replicas=50))
            await until(client, REPLICASETS, "default", counted(replicas=50))
            first.send(signal.SIGCONT)
            # Whatever the first one still does with its old cache, three pods and fifty remain.
            await client.patch(REPLICASETS, "web", {"spec": {"replicas": 60}}, "default")
            await until(client, REPLICASETS, "default", counted(replicas=60))
            pods = await until(client, PODS, "default", lambda found: len(found) == 63)
            assert len(pods) == 63
