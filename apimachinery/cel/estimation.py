"""What a rule can cost at most, for the largest value that its schema allows, before it is evaluated.

    estimate_cost("self.items.all(i, i.size() < 5)", environment, schema)   # units of cost

Kubernetes refuses a CustomResourceDefinition with a rule whose estimate, times how often the rule can apply to one
object, exceeds a limit. What counts is the estimate of Kubernetes, to the unit: this follows its evaluator node by
node, also where a tighter bound is known.

Source: github.com/google/cel-go/checker/cost.go
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.cel.analysis import checked_tree
from apimachinery.cel.declared_sizes import KEY, LOST, REQUEST_BYTES_MAX, Declared, declared
from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import too_deep
from apimachinery.cel.estimated_calls import call_estimate
from apimachinery.cel.ranges import FREE, ONE, UNKNOWN, Known, Range
from apimachinery.cel.syntax import (
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    OptionalMap,
    Select,
    StructLiteral,
)
from apimachinery.cel.types import CelType

# Of one rule, and of all rules of one CustomResourceDefinition.
STATIC_COST_LIMIT = 10_000_000
STATIC_CRD_COST_LIMIT = 100_000_000
_SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))
_LIST, _MAP, _STRUCT = Range.fixed(10), Range.fixed(30), Range.fixed(40)
_LOOKS = {"all": Range.fixed(2), "exists": Range.fixed(3)}


def estimate_cost(
    expression: str, environment: Environment, schema: Mapping[str, Any], *, is_root: bool = False
) -> int:
    """The largest cost of a rule whose variables all are of this structural schema. Raises CelCompileError."""
    root = declared(schema, is_root=is_root) or LOST
    try:
        return _Estimator(root).known(checked_tree(expression, environment)).cost.max
    except RecursionError:
        raise too_deep(expression)


def max_cardinality(schema: Mapping[str, Any]) -> int:
    """How often a value of this schema can occur in one request at most, where no limits above it say so."""
    root = declared(schema)
    return REQUEST_BYTES_MAX // ((root.json_bytes_min if root else 2) + 1)


def exceeded(what: str, cost: int, limit: int) -> str:
    """Why a definition is refused: `what` is "estimated rule cost" or "estimated messageExpression cost"."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


