"""Random schemas, objects of them and configurations to apply, for the laws of managed fields."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from apimachinery.managedfields import sets
from apimachinery.managedfields.custom import custom
from apimachinery.managedfields.entries import Managed
from apimachinery.managedfields.kinds import Kind, Writer
from apimachinery.managedfields.sets import Fields
from apimachinery.managedfields.types import ATOMIC, MAP, Type
from apimachinery.meta import Object

VERSION = "example.com/v1"
ABSENT: Any = object()
Schema = dict[str, Any]

_NAMES = st.sampled_from(["a", "b", "c"])
_SCALARS = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}])
_ITEM_KEYS = {"name": {"type": "string"}, "port": {"type": "integer", "default": 80}}


class World(NamedTuple):
    """A kind, and three objects of its schema without a name."""

    kind: Kind
    specs: tuple[Object, Object, Object]


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties}


def _keyed(properties: dict[str, Schema], keys: list[str]) -> Schema:
    item = _object({**properties, **{key: _ITEM_KEYS[key] for key in keys}})
    return {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}


def _schemas() -> st.SearchStrategy[Schema]:
    leaves = st.one_of(
        _SCALARS,
        st.just({"x-kubernetes-preserve-unknown-fields": True}),
        _SCALARS.map(lambda one: {"type": "array", "items": one, "x-kubernetes-list-type": "set"}),
        _SCALARS.map(lambda one: {"type": "array", "items": one}),
        _SCALARS.map(lambda one: {"type": "object", "additionalProperties": one}),
        _SCALARS.map(lambda one: {"type": "object", "additionalProperties": one, "x-kubernetes-map-type": "atomic"}),
    )

    def deeper(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
        fields = st.dictionaries(_NAMES, inner, min_size=1, max_size=3)
        return st.one_of(
            fields.map(_object),
            inner.map(lambda one: {"type": "object", "additionalProperties": one}),
            st.builds(_keyed, fields, st.sampled_from([["name"], ["name", "port"]])),
        )

    return st.recursive(leaves, deeper, max_leaves=4)


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values of a schema."""
    match schema.get("type"):
        case "string":
            return st.sampled_from(["x", "y", ""])
        case "integer":
            return st.integers(0, 2)
        case "boolean":
            return st.booleans()
        case "array":
            return _lists(schema)
        case "object":
            return _objects(schema)
    scalars = st.one_of(st.sampled_from(["x", "y"]), st.integers(2, 3))
    return st.recursive(
        scalars, lambda inner: st.dictionaries(_NAMES, inner, max_size=2) | st.lists(inner, max_size=2)
    )


def _objects(schema: Schema) -> st.SearchStrategy[Object]:
    extra = schema.get("additionalProperties")
    if extra is not None:
        return st.dictionaries(_NAMES, values(extra), max_size=2)
    optional = {name: values(inner) for name, inner in schema["properties"].items()}
    return st.fixed_dictionaries({}, optional=optional)


def _lists(schema: Schema) -> st.SearchStrategy[list[Any]]:
    """Lists; where each item is managed apart, not empty: an empty one of these asks for nothing."""
    kind, items = schema.get("x-kubernetes-list-type"), schema["items"]
    if kind is None:
        return st.lists(values(items), max_size=2)
    if kind == "set":
        return st.lists(values(items), min_size=1, max_size=3, unique=True)
    keys = schema["x-kubernetes-list-map-keys"]
    others = {name: values(inner) for name, inner in items["properties"].items() if name != "name"}
    named = st.fixed_dictionaries({"name": _NAMES}, optional=others)
    defaults = {"port": 80}
    return st.lists(
        named, min_size=1, max_size=3, unique_by=lambda item: tuple(item.get(key, defaults.get(key)) for key in keys)
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A random schema, and three random objects of it."""
    schema = draw(st.dictionaries(_NAMES, _schemas(), min_size=1, max_size=3).map(_object))
    specs = (draw(values(schema)), draw(values(schema)), draw(values(schema)))
    return World(Kind({VERSION: custom(_object({"spec": schema}))}), specs)


def thing(spec: Object) -> Object:
    """An object, or a configuration of one."""
    return {"apiVersion": VERSION, "kind": "Thing", "metadata": {"name": "thing"}, "spec": spec}


def by(manager: str, time: str = "2026-01-01T00:00:00Z") -> Writer:
    """Who writes."""
    return Writer(manager, VERSION, "", time)


def owned(managed: Managed, manager: str) -> Fields:
    """The fields of a manager."""
    fields: Fields = {}
    for entry in managed:
        if entry.manager == manager:
            fields = sets.union(fields, sets.loads(entry.fields))
    return fields


def members(fields: Fields) -> set[tuple[str, ...]]:
    """The members of a set."""
    return set(sets.paths(fields))


def lookup(kind: Type, value: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path, found by the schema alone; ABSENT if nothing does."""
    return _at(kind, value, path)[1]


def is_whole(kind: Type, value: Any, path: tuple[str, ...]) -> bool:
    """Whether what stands at a path is one whole."""
    kind, value = _at(kind, value, path)
    return not (isinstance(value, dict) and kind.granular) and not (
        isinstance(value, list) and kind.list_kind != ATOMIC
    )


def _at(kind: Type, value: Any, path: tuple[str, ...]) -> tuple[Type, Any]:
    for element in path:
        if element.startswith("f:"):
            if not isinstance(value, dict) or element[2:] not in value:
                return kind, ABSENT
            kind, value = kind.inner(element[2:]), value[element[2:]]
        else:
            items = value if isinstance(value, list) else []
            value = next((item for item in items if kind.element(item) == element), ABSENT)
            if value is ABSENT or kind.items is None:
                return kind, ABSENT
            kind = kind.items
    return kind, value


def parts(kind: Type, value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every whole in a value by its path, with its value; of what has parts only that it is there."""
    found: dict[tuple[str, ...], Any] = {}
    if isinstance(value, dict) and kind.granular and value:
        for key, inner in value.items():
            found |= parts(kind.inner(key), inner, (*path, f"f:{key}"))
    elif isinstance(value, list) and kind.list_kind != ATOMIC and value:
        for item in value:
            assert kind.items is not None
            element = kind.element(item)
            found[*path, element] = True if kind.list_kind == MAP else item
            found |= parts(kind.items, item, (*path, element))
    else:
        found[path] = value
    return found
