"""Operators, membership and sizes.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from apimachinery.cel.errors import CelEvaluationError, no_such_overload, too_costly
from apimachinery.cel.functions import Library
from apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    CelType,
    list_of,
    map_of,
    optional_of,
    param,
)
from apimachinery.cel.values import (
    INT_MAX,
    INT_MIN,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    UInt,
    compare,
    equal,
    find_key,
    index_list,
    size_of,
    weight,
)

LIBRARY = Library()
A, B = param("A"), param("B")
LIST, MAP = list_of(A), map_of(A, B)
# No list in a request has more elements than that.
_LIST_LENGTH_MAX = 2_000_000


def strings_cost(size: int) -> int:
    """What it costs to read so many characters: a tenth each, rounded up."""
    return -(-size // 10)


def _both_cost(_result: Any, one: Any, other: Any) -> int:
    return strings_cost(size_of(one) + size_of(other))


def shorter_cost(_result: Any, one: Any, other: Any) -> int:
    """What it costs to compare two values.

    Kubernetes does not look into lists and maps for it; here they also cost a fifth of all that is in them, so that
    nothing can be compared over and over for nothing.
    """
    cost = strings_cost(min(size_of(one), size_of(other)))
    return max(cost, weight(one) // 5) if isinstance(one, list | dict) else cost


def as_int(number: int) -> int:
    """An int of CEL. Raises CelEvaluationError beyond 64 bits."""
    if INT_MIN <= number <= INT_MAX:
        return number
    raise CelEvaluationError("integer overflow")


def as_uint(number: int) -> UInt:
    """A uint of CEL. Raises CelEvaluationError beyond 64 bits."""
    if 0 <= number <= UINT_MAX:
        return UInt(number)
    raise CelEvaluationError("unsigned integer overflow")


def as_timestamp(nanoseconds: int, offset_seconds: int = 0) -> Timestamp:
    """A timestamp. Raises CelEvaluationError outside of the years 1 to 9999."""
    if TIMESTAMP_MIN <= nanoseconds <= TIMESTAMP_MAX:
        return Timestamp(nanoseconds, offset_seconds)
    raise CelEvaluationError("timestamp overflow")


def as_duration(nanoseconds: int) -> Duration:
    """A duration. Raises CelEvaluationError beyond 64 bits of nanoseconds."""
    if INT_MIN <= nanoseconds <= INT_MAX:
        return Duration(nanoseconds)
    raise CelEvaluationError("duration overflow")


def _arithmetic(name: str, compute: Callable[[Any, Any], Any]) -> None:
    @LIBRARY.function(name, INT, INT, result=INT)
    def on_ints(one: int, other: int) -> int:
        return as_int(compute(one, other))

    @LIBRARY.function(name, UINT, UINT, result=UINT)
    def on_uints(one: int, other: int) -> UInt:
        return as_uint(compute(int(one), int(other)))


_arithmetic("_+_", operator.add)
_arithmetic("_-_", operator.sub)
_arithmetic("_*_", operator.mul)
for _name, _compute in {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}.items():
    LIBRARY.function(_name, DOUBLE, DOUBLE, result=DOUBLE)(_compute)
LIBRARY.function("_+_", STRING, STRING, result=STRING, cost=_both_cost)(operator.add)
LIBRARY.function("_+_", BYTES, BYTES, result=BYTES, cost=_both_cost)(operator.add)


@LIBRARY.function("_+_", LIST, LIST, result=LIST, cost=lambda result, *_args: 1 + len(result) // 100)
def _add_lists(one: list[Any], other: list[Any]) -> list[Any]:
    """Kubernetes joins lists without copying them; here, a long result costs more, and has its limit."""
    if len(one) + len(other) > _LIST_LENGTH_MAX:
        raise too_costly()
    return one + other


def divide_ints(one: int, other: int) -> int:
    """Division that rounds towards zero."""
    if other == 0:
        raise CelEvaluationError("division by zero")
    quotient = abs(one) // abs(other)
    return as_int(quotient if (one < 0) == (other < 0) else -quotient)


def remainder_ints(one: int, other: int) -> int:
    """The remainder of that division: it has the sign of the first."""
    if other == 0:
        raise CelEvaluationError("modulus by zero")
    if one == INT_MIN and other == -1:
        raise CelEvaluationError("integer overflow")
    remainder = abs(one) % abs(other)
    return -remainder if one < 0 else remainder


@LIBRARY.function("_/_", DOUBLE, DOUBLE, result=DOUBLE)
def divide_doubles(one: float, other: float) -> float:
    """Division as IEEE 754 has it, also by zero."""
    if other != 0:
        return one / other
    if one == 0 or one != one:
        return float("nan")
    negative = (str(one)[0] == "-") != (str(other)[0] == "-")
    return float("-inf") if negative else float("inf")


LIBRARY.function("_/_", INT, INT, result=INT)(divide_ints)
LIBRARY.function("_/_", UINT, UINT, result=UINT)(lambda one, other: UInt(divide_ints(int(one), int(other))))
LIBRARY.function("_%_", INT, INT, result=INT)(remainder_ints)
LIBRARY.function("_%_", UINT, UINT, result=UINT)(lambda one, other: UInt(remainder_ints(int(one), int(other))))
LIBRARY.function("-_", INT, result=INT)(lambda number: as_int(-number))
LIBRARY.function("-_", DOUBLE, result=DOUBLE)(operator.neg)
LIBRARY.function("!_", BOOL, result=BOOL)(operator.not_)


@LIBRARY.function("_+_", TIMESTAMP, DURATION, result=TIMESTAMP)
def _timestamp_plus(moment: Timestamp, span: Duration) -> Timestamp:
    return as_timestamp(moment.nanoseconds + span.nanoseconds, moment.offset_seconds)


@LIBRARY.function("_+_", DURATION, TIMESTAMP, result=TIMESTAMP)
def _plus_timestamp(span: Duration, moment: Timestamp) -> Timestamp:
    return as_timestamp(moment.nanoseconds + span.nanoseconds, moment.offset_seconds)


@LIBRARY.function("_-_", TIMESTAMP, DURATION, result=TIMESTAMP)
def _timestamp_minus(moment: Timestamp, span: Duration) -> Timestamp:
    return as_timestamp(moment.nanoseconds - span.nanoseconds, moment.offset_seconds)


@LIBRARY.function("_-_", TIMESTAMP, TIMESTAMP, result=DURATION)
def _between(later: Timestamp, earlier: Timestamp) -> Duration:
    return as_duration(later.nanoseconds - earlier.nanoseconds)


@LIBRARY.function("_+_", DURATION, DURATION, result=DURATION)
def _durations_plus(one: Duration, other: Duration) -> Duration:
    return as_duration(one.nanoseconds + other.nanoseconds)


@LIBRARY.function("_-_", DURATION, DURATION, result=DURATION)
def _durations_minus(one: Duration, other: Duration) -> Duration:
    return as_duration(one.nanoseconds - other.nanoseconds)


LIBRARY.function("_==_", A, A, result=BOOL, cost=shorter_cost)(equal)
LIBRARY.function("_!=_", A, A, result=BOOL, cost=shorter_cost)(lambda one, other: not equal(one, other))


def _order(name: str, holds: Callable[[int], bool]) -> None:
    def ordered(one: Any, other: Any) -> bool:
        return holds(compare(one, other))

    numbers = (INT, UINT, DOUBLE)
    pairs: list[tuple[CelType, CelType]] = [(one, other) for one in numbers for other in numbers]
    pairs += [(kind, kind) for kind in (BOOL, TIMESTAMP, DURATION)]
    for one, other in pairs:
        LIBRARY.function(name, one, other, result=BOOL)(ordered)
    for kind in (STRING, BYTES):
        LIBRARY.function(name, kind, kind, result=BOOL, cost=shorter_cost)(ordered)


_order("_<_", lambda order: order < 0)
_order("_<=_", lambda order: order <= 0)
_order("_>_", lambda order: order > 0)
_order("_>=_", lambda order: order >= 0)

_MISSING = object()


@LIBRARY.function("_[_]", MAP, A, result=B)
def index_map(mapping: dict[Any, Any], key: Any) -> Any:
    """The value of a key. Raises CelEvaluationError if the map does not have it."""
    found = find_key(mapping, key, _MISSING)
    if found is _MISSING:
        raise CelEvaluationError(f"no such key: {shown_key(key)}")
    return found


def shown_key(key: Any) -> str:
    """A key as an error names it."""
    return str(key).lower() if isinstance(key, bool) else str(key)


LIBRARY.function("_[_]", LIST, INT, result=A)(index_list)


def optional_index(container: Any, index: Any) -> Optional:
    """`container[?index]`, also of an optional. Raises CelEvaluationError."""
    if isinstance(container, Optional):
        return optional_index(container.value, index) if container.has_value else container
    if isinstance(container, list):
        in_range = isinstance(index, int | float) and index == index and 0 <= index < len(container)
        return Optional(index_list(container, index)) if in_range else Optional.NONE
    if not isinstance(container, dict):
        raise no_such_overload()
    found = find_key(container, index, _MISSING)
    return Optional.NONE if found is _MISSING else Optional(found)


# Behind an optional, a plain index is optional, too.
LIBRARY.function("_[_]", optional_of(LIST), INT, result=optional_of(A))(optional_index)
LIBRARY.function("_[_]", optional_of(MAP), A, result=optional_of(B))(optional_index)
for _container, _key, _value in ((LIST, INT, A), (MAP, A, B)):
    LIBRARY.function("_[?_]", _container, _key, result=optional_of(_value))(optional_index)
    LIBRARY.function("_[?_]", optional_of(_container), _key, result=optional_of(_value))(optional_index)


def search_cost(_result: Any, item: Any, items: list[Any]) -> int:
    """What it costs to compare a value with all elements of a list: one each, more if there is much to compare."""
    return len(items) * (1 + weight(item) // 10)


@LIBRARY.function("@in", A, LIST, result=BOOL, cost=search_cost)
def in_list(item: Any, items: list[Any]) -> bool:
    """Whether an element is equal."""
    if type(item) is str:
        return item in items
    return any(equal(item, other) for other in items)


@LIBRARY.function("@in", A, MAP, result=BOOL)
def in_map(key: Any, mapping: dict[Any, Any]) -> bool:
    """Whether the map has the key; what can be no key is in no map."""
    if not isinstance(key, int | float | str):
        return False
    return find_key(mapping, key, _MISSING) is not _MISSING


for _sized in (STRING, BYTES, LIST, MAP):
    LIBRARY.function("size", _sized, result=INT)(len)
    LIBRARY.method("size", _sized, result=INT)(len)


@LIBRARY.function("_?_:_", BOOL, A, A, result=A)
def _conditional(condition: bool, then: Any, otherwise: Any) -> Any:
    return then if condition else otherwise


LIBRARY.function("dyn", A, result=DYN)(lambda value: value)
