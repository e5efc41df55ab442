"""How large the values of a schema can be at most, in a request of the largest size.

Source: k8s.io/apiserver/pkg/cel/common/schemas.go. Sizes are those that `size()` gives; 0 stands for what has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apimachinery.cel.names import escape

REQUEST_BYTES_MAX = 3 * 1024 * 1024
_STRING_MAX = REQUEST_BYTES_MAX - 2
# Format → (largest size, smallest size in JSON).
_FORMATS = {"duration": (32, 3), "date": (12, 12), "date-time": (32, 21)}
_SCALARS = {"boolean": 4, "number": 1, "integer": 1}


class Declared(NamedTuple):
    """The largest size of a value, its smallest size in JSON, and what is in it."""

    max_size: int
    json_bytes_min: int
    fields: Mapping[str, Declared]
    element: Declared | None = None


KEY = Declared(0, 2, {})
# Where a path has led to nothing.
LOST = Declared(0, 0, {})
_METADATA = Declared(0, 2, {name: Declared(_STRING_MAX, 2, {}) for name in ("name", "generateName")})


def declared(schema: Mapping[str, Any], *, is_root: bool = False) -> Declared | None:
    """The sizes of a structural schema; None where expressions can't see values."""
    if schema.get("x-kubernetes-int-or-string"):
        return Declared(_string_max(schema), 1, {})
    match schema.get("type"):
        case "array":
            return _list(schema)
        case "object":
            return _object(schema, is_root=is_root)
        case "string":
            form = str(schema.get("format"))
            if form in _FORMATS:
                return Declared(*_FORMATS[form], {})
            return Declared(_bytes_max(schema) if form == "byte" else _text_max(schema), 2, {})
        case "boolean" | "number" | "integer" as kind:
            return Declared(0, _SCALARS[kind], {})
    return None


def _string_max(schema: Mapping[str, Any]) -> int:
    """A character takes up to four bytes."""
    length = schema.get("maxLength")
    return _STRING_MAX if length is None else max(length, 0) * 4


def _bytes_max(schema: Mapping[str, Any]) -> int:
    length = schema.get("maxLength")
    return _STRING_MAX if length is None else max(length, 0)


def _text_max(schema: Mapping[str, Any]) -> int:
    choices = schema.get("enum")
    if choices and schema.get("maxLength") is None:
        return max((len(choice.encode()) for choice in choices if isinstance(choice, str)), default=0)
    return _string_max(schema)


def _inner(schema: Any) -> Declared | None:
    if not isinstance(schema, Mapping):
        return None
    return declared(schema, is_root=bool(schema.get("x-kubernetes-embedded-resource")))


def _list(schema: Mapping[str, Any]) -> Declared | None:
    element = _inner(schema.get("items"))
    if element is None:
        return None
    limit = schema.get("maxItems")
    size = (REQUEST_BYTES_MAX - 2) // (element.json_bytes_min + 1) if limit is None else max(limit, 0)
    return Declared(size, 2, {}, element)


def _object(schema: Mapping[str, Any], *, is_root: bool) -> Declared | None:
    if isinstance(schema.get("additionalProperties"), Mapping):
        value = _inner(schema["additionalProperties"])
        if value is None:
            return None
        limit = schema.get("maxProperties")
        size = (REQUEST_BYTES_MAX - 2) // (value.json_bytes_min + 6) if limit is None else max(limit, 0)
        return Declared(size, 2, {}, value)
    required = schema.get("required") or ()
    fields: dict[str, Declared] = {}
    json_bytes = 2
    for name, prop in (schema.get("properties") or {}).items():
        inner = _inner(prop)
        if inner is None:
            continue
        if (escaped := escape(name)) is not None:
            fields[escaped] = inner
        if name in required and prop.get("default") is None:
            json_bytes += len(name) + inner.json_bytes_min + 4
    if is_root:
        text = Declared(_STRING_MAX, 2, {})
        fields = {"apiVersion": text, "kind": text, "metadata": _METADATA} | fields
    return Declared(0, json_bytes, fields)
