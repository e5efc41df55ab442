"""ResourceQuotas.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateResourceQuota), the printers.
"""

from __future__ import annotations

from collections.abc import Iterable

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import RESOURCEQUOTAS
from apiserver.registry import amounts
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import IMMUTABLE
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec

_COMPUTE = frozenset(("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
_OF_PODS = _COMPUTE | {"pods"}
# What each scope can be said of.
_SCOPES: dict[str, frozenset[str]] = {
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "NotBestEffort": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "CrossNamespacePodAffinity": _OF_PODS,
    "BestEffort": frozenset(("pods",)),
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}
_OPPOSITES = (frozenset(("BestEffort", "NotBestEffort")), frozenset(("Terminating", "NotTerminating")))
_EXISTS_ONLY = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")


def validate(quota: Object) -> Errors:
    """What is wrong with a quota in itself."""
    errors: Errors = []
    spec = quota.get("spec") or {}
    _validate_amounts(spec.get("hard"), "spec.hard", errors)
    scopes = spec.get("scopes") or []
    hard = sorted(spec.get("hard") or ())
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid_value("spec.scopes", scopes, "unsupported scope"))
        for name in hard:
            if not _fits(scope, name):
                errors.append(invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
    if _contradict(scopes):
        errors.append(invalid_value("spec.scopes", scopes, "conflicting scopes"))
    selector = spec.get("scopeSelector")
    if selector is not None:
        _validate_selector(selector, hard, errors)
    return errors


def _fits(scope: str, name: str) -> bool:
    return name not in amounts.QUOTA or scope not in _SCOPES or name in _SCOPES[scope]


def _contradict(scopes: Iterable[str]) -> bool:
    together = set(scopes)
    return any(pair <= together for pair in _OPPOSITES)


def _validate_selector(selector: Fields, hard: Iterable[str], errors: Errors) -> None:
    path, expressions = "spec.scopeSelector.matchExpressions", selector.get("matchExpressions") or ()
    for expression in expressions:
        scope, operator = expression.get("scopeName") or "", expression.get("operator") or ""
        values = expression.get("values") or []
        if scope not in _SCOPES:
            errors.append(invalid_value(f"{path}.scopeName", scope, "unsupported scope"))
        for name in hard:
            if not _fits(scope, name):
                errors.append(invalid_value(path, selector, "unsupported scope applied to resource"))
        if scope in _EXISTS_ONLY and operator != "Exists":
            why = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            errors.append(invalid_value(f"{path}.operator", operator, why))
        match operator:
            case "In" | "NotIn":
                if not values:
                    why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                    errors.append(required(f"{path}.values", why))
            case "Exists" | "DoesNotExist":
                if values:
                    why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                    errors.append(invalid_value(f"{path}.values", values, why))
            case _:
                errors.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    if _contradict(expression.get("scopeName") or "" for expression in expressions):
        errors.append(invalid_value(path, [], "conflicting scopes"))


def _validate_amounts(listed: Fields | None, path: str, errors: Errors) -> None:
    for name, value in (listed or {}).items():
        amounts.quota_resource_name(name, f"{path}[{name}]", errors)
        amounts.quantity(name, value, f"{path}[{name}]", errors)


def validate_update(quota: Object, old: Object) -> Errors:
    """What a quota counts stays, how much of it may change."""
    scopes, before = get_path(quota, "spec", "scopes", default=[]), get_path(old, "spec", "scopes", default=[])
    return [] if set(scopes) == set(before) else [invalid_value("spec.scopes", scopes, IMMUTABLE)]


def validate_status(quota: Object, old: Object) -> Errors:
    """Amounts that are some."""
    errors: Errors = []
    for field in ("hard", "used"):
        _validate_amounts(get_path(quota, "status", field), f"status.{field}", errors)
    return errors


def _usage(quota: Object, *, limits: bool) -> Cell:
    """`cpu: 1/4, memory: 1Gi/8Gi`: what is used of what there is."""
    hard, used = (get_path(quota, "status", field, default={}) for field in ("hard", "used"))
    names = (name for name in sorted(hard) if name.startswith("limits.") == limits)
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)


STRATEGY = Strategy(
    RESOURCEQUOTAS,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "Request",
            lambda quota: _usage(quota, limits=False),
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            lambda quota: _usage(quota, limits=True),
            description="Limits control the maximum amount of cpu/memory that a container may use independent of "
            "contention on the node.",
        ),
        AGE,
    ),
)
