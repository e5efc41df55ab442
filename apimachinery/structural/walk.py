"""The schemas inside of a schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LISTS = ("allOf", "anyOf", "oneOf")
_MAPS = ("properties", "patternProperties", "definitions")
META_FIELDS = ("apiVersion", "kind", "metadata")


def schemas_below(schema: Schema) -> Iterator[Schema]:
    """A schema and every schema inside of it."""
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += children(current)


def children(schema: Schema) -> Iterator[Schema]:
    """The schemas directly inside of one."""
    items = schema.get("items")
    yield from [items] if isinstance(items, dict) else items or ()
    for key in _LISTS:
        yield from schema.get(key) or ()
    if schema.get("not") is not None:
        yield schema["not"]
    for key in _MAPS:
        yield from (schema.get(key) or {}).values()
    for key in ("additionalProperties", "additionalItems"):
        if isinstance(schema.get(key), dict):
            yield schema[key]
    yield from (one for one in (schema.get("dependencies") or {}).values() if isinstance(one, dict))


def any_schema(schema: Schema | None, holds: Callable[[Schema], bool]) -> bool:
    """Whether something holds of a schema or of any inside of it."""
    return schema is not None and any(map(holds, schemas_below(schema)))


def items_of(schema: Schema) -> Schema | None:
    """The schema of a list's items."""
    items = schema.get("items")
    return items if isinstance(items, dict) else None


def values_of(schema: Schema) -> Schema | None:
    """The schema of a map's values."""
    extra = schema.get("additionalProperties")
    return extra if isinstance(extra, dict) else None


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """The schemas of an object's fields."""
    found: Mapping[str, Schema] = schema.get("properties") or {}
    return found
