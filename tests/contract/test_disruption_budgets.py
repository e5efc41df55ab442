"""PodDisruptionBudgets as their users see them: what they say, what evictions spend, and nodes that are drained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, deletion_requested, find_condition, name
from apimachinery.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    Resource,
)
from controllers.pods import is_ready, node_name
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_on_path
from tests.support.kubectl import Kubectl
from tests.support.manager import condition_status, managing, node_agent, set_ready, until
from tests.support.scheduler import scheduling

# Nobody lives on these nodes; that must not be what these tests are about.
FLAGS = ("--node-monitor-grace-period=1h", "--node-startup-grace-period=1h")
CROWDS = Resource("example.com", "v1", "Crowd", "crowds", "crowd", subresources=("scale",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("budgets")) as process:
        asyncio.run(process.wait_ready())
        with managing(process, *FLAGS), scheduling(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> AsyncIterator[str]:
    """A namespace in which pods run at once."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "budgets-"}}
    namespace = name(await client.create(NAMESPACES, made))
    async with node_agent(client, namespace):
        yield namespace
        await client.delete(NAMESPACES, namespace)
        await until(client, PODS, namespace, lambda found: not found)


def node(which: str) -> Object:
    capacity = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "110"}
    ready = [{"type": "Ready", "status": "True"}]
    status = {"capacity": capacity, "allocatable": capacity, "conditions": ready}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": which}, "status": status}


def deployment(replicas: int) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def budget(**spec: Any) -> Object:
    spec = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec}


async def told(client: Client, scope: str, reason: str, **counts: int) -> Object:
    """Wait until the budget says these counts for this reason."""

    def says(found: dict[str, Object]) -> bool:
        status = found["web"].get("status") or {}
        condition = find_condition(found["web"], "DisruptionAllowed") or {}
        return condition.get("reason") == reason and all(status.get(key) == value for key, value in counts.items())

    return (await until(client, PODDISRUPTIONBUDGETS, scope, says))["web"]


