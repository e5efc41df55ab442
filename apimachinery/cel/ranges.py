"""Ranges of sizes and costs, as far as 64 bits go, and what an estimate knows of a part of an expression."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from apimachinery.cel.declared_sizes import Declared

MAX = 2**64 - 1


class Range(NamedTuple):
    """From `min` to `max`; whatever exceeds 64 bits is the largest number."""

    min: int
    max: int

    @classmethod
    def fixed(cls, number: int) -> Range:
        """Exactly that."""
        return cls(number, number)

    @classmethod
    def around(cls, ranges: Iterable[Range]) -> Range:
        """The range of all of these; 0 of none."""
        found = list(ranges)
        return cls(min((r.min for r in found), default=0), max((r.max for r in found), default=0))

    def __add__(self, other: object) -> Range:
        assert isinstance(other, Range)
        return Range(min(self.min + other.min, MAX), min(self.max + other.max, MAX))

    def __mul__(self, other: object) -> Range:
        assert isinstance(other, Range)
        return Range(min(self.min * other.min, MAX), min(self.max * other.max, MAX))

    def __or__(self, other: Range) -> Range:
        return Range(min(self.min, other.min), max(self.max, other.max))

    def scaled(self, factor: float) -> Range:
        """Times a factor, rounded up, in the precision of a double."""
        return Range(_scaled(self.min, factor), _scaled(self.max, factor))


def _scaled(number: int, factor: float) -> int:
    scaled = float(number) * factor
    return MAX if scaled >= 2.0**64 else math.ceil(scaled)


FREE, ONE, UNKNOWN = Range(0, 0), Range(1, 1), Range(0, MAX)


class Known(NamedTuple):
    """The cost of a part, its size, the sizes of keys and values in it, and where in the schema it comes from."""

    cost: Range
    size: Range | None
    key: Range | None = None
    value: Range | None = None
    is_list: bool | None = None
    declared: Declared | None = None

    def union(self, other: Known) -> Known:
        """What is known of either of two; nothing of what is known of one only."""
        both = self.key is not None and self.value is not None and other.key is not None and other.value is not None
        if not both:
            return Known(FREE, None)
        assert self.key is not None and other.key is not None and self.value is not None and other.value is not None
        return Known(FREE, None, self.key | other.key, self.value | other.value, self.is_list)
