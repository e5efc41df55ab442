"""Compiling what reads fields and elements: `a.b`, `a.?b`, `has(a.b)`, `a[i]`, `a[?i]`."""

from __future__ import annotations

from typing import Any

from apimachinery.cel.closures import COST, CompileNode, Evaluate, Frame, Part
from apimachinery.cel.errors import CelEvaluationError, no_such_overload
from apimachinery.cel.library.operators import index_map, optional_index
from apimachinery.cel.syntax import Call, Ident, Literal, Node, Select
from apimachinery.cel.types import CelType, ObjectType, optional_value
from apimachinery.cel.values import Optional, index_list
from apimachinery.cel.wire import Convert, conversion


def compile_select(node: Select, compile_node: CompileNode) -> Part:
    """The closure of a field selection."""
    kind = optional_value(node.operand.type) or node.operand.type
    name = _wire_name(kind, node.field)
    if node.test:
        operand = compile_node(node.operand)
        return Part(_presence(operand.evaluate, name, _null_is_absent(kind)), operand.cost)
    convert = conversion(kind.fields[node.field].type) if isinstance(kind, ObjectType) else None
    if node.optional or optional_value(node.operand.type) is not None:
        operand = compile_node(node.operand)
        return Part(_optional_select(operand.evaluate, name, _null_is_absent(kind), convert), operand.cost)
    root, path = _path(node)
    base = compile_node(root)
    select = _select_path(root, base.evaluate, path, _null_is_absent(kind))
    if convert is None:
        return Part(select, base.cost + len(path))
    return Part(lambda frame: convert(select(frame)), base.cost + len(path))


def _wire_name(kind: CelType, field: str) -> str:
    return kind.fields[field].wire_name if isinstance(kind, ObjectType) else field


def _null_is_absent(kind: CelType) -> bool:
    return isinstance(kind, ObjectType) and kind.null_is_absent


def _path(node: Select) -> tuple[Node, list[str]]:
    """The names at the end of a chain of plain selections, and what they start from.

    A chain is read in one closure, as far as nothing on the way is converted (as a map of doubles is) and null means
    the same in it.
    """
    names: list[str] = []
    current: Node = node
    while isinstance(current, Select) and current.resolved is None and not (current.test or current.optional):
        if current is not node and conversion(current.type) is not None:
            break
        if optional_value(current.operand.type) is not None:
            break
        if _null_is_absent(current.operand.type) != _null_is_absent(node.operand.type):
            break
        names.append(_wire_name(current.operand.type, current.field))
        current = current.operand
    return current, names[::-1]


def _select_path(root: Node, base: Evaluate, path: list[str], null_is_absent: bool) -> Evaluate:
    if isinstance(root, Ident) and root.constant is None and len(path) <= 3:
        return _select_from_variable(root.slot, path, null_is_absent)

    def select(frame: Frame) -> Any:
        start = value = base(frame)
        try:
            for name in path:
                value = value[name]
        except (KeyError, TypeError):
            return _walk(start, path, null_is_absent)
        return _walk(start, path, null_is_absent) if value is None else value

    return select


def _select_from_variable(slot: int, path: list[str], null_is_absent: bool) -> Evaluate:
    """The common short chains without a loop."""
    first, second, third = (*path, "", "")[:3]

    def again(frame: Frame) -> Any:
        return _walk(frame[slot], path, null_is_absent)

    def select_one(frame: Frame) -> Any:
        try:
            value = frame[slot][first]
        except (KeyError, TypeError):
            return again(frame)
        return again(frame) if value is None else value

    def select_two(frame: Frame) -> Any:
        try:
            value = frame[slot][first][second]
        except (KeyError, TypeError):
            return again(frame)
        return again(frame) if value is None else value

    def select_three(frame: Frame) -> Any:
        try:
            value = frame[slot][first][second][third]
        except (KeyError, TypeError):
            return again(frame)
        return again(frame) if value is None else value

    return (select_one, select_two, select_three)[len(path) - 1]


def _walk(value: Any, path: list[str], null_is_absent: bool) -> Any:
    """Reads a chain again, step by step, for values that are no maps, for nulls, and to name a missing key."""
    for name in path:
        value = select_field(value, name)
        if value is None and null_is_absent:
            raise CelEvaluationError(f"no such key: {name}")
    return value


def select_field(value: Any, name: str) -> Any:
    """`value.name`. Raises CelEvaluationError."""
    if isinstance(value, dict):
        try:
            return value[name]
        except KeyError:
            raise CelEvaluationError(f"no such key: {name}")
    if isinstance(value, Optional):
        return optional_field(value, name)
    raise no_such_overload()


def optional_field(value: Any, name: str) -> Optional:
    """`value.?name`, also of an optional. Raises CelEvaluationError."""
    if isinstance(value, Optional):
        if not value.has_value:
            return value
        value = value.value
    if isinstance(value, dict):
        return Optional(value[name]) if name in value else Optional.NONE
    raise no_such_overload()


def _presence(operand: Evaluate, name: str, null_is_absent: bool) -> Evaluate:
    def is_set(frame: Frame) -> bool:
        value = operand(frame)
        if isinstance(value, dict):
            return name in value and not (null_is_absent and value[name] is None)
        if isinstance(value, Optional):
            found = optional_field(value, name)
            return found.has_value and not (null_is_absent and found.value is None)
        raise no_such_overload()

    return is_set


def _optional_select(operand: Evaluate, name: str, null_is_absent: bool, convert: Convert | None) -> Evaluate:
    def select(frame: Frame) -> Optional:
        found = optional_field(operand(frame), name)
        if not found.has_value or (null_is_absent and found.value is None):
            return Optional.NONE
        frame[COST] += 1
        return found if convert is None else Optional(convert(found.value))

    return select


def compile_index(node: Call, compile_node: CompileNode) -> Part:
    """The closure of `container[index]` for lists and maps."""
    container, index = (compile_node(arg) for arg in node.args)
    key = node.args[1]
    if isinstance(key, Literal) and type(key.value) in (str, int):
        by_constant = _index_by_position if type(key.value) is int else _index_by_name
        evaluate = by_constant(container.evaluate, key.value)
    else:
        evaluate = _index_by_value(container.evaluate, index.evaluate)
    # A name or a field as index costs nothing of its own.
    is_attribute = isinstance(key, Ident | Select)
    return Part(evaluate, container.cost + (index.cost if not is_attribute else index.cost - 1) + 1)


def _index_by_name(container: Evaluate, name: str) -> Evaluate:
    def index(frame: Frame) -> Any:
        value = container(frame)
        if type(value) is dict and name in value:
            return value[name]
        return index_any(value, name)

    return index


def _index_by_position(container: Evaluate, position: int) -> Evaluate:
    def index(frame: Frame) -> Any:
        value = container(frame)
        if type(value) is list and 0 <= position < len(value):
            return value[position]
        return index_any(value, position)

    return index


def _index_by_value(container: Evaluate, index: Evaluate) -> Evaluate:
    return lambda frame: index_any(container(frame), index(frame))


def index_any(container: Any, key: Any) -> Any:
    """`container[key]`. Raises CelEvaluationError."""
    if isinstance(container, dict):
        return index_map(container, key)
    if isinstance(container, list):
        return index_list(container, key)
    if isinstance(container, Optional):
        return optional_index(container, key)
    raise no_such_overload()
