"""LimitRanges.

Source: kubernetes/pkg/apis/core/v1/defaults.go, validation/validation.go (ValidateLimitRange).
"""

from __future__ import annotations

from apimachinery.field import duplicate, forbidden_field, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.names import qualified_name
from apimachinery.quantity import NANO, Quantity
from apimachinery.resources import LIMITRANGES
from apiserver.registry import amounts
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import Strategy, nothing, replace_all

_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


def default(limit_range: Object) -> None:
    """For containers: the limit is the maximum, and what is requested the limit, else the minimum."""
    if limit_range.get("spec") is not None:
        limit_range["spec"].setdefault("limits", [])
    for item in get_path(limit_range, "spec", "limits", default=()):
        if item.get("type") == "Container":
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            item["default"] = limits
            item["defaultRequest"] = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}


def validate(limit_range: Object) -> Errors:
    """Limits of each type once, that don't contradict each other."""
    errors: Errors = []
    seen: set[str] = set()
    for number, item in enumerate(get_path(limit_range, "spec", "limits", default=())):
        path, kind = f"spec.limits[{number}]", item.get("type") or ""
        problems = qualified_name(kind)
        errors += [invalid_value(f"{path}.type", kind, why) for why in problems]
        if not problems and "/" not in kind and kind not in _TYPES:
            why = "must be a standard limit type or fully qualified"
            errors.append(invalid_value(f"{path}.type", kind, why))
        if kind in seen:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        _validate_item(item, kind, path, errors)
    return errors


def _validate_item(item: Fields, kind: str, path: str, errors: Errors) -> None:
    fields = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            fields.remove(field)
            if item.get(field):
                errors.append(forbidden_field(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
    check = amounts.container_resource_name if kind in ("Pod", "Container") else amounts.resource_name
    found: dict[str, dict[str, Quantity]] = {}
    for field in fields:
        for name, value in (item.get(field) or {}).items():
            check(name, f"{path}.{field}[{name}]", errors)
            amount = amounts.amount(value)
            if amount is not None:
                found.setdefault(name, {})[field] = amount
    if kind == "PersistentVolumeClaim" and "storage" not in {**(item.get("min") or {}), **(item.get("max") or {})}:
        why = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(required(f"{path}.limits", why))
    for name, values in found.items():
        _validate_order(name, values, path, errors)


# (the smaller, the larger, the field that is wrong, whose value is shown, what is said)
_ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        *("defaultRequest", "default", "defaultRequest", "defaultRequest"),
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)


def _validate_order(name: str, values: dict[str, Quantity], path: str, errors: Errors) -> None:
    for smaller, larger, wrong, shown, why in _ORDER:
        if smaller in values and larger in values and values[smaller].nanos > values[larger].nanos:
            text = why.format(values[smaller], values[larger])
            errors.append(invalid_value(f"{path}.{wrong}[{name}]", str(values[shown]), text))
    at, ratio = f"{path}.maxLimitRequestRatio[{name}]", values.get("maxLimitRequestRatio")
    if ratio is not None:
        if ratio.nanos < NANO:
            errors.append(invalid_value(at, str(ratio), f"ratio {ratio} is less than 1"))
        low, high = values.get("min"), values.get("max")
        if low is not None and high is not None and low.nanos and ratio.nanos * low.nanos > high.nanos * NANO:
            why = f"ratio {ratio} is greater than max/min = {high.nanos / low.nanos:f}"
            errors.append(invalid_value(at, str(ratio), why))
    limit, request = values.get("default"), values.get("defaultRequest")
    if limit is None or request is None or amounts.overcommit_allowed(name):
        return
    if limit.nanos != request.nanos:
        why = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        errors.append(invalid_value(f"{path}.defaultRequest[{name}]", str(request), why))


STRATEGY = Strategy(
    LIMITRANGES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    create_on_update=True,
)
