"""Quotas and limit ranges of a namespace, as its users and kubectl see them, with a real controller manager."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path
from apimachinery.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    LIMITRANGES,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    PRIORITYCLASSES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, until

CREATORS = 50


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("quotas")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test, with the service account that pods need."""
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "quotas-"}})
    name: str = made["metadata"]["name"]
    await until(client, SERVICEACCOUNTS, name, lambda found: "default" in found)
    return name


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, tmp_path)


def pod(name: str = "a", *, requests: Any = None, limits: Any = None, **spec: Any) -> Object:
    resources = {"requests": requests or {}, "limits": limits or {}}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}], **spec},
    }


def used(quota: Object) -> dict[str, str]:
    found: dict[str, str] = get_path(quota, "status", "used", default={})
    return found


async def limit(client: Client, scope: str, hard: dict[str, str], name: str = "q", **spec: Any) -> None:
    """A quota that is in force."""
    await client.create(RESOURCEQUOTAS, {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}, scope)
    await until(client, RESOURCEQUOTAS, scope, lambda found: used(found[name]).keys() == hard.keys())


async def until_used(client: Client, scope: str, expected: dict[str, str], name: str = "q") -> None:
    await until(client, RESOURCEQUOTAS, scope, lambda found: used(found[name]) == expected)


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_what_is_created_is_seen_at_once_and_what_is_deleted_soon(client: Client, scope: str) -> None:
    await client.create(PODS, pod("before", requests={"cpu": "1"}), scope)
    await limit(client, scope, {"pods": "3", "requests.cpu": "4", "limits.memory": "1Gi", "count/pods": "3"})
    nothing = {"limits.memory": "0"}
    await until_used(client, scope, {**nothing, "pods": "1", "requests.cpu": "1", "count/pods": "1"})
    asked = pod("first", requests={"cpu": "1500m"}, limits={"memory": "512Mi"})
    await client.create(PODS, asked, scope)
    first = {"pods": "2", "requests.cpu": "2500m", "limits.memory": "512Mi", "count/pods": "2"}
    assert used(await client.get(RESOURCEQUOTAS, "q", scope)) == first
    # A dry run is told the same, and leaves nothing behind.
    large = pod("second", requests={"cpu": "2"}, limits={"memory": "512Mi"})
    for params in ({"dryRun": "All"}, None):
        error = await refusal(client.create(PODS, large, scope, params=params))
        assert (error.code, error.reason) == (403, "Forbidden")
        assert error.message == (
            'pods "second" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=2500m, '
            "limited: requests.cpu=4"
        )
    await client.create(PODS, asked | {"metadata": {"name": "x"}}, scope, params={"dryRun": "All"})
    assert used(await client.get(RESOURCEQUOTAS, "q", scope)) == first
    await client.delete(PODS, "first", scope, grace_period_seconds=0)
    await until_used(client, scope, {**nothing, "pods": "1", "requests.cpu": "1", "count/pods": "1"})
    # A pod that has ended uses nothing any more, but is still there.
    ended = {"status": {"phase": "Succeeded"}}
    await client.patch(PODS, "before", ended, scope, subresource="status")
    await until_used(client, scope, {**nothing, "pods": "0", "requests.cpu": "0", "count/pods": "1"})


async def test_many_creators_at_once_never_get_more_than_there_is(client: Client, scope: str) -> None:
    await limit(client, scope, {"count/configmaps": "20", "pods": "10", "requests.cpu": "1"})
    stopped = False

    async def watch() -> None:
        """Whatever is there at any moment is allowed, and charged."""
        while not stopped:
            seen = await client.list(PODS, scope)
            assert len(seen["items"]) <= 10
            await asyncio.sleep(0)

    async def create(number: int) -> list[bool]:
        done = []
        for turn in range(3):
            try:
                await client.create(PODS, pod(f"p-{number}-{turn}", requests={"cpu": "100m"}), scope)
                done.append(True)
            except ApiError as error:
                assert "exceeded quota: q" in error.message
                done.append(False)
        return done

    watching = asyncio.create_task(watch())
    results = await asyncio.gather(*(create(number) for number in range(CREATORS)))
    stopped = True
    await watching
    assert sum(map(sum, results)) == 10
    # In the namespace are ten pods and the authority that is in each: one of the configmaps.
    assert used(await client.get(RESOURCEQUOTAS, "q", scope)) == {
        "count/configmaps": "1",
        "pods": "10",
        "requests.cpu": "1",
    }


