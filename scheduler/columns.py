"""Columns: one value a node, in NumPy arrays, so that a question is put to all nodes at once.

A node has one row in every column. `Rows` says which rows are meant: a slice for all of them or for one, an index
array for a few. What a node has many of (labels, taints) is kept as small codes of distinct values, so that a
question about values is answered once a value and then looked up for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

BoolColumn: TypeAlias = NDArray[np.bool_]
IntColumn: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = "slice | NDArray[np.intp]"

ROWS_FIRST = 16
SPARE_VALUES_MAX = 1024

T = TypeVar("T", bound=Hashable)
AnyColumn = TypeVar("AnyColumn", BoolColumn, IntColumn, NDArray[np.int32])


def grown(column: AnyColumn, rows: int) -> AnyColumn:
    """The column with room for more rows; new rows hold zero."""
    larger = np.zeros(rows, dtype=column.dtype)
    larger[: len(column)] = column
    return larger


class CodedColumn(Generic[T]):
    """A column of values out of few distinct ones; a row without a value has the code 0."""

    def __init__(self, rows: int) -> None:
        self.codes = np.zeros(rows, dtype=np.int32)
        self._values: list[T | None] = [None]
        self._code_of: dict[T, int] = {}

    def __len__(self) -> int:
        """How many distinct values it remembers."""
        return len(self._values)

    def grow(self, rows: int) -> None:
        """Make room for more rows."""
        self.codes = grown(self.codes, rows)

    def set(self, row: int, value: T | None) -> None:
        """Give a row its value, or none."""
        self.codes[row] = 0 if value is None else self._code(value)

    def get(self, row: int) -> T | None:
        """The value of a row."""
        return self._values[int(self.codes[row])]

    def _code(self, value: T) -> int:
        code = self._code_of.get(value)
        if code is None:
            code = self._code_of[value] = len(self._values)
            self._values.append(value)
        return code

    def where(self, holds: Callable[[T | None], bool], rows: Rows) -> BoolColumn:
        """The rows whose value (None if there is none) has a property; asked once a distinct value."""
        codes = self.codes[rows]
        if len(codes) < len(self._values):
            return np.array([holds(self._values[code]) for code in codes], dtype=np.bool_)
        return np.array([holds(value) for value in self._values], dtype=np.bool_)[codes]

    def count(self, number: Callable[[T | None], int], rows: Rows) -> IntColumn:
        """The number that belongs to each row's value; asked once a distinct value."""
        codes = self.codes[rows]
        if len(codes) < len(self._values):
            return np.array([number(self._values[code]) for code in codes], dtype=np.int64)
        return np.array([number(value) for value in self._values], dtype=np.int64)[codes]

    def is_in(self, values: Iterable[T], rows: Rows) -> BoolColumn:
        """The rows that have one of these values."""
        codes = self.codes[rows]
        found: BoolColumn = np.zeros(len(codes), dtype=np.bool_)
        for value in values:
            code = self._code_of.get(value)
            if code is not None:
                found |= codes == code
        return found

    def is_set(self, rows: Rows) -> BoolColumn:
        """The rows that have a value."""
        found: BoolColumn = self.codes[rows] != 0
        return found

    @property
    def outgrown(self) -> bool:
        """True when most of the remembered values can no longer be in use, and the column should be made anew."""
        return len(self._values) > 2 * len(self.codes) + SPARE_VALUES_MAX


class Journal:
    """Which rows changed, in order, so that whoever has seen a part of it catches up with the rest."""

    def __init__(self, length_max: int = 1 << 16) -> None:
        self._rows: list[int] = []
        self._first = 0
        self._length_max = length_max

    @property
    def position(self) -> int:
        """How many changes there have been."""
        return self._first + len(self._rows)

    def append(self, row: int) -> None:
        """Note that a row has changed."""
        self._rows.append(row)
        if len(self._rows) > self._length_max:
            forgotten = len(self._rows) // 2
            del self._rows[:forgotten]
            self._first += forgotten

    def since(self, position: int) -> list[int] | None:
        """The rows that changed after a position, each once; None if that is no longer known."""
        if position < self._first:
            return None
        return sorted(set(self._rows[position - self._first :]))
