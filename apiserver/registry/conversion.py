"""The other forms of objects that are served under two names and stored once.

    autoscaling/v1 ↔ autoscaling/v2    HorizontalPodAutoscaler; v1 keeps what it has no fields for in annotations
    events.k8s.io/v1 ↔ v1              Event; the same fields under other names

To convert there and back changes nothing. Source: kubernetes/pkg/apis/autoscaling/v1/conversion.go and
pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from apimachinery import meta
from apimachinery.meta import Object

_DOMAIN = "autoscaling.alpha.kubernetes.io"
METRICS, CURRENT_METRICS = f"{_DOMAIN}/metrics", f"{_DOMAIN}/current-metrics"
CONDITIONS, BEHAVIOR = f"{_DOMAIN}/conditions", f"{_DOMAIN}/behavior"
# Never left in an object of v2. The last two were written by versions that are no longer served.
ROUND_TRIP_ANNOTATIONS = (
    *(METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR),
    *(f"{_DOMAIN}/scale-down-tolerance", f"{_DOMAIN}/scale-up-tolerance"),
)
CPU_PERCENT = 80
Fields = Mapping[str, Any]
_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
# Fields of a metric in v1, by where v2 has them.
_SOURCE_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "object": {
        "target": ("describedObject",),
        "metricName": ("metric", "name"),
        "selector": ("metric", "selector"),
        "targetValue": ("target", "value"),
        "averageValue": ("target", "averageValue"),
    },
    "pods": {
        "metricName": ("metric", "name"),
        "selector": ("metric", "selector"),
        "targetAverageValue": ("target", "averageValue"),
    },
    "external": {
        "metricName": ("metric", "name"),
        "metricSelector": ("metric", "selector"),
        "targetValue": ("target", "value"),
        "targetAverageValue": ("target", "averageValue"),
    },
    "resource": {
        "name": ("name",),
        "targetAverageUtilization": ("target", "averageUtilization"),
        "targetAverageValue": ("target", "averageValue"),
    },
}
_SOURCE_FIELDS["containerResource"] = {**_SOURCE_FIELDS["resource"], "container": ("container",)}


def _of_status(field: str, path: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if path[0] != "target":
        return field, path
    return f"current{field.removeprefix('target')}" if field.startswith("target") else field, ("current", *path[1:])


_STATUS_FIELDS = {
    kind: dict(_of_status(field, path) for field, path in fields.items()) for kind, fields in _SOURCE_FIELDS.items()
}


def convert(obj: Object, api_version: str) -> Object:
    """The same object in another version of its kind. Raises KeyError if there is no way."""
    if obj["apiVersion"] == api_version:
        return obj
    converted = _WAYS[obj["kind"], obj["apiVersion"], api_version](obj)
    return {**converted, "apiVersion": api_version}


def cpu_utilization(percent: int = CPU_PERCENT) -> dict[str, Any]:
    """The metric that counts if none is named, and the only one that v1 has a field for."""
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _renamed(names: Mapping[str, str]) -> Callable[[Object], Object]:
    return lambda obj: {names.get(key, key): value for key, value in obj.items()}


def _with_annotations(obj: Object, more: Mapping[str, str]) -> Object:
    """The metadata with these in place of all that the two forms keep there."""
    metadata = dict(obj.get("metadata") or {})
    kept = {k: v for k, v in meta.annotations({"metadata": metadata}).items() if k not in ROUND_TRIP_ANNOTATIONS}
    metadata.pop("annotations", None)
    if kept or more:
        metadata["annotations"] = {**kept, **more}
    return metadata


def autoscaler_to_v1(obj: Object) -> Object:
    """An autoscaling/v2 HorizontalPodAutoscaler as v1 shows it."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    kept: dict[str, Any] = {}
    metrics = spec.pop("metrics", None) or []
    percents = [_percent_of(metric, "target") for metric in metrics]
    percent = next((found for found in percents if found is not None), None)
    if percent is not None:
        spec["targetCPUUtilizationPercentage"] = percent
    others = [metric for metric, found in zip(metrics, percents, strict=True) if found is None]
    kept[METRICS] = [_metric_to_v1(metric, _SOURCE_FIELDS) for metric in others]
    behavior = spec.pop("behavior", None)
    if behavior is not None:
        kept[BEHAVIOR] = _capitalized(behavior)
    current = status.pop("currentMetrics", None) or []
    percents = [found for found in (_percent_of(metric, "current") for metric in current) if found is not None]
    if percents:
        status["currentCPUUtilizationPercentage"] = percents[-1]
    # The value itself has no field, so that even the use of CPU is kept.
    kept[CURRENT_METRICS] = [_metric_to_v1(metric, _STATUS_FIELDS) for metric in current]
    kept[CONDITIONS] = status.pop("conditions", None)
    texts = {key: orjson.dumps(value).decode() for key, value in kept.items() if value}
    return _assembled(obj, _with_annotations(obj, texts), spec, status)


