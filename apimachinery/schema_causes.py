"""What exactly is wrong with an object that its schema refuses.

The compiled check (`schemas`) says no, and would say why only about everything at once, which takes a minute for a
million wrong items. This one looks at the object in the order of its schema and stops when enough has been told. It
knows the words that the schemas of Kubernetes use, and no others: type, format of integers, properties,
additionalProperties, items, required, enum, and oneOf for what has several types.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import orjson

from apimachinery.field import OMITTED, FieldError, invalid_value, not_supported, required, wrong_type
from apimachinery.schemas import INTEGER_LIMITS, Definition, resolve

CAUSES_MAX = 1000
_TYPES: dict[str, type | tuple[type, ...]] = {
    **{"object": dict, "array": list, "string": str, "boolean": bool},
    **{"integer": int, "number": (int, float), "null": type(None)},
}


def causes(definition: Definition, value: Any) -> list[FieldError]:
    """The first causes why a value does not match a definition; it is known not to."""
    found = list(dict.fromkeys(itertools.islice(_wrong(definition, value, ""), CAUSES_MAX)))
    return found or [invalid_value("", OMITTED, "does not match the schema of its kind")]


def _wrong(node: Definition, value: Any, path: str) -> Iterator[FieldError]:
    reference, definition = node, resolve(node)
    if (choices := definition.get("oneOf")) is not None:
        if value is None or not any(_is_one_of(value, choice.get("type")) for choice in choices):
            yield invalid_value(path, _hashable(value), f"{value!r} is not valid under any of the given schemas")
        return
    types = definition.get("type") or reference.get("type")
    if not _is_of_type(value, types):
        wanted = " or ".join(kind for kind in _listed(types) if kind != "null")
        yield wrong_type(path, _hashable(value), f"must be of type {wanted}")
        return
    size = definition.get("format")
    if isinstance(value, int) and size in INTEGER_LIMITS and not _fits(value, INTEGER_LIMITS[size]):
        yield wrong_type(path, value, f"must be of type {size}")
    allowed = definition.get("enum")
    if allowed is not None and value not in allowed:
        yield not_supported(path, _hashable(value), [str(one) for one in allowed if one])
    if isinstance(value, dict):
        yield from _wrong_in_object(definition, value, path)
    elif isinstance(value, list) and (items := definition.get("items")) is not None:
        for number, item in enumerate(value):
            yield from _wrong(items, item, f"{path}[{number}]")


def _wrong_in_object(definition: Definition, value: dict[str, Any], path: str) -> Iterator[FieldError]:
    properties, extra = definition.get("properties") or {}, definition.get("additionalProperties")
    for key, inner in properties.items():
        if key in value:
            yield from _wrong(inner, value[key], f"{path}.{key}".lstrip("."))
    if isinstance(extra, dict):
        for key, item in value.items():
            if key not in properties:
                yield from _wrong(extra, item, f"{path}.{key}".lstrip("."))
    for key in definition.get("required") or ():
        if key not in value:
            yield required(f"{path}.{key}".lstrip("."))


def _is_one_of(value: Any, types: Any) -> bool:
    is_too_large = isinstance(value, int) and "integer" in types and not _fits(value, INTEGER_LIMITS["int32"])
    return _is_of_type(value, types) and not is_too_large


def _is_of_type(value: Any, types: Any) -> bool:
    for kind in _listed(types):
        if isinstance(value, _TYPES[kind]) and not (isinstance(value, bool) and kind in ("integer", "number")):
            return True
    return types is None


def _fits(value: int, limit: int) -> bool:
    return -limit <= value < limit


def _listed(types: Any) -> list[str]:
    return types if isinstance(types, list) else [types] if types else []


def _hashable(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value
