"""Asks for metrics, and reads what is answered.

CPU and memory come from metrics.k8s.io, everything else from whoever serves custom.metrics.k8s.io and
external.metrics.k8s.io by an APIService. All are asked through the API server.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#support-for-metrics-apis
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson

from apiclient.rest import Client
from apimachinery import quantity
from apimachinery.duration import parse_duration
from apimachinery.errors import ApiError, is_not_found
from apimachinery.resources import Resource
from apimachinery.selectors import selector_from_object
from apimachinery.time import parse_rfc3339
from controllers.horizontal_pod_autoscaler_replicas import NoReplicas, Sample

RESOURCE_METRICS = "/apis/metrics.k8s.io/v1beta1"
CUSTOM_METRICS = "/apis/custom.metrics.k8s.io"
EXTERNAL_METRICS = "/apis/external.metrics.k8s.io/v1beta1"
# For how long a value was looked at whose server does not say.
WINDOW_SECONDS = 60.0

T = TypeVar("T")
Answer = Mapping[str, Any]
Find = Callable[[str, str], Awaitable[Resource]]


class Metrics:
    """The three metrics APIs. All methods raise NoReplicas, which says what could not be found out and why."""

    def __init__(self, client: Client, find: Find) -> None:
        """`find` tells the resource of an apiVersion and a kind; raises NoReplicas."""
        self._client = client
        self._find = find

    async def of_pods_resource(
        self, resource: str, scope: str, selector: str, container: str = ""
    ) -> dict[str, Sample]:
        """What each pod, or its container of this name, uses of CPU or memory."""
        path = f"{RESOURCE_METRICS}/namespaces/{scope}/pods"
        answer = await self._ask("resource", path, {"labelSelector": selector})
        return _read(lambda: pods_resource(answer, resource, container))

    async def of_pods(self, metric: Mapping[str, Any], scope: str, selector: str) -> dict[str, Sample]:
        """The values of a metric of each pod."""
        path = f"{await self._custom()}/namespaces/{scope}/pods/*/{metric['name']}"
        params = {"labelSelector": selector, **_metric_selector(metric)}
        answer = await self._ask("custom", path, params)
        return _read(lambda: {one["describedObject"]["name"]: _sample(one) for one in answer["items"]})

    async def of_object(self, metric: Mapping[str, Any], scope: str, described: Mapping[str, Any]) -> int:
        """The value of a metric of one object, in thousandths."""
        resource = await self._find(described.get("apiVersion") or "", described["kind"])
        place = f"namespaces/{scope}/{resource.group_resource}/{described['name']}"
        if (resource.group, resource.kind) == ("", "Namespace"):
            place = f"namespaces/{described['name']}/metrics"
        path = f"{await self._custom()}/{place}/{metric['name']}"
        answer = await self._ask("custom", path, _metric_selector(metric))
        if len(answer["items"]) != 1:
            count = len(answer["items"])
            told = f"the custom metrics API server returned {count} results when we asked for exactly one"
            raise NoReplicas(f"unable to fetch metrics from custom metrics API: {told}")
        return _read(lambda: quantity.milli_value(answer["items"][0]["value"]))

    async def external(self, metric: Mapping[str, Any], scope: str) -> int:
        """The sum of all values of a metric that belongs to no object, in thousandths."""
        path = f"{EXTERNAL_METRICS}/namespaces/{scope}/{metric['name']}"
        selector = str(selector_from_object(metric.get("selector") or {}))
        answer = await self._ask("external", path, {"labelSelector": selector} if selector else {})
        return _read(lambda: sum(quantity.milli_value(one["value"]) for one in answer["items"]))

    async def _custom(self) -> str:
        """Where custom metrics are served, in the version that their server prefers."""
        try:
            _, _, body = await self._client.request("GET", CUSTOM_METRICS)
        except ApiError as error:
            told = (
                "no custom metrics API (custom.metrics.k8s.io) registered" if is_not_found(error) else error.message
            )
            raise NoReplicas(f"unable to fetch metrics from custom metrics API: {told}") from error
        version: str = _read(lambda: orjson.loads(body)["preferredVersion"]["version"])
        return f"{CUSTOM_METRICS}/{version}"

    async def _ask(self, api: str, path: str, params: Mapping[str, str]) -> Answer:
        """A list that is not empty."""
        try:
            _, _, body = await self._client.request("GET", path, params=params)
        except ApiError as error:
            raise NoReplicas(f"unable to fetch metrics from {api} metrics API: {error.message}") from error
        answer: Answer = _read(lambda: orjson.loads(body))
        if not _read(lambda: answer.get("items")):
            raise NoReplicas(f"no metrics returned from {api} metrics API")
        return answer


def pods_resource(answer: Answer, resource: str, container: str) -> dict[str, Sample]:
    """What each pod of a PodMetricsList uses. Pods of which not all containers are known are left out.

    Raises NoReplicas for one that has no container of that name.
    """
    found = {}
    for pod in answer["items"]:
        containers = pod.get("containers") or []
        if container:
            containers = [one for one in containers if one["name"] == container]
            if not containers:
                place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                raise NoReplicas(f"container {container} not present in metrics for pod {place}")
        used = [one["usage"][resource] for one in containers if resource in (one.get("usage") or {})]
        if used and len(used) == len(containers):
            value = sum(quantity.milli_value(one) for one in used)
            found[pod["metadata"]["name"]] = Sample(
                value, parse_rfc3339(pod["timestamp"]), parse_duration(pod["window"])
            )
    return found


def _sample(value: Mapping[str, Any]) -> Sample:
    window = value.get("windowSeconds")
    seconds = WINDOW_SECONDS if window is None else float(window)
    return Sample(quantity.milli_value(value["value"]), parse_rfc3339(value["timestamp"]), seconds)


def _metric_selector(metric: Mapping[str, Any]) -> dict[str, str]:
    selector = str(selector_from_object(metric.get("selector") or {}))
    return {"metricLabelSelector": selector} if selector else {}


def _read(part: Callable[[], T]) -> T:
    """What others have answered may be anything."""
    try:
        return part()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoReplicas(f"the answer of the metrics API makes no sense: {error!r}") from error
