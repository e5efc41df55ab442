"""Compiling the macros that loop.

Each turn pays for what Kubernetes' evaluator does in one, so that a rule costs the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apimachinery.cel.closures import COST, LIMIT, CompileNode, Evaluate, Frame, Part, charge
from apimachinery.cel.errors import CelEvaluationError, no_such_overload, too_costly
from apimachinery.cel.library.lists import pairs_cost, sort_by
from apimachinery.cel.library.operators import shown_key
from apimachinery.cel.syntax import Comprehension
from apimachinery.cel.values import find_key

# What a turn costs besides the condition and the transformation: looking at the result so far (and, in a turn more,
# at a result that decides), adding to it.
_ALL_TURN, _EXISTS_TURN, _COUNT_TURN, _LIST_TURN, _MAP_TURN, _ENTRY_TURN = 3, 4, 2, 12, 3, 2
_SORT_COST = 3
_MISSING = object()

Range = Callable[[Frame], Iterator[Any]]


def compile_comprehension(node: Comprehension, compile_node: CompileNode) -> Part:
    """The closure of a macro with a loop."""
    source = compile_node(node.range)
    condition = compile_node(node.condition) if node.condition is not None else None
    transform = compile_node(node.transform) if node.transform is not None else None
    turns = _turns(source.evaluate, node.slots)
    match node.kind:
        case "all" | "exists":
            assert condition is not None
            return Part(_quantifier(turns, condition, decisive=node.kind == "exists"), source.cost + 1)
        case "exists_one":
            assert condition is not None
            return Part(_exactly_one(turns, condition), source.cost + 2)
        case "list":
            assert transform is not None
            return Part(_list(turns, condition, transform), source.cost + 1)
        case "sort_by":
            assert transform is not None
            return Part(_sorted(source.evaluate, node.slots[0], transform), source.cost + _SORT_COST)
    assert transform is not None
    if node.kind == "map_entry":
        return Part(_map(turns, condition, transform, _ENTRY_TURN, _put_entry), source.cost + 1)
    return Part(_map(turns, condition, transform, _MAP_TURN, _put_value(node.slots[0])), source.cost + 1)


def _turns(source: Evaluate, slots: list[int]) -> Range:
    """What to loop over; the loop variables are set in the frame before each turn."""
    if len(slots) == 1:
        slot = slots[0]

        def one_variable(frame: Frame) -> Iterator[Any]:
            items = source(frame)
            if not isinstance(items, list | dict):
                raise no_such_overload()
            for frame[slot] in items:
                yield

        return one_variable
    first, second = slots

    def two_variables(frame: Frame) -> Iterator[Any]:
        items = source(frame)
        if isinstance(items, list):
            for frame[first], frame[second] in enumerate(items):
                yield
        elif isinstance(items, dict):
            for frame[first], frame[second] in items.items():
                yield
        else:
            raise no_such_overload()

    return two_variables


def _quantifier(turns: Range, condition: Part, *, decisive: bool) -> Evaluate:
    """`exists` (`decisive` is True) and `all` (False): errors count only if no turn decides."""
    test, cost = condition.evaluate, condition.cost + (_EXISTS_TURN if decisive else _ALL_TURN)
    decided, look = bool(decisive), (_EXISTS_TURN if decisive else _ALL_TURN) - 1

    def quantify(frame: Frame) -> bool:
        error: CelEvaluationError | None = None
        remaining = turns(frame)
        for _ in remaining:
            frame[COST] += cost
            if frame[COST] > frame[LIMIT]:
                raise too_costly()
            try:
                value = test(frame)
                if value is decisive:
                    for _ in remaining:
                        frame[COST] += look
                        break
                    return decided
                if value is not True and value is not False:
                    raise no_such_overload()
            except CelEvaluationError as raised:
                error = error or raised
        if error is not None:
            raise error
        return not decisive

    return quantify


def _passes(condition: Part | None) -> Callable[[Frame, int], bool]:
    """Charges a turn that costs so much if it is not skipped, and tells whether it is not."""

    def always(frame: Frame, cost: int) -> bool:
        frame[COST] += cost
        if frame[COST] > frame[LIMIT]:
            raise too_costly()
        return True

    if condition is None:
        return always
    test, test_cost = condition.evaluate, condition.cost

    def passes(frame: Frame, cost: int) -> bool:
        value = test(frame)
        if type(value) is not bool:
            raise no_such_overload()
        frame[COST] += test_cost + (cost if value else 0)
        if frame[COST] > frame[LIMIT]:
            raise too_costly()
        return value is True

    return passes


def _exactly_one(turns: Range, condition: Part) -> Evaluate:
    passes = _passes(condition)

    def count(frame: Frame) -> bool:
        return sum(passes(frame, _COUNT_TURN) for _ in turns(frame)) == 1

    return count


def _list(turns: Range, condition: Part | None, transform: Part) -> Evaluate:
    passes, compute, cost = _passes(condition), transform.evaluate, transform.cost + _LIST_TURN
    return lambda frame: [compute(frame) for _ in turns(frame) if passes(frame, cost)]


def _sorted(source: Evaluate, slot: int, key: Part) -> Evaluate:
    compute, turn_cost = key.evaluate, key.cost + _LIST_TURN

    def sort(frame: Frame) -> list[Any]:
        items = source(frame)
        if not isinstance(items, list):
            raise no_such_overload()
        charge(frame, len(items) * turn_cost)
        keys = []
        for frame[slot] in items:
            keys.append(compute(frame))
        # Charged before it is done: sorting costs what comparing all pairs would.
        charge(frame, pairs_cost(None, keys))
        return sort_by(items, keys)

    return sort


def _map(
    turns: Range,
    condition: Part | None,
    transform: Part,
    turn_cost: int,
    put: Callable[[Frame, dict[Any, Any], Any], None],
) -> Evaluate:
    passes, compute, cost = _passes(condition), transform.evaluate, transform.cost + turn_cost

    def build(frame: Frame) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for _ in turns(frame):
            if passes(frame, cost):
                put(frame, result, compute(frame))
        return result

    return build


def _put_value(key_slot: int) -> Callable[[Frame, dict[Any, Any], Any], None]:
    def put(frame: Frame, result: dict[Any, Any], value: Any) -> None:
        result[frame[key_slot]] = value

    return put


def _put_entry(_frame: Frame, result: dict[Any, Any], entry: Any) -> None:
    if not isinstance(entry, dict):
        raise no_such_overload("cel.@mapInsert")
    for key, value in entry.items():
        if find_key(result, key, _MISSING) is not _MISSING:
            raise CelEvaluationError(f"insert failed: key {shown_key(key)} already exists")
        result[key] = value
