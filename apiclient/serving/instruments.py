"""What counts and measures while a part works; the text of it is made when somebody asks.

To count costs one look-up and two additions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from apiclient.serving.exposition import Labels, number, shown

Values = tuple[str, ...]
Line = tuple[str, dict[str, str], float]


class Counter:
    """How often something happened, apart by the values of some labels."""

    kind = "counter"

    def __init__(self, name: str, words: str, *labels: str) -> None:
        self.name, self.words, self._labels = name, words, labels
        self._counts: dict[Values, int] = {}

    def add(self, *values: str) -> None:
        """It has happened once more."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def forget(self, *first: str) -> None:
        """Count those no more whose labels begin with these values."""
        for values in [values for values in self._counts if values[: len(first)] == first]:
            del self._counts[values]

    def lines(self) -> Iterator[Line]:
        """(name, labels, value) of each line."""
        for values, count in self._counts.items():
            yield self.name, dict(zip(self._labels, values, strict=True)), count


class Gauge:
    """Something that goes up and down, and is found out when somebody asks."""

    kind = "gauge"

    def __init__(self, name: str, words: str, ask: Callable[[], Iterable[tuple[Labels, float]]]) -> None:
        self.name, self.words, self._ask = name, words, ask

    def lines(self) -> Iterator[Line]:
        """(name, labels, value) of each line."""
        for labels, value in self._ask():
            yield self.name, dict(labels), value


class Histogram:
    """How often something took at most each of some times."""

    kind = "histogram"

    def __init__(self, name: str, words: str, bounds: Sequence[float], *labels: str) -> None:
        self.name, self.words, self._bounds, self._labels = name, words, bounds, labels
        # The counts between the bounds, and the sum.
        self._counts: dict[Values, list[int]] = {}
        self._sums: dict[Values, float] = {}

    def add(self, seconds: float, *values: str) -> None:
        """It took so long once more."""
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
            self._sums[values] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def forget(self, *first: str) -> None:
        """Count those no more whose labels begin with these values."""
        for values in [values for values in self._counts if values[: len(first)] == first]:
            del self._counts[values], self._sums[values]

    def lines(self) -> Iterator[Line]:
        """(name, labels, value) of each line."""
        for values, counts in self._counts.items():
            labels, total = dict(zip(self._labels, values, strict=True)), 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket", {**labels, "le": bound}, total
            yield f"{self.name}_sum", labels, self._sums[values]
            yield f"{self.name}_count", labels, total


Instrument = Counter | Gauge | Histogram


def text(instrument: Instrument) -> str:
    """What an instrument says, in Prometheus' form; "" if it is nothing yet."""
    lines = [f"{name}{shown(labels)} {number(value)}\n" for name, labels, value in instrument.lines()]
    head = f"# HELP {instrument.name} {instrument.words}\n# TYPE {instrument.name} {instrument.kind}\n"
    return head + "".join(lines) if lines else ""
