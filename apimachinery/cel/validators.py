"""What can be seen to be wrong before evaluation: literals that a function can't read, arguments of `format`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from apimachinery.cel.errors import CelCompileError, CelEvaluationError, Issue
from apimachinery.cel.library.formatting import clauses, refusal
from apimachinery.cel.library.operators import as_duration, as_timestamp
from apimachinery.cel.library.regex import compile_regex
from apimachinery.cel.library.times import parse_duration, parse_timestamp
from apimachinery.cel.syntax import Call, ListLiteral, Literal, MapLiteral, Node, children, walk
from apimachinery.cel.types import optional_value

_READERS: dict[str, Callable[[Any], object]] = {
    "duration": lambda value: parse_duration(value) if isinstance(value, str) else as_duration(value),
    "timestamp": lambda value: parse_timestamp(value) if isinstance(value, str) else as_timestamp(value * 10**9),
    "matches": compile_regex,
}


def literal_issues(tree: Node) -> Iterator[Issue]:
    """Wrong durations, timestamps and regular expressions, and values that a format's clauses do not fit."""
    yield from _mixed_literals(tree)
    for node in walk(tree):
        if not isinstance(node, Call) or not node.args:
            continue
        argument = node.args[-1]
        if node.function in _READERS and isinstance(argument, Literal):
            if not _is_readable(node.function, argument.value):
                yield Issue(argument.offset, f"invalid {node.function} argument")
        elif node.function == "format" and isinstance(node.target, Literal) and isinstance(argument, ListLiteral):
            yield from _format_issues(node.target, argument)


def _mixed_literals(tree: Node) -> Iterator[Issue]:
    """Lists and maps whose elements are of several types, dyn among them; what is formatted may be mixed."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Call) and node.function == "format":
            continue
        waiting += children(node)
        if isinstance(node, ListLiteral):
            yield from _mixed(node.elements, {node.elements[n] for n in node.optionals})
        elif isinstance(node, MapLiteral):
            yield from _mixed([entry.key for entry in node.entries if isinstance(entry.key, Node)], set())
            yield from _mixed([e.value for e in node.entries], {e.value for e in node.entries if e.optional})


def _mixed(nodes: list[Node], optionals: set[Node]) -> Iterator[Issue]:
    types = [(optional_value(node.type) or node.type) if node in optionals else node.type for node in nodes]
    for node, kind in zip(nodes, types, strict=True):
        if kind != types[0]:
            yield Issue(node.offset, f"expected type '{types[0]}' but found '{kind}'")
            break


def _is_readable(function: str, value: Any) -> bool:
    try:
        _READERS[function](value)
    except (ValueError, TypeError, CelEvaluationError):
        # A null, too, type checks as a time and is none.
        return False
    return True


def _format_issues(template: Literal, args: ListLiteral) -> Iterator[Issue]:
    try:
        wanted = [clause for _, clause, _ in clauses(template.value) if clause]
    except CelEvaluationError as error:
        yield Issue(template.offset, error.message)
        return
    have = args.elements
    if len(wanted) > len(have):
        yield Issue(template.offset, f"index {len(have)} out of range")
    elif len(wanted) < len(have):
        message = f"too many arguments supplied to string.format (expected {len(wanted)}, got {len(have)})"
        yield Issue(have[len(wanted)].offset, message)
    for clause, value in zip(wanted, have, strict=False):
        is_number_word = clause in "fe" and value.type.kind == "string"
        if value.type.kind not in ("dyn", "param", "error") and not is_number_word:
            problem = refusal(clause, value.type)
            if problem is not None:
                yield Issue(value.offset, problem)


def check_patterns(tree: Node) -> None:
    """Constant patterns of `find` and `findAll` are compiled before. Raises CelCompileError."""
    for node in walk(tree):
        if isinstance(node, Call) and node.function in ("find", "findAll") and isinstance(node.args[0], Literal):
            try:
                compile_regex(node.args[0].value)
            except CelEvaluationError as error:
                raise CelCompileError(error.message, "program instantiation failed: ")
