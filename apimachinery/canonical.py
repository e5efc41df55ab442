"""Quantities and times inside of objects get the one form in which Kubernetes keeps them.

Where they stand is known from the schemas. `1000m` of CPU becomes `1`, and `2026-01-02T04:04:05+01:00` becomes
`2026-01-02T03:04:05Z`, so that equal values are equal texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from apimachinery.field import FieldError, invalid_value
from apimachinery.meta import Object
from apimachinery.quantity import canonical
from apimachinery.resources import Resource
from apimachinery.schemas import REFERENCE_PREFIX, Definition, definition_name, definitions, resolve
from apimachinery.time import canonical_micro_time, canonical_time

# A leaf is the function that brings its text into canonical form. Raises ValueError.
_CANONICAL: dict[str, Callable[[Any], str]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": canonical,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": canonical_time,
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": canonical_micro_time,
}


@cache
def _canonical_paths(name: str) -> dict[str, Any]:
    """The fields below a definition that have such a form, as nested steps; `*` for map values, `[]` for items."""
    return _paths(definitions()[name], frozenset())


def _paths(node: Definition, above: frozenset[int]) -> dict[str, Any]:
    leaf = _CANONICAL.get(str(node.get("$ref", "")).removeprefix(REFERENCE_PREFIX))
    if leaf is not None:
        return {"": leaf}
    target = resolve(node)
    if id(target) in above:
        return {}
    inside = above | {id(target)}
    found: dict[str, Any] = {}
    for key, inner in (target.get("properties") or {}).items():
        if below := _paths(inner, inside):
            found[key] = below
    if isinstance(target.get("items"), dict) and (below := _paths(target["items"], inside)):
        found["[]"] = below
    extra = target.get("additionalProperties")
    if isinstance(extra, dict) and (below := _paths(extra, inside)):
        found["*"] = below
    return found


def canonicalize(resource: Resource, obj: Object) -> list[FieldError]:
    """Bring every quantity and time of a private copy into canonical form, in place; returns what is none."""
    name = definition_name(resource.api_version, resource.kind)
    if name is None:
        return []
    steps = _canonical_paths(name)
    try:
        _canonicalize(steps, obj)
        return []
    except ValueError:
        return list(_uncanonical(steps, obj, ""))


def _canonicalize(steps: dict[str, Any], value: Any) -> None:
    """Raises ValueError at the first that has no canonical form."""
    if isinstance(value, dict):
        every = steps.get("*")
        # Only a few fields have such a form, and of those most objects have few.
        for key in steps.keys() & value.keys() if every is None else value:
            inner, below = value[key], every or steps[key]
            if inner is None:
                continue
            if "" in below:
                value[key] = below[""](inner)
            else:
                _canonicalize(below, inner)
    elif isinstance(value, list) and "[]" in steps:
        below = steps["[]"]
        if "" in below:
            value[:] = [below[""](item) for item in value]
            return
        for item in value:
            _canonicalize(below, item)


def _uncanonical(steps: dict[str, Any], value: Any, path: str) -> Iterator[FieldError]:
    if "" in steps:
        try:
            steps[""](value)
        except ValueError as error:
            yield invalid_value(path, value, str(error))
    elif isinstance(value, list) and "[]" in steps:
        for number, item in enumerate(value):
            yield from _uncanonical(steps["[]"], item, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            below = steps.get(key) or steps.get("*")
            if below and inner is not None:
                yield from _uncanonical(below, inner, f"{path}.{key}".lstrip("."))
