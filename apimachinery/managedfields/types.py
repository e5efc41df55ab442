"""How values of a type are compared and merged: what in them is one whole, and what has parts that are managed apart.

    scalars, atomic lists and maps   one whole
    maps and objects                 each field apart
    lists that are maps              each item apart, found by the values of its key fields
    lists that are sets              each value apart

The types of built-in kinds are those of the published schemas. Besides these, two things must be known of a field of
a Go struct: whether it is a pointer, since a zero is then a value, and whether it is a struct, since it is then there
even if nothing in it is set. Both stand in the table of the protobuf messages.

Sources: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy,
k8s.io/kube-openapi/pkg/schemaconv, sigs.k8s.io/structured-merge-diff/schema
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from apimachinery.managedfields.elements import key_element, value_element
from apimachinery.schemas import REFERENCE_PREFIX, Definition, definitions, resolve

ATOMIC, SET, MAP = "atomic", "set", "map"
ANY, STRING, NUMERIC, BOOLEAN = "any scalar", "string", "numeric (int or float)", "boolean"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension"
# What the server keeps itself is never managed by anybody.
UNTRACKED = frozenset(("apiVersion", "kind"))
UNTRACKED_METADATA = frozenset(
    (
        *("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink"),
        *("managedFields", "clusterName"),
    )
)
_SCALARS = {"integer": NUMERIC, "number": NUMERIC, "boolean": BOOLEAN}
# The defaults of key fields, which the schemas only tell in words.
_KEY_DEFAULTS = {"protocol": "TCP"}


class Field(NamedTuple):
    """A field of an object.

    `optional`: a zero is as good as nothing; `always`: a struct that is there whenever what it stands in is.
    """

    element: str
    type: Type
    optional: bool = False
    always: bool = False


@dataclass(slots=True, eq=False)
class Type:
    """What a value may be, and what in it is managed apart.

    It may be a scalar (`scalar` says which), a list, a map, or any of these; what schemas leave open is all three.
    """

    scalar: str = ""
    is_list: bool = False
    is_map: bool = False
    # Whether the fields of a map are managed apart.
    granular: bool = False
    fields: dict[str, Field] = field(default_factory=dict)
    # Of fields that are not named; None: there are no others.
    values: Type | None = None
    list_kind: str = ATOMIC
    keys: tuple[str, ...] = ()
    key_defaults: dict[str, Any] = field(default_factory=dict)
    items: Type | None = None
    # Fields of which nobody is a manager; they are not among `fields`.
    untracked: frozenset[str] = frozenset()
    # What it is made of is not known: then it stays what it was when a schema changes.
    deduced: bool = False

    def field(self, name: str) -> Field | None:
        """The field of this name if somebody can manage it."""
        known = self.fields.get(name)
        if known is None and self.values is not None and name not in self.untracked:
            return Field(f"f:{name}", self.values)
        return known

    def inner(self, name: str) -> Type:
        """The type of a field; of one that is not known: whatever it is."""
        known = self.fields.get(name)
        return known.type if known is not None else self.values or DEDUCED

    def element(self, item: Any) -> str:
        """The step from the list to an item. Raises ValueError if the item can't be told from others."""
        keys = self.keys
        if len(keys) == 1 and isinstance(item, dict) and isinstance(value := item.get(keys[0]), str):
            return key_element(keys, value)
        if self.list_kind == SET:
            if isinstance(item, dict | list) or item is None:
                kind = "an explicit null" if item is None else f"a {'map' if isinstance(item, dict) else 'list'} type"
                raise ValueError(f"associative list without keys has an element that's {kind}")
            return value_element(item)
        if not isinstance(item, dict):
            kind = "a null element" if item is None else "non-map elements"
            raise ValueError(f"associative list with keys may not have {kind}")
        values = [item.get(key, self.key_defaults.get(key)) for key in keys]
        names = keys
        if None in values:
            # Keys may be left out; an item without one is another one.
            names = tuple(key for key, value in zip(names, values, strict=True) if value is not None)
            values = [value for value in values if value is not None]
            if not names:
                told = " ".join(f'"{key}"' for key in keys)
                raise ValueError(f"associative list with keys has an element that omits all key fields [{told}]")
        try:
            return key_element(names, *values)
        except TypeError:
            raise ValueError(f"the key fields {', '.join(names)} of a list's item must be scalars") from None


# Nothing in it is managed apart, whatever it is.
UNTYPED = Type(ANY, is_list=True, is_map=True)
# The fields of maps are managed apart, however deep; everything else is one whole.
DEDUCED = Type(ANY, is_list=True, is_map=True, granular=True, deduced=True)
UNTYPED.values = UNTYPED.items = DEDUCED.items = UNTYPED
DEDUCED.values = DEDUCED


@cache
def builtin(name: str) -> Type:
    """The type of a kind's definition, as of whole objects of it."""
    found = _definition(name)
    return whole(found, definition_type(OBJECT_META)) if "metadata" in found.fields else found


