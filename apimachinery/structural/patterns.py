"""Regular expressions of schemas: those of Go (RE2), which take linear time whatever they are given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

COMPILED_MAX = 1024
# RE2 and Go parse alike, and differ in how they tell what is wrong.
_GO_WORDS = {
    "bad character class": "invalid character class",
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found anywhere in a text. Raises ValueError for what is no pattern."""
    # Positions are not needed: in bytes the search need not count characters.
    return _compiled(pattern).search(text.encode()) is not None


def pattern_problem(pattern: str) -> str:
    """Why a pattern is none, in Go's words; empty if nothing is wrong."""
    try:
        _compiled(pattern)
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(pattern: str) -> Any:
    # Loaded when the first schema has a pattern.
    import re2  # type: ignore[import-untyped, unused-ignore]

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        what, _, where = error.args[0].decode(errors="replace").partition(": ")
        told = _GO_WORDS.get(what, what)
        raise ValueError(f"error parsing regexp: {told}: `{where}`" if where else f"error parsing regexp: {told}")