class _Estimator:
    """`declared` of what is known is None for what has no path in the schema.

    As in Kubernetes, a path begins at the root of the schema with its first step, whatever that step is from.
    """

    def __init__(self, root: Declared) -> None:
        self._root = root
        self._locals: dict[str, Known] = {}

    def known(self, node: Node) -> Known:
        """What is known of a node: its cost, and its size and that of what is in it."""
        match node:
            case Literal():
                size = len(node.value) if isinstance(node.value, str | bytes) else 1
                return Known(FREE, Range.fixed(size))
            case Ident():
                return self._ident(node)
            case Select(resolved=Ident()):
                assert node.resolved is not None
                return self._ident(node.resolved)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case StructLiteral():
                values = [self.known(entry.value).cost for entry in node.entries]
                return Known(sum(values, _STRUCT), None)
            case Comprehension():
                return self._comprehension(node)
            case OptionalMap():
                return self._optional_map(node)
        raise AssertionError(f"unknown node {node}")

    def _of_type(self, known: Known, kind: CelType) -> Known:
        """With the size that follows from the declaration, or else from the type, if none is known yet."""
        if known.declared is not None and known.declared is not LOST:
            return known._replace(size=Range(0, known.declared.max_size))
        return known._replace(size=Range.fixed(1)) if _is_scalar(kind) else known

    def _ident(self, node: Ident) -> Known:
        local = self._locals.get(node.name)
        if local is not None:
            known = self._of_type(local, node.type)
            return known._replace(cost=ONE)
        return self._of_type(Known(ONE, None, declared=self._root), node.type)

    def _select(self, node: Select) -> Known:
        operand = self.known(node.operand)
        if node.test:
            return Known(operand.cost, Range.fixed(1))
        field = self._root if operand.declared is None else operand.declared.fields.get(node.field, LOST)
        if node.optional:
            return self._of_type(Known(operand.cost + ONE, None), node.type)
        cost = operand.cost + ONE if node.operand.type.kind in ("map", "object", "param") else operand.cost
        return self._of_type(Known(cost, None, declared=field), node.type)

    def _list(self, node: ListLiteral) -> Known:
        elements = [self.known(element) for element in node.elements]
        cost = sum((element.cost for element in elements), _LIST)
        inside = Range.around([element.size or UNKNOWN for element in elements])
        return Known(cost, Range.fixed(len(elements)), key=Range.fixed(1), value=inside, is_list=True)

    def _map(self, node: MapLiteral) -> Known:
        keys = [self.known(entry.key) for entry in node.entries if isinstance(entry.key, Node)]
        values = [self.known(entry.value) for entry in node.entries]
        cost = sum((part.cost for part in keys + values), _MAP)
        key, value = (Range.around([part.size or UNKNOWN for part in parts]) for parts in (keys, values))
        return Known(cost, Range.fixed(len(keys)), key=key, value=value, is_list=False)

    def _call(self, node: Call) -> Known:
        if node.function == "dyn":
            argument = self.known(node.args[0])
            return argument._replace(cost=argument.cost + ONE, declared=None)
        args = [self.known(arg) for arg in node.args]
        target = self.known(node.target) if node.target is not None else None
        if node.function in ("_&&_", "_||_"):
            # The first operand is all that is evaluated if it decides.
            return Known(Range(args[0].cost.min, sum((arg.cost for arg in args), FREE).max), Range.fixed(1))
        if node.function == "_?_:_":
            return self._conditional(node, args)
        own = call_estimate(node, target, args, self._root)
        cost = sum((arg.cost for arg in args), own.cost) + (target.cost if target is not None else FREE)
        known = own._replace(cost=cost)
        return known if known.size is not None else self._of_type(known, node.type)

    def _conditional(self, node: Call, args: list[Known]) -> Known:
        condition, then, otherwise = args
        cost = condition.cost + (then.cost | otherwise.cost)
        inside = then.union(otherwise)
        return inside._replace(cost=cost, size=(then.size or UNKNOWN) | (otherwise.size or UNKNOWN))

    def _comprehension(self, node: Comprehension) -> Known:
        source = self.known(node.range)
        if node.kind == "sort_by":
            return self._sorted(node, source)
        before = self._locals
        self._locals = before | self._variables(node, source)
        condition = self.known(node.condition) if node.condition is not None else None
        transform = self.known(node.transform) if node.transform is not None else None
        self._locals = before
        count = source.size or UNKNOWN
        start, turn, end, inside = _loop(node, condition, transform)
        cost = source.cost + start + end + count * turn
        size = count if node.kind in ("list", "map", "map_entry") else Range.fixed(1)
        return inside._replace(cost=cost, size=size)

    def _variables(self, node: Comprehension, source: Known) -> dict[str, Known]:
        is_list = source.is_list if source.is_list is not None else node.range.type.kind == "list"
        container = source.declared
        key, value = Known(ONE, source.key, declared=self._root), Known(ONE, source.value, declared=self._root)
        if container is not None:
            key = key._replace(declared=LOST if is_list else KEY)
            value = value._replace(declared=container.element or LOST)
        if len(node.variables) == 2:
            return dict(zip(node.variables, (key, value), strict=True))
        return {node.variables[0]: value if is_list else key}

    def _sorted(self, node: Comprehension, source: Known) -> Known:
        assert node.transform is not None
        before = self._locals
        again = source._replace(cost=ONE)
        self._locals = before | self._variables(node, again)
        key = self.known(node.transform)
        self._locals = before
        count = source.size or UNKNOWN
        keys = ONE + _LIST + ONE + count * (ONE + ONE + _LIST + key.cost)
        factor = 2.1 if node.transform.type.kind in ("string", "bytes") else 2.0
        sort = (count * count).scaled(factor) + ONE + _LIST
        return Known(_LIST + source.cost + ONE + keys + sort, count)

    def _optional_map(self, node: OptionalMap) -> Known:
        operand = self.known(node.operand)
        before = self._locals
        self._locals = before | {node.variable: Known(ONE, None)}
        body = self.known(node.body)
        self._locals = before
        present = _LIST + (operand.cost + ONE) + body.cost
        if not node.flat:
            present = present + ONE
        return Known(operand.cost + ONE + (present | ONE), UNKNOWN)


def _loop(node: Comprehension, condition: Known | None, transform: Known | None) -> tuple[Range, Range, Range, Known]:
    """(cost before, cost of a turn, cost after, what is known of what is in the result)."""
    nothing = Known(FREE, None)
    if node.kind in ("all", "exists"):
        assert condition is not None
        return FREE, _LOOKS[node.kind] + Range(1, (ONE + condition.cost).max), ONE, nothing
    if node.kind == "exists_one":
        assert condition is not None
        return FREE, condition.cost + Range(1, 2), Range.fixed(2), nothing
    assert transform is not None
    if node.kind == "list":
        step, start = ONE + ONE + _LIST + transform.cost, _LIST
        # What is in the result is what is in the empty list that it starts from, or what is added.
        nothing = Known(
            FREE, None, key=Range.fixed(1), value=Range.fixed(0) | (transform.size or UNKNOWN), is_list=True
        )
    else:
        step, start = ONE + ONE + (ONE if node.kind == "map" else FREE) + transform.cost, _MAP
    turn = step if condition is None else condition.cost + (step | ONE)
    return start, turn, ONE, nothing


def _is_scalar(kind: CelType) -> bool:
    if kind.kind == "opaque" and kind.name == "optional_type":
        return _is_scalar(kind.params[0])
    return kind.kind in _SCALARS
