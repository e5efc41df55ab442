"""Static types: what every part of an expression evaluates to, before it is evaluated.

Fills in the tree: types, the overloads that a call may mean, the slots of variables. Problems are collected, not
raised one by one, so that an author sees them all. The messages are those of Kubernetes' CEL compiler.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#gradual-type-checking
"""

from __future__ import annotations

from apimachinery.cel.closures import FIRST_SLOT
from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import Issue
from apimachinery.cel.functions import Overload
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
    walk,
)
from apimachinery.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    CelType,
    ListType,
    ObjectType,
    Substitutions,
    is_dyn_or_error,
    list_of,
    map_of,
    most_general,
    optional_of,
    optional_value,
    type_of,
)
from apimachinery.cel.values import type_of_value

# A type that names itself twice at every level would grow exponentially with the length of the expression.
_TYPE_SIZE_MAX = 1000
_ORDERED = frozenset(("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"))


class Checker:
    """Checks one expression; afterwards `issues`, `variables` (name → slot) and `slots` tell the outcome."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._types = Substitutions()
        self._locals: dict[str, tuple[CelType, int]] = {}
        self.issues: list[Issue] = []
        self.variables: dict[str, int] = {}
        self.slots = FIRST_SLOT

    def check(self, tree: Node) -> None:
        """Fills in the types of the tree."""
        self._check(tree)
        for node in walk(tree):
            node.type = self._types.apply(node.type, unknown_is_dyn=True)

    def _check(self, node: Node) -> CelType:
        kind = self._type(node)
        if kind.params and _size(kind) > _TYPE_SIZE_MAX:
            self._issue(node, "the type of the expression is too large")
            kind = ERROR
        node.type = kind
        return kind

    def _type(self, node: Node) -> CelType:
        match node:
            case Literal():
                return type_of_value(node.value)
            case Ident():
                return self._ident(node) or self._undeclared(node, node.name)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case StructLiteral():
                return self._struct(node)
            case Comprehension():
                return self._comprehension(node)
            case OptionalMap():
                return self._optional_map(node)
        raise AssertionError(f"unknown node {node}")

    def _issue(self, node: Node | Entry, message: str) -> None:
        self.issues.append(Issue(node.offset, message))

    def _undeclared(self, node: Node, name: str) -> CelType:
        self._issue(node, f"undeclared reference to '{name}' (in container '')")
        return ERROR

    def _assignable(self, one: CelType, other: CelType) -> bool:
        return self._types.assignable([one], [other])

    def _mismatch(self, node: Node, expected: CelType, actual: CelType) -> CelType:
        self._issue(node, f"expected type '{self._types.apply(expected)}' but found '{self._types.apply(actual)}'")
        return ERROR

    def _new_slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def _ident(self, node: Ident) -> CelType | None:
        """The type of a name, or None if it is not declared."""
        if node.name in self._locals:
            kind, node.slot = self._locals[node.name]
            return kind
        name = node.name.removeprefix(".")
        declared = self._environment.variables.get(name)
        if declared is not None:
            if name not in self.variables:
                self.variables[name] = self._new_slot()
            node.slot = self.variables[name]
            return declared
        node.constant = self._environment.find_type(name)
        return type_of(node.constant) if node.constant is not None else None

    def _select(self, node: Select) -> CelType:
        if not node.test and not node.optional and (name := _dotted_name(node)) is not None:
            root = name.partition(".")[0]
            if root not in self._locals:
                ident = Ident(offset=node.offset, name=name)
                kind = self._ident(ident)
                if kind is not None:
                    node.resolved = ident
                    return kind
        operand = self._types.apply(self._check(node.operand))
        inner = optional_value(operand)
        kind = self._field(node, inner or operand)
        if node.test:
            return BOOL
        return optional_of(kind) if inner is not None or node.optional else kind

    def _field(self, node: Select, kind: CelType) -> CelType:
        if isinstance(kind, ObjectType):
            field = kind.fields.get(node.field)
            if field is None:
                self._issue(node, f"undefined field '{node.field}'")
                return ERROR
            return field.type
        if kind.kind == "map":
            return kind.params[1]
        if kind.kind == "param":
            self._assignable(DYN, kind)
        elif not is_dyn_or_error(kind):
            self._issue(node, f"type '{kind}' does not support field selection")
        return DYN

    def _call(self, node: Call) -> CelType:
        if node.function in ("_&&_", "_||_"):
            return self._logic(node)
        args = [self._check(arg) for arg in node.args]
        if node.target is not None:
            prefix = _dotted_name(node.target)
            qualified = f"{prefix}.{node.function}" if prefix is not None else ""
            if qualified.removeprefix(".") in self._environment.functions:
                node.function, node.target = qualified, None
        name = node.function.removeprefix(".")
        if node.target is not None:
            args.insert(0, self._check(node.target))
        overloads = self._environment.functions.get(name)
        if overloads is None:
            return self._undeclared(node, node.function)
        node.function = name
        return self._resolve(node, overloads, args, member=node.target is not None)

    def _logic(self, node: Call) -> CelType:
        for arg in node.args:
            kind = self._check(arg)
            if not self._assignable(kind, BOOL):
                self._mismatch(arg, BOOL, kind)
        return BOOL

    def _resolve(self, node: Call, overloads: tuple[Overload, ...], args: list[CelType], *, member: bool) -> CelType:
        found: list[Overload] = []
        result: CelType | None = None
        for overload in overloads:
            if overload.member != member or len(overload.params) != len(args):
                continue
            *params, kind = self._types.instantiate((*overload.params, overload.result))
            if not self._types.assignable(args, params):
                continue
            found.append(overload)
            kind = self._types.apply(kind)
            if result is None:
                result = kind
            elif result.kind != "dyn" and kind != result:
                result = DYN
        if result is None:
            shown = [str(self._types.apply(arg, unknown_is_dyn=True)) for arg in args]
            target = f"{shown.pop(0)}." if member else ""
            self._issue(
                node, f"found no matching overload for '{node.function}' applied to '{target}({', '.join(shown)})'"
            )
            return ERROR
        node.overloads = tuple(found)
        # What is added to a set or a map list is of its kind.
        return args[0] if node.function == "_+_" and isinstance(args[0], ListType) else result

    def _list(self, node: ListLiteral) -> CelType:
        joined: CelType | None = None
        for number, element in enumerate(node.elements):
            kind = self._check(element)
            if number in node.optionals:
                kind = self._optional_entry(element, kind)
            joined = self._join(joined, kind)
        return list_of(joined or self._types.fresh())

    def _map(self, node: MapLiteral) -> CelType:
        keys: CelType | None = None
        values: CelType | None = None
        for entry in node.entries:
            assert isinstance(entry.key, Node)
            keys = self._join(keys, self._check(entry.key))
            kind = self._check(entry.value)
            if entry.optional:
                kind = self._optional_entry(entry.value, kind)
            values = self._join(values, kind)
        return map_of(keys or self._types.fresh(), values or self._types.fresh())

    def _optional_entry(self, node: Node, kind: CelType) -> CelType:
        inner = optional_value(kind)
        if inner is None and kind.kind != "dyn":
            self._mismatch(node, optional_of(kind), kind)
        return inner or kind

    def _join(self, previous: CelType | None, current: CelType) -> CelType:
        if previous is None:
            return current
        if self._assignable(previous, current):
            return most_general(previous, current)
        # Reported by the validators, which let it pass for what is formatted.
        return DYN

    def _struct(self, node: StructLiteral) -> CelType:
        kind = self._environment.find_type(node.name.removeprefix("."))
        if kind is None:
            for entry in node.entries:
                self._check(entry.value)
            return self._undeclared(node, node.name)
        if not isinstance(kind, ObjectType):
            self._issue(node, f"'{node.name}' is not a message type")
            return ERROR
        for entry in node.entries:
            self._struct_field(entry, kind)
        return kind

    def _struct_field(self, entry: Entry, kind: ObjectType) -> None:
        have = self._check(entry.value)
        field = kind.fields.get(str(entry.key))
        if field is None:
            self._issue(entry, f"undefined field '{entry.key}'")
            return
        if entry.optional:
            have = self._optional_entry(entry.value, have)
        if not self._assignable(field.type, have):
            have = self._types.apply(have)
            message = f"expected type of field '{entry.key}' is '{field.type}' but provided type is '{have}'"
            self._issue(entry, message)

    def _comprehension(self, node: Comprehension) -> CelType:
        range_type = self._types.apply(self._check(node.range))
        before = self._locals
        node.slots = [self._new_slot() for _ in node.variables]
        names = zip(node.variables, self._variables(node, range_type), node.slots, strict=True)
        self._locals = before | {name: (kind, slot) for name, kind, slot in names}
        condition = self._check(node.condition) if node.condition else BOOL
        result = self._comprehension_result(node, range_type)
        self._locals = before
        if self._assignable(condition, BOOL):
            return self._types.apply(result)
        if node.condition is not None and node.kind in ("all", "exists"):
            return self._mismatch(node.condition, BOOL, condition)
        accumulated = INT if node.kind == "exists_one" else self._types.apply(result, unknown_is_dyn=True)
        applied = f"({self._types.apply(condition)}, {accumulated}, {accumulated})"
        self._issue(node, f"found no matching overload for '_?_:_' applied to '{applied}'")
        return ERROR

    def _variables(self, node: Comprehension, range_type: CelType) -> list[CelType]:
        two = len(node.variables) == 2
        if range_type.kind == "list":
            return [INT, range_type.params[0]] if two else [range_type.params[0]]
        if range_type.kind == "map":
            return [*range_type.params] if two else [range_type.params[0]]
        if range_type.kind == "param":
            self._assignable(DYN, range_type)
        elif not is_dyn_or_error(range_type):
            shown = f"expression of type '{range_type}' cannot be range of a comprehension"
            self._issue(node.range, f"{shown} (must be list, map, or dynamic)")
            return [ERROR] * len(node.variables)
        return [DYN] * len(node.variables)

    def _comprehension_result(self, node: Comprehension, range_type: CelType) -> CelType:
        if node.transform is None:
            return BOOL
        kind = self._check(node.transform)
        if node.kind == "list":
            return list_of(kind)
        if node.kind == "sort_by":
            return self._sorted(node, range_type, self._types.apply(kind))
        if node.kind == "map":
            return map_of(self._locals[node.variables[0]][0], kind)
        if kind.kind == "map" or is_dyn_or_error(kind):
            return kind
        shown = f"(map(dyn, dyn), {self._types.apply(kind, unknown_is_dyn=True)})"
        self._issue(node, f"found no matching overload for 'cel.@mapInsert' applied to '{shown}'")
        return ERROR

    def _sorted(self, node: Comprehension, range_type: CelType, key: CelType) -> CelType:
        if key.kind in _ORDERED or is_dyn_or_error(key) or key.kind == "param":
            return range_type if range_type.kind == "list" else list_of(DYN)
        applied = f"{range_type}.(list({key}))"
        self._issue(node, f"found no matching overload for '@sortByAssociatedKeys' applied to '{applied}'")
        return ERROR

    def _optional_map(self, node: OptionalMap) -> CelType:
        operand = self._types.apply(self._check(node.operand))
        inner = optional_value(operand)
        if inner is None:
            if not is_dyn_or_error(operand):
                self._issue(node, f"found no matching overload for 'hasValue' applied to '{operand}.()'")
            inner = DYN
        before = self._locals
        node.slots = [self._new_slot()]
        self._locals = before | {node.variable: (inner, node.slots[0])}
        kind = self._check(node.body)
        self._locals = before
        if not node.flat:
            return optional_of(kind)
        if optional_value(kind) is None and not is_dyn_or_error(kind):
            applied = f"(bool, {self._types.apply(kind, unknown_is_dyn=True)}, optional_type(dyn))"
            self._issue(node, f"found no matching overload for '_?_:_' applied to '{applied}'")
            return ERROR
        return kind


def _dotted_name(node: Node) -> str | None:
    """`a.b.c` as a name, if the node is nothing but names and dots."""
    parts = []
    while isinstance(node, Select):
        if node.test or node.optional:
            return None
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])


def _size(kind: CelType) -> int:
    """How many types a type is made of; stops counting beyond the limit."""
    count, waiting = 0, [kind]
    while waiting and count <= _TYPE_SIZE_MAX:
        count += 1
        waiting += waiting.pop().params
    return count