async def evict(client: Client, scope: str, pod: str) -> int:
    """Ask for an eviction; the code of the answer."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": scope}}
    try:
        await client.create(PODS, eviction, scope, name=pod, subresource="eviction")
    except ApiError as error:
        return error.code
    return 201


async def test_a_budget_follows_its_pods_and_the_size_of_their_controllers(client: Client, scope: str) -> None:
    await client.create(PODDISRUPTIONBUDGETS, budget(maxUnavailable="30%"), scope)
    await told(client, scope, "InsufficientPods", expectedPods=0, disruptionsAllowed=0)
    await client.create(DEPLOYMENTS, deployment(4), scope)
    counts = {"expectedPods": 4, "currentHealthy": 4, "desiredHealthy": 2, "disruptionsAllowed": 2}
    await told(client, scope, "SufficientPods", **counts)
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 6}}, scope)
    counts = {"expectedPods": 6, "currentHealthy": 6, "desiredHealthy": 4, "disruptionsAllowed": 2}
    await told(client, scope, "SufficientPods", **counts)
    pods = (await client.list(PODS, scope))["items"]
    for pod in pods[:2]:
        await set_ready(client, pod, ready=False)
    web = await told(client, scope, "InsufficientPods", currentHealthy=4, disruptionsAllowed=0)
    assert web["status"]["observedGeneration"] == 1


async def test_evictions_spend_what_is_allowed_and_the_pods_that_follow_bring_it_back(
    client: Client, scope: str
) -> None:
    await client.create(PODDISRUPTIONBUDGETS, budget(minAvailable=3), scope)
    await client.create(DEPLOYMENTS, deployment(4), scope)
    for _ in range(2):
        await told(client, scope, "SufficientPods", currentHealthy=4, disruptionsAllowed=1)
        pods = [name(pod) for pod in (await client.list(PODS, scope))["items"] if not deletion_requested(pod)]
        answers = await asyncio.gather(*(evict(client, scope, pod) for pod in pods[:2]))
        assert 201 in answers
        gone = [pod for pod, answer in zip(pods, answers, strict=False) if answer == 201]
        await until(client, PODS, scope, lambda found, gone=gone: not found.keys() & set(gone))  # type: ignore[misc]
        web = await told(client, scope, "SufficientPods", currentHealthy=4, disruptionsAllowed=1)
        assert not web["status"].get("disruptedPods")


@pytest.mark.parametrize(("policy", "answer"), [("IfHealthyBudget", 429), ("AlwaysAllow", 201)])
async def test_pods_that_are_not_well_go_by_the_policy_of_an_exhausted_budget(
    client: Client, scope: str, policy: str, answer: int
) -> None:
    await client.create(PODDISRUPTIONBUDGETS, budget(minAvailable=3, unhealthyPodEvictionPolicy=policy), scope)
    await client.create(DEPLOYMENTS, deployment(3), scope)
    await told(client, scope, "InsufficientPods", currentHealthy=3)
    sick, well, _ = (await client.list(PODS, scope))["items"]
    await set_ready(client, sick, ready=False)
    await told(client, scope, "InsufficientPods", currentHealthy=2)
    assert await evict(client, scope, name(well)) == 429
    assert await evict(client, scope, name(sick)) == answer


async def test_percentages_are_of_what_a_custom_resource_wants(client: Client, scope: str) -> None:
    await define_crowds(client)
    crowd = {"apiVersion": "example.com/v1", "kind": "Crowd", "metadata": {"name": "c"}, "spec": {"size": 10}}
    owner = await client.create(CROWDS, crowd, scope)
    for _ in range(6):
        await client.create(PODS, owned_pod(owner), scope)
    await client.create(PODDISRUPTIONBUDGETS, budget(minAvailable="50%"), scope)
    counts = {"expectedPods": 10, "desiredHealthy": 5, "currentHealthy": 6, "disruptionsAllowed": 1}
    await told(client, scope, "SufficientPods", **counts)


async def define_crowds(client: Client) -> None:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    size = {"type": "object", "properties": {"size": {"type": "integer"}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": size, "status": size}}},
        "subresources": {"status": {}, "scale": scale},
    }
    names = {"plural": "crowds", "singular": "crowd", "kind": "Crowd", "listKind": "CrowdList"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    await client.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": "crowds.example.com"}, "spec": spec})

    def served(found: dict[str, Object]) -> bool:
        return condition_status(found["crowds.example.com"], "Established") == "True"

    await until(client, CUSTOMRESOURCEDEFINITIONS, None, served)


def owned_pod(owner: Object) -> Object:
    reference = {key: owner["metadata"][key] for key in ("name", "uid")}
    reference |= {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
    metadata = {"generateName": "p-", "labels": {"app": "web"}, "ownerReferences": [reference]}
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}


async def test_a_budget_of_pods_that_can_not_be_counted_allows_nothing_and_says_why(
    client: Client, scope: str
) -> None:
    holder = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holder"}}
    owner = await client.create(CONFIGMAPS, holder, scope)
    await client.create(PODS, owned_pod({**holder, "metadata": owner["metadata"]}), scope)
    await client.create(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1), scope)
    web = await told(client, scope, "SyncFailed", disruptionsAllowed=0)
    condition = find_condition(web, "DisruptionAllowed") or {}
    assert condition["message"] == "configmaps does not implement the scale subresource"


def bound(pods: dict[str, Object]) -> list[str]:
    return [node_name(pod) for pod in pods.values() if not deletion_requested(pod)]


async def test_kubectl_drains_a_node_no_faster_than_a_budget_allows(
    client: Client, server: ApiServerProcess, scope: str, home: Path
) -> None:
    kubectl = Kubectl(kubectl_on_path(), server.kubeconfig, scope, home)
    await client.create(NODES, node("drained"))
    await client.create(DEPLOYMENTS, deployment(2), scope)
    await client.create(PODDISRUPTIONBUDGETS, budget(minAvailable=1), scope)
    await until(client, PODS, scope, lambda found: bound(found) == ["drained"] * 2)
    await told(client, scope, "SufficientPods", disruptionsAllowed=1)
    await client.create(NODES, node("refuge"))

    def enough(pods: dict[str, Object]) -> None:
        assert sum(is_ready(pod) and not deletion_requested(pod) for pod in pods.values()) >= 1

    draining = asyncio.create_task(asyncio.to_thread(kubectl, "drain", "drained", "--timeout=30s"))
    await until(client, PODS, scope, lambda found: bound(found) == ["refuge"] * 2, seen=enough)
    assert "drained" in await draining
    assert (await client.get(NODES, "drained"))["spec"]["unschedulable"] is True
    table = await asyncio.to_thread(kubectl.lines, "get", "pdb", "--no-headers")
    assert [row[:4] for row in table] == [["web", "1", "N/A", "1"]]
