"""Autoscalers as their users see them: a real API server, a real manager, kubectl, and metrics that tests make up."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, deletion_requested, find_condition, get_path, name
from apimachinery.resources import (
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    NAMESPACES,
    PODS,
)
from apimachinery.time import rfc3339
from tests.support.apiserver import ApiServerProcess, own_address, running
from tests.support.clients import kubectl_current
from tests.support.customresources import define, definition, made, properties, resource, version
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, node_agent, until
from tests.support.metrics_server import MetricsServer, metrics_server

QUICK = ("--horizontal-pod-autoscaler-sync-period=200ms", "--horizontal-pod-autoscaler-downscale-stabilization=500ms")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("autoscalers")) as process:
        asyncio.run(process.wait_ready())
        with managing(process, *QUICK):
            yield process


@pytest.fixture(scope="module")
def metrics(server: ApiServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsServer]:
    """Serves all metrics from the first test on that asks for it."""

    async def register(made: MetricsServer) -> None:
        async with await server.client() as client:
            await made.register(client, own_address())

    with metrics_server(tmp_path_factory.mktemp("metrics"), own_address()) as started:
        asyncio.run(register(started))
        yield started


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    return name(await client.create(NAMESPACES, {"metadata": {"generateName": "autoscalers-"}}))


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, tmp_path)


def deployment(scope: str, replicas: int) -> Object:
    container = {"name": "app", "image": "web:1", "resources": {"requests": {"cpu": "500m"}}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    metadata = {"name": "web", "namespace": scope}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def aged(client: Client, scope: str, count: int) -> list[str]:
    """The names of so many pods, once they run; they have done so for long."""

    def run(pods: dict[str, Object]) -> bool:
        living = [pod for pod in pods.values() if not deletion_requested(pod)]
        return len(living) == count and all(get_path(pod, "status", "phase") == "Running" for pod in living)

    pods = [one for one, pod in (await until(client, PODS, scope, run)).items() if not deletion_requested(pod)]
    long_ago = rfc3339(time.time() - 3600)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": long_ago}
    for pod in pods:
        patch = {"status": {"startTime": long_ago, "conditions": [ready]}}
        await client.patch(PODS, pod, patch, scope, kind="strategic", subresource="status")
    return pods


def reason(obj: Object | None, kind: str) -> str:
    found = find_condition(obj, kind) if obj is not None else None
    return found["reason"] if found is not None else ""


async def test_kubectl_autoscales_a_deployment_up_and_down(
    client: Client, scope: str, kubectl: Kubectl, metrics: MetricsServer
) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, 1))
        [first] = await aged(client, scope, 1)
        metrics.cpu[scope] = {first: "1"}
        autoscaled = await asyncio.to_thread(
            kubectl, "autoscale", "deployment/web", "--cpu=50%", "--min=1", "--max=8"
        )
        assert autoscaled == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
        four = await aged(client, scope, 4)
        metrics.cpu[scope] = dict.fromkeys(four, "250m")
        is_shown = lambda found: "50" in json.dumps(found["web"]["status"].get("currentMetrics"))  # noqa: E731
        await until(client, HORIZONTALPODAUTOSCALERS, scope, lambda found: is_shown(found) and settled(found, 4))
        listed = await asyncio.to_thread(kubectl, "get", "hpa")
        assert re.search(r"web +Deployment/web +cpu: 50%/50% +1 +8 +4 ", listed)
        described = await asyncio.to_thread(kubectl, "describe", "hpa", "web")
        assert "resource cpu on pods  (as a percentage of request):  50% (250m) / 50%" in described
        assert re.search(r"Deployment pods: +4 current / 4 desired", described)
        assert re.search(r"AbleToScale +True +ReadyForNewScale +recommended size matches current size", described)
        assert re.search(r"ScalingActive +True +ValidMetricFound +the HPA was able to successfully", described)
        assert re.search(r"ScalingLimited +False +DesiredWithinRange", described)
        assert re.search(r"SuccessfulRescale +\S+ +\S+ +New size: 4; reason: cpu", described)
        metrics.cpu[scope] = dict.fromkeys(four, "1m")
        await aged(client, scope, 1)
        [web] = (await client.list(HORIZONTALPODAUTOSCALERS, scope))["items"]
        assert web["status"]["lastScaleTime"]
    assert kubectl("get", "hpa", "-o", "jsonpath={.items[0].status.observedGeneration}") == "1"


def settled(found: dict[str, Object], size: int) -> bool:
    status = found["web"]["status"]
    return (status["currentReplicas"], status["desiredReplicas"]) == (size, size)


async def test_custom_resources_follow_metrics_of_objects_and_of_nothing(
    client: Client, scope: str, metrics: MetricsServer
) -> None:
    sized = properties(spec=properties(size={"type": "integer"}), status=properties(size={"type": "integer"}))
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    scale = {**paths, "labelSelectorPath": ".status.selector"}
    sized["properties"]["status"]["properties"]["selector"] = {"type": "string"}
    defined = definition("pools", version("v1", sized, subresources={"status": {}, "scale": scale}))
    await define(client, defined)
    pools = resource(defined)
    await client.create(pools, made(pools, "web", scope, spec={"size": 2}))
    status = {"status": {"size": 2, "selector": "app=pool"}}
    await client.patch(pools, "web", status, scope, subresource="status")
    metrics.values[f"namespaces/{scope}/queued"] = "30"
    metrics.values[f"namespaces/{scope}/services/web/hits"] = "60"
    target = {"type": "AverageValue", "averageValue": "10"}
    external = {"type": "External", "external": {"metric": {"name": "queued"}, "target": target}}
    described = {"apiVersion": "v1", "kind": "Service", "name": "web"}
    hits = {"metric": {"name": "hits"}, "describedObject": described, "target": target}
    reference = {"apiVersion": pools.api_version, "kind": pools.kind, "name": "web"}
    spec = {"scaleTargetRef": reference, "maxReplicas": 9, "metrics": [external, {"type": "Object", "object": hits}]}
    await client.create(HORIZONTALPODAUTOSCALERS, {"metadata": {"name": "web", "namespace": scope}, "spec": spec})
    # Twice as many, or four, are the most at once.
    found = await until(client, pools, scope, lambda found: found["web"]["spec"]["size"] == 4)
    await client.patch(pools, "web", {"status": {"size": 4}}, scope, subresource="status")
    found = await until(client, pools, scope, lambda found: found["web"]["spec"]["size"] == 6)
    assert found["web"]["spec"]["size"] == 6
    shown = await until(client, HORIZONTALPODAUTOSCALERS, scope, lambda found: settled(found, 6))
    assert [one["type"] for one in shown["web"]["status"]["currentMetrics"]] == ["External", "Object"]


async def test_what_can_not_be_measured_is_told_of(client: Client, scope: str, kubectl: Kubectl) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": reference, "maxReplicas": 9}
    await client.create(HORIZONTALPODAUTOSCALERS, {"metadata": {"name": "web", "namespace": scope}, "spec": spec})
    until_reason = lambda kind, told: until(  # noqa: E731
        client, HORIZONTALPODAUTOSCALERS, scope, lambda found: reason(found.get("web"), kind) == told
    )
    await until_reason("AbleToScale", "FailedGetScale")
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, 2))
        await aged(client, scope, 2)
        await until_reason("ScalingActive", "FailedGetResourceMetric")
        described = await asyncio.to_thread(kubectl, "describe", "hpa", "web")
    assert re.search(r"AbleToScale +True +SucceededGetScale", described)
    assert "no metrics returned from resource metrics API" in described
    assert "FailedComputeMetricsReplicas" in described
    assert re.search(r'FailedGetScale +\S+ .*deployments.apps "web" not found', described)