def autoscaler_to_v2(obj: Object) -> Object:
    """An autoscaling/v1 HorizontalPodAutoscaler as it is stored."""
    annotations = meta.annotations({"metadata": obj.get("metadata") or {}})
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics = [_metric_to_v2(metric) for metric in _list_in(annotations, METRICS)]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.append(cpu_utilization(percent))
    # Without any metric v1 has always meant the use of CPU.
    spec["metrics"] = metrics or [cpu_utilization()]
    behavior = _loaded(annotations.get(BEHAVIOR))
    if isinstance(behavior, dict) and behavior:
        spec["behavior"] = _uncapitalized(behavior)
    percent = status.pop("currentCPUUtilizationPercentage", None)
    current = [_from_fields(metric, _STATUS_FIELDS) for metric in _list_in(annotations, CURRENT_METRICS)]
    if not current and percent is not None:
        used = {"name": "cpu", "current": {"averageUtilization": percent}}
        current = [{"type": "Resource", "resource": used}]
    for field, value in (("currentMetrics", current), ("conditions", _list_in(annotations, CONDITIONS))):
        if value:
            status[field] = value
    return _assembled(obj, _with_annotations(obj, {}), spec, status)


def _assembled(obj: Object, metadata: Object, spec: Object, status: Object) -> Object:
    made = {**obj, "metadata": metadata, "spec": spec}
    return {**made, "status": status} if "status" in obj or status else made


def _percent_of(metric: Fields, part: str) -> int | None:
    resource = metric.get("resource")
    if metric.get("type") != "Resource" or resource is None or resource.get("name") != "cpu":
        return None
    found: int | None = (resource.get(part) or {}).get("averageUtilization")
    return found


def _metric_to_v1(metric: Fields, table: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": metric.get("type") or ""}
    for kind, fields in table.items():
        if metric.get(kind) is not None:
            values = {field: meta.get_path(metric[kind], *path) for field, path in fields.items()}
            made[kind] = {field: value for field, value in values.items() if value is not None}
    return made


def _from_fields(metric: Fields, table: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": metric.get("type") or ""}
    for kind, fields in table.items():
        source = metric.get(kind)
        if not isinstance(source, dict):
            continue
        found = made[kind] = {}
        for field, (*path, last) in fields.items():
            if source.get(field) is not None:
                inner = found
                for step in path:
                    inner = inner.setdefault(step, {})
                inner[last] = source[field]
    return made


def _metric_to_v2(metric: Fields) -> dict[str, Any]:
    made = _from_fields(metric, _SOURCE_FIELDS)
    for kind in _SOURCE_FIELDS:
        if kind in made:
            target = made[kind].setdefault("target", {})
            made[kind]["target"] = {"type": _target_type(kind, target), **target}
    return made


def _target_type(kind: str, target: Fields) -> str:
    """v1 tells by the fields that are set what v2 says in a field of its own."""
    if "averageUtilization" in target:
        return "Utilization"
    if kind == "object":
        return "AverageValue" if "averageValue" in target else "Value"
    return "Value" if kind == "external" and "value" in target else "AverageValue"


def _loaded(text: str | None) -> Any:
    """What an annotation holds; one that can't be read says nothing."""
    try:
        return orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return None


def _list_in(annotations: Mapping[str, str], key: str) -> list[dict[str, Any]]:
    found = _loaded(annotations.get(key))
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _capitalized(node: Any) -> Any:
    """Fields as Go names them, in which form Kubernetes has always kept the behavior."""
    if isinstance(node, list):
        return [_capitalized(item) for item in node]
    if isinstance(node, dict):
        return {f"{key[:1].upper()}{key[1:]}": _capitalized(value) for key, value in node.items()}
    return node


def _uncapitalized(node: Any) -> Any:
    if isinstance(node, list):
        return [_uncapitalized(item) for item in node]
    if isinstance(node, dict):
        fields = ((key, value) for key, value in node.items() if value is not None)
        return {f"{key[:1].lower()}{key[1:]}": _uncapitalized(value) for key, value in fields}
    return node


_WAYS: dict[tuple[str, str, str], Callable[[Object], Object]] = {
    ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2"): autoscaler_to_v2,
    ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1"): autoscaler_to_v1,
    ("Event", "v1", "events.k8s.io/v1"): _renamed(_EVENT_FIELDS),
    ("Event", "events.k8s.io/v1", "v1"): _renamed({new: old for old, new in _EVENT_FIELDS.items()}),
}