def whole(found: Type, metadata: Type) -> Type:
    """The type of whole objects, which nobody manages as such: nor their kind, their name and the like."""
    made = _without(found, UNTRACKED)
    made.fields["metadata"] = Field("f:metadata", _without(metadata, UNTRACKED_METADATA), optional=True, always=True)
    return made


def _without(found: Type, untracked: frozenset[str]) -> Type:
    fields = {name: known for name, known in found.fields.items() if name not in untracked}
    return Type(is_map=True, granular=True, fields=fields, values=found.values, untracked=untracked)


def definition_type(name: str) -> Type:
    """The type of a definition, wherever it stands."""
    return _definition(name)


_made: dict[str, Type] = {}


def _definition(name: str) -> Type:
    found = _made.get(name)
    if found is None:
        # Known before it is complete: some types hold themselves.
        found = _made[name] = Type()
        _fill(found, definitions()[name], name)
    return found


def _of_node(node: Definition) -> Type:
    """The type of a field or an item: what stands beside a reference counts more than what is said there."""
    reference = str(node.get("$ref", "")).removeprefix(REFERENCE_PREFIX)
    target = resolve(node)
    if reference == RAW_EXTENSION or "oneOf" in target:
        return UNTYPED
    if not reference:
        found = Type()
        _fill(found, node, "")
        return found
    found = _definition(reference)
    granular = _granular(node, found.granular)
    if granular == found.granular:
        return found
    return Type(is_map=True, granular=granular, fields=found.fields, values=found.values)


def _granular(node: Definition, unless_said: bool) -> bool:
    said = node.get("x-kubernetes-map-type")
    return said == "granular" if isinstance(said, str) else unless_said


def _fill(found: Type, node: Definition, name: str) -> None:
    kinds = node.get("type") or ()
    kind = next((kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"), "")
    if kind == "array":
        _fill_list(found, node)
    elif kind == "object":
        _fill_map(found, node, name)
    elif kind:
        formatted = kind == "string" and node.get("format", "byte") != "byte"
        found.scalar = ANY if formatted else _SCALARS.get(kind, STRING)
    else:
        found.scalar, found.is_list, found.is_map, found.granular = ANY, True, True, True
        found.items, found.values, found.deduced = UNTYPED, DEDUCED, True


def _fill_list(found: Type, node: Definition) -> None:
    found.is_list, found.items = True, _of_node(node.get("items") or {})
    found.list_kind, found.keys = list_kind(node)
    if found.keys:
        item = resolve(node["items"])
        zeros = {"string": "", "integer": 0, "number": 0, "boolean": False}
        for key in found.keys:
            schema = (item.get("properties") or {}).get(key) or {}
            if key in _KEY_DEFAULTS:
                found.key_defaults[key] = _KEY_DEFAULTS[key]
            elif key in item.get("required", ()) and schema.get("type") in zeros:
                found.key_defaults[key] = zeros[schema["type"]]


def list_kind(node: Definition) -> tuple[str, tuple[str, ...]]:
    """What a list is, and its key fields in order."""
    said = node.get("x-kubernetes-list-type")
    if said == MAP:
        return MAP, tuple(sorted(node.get("x-kubernetes-list-map-keys") or ()))
    if said is None and str(node.get("x-kubernetes-patch-strategy", "")).startswith("merge"):
        key = node.get("x-kubernetes-patch-merge-key")
        return (MAP, (key,)) if key else (SET, ())
    return (SET if said == SET else ATOMIC), ()


def _fill_map(found: Type, node: Definition, name: str) -> None:
    found.is_map, found.granular = True, _granular(node, unless_said=True)
    properties: Mapping[str, Definition] = node.get("properties") or {}
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        found.values = _of_node(extra)
    elif not properties:
        found.values = DEDUCED
    structs = _structs().get(name, _NOTHING)
    for key, inner in properties.items():
        inner_type = _of_node(inner)
        optional = key not in structs.pointers and key in structs.known
        # A definition is found before it is filled; whether it is an object is known from its schema.
        always = optional and bool(resolve(inner).get("properties")) and "$ref" in inner
        found.fields[key] = Field(f"f:{key}", inner_type, optional, always)


class _Struct(NamedTuple):
    known: frozenset[str]
    pointers: frozenset[str]


_NOTHING = _Struct(frozenset(), frozenset())


@cache
def _structs() -> dict[str, _Struct]:
    """The fields of each Go struct, and which of them are pointers."""
    table = orjson.loads((Path(__file__).parents[1] / "protobuf_fields.json").read_bytes())
    found = {}
    for name in table:
        told = dict(_struct_fields(table, name))
        found[name] = _Struct(frozenset(told), frozenset(key for key, pointer in told.items() if pointer))
    return found


def _struct_fields(table: Mapping[str, Mapping[str, str]], name: str) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a pointer) of each; `=` tells that a struct's fields are those of the one around it."""
    for line in table[name].values():
        key, _, form = line.partition(" ")
        if form.startswith("="):
            kind = form.lstrip("=*")
            yield from _struct_fields(table, kind if kind in table else f"{name.rpartition('.')[0]}.{kind}")
        else:
            yield key, "*" in form
