"""Regular expressions, in RE2's syntax and its linear time.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-regex-library
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.types import BOOL, INT, STRING, list_of

LIBRARY = Library()


@lru_cache(maxsize=256)
def compile_regex(pattern: str) -> Any:
    """The compiled pattern. Raises CelEvaluationError."""
    # Imported when first needed: few rules have regular expressions.
    import re2  # type: ignore[import-untyped, unused-ignore]

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise CelEvaluationError(f"error parsing regexp: {_reason(error.args[0].decode(errors='replace'))}")


# RE2's words → those of Kubernetes' regular expressions.
_REASONS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
}


def _reason(text: str) -> str:
    reason, colon, place = text.partition(": ")
    return f"{_REASONS.get(reason, reason)}: `{place}`" if colon else text


def _cost(_result: Any, text: str, pattern: str, *_limit: int) -> int:
    """As Kubernetes has it, by the lengths; but a short pattern such as `(a{100}){100}` costs what it comes to."""
    cost = strings_cost(len(text) + 1) * -(-len(pattern) // 4)
    return max(cost, int(compile_regex(pattern).programsize) // 10)


@LIBRARY.function("matches", STRING, STRING, result=BOOL, cost=_cost)
@LIBRARY.method("matches", STRING, STRING, result=BOOL, cost=_cost)
def _matches(text: str, pattern: str) -> bool:
    # Positions are not needed: in bytes the search need not count characters.
    return compile_regex(pattern).search(text.encode()) is not None


@LIBRARY.method("find", STRING, STRING, result=STRING, cost=_cost)
def _find(text: str, pattern: str) -> str:
    match = compile_regex(pattern).search(text)
    return match[0] if match else ""


@LIBRARY.method("findAll", STRING, STRING, result=list_of(STRING), cost=_cost)
def _find_all(text: str, pattern: str) -> list[str]:
    return _find_some(text, pattern, -1)


@LIBRARY.method("findAll", STRING, STRING, INT, result=list_of(STRING), cost=_cost)
def _find_some(text: str, pattern: str, limit: int) -> list[str]:
    found: list[str] = []
    end = -1
    for match in compile_regex(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        # An empty match right behind the one before is none.
        if match.end() > match.start() or match.start() != end:
            found.append(match[0])
        end = match.end()
    return found
