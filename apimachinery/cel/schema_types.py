"""Types of CEL from schemas: the structural schema of a custom resource, or the published definition of a built-in.

What a schema says nothing definite about is not there for expressions: a field of unknown type is an undefined field.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from apimachinery.cel.names import RESERVED, escape
from apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    CelType,
    Field,
    ListType,
    ObjectType,
    map_of,
    object_type,
)
from apimachinery.schemas import definitions, resolve

_PREFIX = "#/$defs/"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_FORMATS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_SCALARS = {"boolean": BOOL, "number": DOUBLE, "integer": INT}
_ROOT_METADATA = object_type("metadata", name=STRING, generateName=STRING)


def type_of_schema(schema: Mapping[str, Any], *, is_root: bool = False, name: str = "object") -> CelType | None:
    """The type of a structural schema; None if expressions can't see values of it.

    `is_root` is for the root of a resource, which always has apiVersion, kind, metadata.name and
    metadata.generateName. `name` is what errors call the type.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    match _kind(schema):
        case "object":
            return _object(schema, is_root=is_root, name=name)
        case "array":
            items = schema.get("items")
            element = _inner(items, f"{name}.@items") if isinstance(items, Mapping) else None
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            return element and ListType(element, schema.get("x-kubernetes-list-type") or "atomic", keys)
        case "string":
            return _FORMATS.get(str(schema.get("format")), STRING)
        case kind:
            return _SCALARS.get(kind)


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type") or ""
    return kinds if isinstance(kinds, str) else next((kind for kind in kinds if kind != "null"), "")


def _inner(schema: Mapping[str, Any], name: str) -> CelType | None:
    if "$ref" in schema or "allOf" in schema or "oneOf" in schema:
        return _referred(schema, name)
    return type_of_schema(schema, is_root=bool(schema.get("x-kubernetes-embedded-resource")), name=name)


def _object(schema: Mapping[str, Any], *, is_root: bool, name: str) -> CelType | None:
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        value = _inner(extra, f"{name}.@values")
        return value and map_of(STRING, value)
    properties = schema.get("properties") or {}
    return ObjectType(name, lambda: _fields(properties, is_root=is_root, name=name), null_is_absent=True)


def _fields(properties: Mapping[str, Any], *, is_root: bool, name: str) -> dict[str, Field]:
    fields = {}
    for property_name, schema in properties.items():
        escaped = escape(property_name)
        kind = _inner(schema, f"{name}.{property_name}")
        if escaped is not None and kind is not None:
            fields[escaped] = Field(property_name, kind)
            # Since 1.31, a reserved word is also allowed as it is where only a field can stand.
            if property_name in RESERVED:
                fields[property_name] = fields[escaped]
    if is_root:
        _add_root_fields(fields)
    return fields


def _add_root_fields(fields: dict[str, Field]) -> None:
    for name in ("apiVersion", "kind"):
        fields.setdefault(name, Field(name, STRING))
    metadata = fields.get("metadata")
    if metadata is None or not isinstance(metadata.type, ObjectType):
        fields["metadata"] = Field("metadata", _ROOT_METADATA)
    elif not {"name", "generateName"} <= metadata.type.fields.keys():
        more = {**metadata.type.fields, **_ROOT_METADATA.fields}
        fields["metadata"] = Field("metadata", ObjectType(metadata.type.name, more, null_is_absent=True))


@cache
def type_of_definition(name: str) -> CelType:
    """The type of a published definition, such as `io.k8s.api.core.v1.Pod`. Raises KeyError."""
    if name == _QUANTITY:
        return STRING
    if name == _INT_OR_STRING:
        return DYN
    schema = definitions()[name]
    is_root = "x-kubernetes-group-version-kind" in schema
    return type_of_schema(schema, is_root=is_root, name=name) or DYN


def _referred(schema: Mapping[str, Any], name: str) -> CelType | None:
    """The type of a reference, perhaps inside `allOf` or `oneOf`; the field's own list annotations are not there."""
    for node in (schema, *(schema.get("allOf") or ()), *(schema.get("oneOf") or ())):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(_PREFIX):
            return type_of_definition(reference.removeprefix(_PREFIX))
    target = resolve(schema)
    return DYN if "oneOf" in target else type_of_schema(target, name=name)
