"""The values of CEL as Python objects, and the operations that all types share.

| CEL | Python | CEL | Python |
| --- | --- | --- | --- |
| null | None | string | str |
| bool | bool | bytes | bytes |
| int | int | list | list |
| uint | UInt | map, object | dict |
| double | float | timestamp, duration | Timestamp, Duration |
| type | CelType | optional | Optional |

So an API object in wire shape is a CEL value as it is. The types of libraries are classes with a `cel_type`.
Python takes True for 1 and NaN for itself where CEL does not: use `equal`, `find_key` and `is_number`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any, ClassVar

from apimachinery.cel.errors import CelEvaluationError, no_such_overload
from apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    CelType,
    list_of,
    map_of,
    optional_of,
)

# The first and the last nanosecond of the years 1 to 9999.
TIMESTAMP_MIN, TIMESTAMP_MAX = -62135596800 * 10**9, 253402300799 * 10**9 + 999_999_999
INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class UInt(int):
    """An unsigned integer; equal to, but not of the type of, the int of the same value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, in nanoseconds since 1970 (UTC), from year 1 to year 9999; the offset is for writing it only."""

    nanoseconds: int
    offset_seconds: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time in nanoseconds, up to 292 years either way."""

    nanoseconds: int


class Optional:
    """A value that may be missing. `Optional.NONE` is the missing one."""

    __slots__ = ("_value", "has_value")
    NONE: ClassVar[Optional]

    def __init__(self, value: Any, *, has_value: bool = True) -> None:
        self._value = value
        self.has_value = has_value

    @property
    def value(self) -> Any:
        """What is inside. Raises CelEvaluationError if nothing is."""
        if not self.has_value:
            raise CelEvaluationError("optional.none() dereference")
        return self._value


Optional.NONE = Optional(None, has_value=False)


class Struct(dict[str, Any]):
    """An object that an expression constructed, with the name of its type."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.type_name = type_name


LIST_OF_DYN = list_of(DYN)
MAP_OF_DYN = map_of(DYN, DYN)
OPTIONAL_OF_DYN = optional_of(DYN)
_TYPES: dict[type, CelType] = {
    type(None): NULL,
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    list: LIST_OF_DYN,
    dict: MAP_OF_DYN,
    Timestamp: TIMESTAMP,
    Duration: DURATION,
    Optional: OPTIONAL_OF_DYN,
}
_NUMBERS = frozenset((int, UInt, float))
_PLAIN = frozenset((str, int, UInt, float, bool, bytes, type(None), Timestamp, Duration))


def type_of_value(value: Any) -> CelType:
    """The type of a value, as far as the value tells it (elements are dyn)."""
    found = _TYPES.get(type(value))
    if found is not None:
        return found
    if isinstance(value, CelType):
        return TYPE
    if isinstance(value, dict):
        return MAP_OF_DYN
    kind: CelType = value.cel_type
    return kind


def has_type(value: Any, kind: CelType) -> bool:
    """Whether a value may be used as a parameter of this type; looks at no elements."""
    if kind.kind in ("dyn", "param"):
        return True
    have = type_of_value(value)
    if kind.kind == "object":
        return isinstance(value, dict)
    return have.kind == kind.kind and (have.name == kind.name or kind.kind != "opaque")


def is_number(value: Any) -> bool:
    """Whether a value is an int, a uint or a double."""
    return type(value) in _NUMBERS


def equal(one: Any, other: Any) -> bool:
    """`==`: numbers by their value whatever their types, other values of different types never."""
    kind = type(one)
    if kind in _PLAIN:
        if kind is type(other):
            return bool(one == other)
        return kind in _NUMBERS and type(other) in _NUMBERS and _compare_numbers(one, other) == 0
    if kind is list:
        return type(other) is list and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        if not isinstance(other, dict) or len(one) != len(other):
            return False
        return all(key in other and equal(value, other[key]) for key, value in one.items())
    if kind is Optional:
        if type(other) is not Optional or one.has_value != other.has_value:
            return False
        return not one.has_value or equal(one.value, other.value)
    return bool(one == other)


def _compare_numbers(one: float, other: float) -> int | None:
    """None for NaN. Where one is a double, both are compared as doubles, though that may round the other."""
    if isinstance(one, float) or isinstance(other, float):
        one, other = float(one), float(other)
        if one != one or other != other:
            return None
    return -1 if one < other else int(one > other)


def compare(one: Any, other: Any) -> int:
    """-1, 0 or 1. Raises CelEvaluationError for values that have no order."""
    kind, other_kind = type(one), type(other)
    if kind in _NUMBERS and other_kind in _NUMBERS:
        order = _compare_numbers(one, other)
        if order is None:
            raise CelEvaluationError("NaN values cannot be ordered")
        return order
    if kind is not other_kind or kind not in _PLAIN or one is None:
        raise no_such_overload()
    return -1 if one < other else int(one > other)


order_key: Callable[[Any], Any] = cmp_to_key(compare)

_MISSING = object()


def find_key(mapping: dict[Any, Any], key: Any, missing: Any = None) -> Any:
    """The value of a key; numbers are found by their value. Raises CelEvaluationError for what can be no key."""
    kind = type(key)
    if kind is str:
        return mapping.get(key, missing) if key in mapping else missing
    if kind not in _NUMBERS and kind is not bool:
        raise CelEvaluationError(
            f"unsupported key type: {type_of_value(key)}" if key is not None else "no such overload"
        )
    if key != key or key not in mapping:
        return missing
    if key == 0 or key == 1:
        # Python has True and 1 for one key: see which of them is there.
        stored = next(k for k in mapping if k == key)
        if (type(stored) is bool) != (kind is bool):
            return missing
    return mapping[key]


def index_list(items: list[Any], index: Any) -> Any:
    """`items[index]`; a double or uint may stand for the index if it is whole."""
    kind = type(index)
    if kind is not int:
        if kind is float and index.is_integer():
            index = int(index)
        elif kind is not UInt:
            raise no_such_overload() if kind is not float else CelEvaluationError(f"invalid list index: {index}")
    if 0 <= index < len(items):
        return items[index]
    raise CelEvaluationError(f"index out of bounds: {index}")


def size_of(value: Any) -> int:
    """A value's size for its cost: its length if it has one, otherwise 1."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    if type(value) is Optional and value.has_value:
        return size_of(value.value)
    return 1


def weight(value: Any) -> int:
    """How much there is to read in a value: its elements, those within them, and its texts by the kilobyte."""
    total, waiting = 0, [value]
    while waiting:
        current = waiting.pop()
        total += 1
        if isinstance(current, list):
            waiting += current
        elif isinstance(current, dict):
            waiting += current.values()
        elif isinstance(current, str | bytes):
            total += len(current) // 1000
    return total


def is_zero(value: Any) -> bool:
    """Whether a value is the empty one of its type."""
    if isinstance(value, Timestamp):
        return value.nanoseconds == TIMESTAMP_MIN
    if isinstance(value, Duration):
        return value.nanoseconds == 0
    if isinstance(value, Optional):
        return not value.has_value
    return value is None or value in ("", b"", 0, False) or value == [] or value == {}
