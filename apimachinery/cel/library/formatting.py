"""`"%s and %d".format([a, b])`.

Source: https://github.com/google/cel-go/tree/master/ext#strings (version 2: numbers are grouped as in English)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from apimachinery.cel.errors import CelEvaluationError, too_costly
from apimachinery.cel.functions import Library
from apimachinery.cel.library.conversions import format_double
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.library.times import format_duration, format_timestamp
from apimachinery.cel.types import DYN, STRING, CelType, list_of
from apimachinery.cel.values import Duration, Timestamp, UInt, type_of_value

LIBRARY = Library()
_CLAUSE = re.compile(r"%(?:(%)|(?:\.([0-9]+))?(.)|)", re.DOTALL)
_PRECISION, _PRECISION_MAX, _LENGTH_MAX = 6, 1000, 10_000_000
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBER_WORDS = ("NaN", "Infinity", "-Infinity")

# Clause → (the kinds of types that it takes, what is said of others).
ACCEPTED: dict[str, tuple[frozenset[str], str]] = {
    "s": (
        frozenset(
            [
                "string",
                "bool",
                "bytes",
                "int",
                "uint",
                "double",
                "map",
                "list",
                "type",
                "duration",
                "timestamp",
                "null",
            ]
        ),
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and"
        " timestamps",
    ),
    "d": (frozenset(("int", "uint")), "decimal clause can only be used on integers"),
    "f": (frozenset(("double",)), "fixed-point clause can only be used on doubles"),
    "e": (frozenset(("double",)), "scientific clause can only be used on doubles"),
    "b": (frozenset(("int", "uint", "bool")), "only integers and bools can be formatted as binary"),
    "o": (frozenset(("int", "uint")), "octal clause can only be used on integers"),
}
ACCEPTED["x"] = ACCEPTED["X"] = (
    frozenset(("int", "uint", "string", "bytes")),
    "only integers, byte buffers, and strings can be formatted as hex",
)


def clauses(template: str) -> Iterator[tuple[str, str, int | None]]:
    """(text before, clause, precision) for every clause, then the text at the end with an empty clause."""
    position, text = 0, ""
    for match in _CLAUSE.finditer(template):
        text += template[position : match.start()]
        position = match.end()
        if match[1]:
            text += "%"
            continue
        if not match[3] or match[3] == ".":
            raise CelEvaluationError("unexpected end of string")
        if match[3] not in ACCEPTED:
            message = f'could not parse formatting clause: unrecognized formatting clause "{match[3]}"'
            raise CelEvaluationError(message)
        if match[2] and int(match[2][:5]) > _PRECISION_MAX:
            raise CelEvaluationError(f"precision {match[2]} exceeds maximum allowed precision {_PRECISION_MAX}")
        yield text, match[3], int(match[2]) if match[2] else None
        text = ""
    yield text + template[position:], "", None


def refusal(clause: str, kind: CelType) -> str | None:
    """What is wrong with a value of this type for a clause; None if nothing."""
    kinds, message = ACCEPTED[clause]
    return None if kind.kind in kinds else f"error during formatting: {message}, was given {kind.name}"


def _cost(result: str, template: str, _args: list[Any]) -> int:
    """As Kubernetes has it, by the template; and a long result costs more, for the values that it was made of."""
    return max(strings_cost(len(template)), (len(result) - 200) // 5)


@LIBRARY.method("format", STRING, list_of(DYN), result=STRING, cost=_cost)
def _format(template: str, args: list[Any]) -> str:
    parts: list[str] = []
    length = 0
    for used, (text, clause, precision) in enumerate(clauses(template)):
        parts.append(text)
        if not clause:
            break
        if used >= len(args):
            raise CelEvaluationError(f"index {used} out of range")
        parts.append(_clause(clause, precision, args[used]))
        length += len(parts[-1])
        if length > _LENGTH_MAX:
            raise too_costly()
    return "".join(parts)


def _clause(clause: str, precision: int | None, value: Any) -> str:
    if clause in "fe" and value in _NUMBER_WORDS:
        value = float(value)
    problem = refusal(clause, type_of_value(value))
    if problem is not None:
        raise CelEvaluationError(problem)
    if clause in "fe":
        return _double(value, clause, _PRECISION if precision is None else precision)
    return _WRITERS[clause](value)


def _double(number: float, clause: str, precision: int) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if clause == "f":
        return f"{number:,.{precision}f}"
    mantissa, _, exponent = f"{number:.{precision}e}".partition("e")
    digits = f"{'-' if int(exponent) < 0 else ''}{abs(int(exponent)):02d}".translate(_SUPERSCRIPT)
    return f"{mantissa}×10{digits}"


def _hex(value: Any) -> str:
    if isinstance(value, str):
        return value.encode().hex()
    return value.hex() if isinstance(value, bytes) else format(value, "x")


_WRITERS: dict[str, Callable[[Any], str]] = {
    "s": lambda value: written(value),
    "d": lambda value: str(int(value)),
    "b": lambda value: format(int(value), "b"),
    "o": lambda value: format(value, "o"),
    "x": _hex,
    "X": lambda value: _hex(value).upper(),
}


def written(value: Any) -> str:
    """A value as `%s` writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_double(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CelEvaluationError("invalid UTF-8 in bytes, cannot convert to string")
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    if isinstance(value, dict):
        entries = sorted((_inside(key), _inside(inner)) for key, inner in value.items())
        return f"{{{', '.join(f'{key}:{inner}' for key, inner in entries)}}}"
    if isinstance(value, Timestamp):
        return format_timestamp(value)
    if isinstance(value, Duration):
        return format_duration(value)
    return value.name if isinstance(value, CelType) else str(value)


def _inside(value: Any) -> str:
    """A value inside a list or map: as an expression would write it."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bytes):
        return f"b{_quoted(written(value))}"
    if isinstance(value, float):
        finite = not (math.isinf(value) or math.isnan(value))
        return f"{value:.{_PRECISION}f}" if finite else f'"{format_double(value)}"'
    if isinstance(value, Timestamp):
        return f'timestamp("{format_timestamp(value)}")'
    if isinstance(value, Duration):
        return f'duration("{format_duration(value)}")'
    if isinstance(value, UInt | CelType | list | dict | int) or value is None:
        return written(value)
    raise CelEvaluationError(f"error during formatting: no formatting function for {type_of_value(value).name}")


_ESCAPES = {ord(c): f"\\{e}" for c, e in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(ord(c)) or (c if c.isprintable() else _hidden(c)) for c in text) + '"'


def _hidden(char: str) -> str:
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x80 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
