"""The types of CEL, and when one may stand for another.

A type is told apart by its kind, name and parameters. Lists and objects that come from a schema also carry what
the schema says about equality (`list_type`) and about fields; that plays no part in whether two types are the same.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#gradual-type-checking
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class CelType:
    """A type; `name` is what `type(x)` is called, `params` are element, key and value types."""

    __slots__ = ("kind", "name", "params")

    def __init__(self, kind: str, name: str | None = None, params: tuple[CelType, ...] = ()) -> None:
        self.kind = kind
        self.name = name or kind
        self.params = params

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, CelType):
            return NotImplemented
        return self.kind == other.kind and self.name == other.name and self.params == other.params

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __str__(self) -> str:
        """As a compile error names the type."""
        name = _SHOWN.get(self.kind, self.name)
        return f"{name}({', '.join(map(str, self.params))})" if self.params else name

    def __repr__(self) -> str:
        return f"<CelType {self}>"

    @property
    def declared_name(self) -> str:
        """As Kubernetes says what an expression evaluates to: `must evaluate to bool but got int`."""
        return f"{self.name}({', '.join(p.declared_name for p in self.params)})" if self.params else self.name


_SHOWN = {"error": "!error!", "null": "null", "timestamp": "timestamp", "duration": "duration"}

DYN = CelType("dyn")
ERROR = CelType("error")
NULL = CelType("null", "null_type")
BOOL = CelType("bool")
INT = CelType("int")
UINT = CelType("uint")
DOUBLE = CelType("double")
STRING = CelType("string")
BYTES = CelType("bytes")
TIMESTAMP = CelType("timestamp", "google.protobuf.Timestamp")
DURATION = CelType("duration", "google.protobuf.Duration")
TYPE = CelType("type")


class ListType(CelType):
    """A list; with `list_type` "set" or "map" its equality ignores the order, and `+` merges."""

    __slots__ = ("list_keys", "list_type")

    def __init__(self, element: CelType, list_type: str = "atomic", list_keys: tuple[str, ...] = ()) -> None:
        super().__init__("list", "list", (element,))
        self.list_type = list_type
        self.list_keys = list_keys


class Field(NamedTuple):
    """A field of an object type: its name on the wire and its type."""

    wire_name: str
    type: CelType


class ObjectType(CelType):
    """An object with known fields, by the names that expressions use; they are made when first asked for.

    With `null_is_absent`, a field that is null counts as one that is not set, as in objects with a schema.
    """

    __slots__ = ("_fields", "_make_fields", "null_is_absent")

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Field] | Callable[[], Mapping[str, Field]],
        *,
        null_is_absent: bool = False,
    ) -> None:
        super().__init__("object", name)
        self.null_is_absent = null_is_absent
        self._fields: Mapping[str, Field] | None = None if callable(fields) else fields
        self._make_fields = fields if callable(fields) else None

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields by name."""
        if self._fields is None:
            assert self._make_fields is not None
            self._fields = self._make_fields()
            self._make_fields = None
        return self._fields


def list_of(element: CelType) -> CelType:
    """`list(element)`."""
    return ListType(element)


def map_of(key: CelType, value: CelType) -> CelType:
    """`map(key, value)`."""
    return CelType("map", "map", (key, value))


def type_of(instance: CelType) -> CelType:
    """The type of a name that stands for a type."""
    return CelType("type", "type", (instance,))


def optional_of(value: CelType) -> CelType:
    """`optional_type(value)`."""
    return CelType("opaque", "optional_type", (value,))


def opaque(name: str) -> CelType:
    """A type with no fields, known by its functions only."""
    return CelType("opaque", name)


def object_type(type_name: str, /, **fields: CelType) -> ObjectType:
    """An object whose fields are called the same on the wire and in expressions."""
    return ObjectType(type_name, {field: Field(field, kind) for field, kind in fields.items()})


def param(name: str) -> CelType:
    """A type parameter of a function's declaration."""
    return CelType("param", name)


def optional_value(kind: CelType) -> CelType | None:
    """The type inside an optional; None for other types."""
    return kind.params[0] if kind.kind == "opaque" and kind.name == "optional_type" else None


