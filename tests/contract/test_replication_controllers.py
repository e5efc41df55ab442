"""ReplicationControllers as their users see them: as ReplicaSets, by a plain selector."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, controller_of, find_condition, name
from apimachinery.resources import EVENTS, NAMESPACES, PODS, REPLICATIONCONTROLLERS
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, node_agent, until

Found = dict[str, Object]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("replicationcontrollers")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    return name(await client.create(NAMESPACES, {"metadata": {"generateName": "replicationcontrollers-"}}))


def controller(scope: str, replicas: int = 2, **pod: Any) -> Object:
    spec = {"containers": [{"name": "app", "image": "web:1"}], **pod}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    metadata = {"name": "web", "namespace": scope}
    kind = {"apiVersion": "v1", "kind": "ReplicationController"}
    return {**kind, "metadata": metadata, "spec": {"replicas": replicas, "template": template}}


def owned(found: Found, owner: Object) -> set[str]:
    return {one for one, pod in found.items() if (controller_of(pod) or {}).get("uid") == owner["metadata"]["uid"]}


async def test_it_keeps_its_pods_and_tells_of_them(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        web = await client.create(REPLICATIONCONTROLLERS, controller(scope))

        def counted(found: Found) -> bool:
            return bool((found["web"].get("status") or {}).get("availableReplicas") == 2)

        status = (await until(client, REPLICATIONCONTROLLERS, scope, counted))["web"]["status"]
        pods = await until(client, PODS, scope, lambda found: len(owned(found, web)) == 2)
        reference = controller_of(next(iter(pods.values())))
        assert reference is not None
        assert (reference["apiVersion"], reference["kind"]) == ("v1", "ReplicationController")
        counts = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        assert status == {**dict.fromkeys(counts, 2), "observedGeneration": 1}
        await client.delete(PODS, next(iter(pods)), scope)
        again = await until(client, PODS, scope, lambda found: len(owned(found, web) - set(pods)) == 1)
        assert len(again) == 2


async def test_it_adopts_what_its_selector_matches_and_lets_go_of_what_it_does_not(
    client: Client, scope: str
) -> None:
    web = await client.create(REPLICATIONCONTROLLERS, controller(scope, 1))
    await until(client, PODS, scope, lambda found: len(owned(found, web)) == 1)
    template = web["spec"]["template"]
    orphan = {"metadata": {"name": "orphan", **template["metadata"]}, "spec": template["spec"]}
    await client.create(PODS, orphan, scope)
    # It is adopted, and then one of the two is too many.
    await until(client, PODS, scope, lambda found: len(owned(found, web)) == 1 and len(found) == 1)
    left = name((await client.list(PODS, scope))["items"][0])
    await client.patch(PODS, left, {"metadata": {"labels": {"app": "debug"}}}, scope)
    after = await until(client, PODS, scope, lambda found: len(owned(found, web) - {left}) == 1)
    assert controller_of(after[left]) is None


async def test_pods_that_can_not_be_created_are_told_of(client: Client, scope: str) -> None:
    await client.create(REPLICATIONCONTROLLERS, controller(scope, serviceAccountName="nobody"))

    def failing(found: Found) -> bool:
        failure = find_condition(found["web"], "ReplicaFailure") or {}
        return failure.get("reason") == "FailedCreate" and "nobody" in failure.get("message", "")

    await until(client, REPLICATIONCONTROLLERS, scope, failing)

    def told(found: Found) -> bool:
        return any(
            one["reason"] == "FailedCreate" and one["involvedObject"]["kind"] == "ReplicationController"
            for one in found.values()
        )

    await until(client, EVENTS, scope, told)


async def test_kubectl_scales_it_and_may_leave_its_pods_behind(
    client: Client, server: ApiServerProcess, scope: str, home: Path
) -> None:
    kubectl = Kubectl(kubectl_current(), server.kubeconfig, scope, home)
    web = await client.create(REPLICATIONCONTROLLERS, controller(scope))
    await asyncio.to_thread(kubectl, "scale", "rc/web", "--replicas=3")
    await until(client, PODS, scope, lambda found: len(owned(found, web)) == 3)
    await asyncio.to_thread(kubectl, "delete", "rc/web", "--cascade=orphan")
    await until(client, PODS, scope, lambda found: len(found) == 3 and not owned(found, web))
