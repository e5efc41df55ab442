"""Conversions between types: `int("1")`, `string(1.5)`, `type(x)`.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#type-conversion-functions
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import A, as_int, as_uint, strings_cost
from apimachinery.cel.library.times import format_duration, format_timestamp
from apimachinery.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, CelType, type_of
from apimachinery.cel.values import Duration, Timestamp, UInt, type_of_value

LIBRARY = Library()
_DOUBLE = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)|nan", re.ASCII | re.IGNORECASE)
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
# Longer than any number that fits; Python refuses to read much longer ones.
_DIGITS_MAX = 100


def _failed(source: CelType, target: CelType) -> CelEvaluationError:
    return CelEvaluationError(f"type conversion error from '{source.name}' to '{target.name}'")


def _traversal(_result: Any, value: Any) -> int:
    return strings_cost(len(value))


@LIBRARY.function("int", STRING, result=INT)
def _int_of_string(text: str) -> int:
    if len(text) > _DIGITS_MAX or not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise _failed(STRING, INT)
    try:
        return as_int(int(text))
    except CelEvaluationError:
        raise _failed(STRING, INT)


@LIBRARY.function("uint", STRING, result=UINT)
def _uint_of_string(text: str) -> UInt:
    if len(text) > _DIGITS_MAX or not re.fullmatch(r"\d+", text, re.ASCII):
        raise _failed(STRING, UINT)
    try:
        return as_uint(int(text))
    except CelEvaluationError:
        raise _failed(STRING, UINT)


@LIBRARY.function("int", DOUBLE, result=INT)
def _int_of_double(number: float) -> int:
    # The largest double below 2^63 is far from it, and -2^63 itself is refused.
    if not -(2.0**63) < number < 2.0**63:
        raise CelEvaluationError("integer overflow")
    return math.trunc(number)


@LIBRARY.function("uint", DOUBLE, result=UINT)
def _uint_of_double(number: float) -> UInt:
    if not 0 <= number < 2.0**64:
        raise CelEvaluationError("unsigned integer overflow")
    return UInt(math.trunc(number))


LIBRARY.function("int", INT, result=INT)(lambda number: number)
LIBRARY.function("int", UINT, result=INT)(lambda number: as_int(int(number)))
LIBRARY.function("int", TIMESTAMP, result=INT)(lambda moment: moment.nanoseconds // 10**9)
LIBRARY.function("int", DURATION, result=INT)(lambda span: span.nanoseconds)
LIBRARY.function("uint", UINT, result=UINT)(lambda number: number)
LIBRARY.function("uint", INT, result=UINT)(as_uint)
LIBRARY.function("double", DOUBLE, result=DOUBLE)(lambda number: number)
LIBRARY.function("double", INT, result=DOUBLE)(float)
LIBRARY.function("double", UINT, result=DOUBLE)(float)


@LIBRARY.function("double", STRING, result=DOUBLE)
def _double_of_string(text: str) -> float:
    if _DOUBLE.fullmatch(text) is None:
        raise _failed(STRING, DOUBLE)
    number = float(text)
    if math.isinf(number) and "n" not in text.lower():
        raise _failed(STRING, DOUBLE)
    return number


@LIBRARY.function("bool", STRING, result=BOOL)
def _bool_of_string(text: str) -> bool:
    if text not in _TRUE and text not in _FALSE:
        raise _failed(STRING, BOOL)
    return text in _TRUE


LIBRARY.function("bool", BOOL, result=BOOL)(lambda value: value)
LIBRARY.function("bytes", BYTES, result=BYTES)(lambda value: value)
LIBRARY.function("bytes", STRING, result=BYTES, cost=_traversal)(str.encode)


@LIBRARY.function("string", BYTES, result=STRING, cost=_traversal)
def _string_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelEvaluationError("invalid UTF-8 in bytes, cannot convert to string")


def format_double(number: float) -> str:
    """The shortest text that reads back as the number, with an exponent below 1e-4 and from 1e6."""
    if number != number:
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    exact = Decimal(repr(number)).normalize()
    digits = "".join(map(str, exact.as_tuple().digits))
    exponent = exact.adjusted()
    if -4 <= exponent < 6:
        return f"{exact:f}"
    mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{'-' if number < 0 else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


LIBRARY.function("string", STRING, result=STRING)(lambda value: value)
LIBRARY.function("string", BOOL, result=STRING)(lambda value: "true" if value else "false")
LIBRARY.function("string", INT, result=STRING)(str)
LIBRARY.function("string", UINT, result=STRING)(lambda number: str(int(number)))
LIBRARY.function("string", DOUBLE, result=STRING)(format_double)


@LIBRARY.function("string", TIMESTAMP, result=STRING)
def _string_of_timestamp(moment: Timestamp) -> str:
    return format_timestamp(moment)


@LIBRARY.function("string", DURATION, result=STRING)
def _string_of_duration(span: Duration) -> str:
    return format_duration(span)


LIBRARY.function("type", A, result=type_of(A))(type_of_value)
