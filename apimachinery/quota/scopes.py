"""Scopes: of which objects a quota is.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apimachinery.meta import Object, get_path

# One scope: its scopeName, operator and values.
Requirement = Mapping[str, Any]


def requirements(quota: Object) -> Iterator[Requirement]:
    """All scopes that an object must be in."""
    for scope in get_path(quota, "spec", "scopes", default=()):
        yield {"scopeName": scope, "operator": "Exists"}
    yield from get_path(quota, "spec", "scopeSelector", "matchExpressions", default=())


def matches(requirement: Requirement, value: str) -> bool:
    """Whether what an object says in place of a scope is what is asked for; it says nothing with ""."""
    values = requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return bool(value) and value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case _:
            return False
