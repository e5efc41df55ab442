"""Functions of strings. Positions count code points.

Source: https://github.com/google/cel-go/tree/master/ext#strings (version 2)
"""

from __future__ import annotations

from typing import Any

from apimachinery.cel.errors import CelEvaluationError, too_costly
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.types import BOOL, INT, STRING, list_of

LIBRARY = Library()
STRINGS = list_of(STRING)
_LENGTH_MAX = 10_000_000
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {upper + 32: upper for upper in _LOWER}
_QUOTED = {ord(c): f"\\{e}" for c, e in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


def traversal(_result: Any, text: Any, *_args: Any) -> int:
    """Costs one reading of the string."""
    return strings_cost(len(text))


def _scan(_result: Any, text: str, *_args: Any) -> int:
    return len(text.encode()) // 10


def _search(_result: Any, text: str, part: str) -> int:
    return strings_cost(len(text)) * strings_cost(len(part))


def _rewrite(_result: Any, text: str, *_args: Any) -> int:
    return strings_cost(2 * len(text))


def _out_of_range(index: int) -> CelEvaluationError:
    return CelEvaluationError(f"index out of range: {index}")


LIBRARY.method("contains", STRING, STRING, result=BOOL, cost=_search)(lambda text, part: part in text)
LIBRARY.method("startsWith", STRING, STRING, result=BOOL, cost=traversal)(str.startswith)
LIBRARY.method("endsWith", STRING, STRING, result=BOOL, cost=traversal)(str.endswith)


@LIBRARY.method("charAt", STRING, INT, result=STRING)
def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise _out_of_range(index)
    return text[index : index + 1]


@LIBRARY.method("indexOf", STRING, STRING, result=INT, cost=_scan)
def _index_of(text: str, part: str) -> int:
    return text.find(part)


@LIBRARY.method("indexOf", STRING, STRING, INT, result=INT, cost=_scan)
def _index_of_from(text: str, part: str, start: int) -> int:
    if start < 0:
        raise _out_of_range(start)
    return min(start, len(text)) if not part else text.find(part, start)


@LIBRARY.method("lastIndexOf", STRING, STRING, result=INT, cost=_scan)
def _last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@LIBRARY.method("lastIndexOf", STRING, STRING, INT, result=INT, cost=_scan)
def _last_index_of_from(text: str, part: str, start: int) -> int:
    if start < 0:
        raise _out_of_range(start)
    if not part:
        return min(start, len(text))
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


LIBRARY.method("lowerAscii", STRING, result=STRING, cost=traversal)(lambda text: text.translate(_LOWER))
LIBRARY.method("upperAscii", STRING, result=STRING, cost=traversal)(lambda text: text.translate(_UPPER))
LIBRARY.method("trim", STRING, result=STRING, cost=traversal)(lambda text: text.strip(_SPACE))


@LIBRARY.method("replace", STRING, STRING, STRING, result=STRING, cost=_rewrite)
def _replace(text: str, old: str, new: str) -> str:
    return _replace_some(text, old, new, -1)


@LIBRARY.method("replace", STRING, STRING, STRING, INT, result=STRING, cost=_rewrite)
def _replace_some(text: str, old: str, new: str, count: int) -> str:
    if text.count(old) * len(new) > _LENGTH_MAX:
        raise too_costly()
    return text.replace(old, new, max(count, -1))


@LIBRARY.method("split", STRING, STRING, result=STRINGS, cost=_rewrite)
def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


@LIBRARY.method("split", STRING, STRING, INT, result=STRINGS, cost=_rewrite)
def _split_some(text: str, separator: str, count: int) -> list[str]:
    if count < 0:
        return _split(text, separator)
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1)
    parts = list(text[: count - 1])
    return [*parts, text[count - 1 :]] if len(text) >= count else parts


@LIBRARY.method("substring", STRING, INT, result=STRING, cost=traversal)
def _substring_from(text: str, start: int) -> str:
    if not 0 <= start <= len(text):
        raise _out_of_range(start)
    return text[start:]


@LIBRARY.method("substring", STRING, INT, INT, result=STRING, cost=traversal)
def _substring(text: str, start: int, end: int) -> str:
    if start > end:
        raise CelEvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, end):
        if not 0 <= index <= len(text):
            raise _out_of_range(index)
    return text[start:end]


@LIBRARY.method("join", STRINGS, result=STRING, cost=lambda result, *_args: strings_cost(2 * len(result)))
def _join(items: list[str]) -> str:
    return _join_by(items, "")


@LIBRARY.method("join", STRINGS, STRING, result=STRING, cost=lambda result, *_args: strings_cost(2 * len(result)))
def _join_by(items: list[str], separator: str) -> str:
    if len(items) * len(separator) > _LENGTH_MAX:
        raise too_costly()
    try:
        return separator.join(items)
    except TypeError:
        wrong = next(item for item in items if not isinstance(item, str))
        raise CelEvaluationError(f"join: invalid input: {wrong}")


@LIBRARY.function("strings.quote", STRING, result=STRING, cost=traversal)
def _quote(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'
