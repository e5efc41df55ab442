"""From a checked tree to Python closures: which module compiles which node, and the literals."""

from __future__ import annotations

from typing import Any

from apimachinery.cel.access import compile_index, compile_select
from apimachinery.cel.calls import compile_call
from apimachinery.cel.closures import COST, Evaluate, Frame, Part, constant
from apimachinery.cel.errors import CelEvaluationError, no_such_overload
from apimachinery.cel.loops import compile_comprehension
from apimachinery.cel.syntax import (
    Call,
    Comprehension,
    Entry,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    OptionalMap,
    Select,
    StructLiteral,
)
from apimachinery.cel.types import ObjectType, optional_value
from apimachinery.cel.values import Optional, Struct, find_key, type_of_value

_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40
_MISSING = object()


def compile_node(node: Node) -> Part:
    """The closure of a checked node."""
    match node:
        case Literal():
            return constant(node.value)
        case Ident():
            return _ident(node)
        case Select(resolved=Ident()):
            assert node.resolved is not None
            return _ident(node.resolved)
        case Select():
            return compile_select(node, compile_node)
        case Call(function="_[_]") if optional_value(node.args[0].type) is None:
            return compile_index(node, compile_node)
        case Call():
            return compile_call(node, compile_node)
        case ListLiteral():
            return _list(node)
        case MapLiteral():
            return _map(node)
        case StructLiteral():
            return _struct(node)
        case Comprehension():
            return compile_comprehension(node, compile_node)
        case OptionalMap():
            return _optional_map(node)
    raise AssertionError(f"unknown node {node}")


def _ident(node: Ident) -> Part:
    if node.constant is not None:
        return constant(node.constant)
    slot = node.slot
    return Part(lambda frame: frame[slot], 1)


def _list(node: ListLiteral) -> Part:
    parts = [compile_node(element) for element in node.elements]
    cost = _LIST_COST + sum(part.cost for part in parts)
    if not node.optionals:
        if all(part.is_constant for part in parts):
            return constant([part.evaluate([]) for part in parts])
        evaluates = [part.evaluate for part in parts]
        return Part(lambda frame: [evaluate(frame) for evaluate in evaluates], cost)
    elements = [(part.evaluate, number in node.optionals) for number, part in enumerate(parts)]

    def build(frame: Frame) -> list[Any]:
        result = []
        for evaluate, optional in elements:
            value = evaluate(frame)
            if not optional:
                result.append(value)
            elif not isinstance(value, Optional):
                shown = type_of_value(value)
                raise CelEvaluationError(f"cannot initialize optional list element from non-optional value {shown}")
            elif value.has_value:
                result.append(value.value)
        return result

    return Part(build, cost)


def _entry_values(entries: list[tuple[Any, Evaluate, bool]], frame: Frame) -> Any:
    """(key, value) of the entries that have a value."""
    for key, evaluate, optional in entries:
        value = evaluate(frame)
        if optional:
            if not isinstance(value, Optional):
                raise CelEvaluationError(f"cannot initialize optional entry from non-optional value {value}")
            if not value.has_value:
                continue
            value = value.value
        yield key, value


def _map(node: MapLiteral) -> Part:
    entries = []
    parts: list[Part] = []
    for entry in node.entries:
        assert isinstance(entry.key, Node)
        key, value = compile_node(entry.key), compile_node(entry.value)
        entries.append((key.evaluate, value.evaluate, entry.optional))
        parts += (key, value)

    def build(frame: Frame) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for evaluate, value in _entry_values(entries, frame):
            key = evaluate(frame)
            if type(key) is float or not isinstance(key, str | int):
                raise CelEvaluationError(f"unsupported key type: {type_of_value(key)}")
            if key in result and find_key(result, key, _MISSING) is _MISSING:
                raise CelEvaluationError(
                    "a map cannot have both a bool and the number that Python takes it for as keys"
                )
            result[key] = value
        return result

    if all(part.is_constant for part in parts) and not any(entry.optional for entry in node.entries):
        return _unless_error(Part(build, 0))
    return Part(build, _MAP_COST + sum(part.cost for part in parts))


def _unless_error(part: Part) -> Part:
    """A part that depends on nothing, as a constant; an error is left for the evaluation."""
    try:
        return constant(part.evaluate([]))
    except CelEvaluationError:
        return part


def _struct(node: StructLiteral) -> Part:
    assert isinstance(node.type, ObjectType)
    entries = [_struct_entry(entry, node.type) for entry in node.entries]
    cost = _STRUCT_COST + sum(part.cost for _, part, _ in entries)
    fields = [(name, part.evaluate, optional) for name, part, optional in entries]
    name = node.type.name
    return Part(lambda frame: Struct(name, dict(_entry_values(fields, frame))), cost)


def _struct_entry(entry: Entry, kind: ObjectType) -> tuple[str, Part, bool]:
    return kind.fields[str(entry.key)].wire_name, compile_node(entry.value), entry.optional


def _optional_map(node: OptionalMap) -> Part:
    operand, body, slot, flat = compile_node(node.operand), compile_node(node.body), node.slots[0], node.flat
    source, compute = operand.evaluate, body.evaluate
    # Kubernetes asks whether there is a value, evaluates the operand again to get it, and wraps what comes out.
    present_cost = operand.cost + body.cost + (1 if flat else 2)

    def apply(frame: Frame) -> Optional:
        value = source(frame)
        if not isinstance(value, Optional):
            raise no_such_overload()
        if not value.has_value:
            frame[COST] += 1
            return value
        frame[slot] = value.value
        frame[COST] += present_cost
        result = compute(frame)
        if not flat:
            return Optional(result)
        if not isinstance(result, Optional):
            raise no_such_overload()
        return result

    return Part(apply, operand.cost + 1)
