"""Compiling calls: operators and functions.

Where the checker knows the types, the closure does what the one overload does; where it does not, the values choose
the overload when the call is evaluated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from apimachinery.cel.closures import COST, CompileNode, Evaluate, Frame, Part, charge, constant
from apimachinery.cel.errors import CelEvaluationError, no_such_overload
from apimachinery.cel.functions import Overload, dispatcher
from apimachinery.cel.library.operators import in_list, shorter_cost
from apimachinery.cel.syntax import Call, Ident, Literal, Node, Select
from apimachinery.cel.types import CelType
from apimachinery.cel.values import INT_MAX, INT_MIN, Optional, is_number
from apimachinery.cel.wire import equality, merge_lists

_COMPARISONS = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
_INT_OPERATORS = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}
_CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"))
# Types whose values Python compares as CEL does, when both are of the type. A double may be no number.
_SAME_AS_PYTHON = frozenset(("int", "uint", "bool", "timestamp", "duration"))
_UNKNOWN = frozenset(("dyn", "param", "error", "null"))


def compile_call(node: Call, compile_node: CompileNode) -> Part:
    """The closure of a call."""
    match node.function:
        case "_&&_" | "_||_":
            return _logic([compile_node(arg) for arg in node.args], decisive=node.function == "_||_")
        case "_?_:_":
            condition, then, otherwise = (compile_node(arg) for arg in node.args)
            return _conditional(condition, then, otherwise, *map(_attribute_discount, node.args[1:]))
        case "or" | "orValue" if node.target is not None:
            return _alternative(compile_node(node.target), compile_node(node.args[0]), node.function == "orValue")
    args = node.args if node.target is None else [node.target, *node.args]
    parts = [compile_node(arg) for arg in args]
    cost = sum(part.cost for part in parts)
    if node.function in ("_==_", "_!=_"):
        return _equality(node, parts, cost)
    if node.function in _CONVERSIONS and parts[0].is_constant:
        return _converted_before(node, parts)
    if node.function == "@in" and parts[1].is_constant and isinstance(parts[1].evaluate([]), list):
        return _membership(parts[0], parts[1].evaluate([]))
    special = _special(node, args, parts)
    if special is not None:
        return Part(special, cost + 1)
    return _function(node, args, parts, cost)


def _converted_before(node: Call, parts: list[Part]) -> Part:
    """A conversion of a constant, such as `duration("1h")`, is a constant; an error is left for the evaluation."""
    value = parts[0].evaluate([])
    try:
        return constant(dispatcher(node.function, node.overloads)(value).call(value))
    except CelEvaluationError:
        return _function(node, node.args, parts, 0)


def _membership(item: Part, items: list[Any]) -> Part:
    """Whether a value is in a constant list, which costs nothing."""
    evaluate = item.evaluate
    if all(type(one) is str for one in items):
        texts = frozenset(items)

        def is_text_in(frame: Frame) -> bool:
            value = evaluate(frame)
            return type(value) is str and value in texts

        return Part(is_text_in, item.cost)
    return Part(lambda frame: in_list(evaluate(frame), items), item.cost)


def _logic(parts: list[Part], *, decisive: bool) -> Part:
    """`||` (`decisive` is True) or `&&` (False): one decisive operand decides, whatever errors the others have."""
    if len(parts) == 2:
        return Part(_logic_of_two(parts[0], parts[1], decisive=decisive), parts[0].cost)
    rest = [(part.evaluate, part.cost) for part in parts]
    rest[0] = (parts[0].evaluate, 0)

    decided, undecided = decisive, not decisive

    def decide(frame: Frame) -> bool:
        error: CelEvaluationError | None = None
        for evaluate, cost in rest:
            frame[COST] += cost
            try:
                value = evaluate(frame)
                if value is decisive:
                    return decided
                if type(value) is not bool:
                    raise no_such_overload()
            except CelEvaluationError as raised:
                error = error or raised
        if error is not None:
            raise error
        return undecided

    return Part(decide, parts[0].cost)


def _logic_of_two(first: Part, second: Part, *, decisive: bool) -> Evaluate:
    one, other, cost, decided = first.evaluate, second.evaluate, second.cost, bool(decisive)

    def decide(frame: Frame) -> bool:
        try:
            value = one(frame)
            if value is decisive:
                return decided
            if type(value) is not bool:
                raise no_such_overload()
        except CelEvaluationError as error:
            frame[COST] += cost
            if _value_or_none(other, frame) is decisive:
                return decided
            raise error
        frame[COST] += cost
        value = other(frame)
        if type(value) is not bool:
            raise no_such_overload()
        return value is True

    return decide


def _value_or_none(evaluate: Evaluate, frame: Frame) -> Any:
    try:
        return evaluate(frame)
    except CelEvaluationError:
        # The error of the first operand is the one that is reported.
        return None


def _attribute_discount(node: Node) -> int:
    """A branch that only reads a variable or what is in it does so for one less."""
    while isinstance(node, Select) or (isinstance(node, Call) and node.function == "_[_]"):
        node = node.operand if isinstance(node, Select) else node.args[0]
    return int(isinstance(node, Ident) and node.constant is None)


def _conditional(condition: Part, then: Part, otherwise: Part, then_discount: int, otherwise_discount: int) -> Part:
    test, on_true, on_false = condition.evaluate, then.evaluate, otherwise.evaluate
    true_cost, false_cost = then.cost - then_discount, otherwise.cost - otherwise_discount

    def choose(frame: Frame) -> Any:
        value = test(frame)
        if value is True:
            frame[COST] += true_cost
            return on_true(frame)
        if value is False:
            frame[COST] += false_cost
            return on_false(frame)
        raise no_such_overload()

    return Part(choose, condition.cost)


def _alternative(optional: Part, other: Part, unwrap: bool) -> Part:
    """`optional.or(optional)` and `optional.orValue(value)`: the other is evaluated only if it is needed."""
    first, second, cost = optional.evaluate, other.evaluate, other.cost

    def choose(frame: Frame) -> Any:
        value = first(frame)
        if type(value) is not Optional:
            raise no_such_overload()
        if value.has_value:
            return value.value if unwrap else value
        frame[COST] += cost
        return second(frame)

    return Part(choose, optional.cost)


def _equality(node: Call, parts: list[Part], cost: int) -> Part:
    one, other = (part.evaluate for part in parts)
    left, right = (arg.type for arg in node.args)
    negated = node.function == "_!=_"
    if left.kind == right.kind == "string":
        literal = next((arg for arg in node.args if isinstance(arg, Literal)), None)
        if literal is not None:
            # Comparing reads no more than the shorter: no need to look at the other.
            compare = operator.ne if negated else operator.eq
            return Part(_binary(compare, one, other), cost + -(-len(literal.value) // 10))
    elif left.kind == right.kind and left.kind in _SAME_AS_PYTHON:
        return Part(_binary(operator.ne if negated else operator.eq, one, other), cost + 1)
    same = equality(left)

    def equals(frame: Frame) -> bool:
        left_value, right_value = one(frame), other(frame)
        charge(frame, shorter_cost(None, left_value, right_value))
        return same(left_value, right_value) is not negated

    return Part(equals, cost)


def _binary(compute: Callable[[Any, Any], Any], one: Evaluate, other: Evaluate) -> Evaluate:
    return lambda frame: compute(one(frame), other(frame))


def _special(node: Call, args: list[Node], parts: list[Part]) -> Evaluate | None:
    """Closures for the operators that most rules consist of; None for other calls."""
    if len(args) != 2:
        return _negation(node, args, parts)
    one, other = (part.evaluate for part in parts)
    kinds = (args[0].type.kind, args[1].type.kind)
    if node.function in _COMPARISONS:
        if kinds[0] == kinds[1] and kinds[0] in _SAME_AS_PYTHON:
            return _ordered(_COMPARISONS[node.function], one, other)
        if "dyn" in kinds and kinds[0] in ("dyn", "int") and kinds[1] in ("dyn", "int"):
            return _ordered_ints(_COMPARISONS[node.function], one, other, node.overloads)
    if kinds == ("int", "int") and node.function in _INT_OPERATORS:
        return _int_arithmetic(_INT_OPERATORS[node.function], one, other)
    merge = merge_lists(args[0].type) if node.function == "_+_" else None
    return merge and _binary(merge, one, other)


def _negation(node: Call, args: list[Node], parts: list[Part]) -> Evaluate | None:
    if node.function != "!_":
        return None
    operand = parts[0].evaluate

    def negate(frame: Frame) -> bool:
        value = operand(frame)
        if type(value) is not bool:
            raise no_such_overload()
        return not value

    return negate


def _ordered(compare: Callable[[Any, Any], bool], one: Evaluate, other: Evaluate) -> Evaluate:
    def ordered(frame: Frame) -> bool:
        try:
            return compare(one(frame), other(frame))
        except TypeError:
            # A nullable field that is null.
            raise no_such_overload()

    return ordered


def _ordered_ints(
    compare: Callable[[Any, Any], bool], one: Evaluate, other: Evaluate, overloads: tuple[Overload, ...]
) -> Evaluate:
    """For values of unknown types that mostly turn out to be ints."""
    choose = dispatcher("<", overloads)

    def ordered(frame: Frame) -> bool:
        left, right = one(frame), other(frame)
        if type(left) is int and type(right) is int:
            return compare(left, right)
        overload = choose(left, right)
        if not is_number(left):
            charge(frame, shorter_cost(None, left, right))
        value: bool = overload.call(left, right)
        return value

    return ordered


def _int_arithmetic(compute: Callable[[int, int], int], one: Evaluate, other: Evaluate) -> Evaluate:
    def arithmetic(frame: Frame) -> int:
        try:
            number = compute(one(frame), other(frame))
            if INT_MIN <= number <= INT_MAX:
                return number
        except TypeError:
            raise no_such_overload()
        raise CelEvaluationError("integer overflow")

    return arithmetic


def _function(node: Call, args: list[Node], parts: list[Part], cost: int) -> Part:
    evaluates = [part.evaluate for part in parts]
    if len(node.overloads) == 1 and not any(_unknown(arg.type) for arg in args):
        overload = node.overloads[0]
        if overload.cost is None:
            return Part(_known(node.function, overload.call, evaluates), cost + 1)
        return Part(_known_with_cost(node.function, overload.call, overload.cost, evaluates), cost)
    return Part(_chosen(node.function, node.overloads, evaluates), cost)


def _unknown(kind: CelType) -> bool:
    return kind.kind in _UNKNOWN


def _known(name: str, call: Callable[..., Any], args: list[Evaluate]) -> Evaluate:
    if len(args) == 1:
        only = args[0]

        def call_one(frame: Frame) -> Any:
            try:
                return call(only(frame))
            except (TypeError, AttributeError):
                raise no_such_overload(name)

        return call_one

    def call_any(frame: Frame) -> Any:
        try:
            return call(*[arg(frame) for arg in args])
        except (TypeError, AttributeError):
            # Of the types that are known before, only null can turn up instead, for a nullable field.
            raise no_such_overload(name)

    return call_any


def _known_with_cost(name: str, call: Callable[..., Any], cost: Callable[..., int], args: list[Evaluate]) -> Evaluate:
    def call_and_charge(frame: Frame) -> Any:
        values = [arg(frame) for arg in args]
        try:
            result = call(*values)
            charge(frame, cost(result, *values))
        except (TypeError, AttributeError):
            raise no_such_overload(name)
        return result

    return call_and_charge


def _chosen(name: str, overloads: tuple[Overload, ...], args: list[Evaluate]) -> Evaluate:
    choose = dispatcher(name, overloads)

    def call(frame: Frame) -> Any:
        values = [arg(frame) for arg in args]
        overload = choose(*values)
        try:
            result = overload.call(*values)
            charge(frame, 1 if overload.cost is None else overload.cost(result, *values))
        except (TypeError, AttributeError):
            # An element of a list whose elements are of an unknown type.
            raise no_such_overload(name)
        return result

    return call
