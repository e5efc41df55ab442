"""The indexes of an Indexed Job that are done, as intervals: the text `1,3-5,7` names five of them.

A Job may have 100,000 indexes, nearly all of which are done in the end: kept as intervals they stay few, and no step
here takes longer than there are intervals and new indexes.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Indexes:
    """A set of indexes: intervals (both ends included) in growing order that neither overlap nor touch."""

    intervals: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str | None, completions: int) -> Indexes:
        """What a text names below `completions`; what is no interval is left out, for others may write statuses."""
        found = []
        for part in (text or "").split(","):
            first, _, last = part.partition("-")
            if first.isdecimal() and (last or first).isdecimal() and int(first) < completions:
                found.append((int(first), min(int(last or first), completions - 1)))
        return cls(tuple(_merged(found)))

    def with_indexes(self, more: Iterable[int]) -> Indexes:
        """These and some more."""
        return Indexes(tuple(_merged([*self.intervals, *((index, index) for index in more)])))

    def union(self, other: Indexes) -> Indexes:
        """All that are in either."""
        return Indexes(tuple(_merged([*self.intervals, *other.intervals])))

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def __contains__(self, index: int) -> bool:
        at = bisect_left(self.intervals, index, key=lambda interval: interval[1])
        return at < len(self.intervals) and self.intervals[at][0] <= index

    def __str__(self) -> str:
        return ",".join(
            str(first) if first == last else f"{first},{last}" if last == first + 1 else f"{first}-{last}"
            for first, last in self.intervals
        )

    def shared_with(self, other: Indexes) -> int:
        """How many are in both."""
        return len(self) + len(other) - len(self.union(other))

    def first_absent(self, count: int, completions: int) -> list[int]:
        """The `count` lowest indexes below `completions` that are not in it."""
        found: list[int] = []
        edges = [(-1, -1), *self.intervals, (completions, completions)]
        for (_, before), (after, _) in pairwise(edges):
            found.extend(range(before + 1, min(after, before + 1 + count - len(found), completions)))
            if len(found) >= count:
                break
        return found


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if last < first:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
