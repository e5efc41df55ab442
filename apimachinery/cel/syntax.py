"""The syntax tree of an expression. The checker fills in `type`, `overloads` and `constant` of its nodes.

Macros with a loop stay one node (`Comprehension`, `OptionalMap`), so that each compiles to one loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apimachinery.cel.functions import Overload
from apimachinery.cel.types import DYN, CelType


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """Any expression; `offset` is where an error about it is shown."""

    offset: int
    type: CelType = DYN


@dataclass(slots=True, eq=False, kw_only=True)
class Literal(Node):
    """A constant: bool, int, UInt, float, str, bytes or None."""

    value: Any


@dataclass(slots=True, eq=False, kw_only=True)
class Ident(Node):
    """A name; after checking, the place of the variable that it stands for, or the type."""

    name: str
    slot: int = -1
    constant: CelType | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Select(Node):
    """`operand.field`, `operand.?field` or, with `test`, `has(operand.field)`.

    `resolved` is the dotted name of the variable or type that the whole chain turned out to be.
    """

    operand: Node
    field: str
    test: bool = False
    optional: bool = False
    resolved: Ident | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Call(Node):
    """A function, method or operator; `target` stands before the dot, unless the checker finds a namespace in it."""

    function: str
    target: Node | None
    args: list[Node]
    overloads: tuple[Overload, ...] = ()


@dataclass(slots=True, eq=False, kw_only=True)
class ListLiteral(Node):
    """`[a, ?b]`; `optionals` holds the positions of elements with a question mark."""

    elements: list[Node]
    optionals: frozenset[int]


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One entry of a map or a field of a struct, at the offset of its colon."""

    offset: int
    key: Node | str
    value: Node
    optional: bool


@dataclass(slots=True, eq=False, kw_only=True)
class MapLiteral(Node):
    """`{k: v, ?k: v}`."""

    entries: list[Entry]


@dataclass(slots=True, eq=False, kw_only=True)
class StructLiteral(Node):
    """`Type{field: value}`."""

    name: str
    entries: list[Entry]


@dataclass(slots=True, eq=False, kw_only=True)
class Comprehension(Node):
    """A macro that loops; `kind` is all, exists, exists_one, or what is built: list, sort_by, map or map_entry."""

    kind: str
    range: Node
    variables: list[str]
    condition: Node | None
    transform: Node | None
    slots: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False, kw_only=True)
class OptionalMap(Node):
    """`operand.optMap(variable, body)`, or optFlatMap when `flat`."""

    operand: Node
    variable: str
    body: Node
    flat: bool
    slots: list[int] = field(default_factory=list)


def walk(tree: Node) -> Iterator[Node]:
    """All nodes of a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += children(node)


def children(node: Node) -> list[Node]:
    """The nodes right below a node."""
    match node:
        case Select():
            return [node.operand]
        case Call():
            return node.args if node.target is None else [node.target, *node.args]
        case ListLiteral():
            return node.elements
        case MapLiteral() | StructLiteral():
            return [part for e in node.entries for part in (e.key, e.value) if isinstance(part, Node)]
        case Comprehension():
            return [part for part in (node.range, node.condition, node.transform) if part is not None]
        case OptionalMap():
            return [node.operand, node.body]
    return []
