"""Quantities: `quantity("1.5Gi")`.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library
"""

from __future__ import annotations

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.strings import traversal
from apimachinery.cel.types import BOOL, DOUBLE, INT, STRING, opaque
from apimachinery.cel.values import INT_MAX, INT_MIN
from apimachinery.quantity import NANO, parse

LIBRARY = Library()
QUANTITY = opaque("kubernetes.Quantity")


class Quantity:
    """A quantity as a value of CEL; two of the same number are equal, however they are written."""

    __slots__ = ("nanos",)
    cel_type = QUANTITY

    def __init__(self, nanos: int) -> None:
        self.nanos = nanos

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and other.nanos == self.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)


@LIBRARY.function("quantity", STRING, result=QUANTITY, cost=traversal)
def _quantity(text: str) -> Quantity:
    try:
        return Quantity(parse(text).nanos)
    except ValueError as error:
        raise CelEvaluationError(str(error))


@LIBRARY.function("isQuantity", STRING, result=BOOL, cost=traversal)
def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


@LIBRARY.method("sign", QUANTITY, result=INT)
def _sign(quantity: Quantity) -> int:
    return (quantity.nanos > 0) - (quantity.nanos < 0)


@LIBRARY.method("isInteger", QUANTITY, result=BOOL)
def _is_integer(quantity: Quantity) -> bool:
    whole, rest = divmod(quantity.nanos, NANO)
    return rest == 0 and INT_MIN <= whole <= INT_MAX


@LIBRARY.method("asInteger", QUANTITY, result=INT)
def _as_integer(quantity: Quantity) -> int:
    if not _is_integer(quantity):
        raise CelEvaluationError("cannot convert value to integer")
    return quantity.nanos // NANO


LIBRARY.method("asApproximateFloat", QUANTITY, result=DOUBLE)(lambda quantity: quantity.nanos / NANO)


@LIBRARY.method("isGreaterThan", QUANTITY, QUANTITY, result=BOOL)
def _is_greater(one: Quantity, other: Quantity) -> bool:
    return one.nanos > other.nanos


@LIBRARY.method("isLessThan", QUANTITY, QUANTITY, result=BOOL)
def _is_less(one: Quantity, other: Quantity) -> bool:
    return one.nanos < other.nanos


@LIBRARY.method("compareTo", QUANTITY, QUANTITY, result=INT)
def _compare(one: Quantity, other: Quantity) -> int:
    return (one.nanos > other.nanos) - (one.nanos < other.nanos)


@LIBRARY.method("add", QUANTITY, QUANTITY, result=QUANTITY)
def _add(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(one.nanos + other.nanos)


@LIBRARY.method("add", QUANTITY, INT, result=QUANTITY)
def _add_int(quantity: Quantity, number: int) -> Quantity:
    return Quantity(quantity.nanos + number * NANO)


@LIBRARY.method("sub", QUANTITY, QUANTITY, result=QUANTITY)
def _sub(one: Quantity, other: Quantity) -> Quantity:
    return Quantity(one.nanos - other.nanos)


@LIBRARY.method("sub", QUANTITY, INT, result=QUANTITY)
def _sub_int(quantity: Quantity, number: int) -> Quantity:
    return Quantity(quantity.nanos - number * NANO)
