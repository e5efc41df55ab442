"""Values as they are on the wire and as an expression sees them, where the schema makes a difference.

Objects are used as they are; a field is turned into a timestamp, a duration, bytes or a double when it is read.
Lists that a schema calls sets or maps are equal in any order.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.types import CelType, ListType, ObjectType
from apimachinery.cel.values import Duration, Timestamp, UInt, equal, type_of_value

Convert = Callable[[Any], Any]
Equal = Callable[[Any, Any], bool]


def conversion(kind: CelType) -> Convert | None:
    """What turns a wire value into a value of the type, and leaves what is one; None if no value needs it."""
    scalar = _SCALARS.get(kind.kind)
    if scalar is not None:
        return scalar
    if kind.kind == "list":
        element = conversion(kind.params[0])
        return element and (lambda items: [element(item) for item in items] if items is not None else None)
    if kind.kind == "map":
        value = conversion(kind.params[1])
        return value and (lambda items: {k: value(v) for k, v in items.items()} if items is not None else None)
    return None


def _timestamp(value: Any) -> Any:
    from apimachinery.cel.library.times import parse_date, parse_timestamp

    if not isinstance(value, str):
        return value
    try:
        return parse_date(value) if len(value) == 10 else parse_timestamp(value)
    except ValueError:
        raise CelEvaluationError(f"invalid data, expected a date-time but got {value!r}")


def _duration(value: Any) -> Any:
    from apimachinery.cel.library.times import parse_duration

    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ValueError:
        raise CelEvaluationError(f"invalid data, expected a duration but got {value!r}")


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise CelEvaluationError("invalid data, expected base64 encoded bytes")


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


_SCALARS: dict[str, Convert] = {"timestamp": _timestamp, "duration": _duration, "bytes": _bytes, "double": _double}


def to_wire(value: Any) -> Any:
    """A value as JSON has it, such as what a mutation puts into an object. Raises CelEvaluationError."""
    if isinstance(value, dict):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise CelEvaluationError(f"map key {wrong} is of type {type_of_value(wrong)}, not string")
        return {key: to_wire(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_wire(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UInt):
        return int(value)
    if isinstance(value, Timestamp | Duration):
        from apimachinery.cel.library.times import format_duration, format_timestamp

        return format_timestamp(value) if isinstance(value, Timestamp) else format_duration(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CelEvaluationError(f"a value of type {type_of_value(value)} can't be written as JSON")


def equality(kind: CelType) -> Equal:
    """`==` for values of a type, as its schema has it."""
    return _equality(kind, frozenset()) or equal


def _equality(kind: CelType, above: frozenset[int]) -> Equal | None:
    """None where the schema says nothing that differs from `equal`."""
    if id(kind) in above:
        return None
    inside = above | {id(kind)}
    if isinstance(kind, ListType):
        return _list_equality(kind, _equality(kind.params[0], inside))
    if kind.kind == "map":
        value = _equality(kind.params[1], inside)
        return value and (lambda one, other: _same_maps(one, other, lambda _key: value))
    if isinstance(kind, ObjectType):
        fields = {field.wire_name: e for field in kind.fields.values() if (e := _equality(field.type, inside))}
        return (lambda one, other: _same_maps(one, other, lambda key: fields.get(key, equal))) if fields else None
    return None


def _same_maps(one: Any, other: Any, value_equality: Callable[[Any], Equal]) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return equal(one, other)
    if one.keys() != other.keys():
        return False
    return all(value_equality(key)(value, other[key]) for key, value in one.items())


def _list_equality(kind: ListType, element: Equal | None) -> Equal | None:
    if kind.list_type == "set":
        return lambda one, other: _same_sets(one, other, element or equal)
    if kind.list_type == "map":
        return lambda one, other: _same_map_lists(one, other, kind.list_keys, element or equal)
    if element is None:
        return None
    return lambda one, other: (
        isinstance(one, list) and isinstance(other, list) and len(one) == len(other) and all(map(element, one, other))
    )


def _same_sets(one: Any, other: Any, element: Equal) -> bool:
    if not isinstance(one, list) or not isinstance(other, list):
        return equal(one, other)
    if len(one) != len(other):
        return False
    if all(type(item) is str for item in one + other):
        return set(one) == set(other)
    return all(any(element(item, peer) for peer in other) for item in one)


def _same_map_lists(one: Any, other: Any, keys: tuple[str, ...], element: Equal) -> bool:
    if not isinstance(one, list) or not isinstance(other, list):
        return equal(one, other)
    peers = {_key(item, keys): item for item in other}
    return len(one) == len(other) and all(
        (key := _key(item, keys)) in peers and element(item, peers[key]) for item in one
    )


def _key(item: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple((type(value), value) for value in (item.get(key) for key in keys))


def merge_lists(kind: CelType) -> Callable[[list[Any], list[Any]], list[Any]] | None:
    """`+` for lists that are sets or maps: what is in both stands once, as it is in the second; None for others."""
    if not isinstance(kind, ListType) or kind.list_type not in ("set", "map"):
        return None
    if kind.list_type == "set":
        return lambda one, other: one + [item for item in other if not any(equal(item, have) for have in one)]
    keys = kind.list_keys

    def merge(one: list[Any], other: list[Any]) -> list[Any]:
        new = {_key(item, keys): item for item in other}
        return [new.pop(_key(item, keys), item) for item in one] + list(new.values())

    return merge
