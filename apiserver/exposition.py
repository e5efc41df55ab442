"""Prometheus' text format: one line a figure, each with its name, its labels and its value.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

Labels = Mapping[str, str]


class Histogram:
    """How often a value was at most each of some bounds."""

    __slots__ = ("_bounds", "_buckets", "_sum", "count")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._buckets = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Count a value."""
        self._buckets[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self.count += 1

    def lines(self, name: str, labels: Labels, *, zeros: int = 0) -> Iterator[str]:
        """The lines of it; `zeros` is how many values of 0 there were beside what was counted."""
        total = zeros
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._buckets, strict=True):
            total += count
            yield sample(f"{name}_bucket", {**labels, "le": bound}, total)
        yield sample(f"{name}_sum", labels, self._sum)
        yield sample(f"{name}_count", labels, total)


def header(name: str, kind: str, text: str) -> Iterator[str]:
    """What stands before the lines of a figure."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def gauge(name: str, text: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """All lines of a figure that goes up and down."""
    yield from header(name, "gauge", text)
    for labels, value in values:
        yield sample(name, labels, value)


def sample(name: str, labels: Labels, value: float) -> str:
    """One line."""
    if not labels:
        return f"{name} {value}"
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
