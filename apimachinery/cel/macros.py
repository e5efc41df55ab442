"""Macros: calls that are not calls, because they bind names or look at a field without reading it.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#macros, and the extensions that Kubernetes
enables: optional types, two-variable comprehensions.
"""

from __future__ import annotations

from apimachinery.cel.errors import Issue
from apimachinery.cel.syntax import Call, Comprehension, Ident, Node, OptionalMap, Select

# (name, number of arguments) → (kind, number of variables, whether a condition comes before the transformation)
_LOOPS = {
    ("all", 2): ("all", 1, True),
    ("exists", 2): ("exists", 1, True),
    ("exists_one", 2): ("exists_one", 1, True),
    ("existsOne", 2): ("exists_one", 1, True),
    ("map", 2): ("list", 1, False),
    ("map", 3): ("list", 1, True),
    ("filter", 2): ("filter", 1, True),
    ("sortBy", 2): ("sort_by", 1, False),
    ("all", 3): ("all", 2, True),
    ("exists", 3): ("exists", 2, True),
    ("exists_one", 3): ("exists_one", 2, True),
    ("existsOne", 3): ("exists_one", 2, True),
    ("transformList", 3): ("list", 2, False),
    ("transformList", 4): ("list", 2, True),
    ("transformMap", 3): ("map", 2, False),
    ("transformMap", 4): ("map", 2, True),
    ("transformMapEntry", 3): ("map_entry", 2, False),
    ("transformMapEntry", 4): ("map_entry", 2, True),
}
_ACCUMULATORS = ("@result", "__result__")


def expand(call: Call) -> Node | Issue:
    """What the macro stands for, the call itself if it is none, or what is wrong with the macro's arguments."""
    if call.target is None:
        if call.function == "has" and len(call.args) == 1:
            return _has(call)
        return call
    loop = _LOOPS.get((call.function, len(call.args)))
    if loop is not None:
        return _comprehension(call, *loop)
    if call.function in ("optMap", "optFlatMap") and len(call.args) == 2:
        return _optional_map(call)
    return call


def _has(call: Call) -> Node | Issue:
    field = call.args[0]
    if not isinstance(field, Select) or field.test or field.optional:
        return Issue(field.offset, "invalid argument to has() macro")
    return Select(offset=call.offset, operand=field.operand, field=field.field, test=True)


def _comprehension(call: Call, kind: str, variables: int, has_condition: bool) -> Node | Issue:
    assert call.target is not None
    names = []
    for argument in call.args[:variables]:
        name = _variable(argument)
        if name is None:
            simple = "argument must be a simple name" if call.function in _SIMPLE_NAME or variables == 2 else None
            return Issue(argument.offset, simple or "argument is not an identifier")
        if name in _ACCUMULATORS:
            return Issue(argument.offset, "iteration variable overwrites accumulator variable")
        if name in names:
            return Issue(argument.offset, f"duplicate variable name: {name}")
        names.append(name)
    rest = call.args[variables:]
    condition = rest.pop(0) if has_condition else None
    transform: Node | None = rest.pop(0) if rest else None
    if kind == "filter":
        kind, transform = "list", Ident(offset=call.args[0].offset, name=names[0])
    return Comprehension(
        offset=call.offset, kind=kind, range=call.target, variables=names, condition=condition, transform=transform
    )


_SIMPLE_NAME = ("all", "exists", "exists_one", "existsOne")


def _optional_map(call: Call) -> Node | Issue:
    assert call.target is not None
    name = _variable(call.args[0])
    if name is None:
        return Issue(call.args[0].offset, f"{call.function}() variable name must be a simple identifier")
    return OptionalMap(
        offset=call.offset, operand=call.target, variable=name, body=call.args[1], flat=call.function == "optFlatMap"
    )


def _variable(argument: Node) -> str | None:
    is_simple = isinstance(argument, Ident) and not argument.name.startswith(".")
    return argument.name if is_simple and isinstance(argument, Ident) else None
