"""Values that may be missing.

Source: https://github.com/google/cel-spec/wiki/proposal-246
"""

from __future__ import annotations

from typing import Any

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import A
from apimachinery.cel.types import BOOL, list_of, optional_of
from apimachinery.cel.values import Optional, is_zero, type_of_value

LIBRARY = Library()
OPTIONAL = optional_of(A)

LIBRARY.function("optional.of", A, result=OPTIONAL)(Optional)
LIBRARY.function("optional.none", result=OPTIONAL)(lambda: Optional.NONE)
LIBRARY.method("hasValue", OPTIONAL, result=BOOL)(lambda optional: optional.has_value)
LIBRARY.method("value", OPTIONAL, result=A)(lambda optional: optional.value)


@LIBRARY.function("optional.ofNonZeroValue", A, result=OPTIONAL)
def _of_non_zero(value: Any) -> Optional:
    return Optional.NONE if is_zero(value) else Optional(value)


# The second operand is evaluated only if it is needed: `calls` compiles these two itself.
@LIBRARY.method("or", OPTIONAL, OPTIONAL, result=OPTIONAL)
def _or(optional: Optional, other: Optional) -> Optional:
    return optional if optional.has_value else other


@LIBRARY.method("orValue", OPTIONAL, A, result=A)
def _or_value(optional: Optional, other: Any) -> Any:
    return optional.value if optional.has_value else other


@LIBRARY.method("unwrapOpt", list_of(OPTIONAL), result=list_of(A))
@LIBRARY.function("optional.unwrap", list_of(OPTIONAL), result=list_of(A))
def _unwrap(optionals: list[Any]) -> list[Any]:
    wrong = next((value for value in optionals if not isinstance(value, Optional)), None)
    if wrong is not None:
        raise CelEvaluationError(f"value of type {type_of_value(wrong)} is not optional")
    return [optional.value for optional in optionals if optional.has_value]


@LIBRARY.method("first", list_of(A), result=OPTIONAL)
def _first(items: list[Any]) -> Optional:
    return Optional(items[0]) if items else Optional.NONE


@LIBRARY.method("last", list_of(A), result=OPTIONAL)
def _last(items: list[Any]) -> Optional:
    return Optional(items[-1]) if items else Optional.NONE
