"""The metrics of a HorizontalPodAutoscaler: what they must say, and how `kubectl get` shows them.

Source: kubernetes/pkg/apis/autoscaling/validation/validation.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import get_path
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields

SHOWN_MAX = 2
# Where each type of metric has its details, in the order in which they are looked at.
SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")


def validate_reference(reference: Fields, path: str, errors: Errors) -> None:
    """An object by kind and name."""
    for field in ("kind", "name"):
        checks.required_name(reference.get(field), checks.path_segment, f"{path}.{field}", errors)


def validate_group(reference: Fields, path: str, errors: Errors, *, core_allowed: bool) -> None:
    """The version of an object; few that can be scaled are in the core group."""
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        errors.append(invalid_value(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    elif not core_allowed and not version.rpartition("/")[0]:
        errors.append(invalid_value(f"{path}.apiVersion", version, "apiVersion must specify API group"))


def validate_metrics(metrics: Sequence[Fields], least: int | None, path: str, errors: Errors) -> None:
    """What is measured, and how much of it is wanted."""
    for number, metric in enumerate(metrics):
        _validate_metric(metric, f"{path}[{number}]", errors)
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(forbidden_field(path, why))


def _validate_metric(metric: Fields, path: str, errors: Errors) -> None:
    kind = metric.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        errors.append(not_supported(f"{path}.type", kind, list(SOURCES)))
    present = [field for field in SOURCES.values() if metric.get(field) is not None]
    if present:
        _validate_source(present[0], metric[present[0]], f"{path}.{present[0]}", errors)
    expected = SOURCES.get(kind)
    if expected is not None and expected not in present:
        errors.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        why = "must populate the given metric source only"
        errors += [forbidden_field(f"{path}.{field}", why) for field in present if field != expected]


def _validate_source(field: str, source: Fields, path: str, errors: Errors) -> None:
    target, at = source.get("target") or {}, f"{path}.target"
    has_value, has_average = (target.get(key) is not None for key in ("value", "averageValue"))
    if field in ("resource", "containerResource"):
        _validate_resource(field, source, path, errors)
        _validate_target(target, at, errors)
        has_share = target.get("averageUtilization") is not None
        if not has_share and not has_average:
            why = "must set either a target raw value or a target utilization"
            errors.append(required(f"{at}.averageUtilization", why))
        if has_share and has_average:
            why = "may not set both a target raw value and a target utilization"
            errors.append(forbidden_field(f"{at}.averageValue", why))
        return
    if field == "object":
        described = source.get("describedObject") or {}
        validate_reference(described, f"{path}.describedObject", errors)
        validate_group(described, f"{path}.describedObject", errors, core_allowed=True)
    name = (source.get("metric") or {}).get("name")
    if name:
        checks.path_segment(name, f"{path}.metric.name", errors)
    else:
        errors.append(required(f"{path}.metric.name", "must specify a metric name"))
    _validate_target(target, at, errors)
    if field == "pods":
        if not has_average:
            errors.append(required(f"{at}.averageValue", "must specify a positive target averageValue"))
        return
    if not has_value and not has_average:
        what = (
            "a target value or averageValue" if field == "object" else "a target value for metric or a per-pod target"
        )
        errors.append(required(f"{at}.averageValue", f"must set either {what}"))
    if field == "external" and has_value and has_average:
        why = "may not set both a target value for metric and a per-pod target"
        errors.append(forbidden_field(f"{at}.value", why))


def _validate_resource(field: str, source: Fields, path: str, errors: Errors) -> None:
    name = source.get("name")
    if not name:
        errors.append(required(f"{path}.name", "must specify a resource name"))
    if field == "resource":
        return
    if name:
        amounts.container_resource_name(name, f"{path}.name", errors)
    if source.get("container"):
        checks.dns_label(source["container"], f"{path}.container", errors)
    else:
        errors.append(required(f"{path}.container", "must specify a container"))


def _validate_target(target: Fields, path: str, errors: Errors) -> None:
    kind = target.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGETS:
        errors.append(invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        found = amounts.amount(target[field]) if target.get(field) is not None else None
        if found is not None and found.nanos <= 0:
            errors.append(invalid_value(f"{path}.{field}", target[field], "must be positive"))
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        errors.append(invalid_value(f"{path}.averageUtilization", share, "must be greater than 0"))


def metrics_text(metrics: Sequence[Fields], current: Sequence[Fields]) -> str:
    """`cpu: 10%/80%, 5/10 + 1 more...`: what there is of what is wanted."""
    if not metrics:
        return "<none>"
    shown = [_metric_text(metric, current[n] if n < len(current) else {}) for n, metric in enumerate(metrics)]
    text = ", ".join(shown[:SHOWN_MAX])
    return f"{text} + {len(shown) - SHOWN_MAX} more..." if len(shown) > SHOWN_MAX else text


def _metric_text(metric: Fields, status: Fields) -> str:
    field = SOURCES.get(metric.get("type") or "")
    if field is None:
        return "<unknown type>"
    source = metric.get(field) or {}
    target: Mapping[str, Any] = source.get("target") or {}
    now: Mapping[str, Any] = get_path(status, field, "current", default={})
    if field in ("resource", "containerResource"):
        name = source.get("name") or ""
        if target.get("averageValue") is not None:
            return f"{name}: {_known(now, 'averageValue')}/{target['averageValue']}"
        wanted = target.get("averageUtilization")
        share = f"{wanted}%" if wanted is not None else "<auto>"
        return f"{name}: {_known(now, 'averageUtilization', '%')}/{share}"
    if field == "pods":
        return f"{_known(now, 'averageValue')}/{target.get('averageValue', '<nil>')}"
    if target.get("averageValue") is not None:
        return f"{_known(now, 'averageValue')}/{target['averageValue']} (avg)"
    return f"{_known(now, 'value')}/{target.get('value', '<nil>')}"


def _known(now: Mapping[str, Any], field: str, unit: str = "") -> str:
    found = now.get(field)
    return "<unknown>" if found is None else f"{found}{unit}"
