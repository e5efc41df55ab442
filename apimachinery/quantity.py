"""Quantities: exact numbers with a unit, such as `250m`, `64Mi` or `1e3`.

A quantity is kept as an integer count of nano-units (10^-9), the finest that Kubernetes keeps; anything finer is
rounded up. Its canonical form uses the largest suffix that needs no fraction, in the family it was written in.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

NANO = 10**9
_FORM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
}
_EXPONENT_MAX = 18 + 9
FORM_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@dataclass(frozen=True, slots=True, order=False)
class Quantity:
    """A number in nano-units and the family of suffixes it is written with."""

    nanos: int
    family: str = "decimal"

    def value(self) -> int:
        """The number in whole units, rounded up."""
        return -(-self.nanos // NANO)

    def milli_value(self) -> int:
        """The number in thousandths, rounded up."""
        return -(-self.nanos // 10**6)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos + other.nanos, self.family if self.nanos else other.family)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.family if self.nanos else other.family)

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Quantity) -> bool:
        return self.nanos <= other.nanos

    def __str__(self) -> str:
        sign, count = ("-" if self.nanos < 0 else ""), abs(self.nanos)
        if count == 0:
            return "0"
        if self.family == "binary" and count % NANO == 0 and count >= 1024 * NANO:
            whole = count // NANO
            suffix = max((s for s in _BINARY if whole % _BINARY[s] == 0), key=_BINARY.__getitem__, default="")
            return f"{sign}{whole // _BINARY.get(suffix, 1)}{suffix}"
        power = -9
        while count % 1000 == 0 and power < 18:
            count //= 1000
            power += 3
        if self.family == "exponent":
            return f"{sign}{count}e{power}" if power else f"{sign}{count}"
        suffix = next(s for s, factor in _DECIMAL.items() if factor == Fraction(10) ** power)
        return f"{sign}{count}{suffix}"


def parse(text: str | int | float) -> Quantity:
    """The quantity of a string (or of a bare JSON number). Raises ValueError."""
    return _parse(str(text))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(FORM_MESSAGE)
    sign, number, suffix = match[1], match[2], match[3] or ""
    if suffix in _BINARY:
        family, factor = "binary", Fraction(_BINARY[suffix])
    elif suffix in _DECIMAL:
        family, factor = "decimal", _DECIMAL[suffix]
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > _EXPONENT_MAX:
            raise ValueError(FORM_MESSAGE)
        family, factor = "exponent", Fraction(10) ** exponent
    nanos = Fraction(number.rstrip(".")) * factor * NANO
    whole = -(-nanos.numerator // nanos.denominator)
    if family == "binary" and 0 < whole < NANO:
        family = "decimal"  # less than one has no binary suffix
    return Quantity(-whole if sign == "-" else whole, family)


def value(text: str | int | float) -> int:
    """Whole units, rounded up: bytes of a memory quantity. Raises ValueError."""
    return parse(text).value()


def milli_value(text: str | int | float) -> int:
    """Thousandths, rounded up: millicores of a cpu quantity. Raises ValueError."""
    return parse(text).milli_value()


def canonical(text: str | int | float) -> str:
    """The form in which Kubernetes stores and shows the quantity. Raises ValueError."""
    return _canonical(str(text))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return str(_parse(text))
