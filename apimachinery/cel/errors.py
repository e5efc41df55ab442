"""The two errors of CEL, and how a position in an expression is shown to its author.

ERROR: <input>:1:5: undefined field 'x'
 | self.x
 | ....^
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_SNIPPET_LENGTH_MAX = 16384


class CelCompileError(Exception):
    """An expression that does not parse or whose types do not fit; `issues` is the list without the prefix."""

    def __init__(self, issues: str, prefix: str = "compilation failed: ") -> None:
        super().__init__(prefix + issues)
        self.issues = issues


class CelEvaluationError(Exception):
    """An expression that has no value for these bindings."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CelCostError(CelEvaluationError):
    """An evaluation that was ended because it cost more than it may; no part of an expression can absorb it."""


class Cancelled(Exception):
    """Inside an evaluation: ends it at once. Not a CelEvaluationError, so that `||` does not take it for one."""


def too_costly() -> Cancelled:
    """What ends an evaluation that costs more than it may."""
    return Cancelled("operation cancelled: actual cost limit exceeded")


def no_such_overload(function: str | None = None) -> CelEvaluationError:
    """An operation was applied to values of types that it has no overload for."""
    return CelEvaluationError(f"no such overload: {function}" if function else "no such overload")


class Issue(NamedTuple):
    """Something wrong at an offset (in code points) of an expression."""

    offset: int
    message: str


def compile_error(expression: str, issues: Iterable[Issue]) -> CelCompileError:
    """All issues in order of their place, each with the line and a mark below it."""
    ordered = sorted(dict.fromkeys(issues), key=lambda issue: issue.offset)
    return CelCompileError("\n".join(_display(expression, issue) for issue in ordered))


def too_deep(expression: str) -> CelCompileError:
    """The expression is nested beyond what the stack allows."""
    return compile_error(expression, [Issue(-1, "max recursion depth exceeded")])


def _display(expression: str, issue: Issue) -> str:
    if issue.offset < 0:
        return f"ERROR: <input>:-1:0: {issue.message}"
    before = expression[: issue.offset]
    line_number = before.count("\n")
    column = issue.offset - (before.rfind("\n") + 1)
    text = f"ERROR: <input>:{line_number + 1}:{column + 1}: {issue.message}"
    line = expression.split("\n")[line_number].replace("\t", " ")
    if len(line.encode(errors="replace")) > _SNIPPET_LENGTH_MAX:
        return text
    # Wide characters get a wide dot, so that the mark stands below its place.
    dots = "".join("." if ord(char) < 0x80 else "．" for char in line[:column])
    mark = "^" if column >= len(line) or ord(line[column]) < 0x80 else "＾"
    return f"{text}\n | {line}\n | {dots}{mark}"