class Substitutions:
    """What the type parameters of one expression stand for, as far as is known."""

    def __init__(self) -> None:
        self._found: dict[str, CelType] = {}
        self._count = 0

    def fresh(self) -> CelType:
        """A parameter that stands for nothing yet."""
        self._count += 1
        return param(f"_var{self._count - 1}")

    def instantiate(self, types: Iterable[CelType]) -> list[CelType]:
        """The types of a declaration with their parameters replaced by fresh ones."""
        names: dict[str, CelType] = {}
        return [self._instantiate(kind, names) for kind in types]

    def _instantiate(self, kind: CelType, names: dict[str, CelType]) -> CelType:
        if kind.kind == "param":
            if kind.name not in names:
                names[kind.name] = self.fresh()
            return names[kind.name]
        return _with_params(kind, [self._instantiate(p, names) for p in kind.params])

    def apply(self, kind: CelType, *, unknown_is_dyn: bool = False) -> CelType:
        """The type with its known parameters replaced."""
        if kind.kind == "param":
            found = self._found.get(kind.name)
            if found is not None:
                return self.apply(found, unknown_is_dyn=unknown_is_dyn)
            return DYN if unknown_is_dyn else kind
        if not kind.params:
            return kind
        return _with_params(kind, [self.apply(p, unknown_is_dyn=unknown_is_dyn) for p in kind.params])

    def assignable(self, first: Iterable[CelType], second: Iterable[CelType]) -> bool:
        """Whether each of the first may stand for its peer; what that tells of parameters is kept only if so."""
        before = dict(self._found)
        one, other = list(first), list(second)
        if len(one) == len(other) and all(map(self._assignable, one, other)):
            return True
        self._found = before
        return False

    def _assignable(self, one: CelType, other: CelType) -> bool:
        if other.kind == "param":
            valid, has_substitution = self._bind(other, one)
            if valid or has_substitution:
                return valid
        if one.kind == "param":
            return self._bind(one, other)[0]
        if is_dyn_or_error(one) or is_dyn_or_error(other):
            return True
        if one.kind == "null" or other.kind == "null":
            concrete = other if one.kind == "null" else one
            return concrete.kind in ("null", "opaque", "object", "duration", "timestamp")
        if one.kind in ("opaque", "list", "map"):
            return (
                one.kind == other.kind
                and one.name == other.name
                and len(one.params) == len(other.params)
                and all(map(self._assignable, one.params, other.params))
            )
        if one.kind == "type":
            return other.kind == "type"
        return one.kind == other.kind and one.name == other.name

    def _bind(self, parameter: CelType, kind: CelType) -> tuple[bool, bool]:
        """(whether the parameter can stand for the type, whether it already stood for one)."""
        if parameter == kind:
            return True, True
        found = self._found.get(parameter.name)
        if found is not None:
            if found == kind:
                return True, True
            if self._assignable(kind, found):
                general = most_general(kind, found)
                if not self._occurs(parameter, general):
                    self._found[parameter.name] = general
                return True, True
            return False, True
        if self._occurs(parameter, kind):
            return False, False
        self._found[parameter.name] = kind
        return True, False

    def _occurs(self, parameter: CelType, within: CelType) -> bool:
        if within.kind == "param":
            if within.name == parameter.name:
                return True
            found = self._found.get(within.name)
            return found is not None and self._occurs(parameter, found)
        return any(self._occurs(parameter, p) for p in within.params)


def _with_params(kind: CelType, params: list[CelType]) -> CelType:
    if all(a is b for a, b in zip(params, kind.params, strict=True)):
        return kind
    if isinstance(kind, ListType):
        return ListType(params[0], kind.list_type, kind.list_keys)
    return CelType(kind.kind, kind.name, tuple(params))


def is_dyn_or_error(kind: CelType) -> bool:
    """Whether nothing is known of the type before evaluation."""
    return kind.kind in ("dyn", "error")


def most_general(one: CelType, other: CelType) -> CelType:
    """The less specific of two types that fit each other."""
    return one if _less_specific(one, other) else other


def _less_specific(one: CelType, other: CelType) -> bool:
    if one.kind in ("dyn", "param"):
        return True
    if other.kind in ("dyn", "param") or one.kind != other.kind:
        return False
    if one.kind == "type":
        return True
    if one.kind in ("opaque", "list", "map"):
        return one.name == other.name and all(map(_less_specific, one.params, other.params))
    return one == other
