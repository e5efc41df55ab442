"""Autoscalers at work on an API in memory: what they scale, say and remember, look after look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError, conflict, not_found, path_not_found
from apimachinery.meta import Object, find_condition, name
from apimachinery.resources import (
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    NAMESPACES,
    PODS,
    Resource,
)
from apimachinery.selectors import parse_label_selector
from apimachinery.time import rfc3339
from controllers.context import Context, Informers, Options, run_controller
from controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi

PERIOD = 15
WIDGETS = Resource("example.com", "v1", "Widget", "widgets", "widget", subresources=("scale", "status"))


class Events:
    """What is told of autoscalers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def event(self, obj: Object, kind: str, reason: str, message: str, **_: Any) -> None:
        self.told.append((reason, message))

    def of(self, reason: str) -> list[str]:
        return [message for one, message in self.told if one == reason]


class MetricsApi(StagedApi):
    """An API with scales and metrics; every change of size has its pods at once."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.events = Events()
        self.answers: dict[str, list[Object]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.custom_version = ""
        self.conflicts = 0
        self.looks = 0

    async def request(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        if path == "/apis":
            return await super().request(method, path)
        if path == "/apis/custom.metrics.k8s.io" and self.custom_version:
            return 200, {}, orjson.dumps({"preferredVersion": {"version": self.custom_version}})
        self.asked.append((path, dict(more.get("params") or {})))
        if path not in self.answers:
            raise path_not_found()
        return 200, {}, orjson.dumps({"items": self.answers[path]})

    async def list(self, resource: Resource, namespace: str | None = None, **more: Any) -> Object:
        page = await super().list(resource, namespace, **more)
        selector = parse_label_selector(more.get("label_selector") or "")
        return {
            **page,
            "items": [one for one in page["items"] if selector.matches(one["metadata"].get("labels", {}))],
        }

    async def get(self, resource: Resource, which: str, namespace: str | None = None, **more: Any) -> Object:
        found = await super().get(resource, which, namespace)
        if more.get("subresource") != "scale":
            return found
        self.looks += 1
        status = {"replicas": found["spec"]["replicas"], "selector": found["status"].get("selector", "app=web")}
        return {**found, "kind": "Scale", "spec": {"replicas": found["spec"]["replicas"]}, "status": status}

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        assert subresource == "scale"
        if self.conflicts:
            self.conflicts -= 1
            raise conflict(resource.group_resource, name(obj), "it was changed")
        known = self._find(resource, name(obj), "default")
        self._check(resource, known, obj["metadata"])
        self.calls.append(("scale", resource.plural))
        return self._write(resource, "MODIFIED", {**known, "spec": {**known["spec"], **obj["spec"]}})

    def size(self, resource: Resource = DEPLOYMENTS) -> int:
        size: int = self._find(resource, "web", "default")["spec"]["replicas"]
        return size

    async def have(
        self, replicas: int, *, resource: Resource = DEPLOYMENTS, pods: int | None = None, **status: Any
    ) -> None:
        """A workload and its pods, which are ready for long."""
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        web = {**kind, "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": replicas}}
        await self.create(resource, {**web, "status": status})
        for number in range(replicas if pods is None else pods):
            await self.create(PODS, self.pod(f"web-{number}"))

    def pod(self, called: str) -> Object:
        long_ago = rfc3339(self.clock.now() - 3600)
        requests = {"requests": {"cpu": "1", "memory": "100Mi"}}
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": long_ago}
        return {
            "kind": "Pod",
            "metadata": {"name": called, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "resources": requests}]},
            "status": {"phase": "Running", "startTime": long_ago, "conditions": [condition]},
        }

    def use(self, *cpu: str) -> None:
        """What the pods use from now on."""
        self.answers["/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"] = [
            {
                "metadata": {"name": f"web-{number}", "namespace": "default"},
                "timestamp": rfc3339(self.clock.now()),
                "window": "15s",
                "containers": [{"name": "app", "usage": {"cpu": one, "memory": "50Mi"}}],
            }
            for number, one in enumerate(cpu)
        ]

    def autoscaler(self, called: str = "web") -> Object:
        return self._find(HORIZONTALPODAUTOSCALERS, called, "default")

    def condition(self, kind: str, called: str = "web") -> tuple[str, str]:
        found = find_condition(self.autoscaler(called), kind)
        return (found["status"], found["reason"]) if found else ("", "")

    def message(self, kind: str) -> str:
        found = find_condition(self.autoscaler(), kind)
        assert found is not None
        return str(found["message"])


CPU_HALF = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}


def autoscaler(*metrics: Object, called: str = "web", target: Resource = DEPLOYMENTS, **spec: Any) -> Object:
    reference = {"apiVersion": target.api_version, "kind": target.kind, "name": "web"}
    told = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": list(metrics or (CPU_HALF,))}
    return {"metadata": {"name": called, "namespace": "default"}, "spec": {**told, **spec}}


@asynccontextmanager
async def running(api: MetricsApi, **options: Any) -> AsyncIterator[None]:
    client: Any = api
    recorder: Any = api.events
    informers = Informers(client, client, clock=api.clock)
    context = Context(client, client, informers, recorder, api.clock, Options(**options))
    controller = HorizontalPodAutoscalerController(context)
    async with asyncio.TaskGroup() as group:
        running_informers = group.create_task(_informers(informers))
        working = group.create_task(run_controller("test", controller, workers=2, clock=api.clock))
        await api.clock.settle()
        yield
        running_informers.cancel()
        working.cancel()


async def _informers(informers: Informers) -> None:
    async with asyncio.TaskGroup() as group:
        informers.start(group)


@pytest.fixture
def api() -> MetricsApi:
    return MetricsApi(ManualClock())


async def create(api: MetricsApi, *metrics: Object, **more: Any) -> None:
    await api.create(HORIZONTALPODAUTOSCALERS, autoscaler(*metrics, **more))
    await api.clock.settle()


async def test_a_workload_grows_with_its_load_and_the_status_says_all_of_it(api: MetricsApi) -> None:
    await api.have(2)
    api.use("800m", "700m")
    async with running(api):
        await create(api)
    assert api.size() == 3
    status = api.autoscaler()["status"]
    assert (status["currentReplicas"], status["desiredReplicas"], status["observedGeneration"]) == (2, 3, 1)
    assert status["lastScaleTime"] == rfc3339(api.clock.now())
    current = {"averageUtilization": 75, "averageValue": "750m"}
    assert status["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
    assert [one["type"] for one in status["conditions"]] == ["AbleToScale", "ScalingActive", "ScalingLimited"]
    assert api.condition("AbleToScale") == ("True", "SucceededRescale")
    assert api.message("AbleToScale") == "the HPA controller was able to update the target scale to 3"
    assert api.condition("ScalingActive") == ("True", "ValidMetricFound")
    said = "the HPA was able to successfully calculate a replica count from "
    assert api.message("ScalingActive") == f"{said}cpu resource utilization (percentage of request)"
    assert api.condition("ScalingLimited") == ("False", "DesiredWithinRange")
    why = "cpu resource utilization (percentage of request) above target"
    assert api.events.told == [("SuccessfulRescale", f"New size: 3; reason: {why}")]


async def test_metrics_are_asked_for_by_the_clock_and_at_once_when_the_autoscaler_changes(api: MetricsApi) -> None:
    await api.have(2)
    api.use("500m", "500m")
    async with running(api):
        await create(api)
        assert api.looks == 1
        await api.clock.advance(PERIOD - 1)
        assert api.looks == 1
        await api.clock.advance(1)
        assert api.looks == 2
        change = {"metadata": {"generation": 2}, "spec": {"minReplicas": 4}}
        await api.patch(HORIZONTALPODAUTOSCALERS, "web", change, "default")
        await api.clock.settle()
        assert (api.looks, api.size()) == (3, 4)
        assert api.autoscaler()["status"]["observedGeneration"] == 2
        await api.delete(HORIZONTALPODAUTOSCALERS, "web", "default")
        await api.clock.advance(10 * PERIOD)
        assert api.looks == 3


async def test_a_status_that_is_as_it_was_is_not_written(api: MetricsApi) -> None:
    await api.have(2)
    api.use("500m", "500m")
    async with running(api):
        await create(api)
        written = api.count("patch", HORIZONTALPODAUTOSCALERS)
        await api.clock.advance(4 * PERIOD)
        assert (api.looks, api.count("patch", HORIZONTALPODAUTOSCALERS)) == (5, written)


async def test_scaling_down_waits_for_five_minutes_of_less_load(api: MetricsApi) -> None:
    await api.have(4)
    api.use(*["100m"] * 4)
    async with running(api):
        await create(api)
        assert api.size() == 4
        assert api.condition("AbleToScale") == ("True", "ScaleDownStabilized")
        await api.clock.advance(300)
        assert api.size() == 4
        await api.clock.advance(PERIOD)
        assert api.size() == 1
    assert api.events.of("SuccessfulRescale") == ["New size: 1; reason: All metrics below target"]


async def test_who_takes_over_waits_before_scaling_down(api: MetricsApi) -> None:
    await api.have(4)
    api.use(*["100m"] * 4)
    async with running(api):
        await create(api)
        await api.clock.advance(290)
    async with running(api):
        await api.clock.advance(290)
        assert api.size() == 4
        await api.clock.advance(30)
        assert api.size() == 1


async def test_a_clock_that_is_put_forward_scales_nothing(api: MetricsApi) -> None:
    await api.have(4)
    api.use(*["100m"] * 4)
    async with running(api):
        await create(api)
        api.clock.step(3600)
        await api.clock.advance(2 * PERIOD)
        assert api.size() == 4


async def test_policies_keep_growth_slow(api: MetricsApi) -> None:
    await api.have(2)
    rules = {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    down = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    api.use("1000m", "1000m")
    async with running(api):
        await create(api, behavior={"scaleUp": rules, "scaleDown": down})
        assert api.size() == 3
        assert api.condition("ScalingLimited") == ("True", "ScaleUpLimit")
        await api.create(PODS, api.pod("web-2"))
        api.use(*["1000m"] * 3)
        await api.clock.advance(45)
        assert api.size() == 3
        await api.clock.advance(PERIOD)
        assert api.size() == 4


async def test_an_autoscalers_own_tolerance_goes_before_the_controllers(api: MetricsApi) -> None:
    await api.have(10)
    api.use(*["540m"] * 10)
    policies = [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    side = {"selectPolicy": "Max", "policies": policies}
    async with running(api):
        await create(api)
        assert api.size() == 10
        change = {"metadata": {"generation": 2}, "spec": {"maxReplicas": 20}}
        change["spec"]["behavior"] = {"scaleUp": {**side, "tolerance": "50m"}, "scaleDown": side}
        await api.patch(HORIZONTALPODAUTOSCALERS, "web", change, "default")
        await api.clock.settle()
        assert api.size() == 11


@pytest.mark.parametrize(
    ("replicas", "size", "reason"),
    [
        (20, 10, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ],
)
async def test_bounds_are_kept_whatever_metrics_say(api: MetricsApi, replicas: int, size: int, reason: str) -> None:
    await api.have(replicas)
    async with running(api):
        await create(api, minReplicas=2)
    assert api.size() == size
    assert api.events.told == [("SuccessfulRescale", f"New size: {size}; reason: {reason}")]


async def test_a_workload_that_was_scaled_to_nothing_is_left_alone(api: MetricsApi) -> None:
    await api.have(0)
    async with running(api):
        await create(api)
        await api.clock.advance(PERIOD)
    assert api.size() == 0
    assert api.condition("ScalingActive") == ("False", "ScalingDisabled")


async def test_without_metrics_nothing_is_scaled_and_everybody_is_told(api: MetricsApi) -> None:
    await api.have(3)
    async with running(api):
        await create(api)
        await api.clock.advance(PERIOD)
    assert api.size() == 3
    why = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: "
    why = f"failed to get cpu utilization: {why}the server could not find the requested resource"
    assert api.events.of("FailedGetResourceMetric") == [why] * 2
    summary = f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
    assert api.events.of("FailedComputeMetricsReplicas") == [summary] * 2
    assert api.condition("ScalingActive") == ("False", "FailedGetResourceMetric")
    assert api.message("ScalingActive") == f"the HPA was unable to compute the replica count: {why}"
    status = api.autoscaler()["status"]
    assert (status["currentReplicas"], status["desiredReplicas"]) == (3, 0)


async def test_an_answer_that_makes_no_sense_scales_nothing(api: MetricsApi) -> None:
    await api.have(3)
    api.answers["/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"] = [{"metadata": {}, "containers": [{}]}]
    async with running(api):
        await create(api)
    assert api.size() == 3 and api.condition("ScalingActive") == ("False", "FailedGetResourceMetric")


EXTERNAL = {
    "type": "External",
    "external": {
        "metric": {"name": "queued", "selector": {"matchLabels": {"queue": "a"}}},
        "target": {"type": "AverageValue", "averageValue": "10"},
    },
}


@pytest.mark.parametrize(("cpu", "size"), [("900m", 4), ("100m", 2)])
async def test_while_one_metric_is_missing_others_may_only_add_pods(api: MetricsApi, cpu: str, size: int) -> None:
    await api.have(2)
    api.use(cpu, cpu)
    async with running(api, horizontal_pod_autoscaler_downscale_stabilization=0.0):
        await create(api, CPU_HALF, EXTERNAL)
        await api.clock.advance(1)
    assert api.size() == size
    assert len(api.events.of("FailedGetExternalMetric")) == 1
    assert api.autoscaler()["status"]["currentMetrics"][1] == {"type": ""}


async def test_external_metrics_are_shared_out_among_the_pods(api: MetricsApi) -> None:
    await api.have(2)
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queued"
    api.answers[path] = [{"value": "30"}, {"value": "5500m"}]
    async with running(api):
        await create(api, EXTERNAL)
    assert api.size() == 4
    assert api.asked == [(path, {"labelSelector": "queue=a"})]
    [current] = api.autoscaler()["status"]["currentMetrics"]
    assert current["external"]["current"] == {"averageValue": "17750m"}
    selector = (
        "&LabelSelector{MatchLabels:map[string]string{queue: a,},MatchExpressions:[]LabelSelectorRequirement{},}"
    )
    assert api.message("ScalingActive").endswith(f"from external metric queued({selector})")


async def test_custom_metrics_of_pods_are_asked_for_in_the_preferred_version(api: MetricsApi) -> None:
    await api.have(2)
    api.custom_version = "v1beta2"
    path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/requests"
    api.answers[path] = [
        {"describedObject": {"name": f"web-{number}"}, "timestamp": rfc3339(api.clock.now()), "value": "30"}
        for number in range(2)
    ]
    metric = {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "20"}}
    async with running(api):
        await create(api, {"type": "Pods", "pods": metric})
    assert api.size() == 3
    assert api.asked == [(path, {"labelSelector": "app=web"})]
    [current] = api.autoscaler()["status"]["currentMetrics"]
    assert current == {"type": "Pods", "pods": {"metric": {"name": "requests"}, "current": {"averageValue": "30"}}}


@pytest.mark.parametrize(
    ("described", "place"),
    [
        (
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"},
            "ingresses.networking.k8s.io/main",
        ),
        ({"apiVersion": "v1", "kind": "Service", "name": "web"}, "services/web"),
        ({"apiVersion": "v1", "kind": NAMESPACES.kind, "name": "default"}, "metrics"),
    ],
)
async def test_custom_metrics_of_objects(api: MetricsApi, described: Object, place: str) -> None:
    await api.have(2)
    api.custom_version = "v1beta1"
    api.answers[f"/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/{place}/hits"] = [{"value": "40"}]
    metric = {"metric": {"name": "hits"}, "describedObject": described, "target": {"type": "Value", "value": "20"}}
    async with running(api):
        await create(api, {"type": "Object", "object": metric})
    assert api.size() == 4
    [current] = api.autoscaler()["status"]["currentMetrics"]
    assert current["object"]["current"] == {"value": "40"}
    assert api.events.of("SuccessfulRescale") == [
        f"New size: 4; reason: {described['kind']} metric hits above target"
    ]


async def test_nobody_serves_custom_metrics(api: MetricsApi) -> None:
    await api.have(2)
    metric = {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "20"}}
    async with running(api):
        await create(api, {"type": "Pods", "pods": metric})
    told = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
    assert api.events.of("FailedGetPodsMetric") == [f"unable to get metric requests: {told}"]


async def test_one_container_of_each_pod(api: MetricsApi) -> None:
    await api.have(2)
    api.use("1", "1")
    target = {"type": "Utilization", "averageUtilization": 50}
    async with running(api):
        source = {"name": "cpu", "container": "app", "target": target}
        await create(api, {"type": "ContainerResource", "containerResource": source})
        assert api.size() == 4
        missing = {"type": "ContainerResource", "containerResource": {**source, "container": "db"}}
        change = {"metadata": {"generation": 2}, "spec": {"metrics": [missing]}}
        await api.patch(HORIZONTALPODAUTOSCALERS, "web", change, "default")
        await api.clock.settle()
    [told] = api.events.of("FailedGetContainerResourceMetric")
    assert told.endswith("container db not present in metrics for pod default/web-0")


async def test_custom_resources_are_scaled_by_their_subresource(api: MetricsApi) -> None:
    api.custom = [WIDGETS]
    await api.have(2, resource=WIDGETS)
    api.use("900m", "900m")
    async with running(api):
        await create(api, target=WIDGETS)
    assert api.size(WIDGETS) == 4


async def test_a_kind_that_is_defined_later_is_found_then(api: MetricsApi) -> None:
    await api.have(2, resource=WIDGETS)
    api.use("900m", "900m")
    async with running(api):
        await create(api, target=WIDGETS)
        assert api.events.of("FailedGetScale") == ['no matches for kind "Widget" in group "example.com"']
        assert api.condition("AbleToScale") == ("False", "FailedGetScale")
        api.custom = [WIDGETS]
        await api.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": "widgets.example.com"}})
        await api.clock.advance(PERIOD)
    assert api.size(WIDGETS) == 4


async def test_a_target_that_is_not_there_is_told_of_and_awaited(api: MetricsApi) -> None:
    api.use("900m", "900m")
    async with running(api):
        await create(api)
        missing = not_found(DEPLOYMENTS.group_resource, "web").message
        assert (
            api.message("AbleToScale")
            == f"the HPA controller was unable to get the target's current scale: {missing}"
        )
        await api.have(2)
        await api.clock.advance(PERIOD)
    assert api.size() == 4
    assert api.condition("AbleToScale") == ("True", "SucceededRescale")


@pytest.mark.parametrize(
    ("selector", "event", "message"),
    [
        ("", ("SelectorRequired", "selector is required"), "the HPA target's scale is missing a selector"),
        ("a in (", ("InvalidSelector", "couldn't convert selector"), "couldn't convert selector"),
    ],
)
async def test_without_a_selector_no_pods_can_be_counted(
    api: MetricsApi, selector: str, event: tuple[str, str], message: str
) -> None:
    await api.have(2, selector=selector)
    api.use("900m", "900m")
    async with running(api):
        await create(api)
    assert api.size() == 2
    assert api.condition("ScalingActive") == ("False", "InvalidSelector")
    assert api.message("ScalingActive").startswith(message)
    assert [one[: len(event[1])] for one in api.events.of(event[0])] == [event[1]]


async def test_two_autoscalers_of_the_same_pods_scale_nothing(api: MetricsApi) -> None:
    await api.have(2)
    api.use("500m", "500m")
    async with running(api):
        await create(api)
        await create(api, called="other")
        api.use("900m", "900m")
        await api.clock.advance(2 * PERIOD)
        assert api.size() == 2
        told = "pods by selector app=web are controlled by multiple HPAs: [default/other default/web]"
        assert set(api.events.of("AmbiguousSelector")) == {told}
        assert api.condition("ScalingActive", "web") == ("False", "AmbiguousSelector")
        assert api.condition("ScalingActive", "other") == ("False", "AmbiguousSelector")
        await api.delete(HORIZONTALPODAUTOSCALERS, "other", "default")
        await api.clock.advance(PERIOD)
        assert api.size() == 4


async def test_what_others_have_scaled_meanwhile_is_not_undone(api: MetricsApi) -> None:
    await api.have(2)
    api.use("900m", "900m")
    api.conflicts = 1
    async with running(api):
        await create(api)
        assert api.size() == 2
        assert api.condition("AbleToScale") == ("False", "FailedUpdateScale")
        [told] = api.events.of("FailedRescale")
        assert told.startswith(
            "New size: 4; reason: cpu resource utilization (percentage of request) above target; error:"
        )
        await api.clock.advance(PERIOD)
        assert api.size() == 4


async def test_a_status_that_can_not_be_written_has_nothing_done_twice(
    api: MetricsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.have(2)
    api.use("900m", "900m")

    async def refuse(*_: Any, **__: Any) -> Object:
        raise ApiError(503, "ServiceUnavailable", "not now")

    async with running(api):
        with monkeypatch.context() as patched:
            patched.setattr(api, "patch", refuse)
            await create(api)
            await api.clock.advance(PERIOD - 1)
        assert (api.size(), api.looks) == (4, 1)
        await api.clock.advance(1)
        assert api.autoscaler()["status"]["currentReplicas"] == 4
