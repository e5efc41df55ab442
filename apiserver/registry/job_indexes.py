"""Lists of indexes of an indexed Job's pods, as `1,3-5,7`.

Source: kubernetes/pkg/apis/batch/validation/validation.go (validateIndexesFormat).
"""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[+-]?[0-9]+")
Interval = tuple[int, int]


def intervals(text: str, completions: int) -> list[Interval]:
    """The intervals, both ends included, in growing order. Raises ValueError."""
    found: list[Interval] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if found and found[-1][1] >= first:
            raise ValueError(f"non-increasing order, previous: {found[-1][1]}, current: {first}")
        found.append((first, last))
    return found


def count(found: list[Interval]) -> int:
    """How many indexes there are."""
    return sum(last - first + 1 for first, last in found)


def overlap(some: list[Interval], others: list[Interval]) -> int | None:
    """The first index that is in both, or None."""
    at = other = 0
    while at < len(some) and other < len(others):
        (first, last), (other_first, other_last) = some[at], others[other]
        if first <= other_last and other_first <= last:
            return max(first, other_first)
        if first <= other_first:
            at += 1
        else:
            other += 1
    return None


def _interval(part: str, completions: int) -> Interval:
    ends = part.split("-")
    if len(ends) > 2:
        raise ValueError(
            f'the fragment "{part}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    first, last = _index(ends[0], completions), _index(ends[-1], completions)
    if len(ends) == 2 and first >= last:
        raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
    return first, last


def _index(text: str, completions: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)
