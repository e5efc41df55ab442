"""Names and amounts of resources, as containers, claims, nodes, quotas and limit ranges have them.

Source: kubernetes/pkg/apis/core/helper/helpers.go and validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

from apimachinery import names
from apimachinery.field import FieldError, forbidden_field, invalid_value, not_found_value, required
from apimachinery.pod_resources import HUGE_PAGES, is_extended, is_huge_pages, is_native
from apimachinery.quantity import FORM_MESSAGE, NANO, Quantity, parse
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields

_CONTAINER = frozenset(("cpu", "memory", "ephemeral-storage"))
_COUNTED = frozenset(
    (
        *("pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps"),
        *("persistentvolumeclaims", "services.nodeports", "services.loadbalancers"),
    )
)
QUOTA = frozenset(
    (
        *_CONTAINER,
        *(f"requests.{name}" for name in (*_CONTAINER, "storage")),
        *(f"limits.{name}" for name in _CONTAINER),
        *_COUNTED,
    )
)
_STANDARD = QUOTA | {"storage"}


def amount(value: Any) -> Quantity | None:
    """A quantity, or None for what is none."""
    try:
        return parse(value)
    except ValueError:
        return None


def _is_quota_huge_pages(name: str) -> bool:
    return name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}"))


def overcommit_allowed(name: str) -> bool:
    """Whether a limit may be more than the request."""
    return is_native(name) and not is_huge_pages(name)


@lru_cache(maxsize=1024)
def _counted_in_whole(name: str) -> bool:
    return name in _COUNTED or is_extended(name)


@lru_cache(maxsize=1024)
def _name_problems(name: str) -> tuple[str, ...]:
    problems = tuple(names.qualified_name(name))
    if not problems and "/" not in name and name not in _STANDARD and not _is_quota_huge_pages(name):
        return ("must be a standard resource type or fully qualified",)
    return problems


@lru_cache(maxsize=1024)
def _container_problems(name: str) -> tuple[str, ...]:
    problems = _name_problems(name)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_pages(name):
            return (*problems, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        return (*problems, "doesn't follow extended resource name standard")
    return problems


def resource_name(name: str, path: str, errors: Errors) -> None:
    """The name of any resource."""
    errors += [invalid_value(path, name, why) for why in _name_problems(name)]


def container_resource_name(name: str, path: str, errors: Errors) -> None:
    """The name of a resource that a container can have."""
    errors += [invalid_value(path, name, why) for why in _container_problems(name)]


def pod_resource_name(name: str, path: str, errors: Errors) -> None:
    """The name of a resource that a pod as a whole can have."""
    before = len(errors)
    resource_name(name, path, errors)
    if len(errors) == before and name not in ("cpu", "memory") and not is_huge_pages(name):
        checks.optional_choice(name, ("cpu", HUGE_PAGES, "memory"), path, errors)


def quota_resource_name(name: str, path: str, errors: Errors) -> None:
    """The name of what a quota counts."""
    resource_name(name, path, errors)
    if "/" not in name and name not in QUOTA and not _is_quota_huge_pages(name):
        errors.append(invalid_value(path, name, "must be a standard resource for quota"))


def quantity(name: str, value: Any, path: str, errors: Errors) -> Quantity | None:
    """An amount of a resource: not negative, and whole where the resource is counted."""
    found = amount(value)
    if found is None:
        errors.append(invalid_value(path, value, FORM_MESSAGE))
        return None
    if found.nanos < 0:
        errors.append(invalid_value(path, value, checks.NOT_NEGATIVE))
    if found.nanos % NANO and _counted_in_whole(name):
        errors.append(invalid_value(path, value, "must be an integer"))
    return found


def requirements(
    resources: Fields,
    claims: Collection[str],
    path: str,
    errors: Errors,
    check_name: Callable[[str, str, Errors], None] = container_resource_name,
) -> None:
    """What a container (or a pod as a whole) requests and is limited to."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    limited: dict[str, Quantity] = {}
    for name, value in limits.items():
        at = f"{path}.limits[{name}]"
        check_name(name, at, errors)
        found = quantity(name, value, at, errors)
        if found is not None:
            limited[name] = found
            _huge_pages(name, found, at, errors)
    for name, value in requests.items():
        at = f"{path}.requests[{name}]"
        check_name(name, at, errors)
        found = quantity(name, value, at, errors)
        if found is None:
            continue
        limit = limited.get(name)
        if limit is None:
            if name not in limits and not overcommit_allowed(name):
                errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        elif found.nanos != limit.nanos and not overcommit_allowed(name):
            errors.append(
                invalid_value(f"{path}.requests", value, f"must be equal to {name} limit of {limits[name]}")
            )
        elif found.nanos > limit.nanos:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            errors.append(invalid_value(f"{path}.requests", value, why))
        _huge_pages(name, found, at, errors)
    together = limits.keys() | requests.keys()
    if together and not together & {"cpu", "memory"} and any(map(is_huge_pages, together)):
        errors.append(forbidden_field(path, "HugePages require cpu or memory"))
    if resources.get("claims"):
        _claim_names(resources["claims"], claims, f"{path}.claims", errors)


def _huge_pages(name: str, value: Quantity, path: str, errors: Errors) -> None:
    if not is_huge_pages(name):
        return
    size = amount(name.removeprefix(HUGE_PAGES))
    if size is None or size.nanos <= 0 or size.nanos % NANO or value.value() % size.value():
        errors.append(invalid_value(path, str(value), f"{value} is not positive integer multiple of {name}"))


def _claim_names(claims: Collection[Fields], known: Collection[str], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        at, name, request = f"{path}[{number}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            errors.append(required(at))
            continue
        key = f"{name}/{request}" if request else name
        if request:
            checks.dns_label(request, f"{at}.request", errors)
        if name in seen or key in seen or (not request and any(other.startswith(f"{name}/") for other in seen)):
            errors.append(FieldError(at, "FieldValueDuplicate", key, ""))
        seen.add(key)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            missing = not_found_value(at, name)
            why = f"must be one of the names in pod.spec.resourceClaims{listed}"
            errors.append(FieldError(at, missing.type, name, why))