async def test_those_who_come_and_go_leave_nothing_behind(client: Client, scope: str) -> None:
    await limit(client, scope, {"count/configmaps": "12", "pods": "8"})

    async def churn(number: int) -> None:
        for turn in range(6):
            name = f"p-{number}-{turn}"
            try:
                await client.create(PODS, pod(name), scope)
            except ApiError as error:
                assert "exceeded quota: q" in error.message
                continue
            await client.delete(PODS, name, scope, grace_period_seconds=0)

    await asyncio.gather(*(churn(number) for number in range(CREATORS)))
    await until_used(client, scope, {"count/configmaps": "1", "pods": "0"})


async def test_services_claims_and_custom_resources(client: Client, scope: str) -> None:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    group = f"{scope}.example.com"
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    await client.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": f"widgets.{group}"}, "spec": spec})
    gold = "gold.storageclass.storage.k8s.io/requests.storage"
    hard = {"services.nodeports": "1", "services.loadbalancers": "1", gold: "5Gi", f"count/widgets.{group}": "1"}
    await limit(client, scope, hard)

    def service(name: str, kind: str) -> Object:
        return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}

    await client.create(SERVICES, service("a", "LoadBalancer"), scope)
    error = await refusal(client.create(SERVICES, service("b", "NodePort"), scope))
    assert "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1" in error.message
    await client.patch(SERVICES, "a", {"spec": {"type": "ClusterIP"}}, scope)
    await until_used(client, scope, {**dict.fromkeys(hard, "0")})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    gold_claim = {"metadata": {"name": "a"}, "spec": {**claim, "storageClassName": "gold"}}
    await client.create(PERSISTENTVOLUMECLAIMS, gold_claim, scope)
    error = await refusal(client.create(PERSISTENTVOLUMECLAIMS, {**gold_claim, "metadata": {"name": "b"}}, scope))
    assert f"requested: {gold}=3Gi, used: {gold}=3Gi, limited: {gold}=5Gi" in error.message
    widgets = Resource(group, "v1", "Widget", "widgets", "widget")
    await client.create(widgets, {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a"}}, scope)
    second = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "b"}}
    error = await refusal(client.create(widgets, second, scope))
    assert error.message == (
        f'widgets.{group} "b" is forbidden: exceeded quota: q, requested: count/widgets.{group}=1, '
        f"used: count/widgets.{group}=1, limited: count/widgets.{group}=1"
    )
    await client.delete(widgets, "a", scope)
    await until_used(client, scope, {**dict.fromkeys(hard, "0"), gold: "3Gi"})


async def test_scopes(client: Client, scope: str) -> None:
    await client.create(PRIORITYCLASSES, {"metadata": {"name": scope}, "value": 1000})
    high = {"scopeName": "PriorityClass", "operator": "In", "values": [scope]}
    await limit(client, scope, {"pods": "1"}, "high", scopeSelector={"matchExpressions": [high]})
    await limit(client, scope, {"pods": "1"}, "best-effort", scopes=["BestEffort"])
    await limit(client, scope, {"pods": "1"}, "jobs", scopes=["Terminating"])
    cpu = {"cpu": "1"}
    await client.create(PODS, pod("a", requests=cpu, priorityClassName=scope), scope)
    error = await refusal(client.create(PODS, pod("b", requests=cpu, priorityClassName=scope), scope))
    assert "exceeded quota: high" in error.message
    await client.create(PODS, pod("c"), scope)
    assert "exceeded quota: best-effort" in (await refusal(client.create(PODS, pod("d"), scope))).message
    await client.create(PODS, pod("e", requests=cpu, activeDeadlineSeconds=60), scope)
    late = client.create(PODS, pod("f", requests=cpu, activeDeadlineSeconds=60), scope)
    assert "exceeded quota: jobs" in (await refusal(late)).message
    await client.create(PODS, pod("g", requests=cpu), scope)


