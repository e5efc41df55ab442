"""The types of custom resources, from the structural schemas of their CustomResourceDefinitions.

Sources: k8s.io/kube-openapi/pkg/schemaconv/openapi.go, k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.managedfields.types import (
    ANY,
    BOOLEAN,
    DEDUCED,
    NUMERIC,
    OBJECT_META,
    STRING,
    UNTYPED,
    Field,
    Type,
    definition_type,
    list_kind,
    whole,
)

Schema = Mapping[str, Any]
_KEEPS_UNKNOWN, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_SCALARS = {"integer": NUMERIC, "number": NUMERIC, "boolean": BOOLEAN}


def custom(schema: Schema | None) -> Type:
    """The type of whole objects of a schema (JSONSchemaProps in wire shape), or of any objects if there is none."""
    found = _Types().of(schema, keeps_unknown=False) if schema else DEDUCED
    return whole(_with_metadata(found), definition_type(OBJECT_META))


class _Types:
    """The types in one schema. Equal ones are one: many schemas say the same of many fields."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Type] = {}

    def of(self, schema: Schema, *, keeps_unknown: bool) -> Type:
        """The type of a schema. Fields that are not known are kept in all that is below of where one says so."""
        keeps_unknown = keeps_unknown or bool(schema.get(_KEEPS_UNKNOWN))
        kind = schema.get("type") or ""
        match kind:
            case "object":
                found = self._map(schema, keeps_unknown=keeps_unknown)
            case "array":
                found = self._list(schema, keeps_unknown=keeps_unknown)
            case "string":
                found = Type(ANY if schema.get("format", "byte") != "byte" else STRING)
            case "":
                found = self._map(schema, keeps_unknown=keeps_unknown)
                items = self._list(schema, keeps_unknown=keeps_unknown)
                found.scalar, found.is_list, found.items = ANY, True, items.items
                found.list_kind, found.keys, found.key_defaults = items.list_kind, items.keys, items.key_defaults
                found.deduced = not found.fields
            case _:
                found = Type(_SCALARS.get(kind, ANY))
        return self._one(_with_metadata(found) if schema.get(_EMBEDDED) else found)

    def _one(self, found: Type) -> Type:
        """The first type that is the same; those inside of it are known by what they are, as they are all kept."""
        fields = tuple((name, id(known.type)) for name, known in found.fields.items())
        inside = (fields, id(found.values), id(found.items), tuple(sorted(found.key_defaults.items())))
        itself = (
            found.scalar,
            found.is_list,
            found.is_map,
            found.granular,
            found.list_kind,
            found.keys,
            found.deduced,
        )
        return self._made.setdefault((itself, inside), found)

    def _map(self, schema: Schema, *, keeps_unknown: bool) -> Type:
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        found = Type(is_map=True, granular=schema.get("x-kubernetes-map-type") != "atomic")
        for name, inner in properties.items():
            found.fields[name] = Field(f"f:{name}", self.of(inner, keeps_unknown=keeps_unknown))
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            found.values = self.of(extra, keeps_unknown=keeps_unknown)
        elif extra is True or (extra is None and (keeps_unknown or not properties)):
            found.values = DEDUCED
        return found

    def _list(self, schema: Schema, *, keeps_unknown: bool) -> Type:
        items = schema.get("items")
        found = Type(is_list=True, items=self.of(items, keeps_unknown=keeps_unknown) if items else UNTYPED)
        found.list_kind, found.keys = list_kind(schema)
        for key in found.keys:
            default = ((items or {}).get("properties") or {}).get(key, {}).get("default")
            if default is not None:
                found.key_defaults[key] = default
        return found


def _with_metadata(found: Type) -> Type:
    """Whole objects, and those embedded in others, have a kind and metadata, whatever their schema says of these."""
    text = Type(STRING)
    known = {"apiVersion": Field("f:apiVersion", text), "kind": Field("f:kind", text)}
    known["metadata"] = Field("f:metadata", definition_type(OBJECT_META))
    return Type(is_map=True, granular=found.granular, fields={**found.fields, **known}, values=found.values)
