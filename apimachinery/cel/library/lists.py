"""Functions of lists, and of lists as sets.

Sources: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-list-library,
https://github.com/google/cel-go/tree/master/ext (lists version 3, sets)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from apimachinery.cel.errors import CelEvaluationError, no_such_overload, too_costly
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import A, as_duration, as_int, as_uint, in_list, search_cost
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
    list_of,
)
from apimachinery.cel.values import Duration, compare, equal, order_key

LIBRARY = Library()
LIST = list_of(A)
COMPARABLE = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
_NEW_LIST = 11
_RANGE_MAX = _PAIRS_MAX = 1_000_000


def _traversal(_result: Any, items: list[Any], *_args: Any) -> int:
    return sum(len(item) // 10 if isinstance(item, str | bytes) else 1 for item in items)


def _output(result: list[Any], *_args: Any) -> int:
    return len(result) + _NEW_LIST


def pairs_cost(_result: Any, items: list[Any]) -> int:
    """Comparing all pairs, and a new list."""
    compared = 21 if items and isinstance(items[0], str | bytes) else 20
    return compared * len(items) ** 2 // 10 + _NEW_LIST


def _check_pairs(one: list[Any], other: list[Any]) -> None:
    """Ends at once what would cost more than it may, instead of after the work."""
    if len(one) * len(other) > _PAIRS_MAX:
        raise too_costly()


def _pairs(_result: Any, one: list[Any], other: list[Any]) -> int:
    return 1 + len(one) * len(other)


def _on_lists_of_comparables(name: str, call: Callable[[list[Any]], Any], *, gives_bool: bool = False) -> None:
    for kind in COMPARABLE:
        LIBRARY.method(name, list_of(kind), result=BOOL if gives_bool else kind, cost=_traversal)(call)


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(one, other) <= 0 for one, other in pairwise(items))


def _max(items: list[Any]) -> Any:
    if not items:
        raise CelEvaluationError("max called on empty list")
    return max(items, key=order_key)


def _min(items: list[Any]) -> Any:
    if not items:
        raise CelEvaluationError("min called on empty list")
    return min(items, key=order_key)


_on_lists_of_comparables("isSorted", _is_sorted, gives_bool=True)
_on_lists_of_comparables("max", _max)
_on_lists_of_comparables("min", _min)


@LIBRARY.method("sum", list_of(INT), result=INT, cost=_traversal)
def _sum_ints(items: list[Any]) -> Any:
    """Also of what else can be added, where the type is known only now."""
    if items and isinstance(items[0], float):
        return sum(items)
    if items and isinstance(items[0], Duration):
        return as_duration(sum(item.nanoseconds for item in items))
    return as_int(sum(items))


LIBRARY.method("sum", list_of(UINT), result=UINT, cost=_traversal)(lambda items: as_uint(sum(items)))
LIBRARY.method("sum", list_of(DOUBLE), result=DOUBLE, cost=_traversal)(lambda items: sum(items, 0.0))


@LIBRARY.method("sum", list_of(DURATION), result=DURATION, cost=_traversal)
def _sum_durations(items: list[Duration]) -> Duration:
    return as_duration(sum(item.nanoseconds for item in items))


def _search(_result: int, items: list[Any], item: Any) -> int:
    return search_cost(_result, item, items)


@LIBRARY.method("indexOf", LIST, A, result=INT, cost=_search)
def _index_of(items: list[Any], item: Any) -> int:
    return next((n for n, other in enumerate(items) if equal(item, other)), -1)


@LIBRARY.method("lastIndexOf", LIST, A, result=INT, cost=_search)
def _last_index_of(items: list[Any], item: Any) -> int:
    return next((n for n in range(len(items) - 1, -1, -1) if equal(item, items[n])), -1)


@LIBRARY.method("slice", LIST, INT, INT, result=LIST, cost=_output)
def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    what = f"cannot slice({start}, {end})"
    if start < 0 or end < 0:
        raise CelEvaluationError(f"{what}, negative indexes not supported")
    if start > end:
        raise CelEvaluationError(f"{what}, start index must be less than or equal to end index")
    if end > len(items):
        raise CelEvaluationError(f"{what}, list is length {len(items)}")
    return items[start:end]


@LIBRARY.method("flatten", list_of(LIST), result=LIST, cost=_output)
def _flatten(items: list[Any]) -> list[Any]:
    return _flatten_to(items, 1)


@LIBRARY.method("flatten", list_of(DYN), INT, result=list_of(DYN), cost=_output)
def _flatten_to(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise CelEvaluationError("level must be non-negative")
    flat: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth > 0:
            flat += _flatten_to(item, depth - 1)
        else:
            flat.append(item)
    return flat


def sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    """The items in the order of their keys, which must be of one type that has an order."""
    _check_pairs(keys, keys)
    if len({type(key) for key in keys}) > 1:
        raise CelEvaluationError("list elements must have the same type")
    numbers = sorted(range(len(items)), key=lambda number: order_key(keys[number]))
    return [items[number] for number in numbers]


for _kind in COMPARABLE:
    LIBRARY.method("sort", list_of(_kind), result=list_of(_kind), cost=pairs_cost)(
        lambda items: sort_by(items, items)
    )


@LIBRARY.function("lists.range", INT, result=list_of(INT), cost=_output)
def _range(count: int) -> list[int]:
    if count > _RANGE_MAX:
        raise too_costly()
    return list(range(count))


LIBRARY.method("reverse", LIST, result=LIST, cost=_output)(lambda items: items[::-1])


@LIBRARY.method("distinct", LIST, result=LIST, cost=pairs_cost)
def _distinct(items: list[Any]) -> list[Any]:
    _check_pairs(items, items)
    distinct: list[Any] = []
    for item in items:
        if not in_list(item, distinct):
            distinct.append(item)
    return distinct


def _contains_all(items: list[Any], wanted: list[Any]) -> bool:
    if not isinstance(items, list) or not isinstance(wanted, list):
        raise no_such_overload("sets.contains")
    _check_pairs(items, wanted)
    return all(in_list(item, items) for item in wanted)


LIBRARY.function("sets.contains", LIST, LIST, result=BOOL, cost=_pairs)(_contains_all)


@LIBRARY.function(
    "sets.equivalent", LIST, LIST, result=BOOL, cost=lambda _result, one, other: 1 + 2 * len(one) * len(other)
)
def _equivalent(one: list[Any], other: list[Any]) -> bool:
    return _contains_all(one, other) and _contains_all(other, one)


@LIBRARY.function("sets.intersects", LIST, LIST, result=BOOL, cost=_pairs)
def _intersects(one: list[Any], other: list[Any]) -> bool:
    _check_pairs(one, other)
    return any(in_list(item, other) for item in one)
