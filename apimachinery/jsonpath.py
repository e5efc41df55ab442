"""JSONPath as Kubernetes has it: `.status.conditions[?(@.type=="Ready")].status`.

    .name  ['name']  ..name  *  [0]  [-1]  [1:3]  [::2]  [*]  [0,2]  ['a','b']  [?(@.a.b > 3)]

A path is parsed once and applied often. What is missing gives no value and is no error.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[list[Any]], list[Any]]

_NAME = re.compile(r"(?:\\.|[^\s.,\[\]$@{}\\])+")
_SLICE = re.compile(r"(-?\d*)(?::(-?\d*))?(?::(-?\d*))?", re.ASCII)
_FILTER = re.compile(r"\?\((.*)\)", re.DOTALL)
_COMPARISON = re.compile(
    r"""((?:"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|[^"'=<>!])*?)\s*(==|!=|<=|>=|<|>)\s*(.*)""", re.DOTALL
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    **{"==": operator.eq, "!=": operator.ne, "<": operator.lt},
    **{"<=": operator.le, ">": operator.gt, ">=": operator.ge},
}


class JsonPathError(ValueError):
    """A text that is no path."""


class JsonPath:
    """A parsed path; braces around it may be left out. Raises JsonPathError."""

    def __init__(self, text: str) -> None:
        text = text.strip()
        inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
        self._steps = _parse(inner.strip(), text)

    def find(self, value: Any) -> list[Any]:
        """The values at the path."""
        found = [value]
        for step in self._steps:
            found = step(found)
        return found


@lru_cache(maxsize=1024)
def compile_path(text: str) -> JsonPath:
    """The parsed path. Raises JsonPathError."""
    return JsonPath(text)


def _parse(text: str, whole: str) -> list[Step]:
    steps: list[Step] = []
    position = 1 if text[:1] in ("$", "@") else 0
    while position < len(text):
        if text[position] == "[":
            end = _closing(text, position, whole)
            steps.append(_brackets(text[position + 1 : end].strip(), whole))
            position = end + 1
        elif text[position] == ".":
            position += 1
            if text[position : position + 1] == ".":
                steps.append(_everything)
                position += 1
            if text[position : position + 1] == "[" or position == len(text):
                continue  # `.` alone is the value itself
            name = _NAME.match(text, position)
            if name is None:
                raise JsonPathError(f"unexpected path string, expected: a name at {text[position:]!r} in {whole!r}")
            steps.append(_wildcard if name[0] == "*" else _field(re.sub(r"\\(.)", r"\1", name[0])))
            position = name.end()
        else:
            raise JsonPathError(f"unrecognized character in {whole!r}: {text[position]!r}")
    return steps


def _closing(text: str, start: int, whole: str) -> int:
    """Where the bracket that opens at `start` closes."""
    depth, quote, position = 0, "", start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
            if depth == 0:
                return position
        position += 1
    raise JsonPathError(f"unterminated array in {whole!r}")


def _brackets(text: str, whole: str) -> Step:
    if matched := _FILTER.fullmatch(text):
        return _filter(matched[1].strip(), whole)
    parts = _split(text)
    if len(parts) > 1:
        steps = [_brackets(part.strip(), whole) for part in parts]
        return lambda values: [found for step in steps for found in step(values)]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return _field(re.sub(r"\\(.)", r"\1", text[1:-1]))
    if text == "*":
        return _wildcard
    numbers = _SLICE.fullmatch(text)
    if not text or numbers is None:
        raise JsonPathError(f"invalid array index {text} in {whole!r}")
    if ":" not in text:
        return _index(int(numbers[1]))
    bounds = [int(number) if number else None for number in numbers.groups()]
    return lambda values: [item for value in _lists(values) for item in value[slice(*bounds)]]


def _split(text: str) -> list[str]:
    """What stands between commas that are not quoted."""
    return re.findall(r"""(?:"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|[^,])+""", text)


def _lists(values: Iterable[Any]) -> Iterator[list[Any]]:
    return (value for value in values if isinstance(value, list))


def _field(name: str) -> Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _index(number: int) -> Step:
    return lambda values: [value[number] for value in _lists(values) if -len(value) <= number < len(value)]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _wildcard(values: list[Any]) -> list[Any]:
    return [inner for value in values for inner in _inside(value)]


def _everything(values: list[Any]) -> list[Any]:
    """The values and all that is inside of them, at any depth."""
    found = []
    for value in values:
        found.append(value)
        found += _everything(_inside(value))
    return found


def _filter(text: str, whole: str) -> Step:
    matched = _COMPARISON.fullmatch(text)
    if matched is None:
        exists = _operand(text, whole)
        return lambda values: [item for value in values for item in _inside(value) if exists(item)]
    left, compare, right = _operand(matched[1], whole), _COMPARE[matched[2]], _operand(matched[3], whole)

    def holds(item: Any) -> bool:
        one, other = left(item), right(item)
        if not one or not other:
            return False
        try:
            return compare(one[0], other[0])
        except TypeError:  # values of different types are in no order
            return False

    return lambda values: [item for value in values for item in _inside(value) if holds(item)]


def _operand(text: str, whole: str) -> Callable[[Any], list[Any]]:
    """What gives the values of one side of a comparison, for an item."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        literal: Any = re.sub(r"\\(.)", r"\1", text[1:-1])
    elif text in ("true", "false"):
        literal = text == "true"
    elif re.fullmatch(r"-?\d+", text, re.ASCII):
        literal = int(text)
    elif re.fullmatch(r"-?\d*\.\d+", text, re.ASCII):
        literal = float(text)
    else:
        return JsonPath(text).find
    return lambda item: [literal]