async def test_controllers_go_on_when_there_is_room_again(client: Client, scope: str) -> None:
    await limit(client, scope, {"pods": "2"})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    spec = {"replicas": 4, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, scope)
    await until(client, PODS, scope, lambda found: len(found) == 2)
    await client.patch(RESOURCEQUOTAS, "q", {"spec": {"hard": {"pods": "4"}}}, scope)
    await until(client, PODS, scope, lambda found: len(found) == 4)
    await until_used(client, scope, {"pods": "4"})


async def test_kubectl_shows_what_is_used(client: Client, scope: str, kubectl: Kubectl) -> None:
    await asyncio.to_thread(kubectl, "create", "quota", "q", "--hard=pods=2,secrets=3,requests.cpu=2")
    await until_used(client, scope, {"pods": "0", "secrets": "0", "requests.cpu": "0"})
    told = await asyncio.to_thread(kubectl, "run", "web", "--image=web", fails=True)
    assert told == (
        'Error from server (Forbidden): pods "web" is forbidden: failed quota: q: must specify requests.cpu for: '
        "web\n"
    )
    await client.create(PODS, pod(requests={"cpu": "500m"}), scope)
    lines = await asyncio.to_thread(kubectl.lines, "describe", "quota", "q")
    assert ["pods", "1", "2"] in lines and ["requests.cpu", "500m", "2"] in lines
    shown = await asyncio.to_thread(kubectl, "get", "quota", "q")
    assert "pods: 1/2, requests.cpu: 500m/2, secrets: 0/3" in shown


async def test_a_quota_that_shrinks_refuses_more_but_takes_nothing_away(client: Client, scope: str) -> None:
    await limit(client, scope, {"configmaps": "5"})
    await client.create(CONFIGMAPS, {"metadata": {"name": "a"}}, scope)
    await client.patch(RESOURCEQUOTAS, "q", {"spec": {"hard": {"configmaps": "1"}}}, scope)
    shrunk = await until(
        client, RESOURCEQUOTAS, scope, lambda found: found["q"]["status"]["hard"] == {"configmaps": "1"}
    )
    assert used(shrunk["q"]) == {"configmaps": "2"}
    error = await refusal(client.create(CONFIGMAPS, {"metadata": {"name": "b"}}, scope))
    assert "used: configmaps=2, limited: configmaps=1" in error.message


# Limit ranges


async def test_limit_ranges_fill_in_and_bound(client: Client, scope: str, kubectl: Kubectl) -> None:
    container = {
        "type": "Container",
        "default": {"cpu": "500m", "memory": "512Mi"},
        "defaultRequest": {"cpu": "250m"},
        "max": {"cpu": "1"},
        "min": {"memory": "64Mi"},
    }
    whole = {"type": "Pod", "max": {"memory": "1Gi"}}
    claims = {"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}, "min": {"storage": "1Gi"}}
    await client.create(
        LIMITRANGES, {"metadata": {"name": "l"}, "spec": {"limits": [container, whole, claims]}}, scope
    )
    made = await client.create(PODS, pod(), scope)
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "512Mi"},
        "requests": {"cpu": "250m", "memory": "512Mi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    )
    large = pod("b", limits={"cpu": "2", "memory": "2Gi"})
    error = await refusal(client.create(PODS, large, scope))
    assert error.message == (
        'pods "b" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, '
        "maximum memory usage per Pod is 1Gi, but limit is 2Gi]"
    )
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}
    error = await refusal(client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "a"}, "spec": claim}, scope))
    assert error.message == (
        'persistentvolumeclaims "a" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, '
        "but request is 3Gi"
    )
    shown = await asyncio.to_thread(kubectl.lines, "describe", "limits", "l")
    assert ["Container", "cpu", "-", "1", "250m", "500m", "-"] in shown
