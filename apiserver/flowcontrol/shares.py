"""How the server's seats are divided among priority levels, and lent by those that need few to those that need many.

By configuration a level has a nominal number of seats in proportion to its shares. Of these it lends a part when
others need them, down to `low`; it borrows up to `high`. Every ten seconds the current limits are set anew: seats go
to the levels in proportion to what they have lately demanded, within their bounds. Pure.

Source: KEP-1040, "Assigning seats" and "Priority levels borrow"; k8s.io/apiserver/pkg/util/flowcontrol/conc_alloc.go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from apimachinery.meta import Object

SMOOTHING = 0.977
# A level that demanded nothing is still counted as wanting something, since nothing can't be multiplied.
TARGET_MIN = 0.001


class Bounds(NamedTuple):
    """The seats of a level by configuration: its nominal number, and what lending and borrowing make of it."""

    nominal: int
    low: int
    high: int


def bounds(commons: Object, seats: int, shares: float) -> Bounds:
    """The bounds of a level, by what levels of both types say, when `seats` are divided into so many shares."""
    own = commons.get("nominalConcurrencyShares") or 0
    nominal = math.ceil(seats * own / shares) if shares else 0
    lends = round(nominal * (commons.get("lendablePercent") or 0) / 100)
    percent = commons.get("borrowingLimitPercent")
    borrows = seats if percent is None else round(nominal * percent / 100)
    return Bounds(nominal, nominal - lends, nominal + borrows)


def commons_of(level: Object) -> Object:
    """The part of a configuration that levels of both types have."""
    spec = level["spec"]
    found: Object = spec.get("limited") or spec.get("exempt") or {}
    return found


@dataclass(slots=True)
class Demand:
    """How many seats a level could have used lately."""

    highest: float = 0.0
    average: float = 0.0
    deviation: float = 0.0
    smoothed: float = 0.0

    def add(self, highest: float, average: float, deviation: float) -> None:
        """One more period. Demand rises at once and is forgotten slowly: by half in five minutes."""
        self.highest, self.average, self.deviation = highest, average, deviation
        envelope = average + deviation
        self.smoothed = max(envelope, SMOOTHING * self.smoothed + (1 - SMOOTHING) * envelope)


class Meter:
    """Watches a number over a period: its highest value, and its average and deviation weighted by time."""

    __slots__ = ("_area", "_highest", "_since", "_squares", "_started", "_value")

    def __init__(self, now: float) -> None:
        self._value = 0
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._started = self._since = now
        self._area = self._squares = 0.0
        self._highest = self._value

    def set(self, value: int, now: float) -> None:
        """The number changes."""
        passed = now - self._since
        self._area += self._value * passed
        self._squares += self._value * self._value * passed
        self._value, self._since = value, now
        if value > self._highest:
            self._highest = value

    def read(self, now: float) -> tuple[float, float, float]:
        """(highest, average, deviation) since the last reading; a new period begins."""
        self.set(self._value, now)
        seconds = now - self._started
        average = self._area / seconds if seconds > 0 else float(self._value)
        variance = self._squares / seconds - average * average if seconds > 0 else 0.0
        found = (float(self._highest), average, math.sqrt(max(variance, 0.0)))
        self._begin(now)
        return found


class Claim(NamedTuple):
    """What a level may get at least and at most, and what it wants."""

    low: float
    high: float
    target: float


def claim(bounds: Bounds, demand: Demand) -> Claim:
    """The claim of a level on the seats of the next period."""
    # What a level has used within its own it keeps, though it may lend it.
    low = max(bounds.low, min(bounds.nominal, demand.highest))
    return Claim(low, max(bounds.high, low), max(low, demand.smoothed))


def allocate(seats: float, claims: Sequence[Claim]) -> tuple[list[float], float]:
    """Divide the seats: (those of each claim, the fraction of its target that each gets within its bounds).

    The sum of what is given grows with that fraction, in straight lines between the points where a claim meets one of
    its bounds; so the right fraction lies between two of these points and is found by rule of three.
    """
    targets = [max(one.target, TARGET_MIN) for one in claims]

    def given(fraction: float) -> list[float]:
        pairs = zip(claims, targets, strict=True)
        return [max(one.low, min(one.high, fraction * target)) for one, target in pairs]

    points = sorted(
        {bound / target for one, target in zip(claims, targets, strict=True) for bound in (one.low, one.high)}
    )
    if not points or sum(given(points[0])) >= seats:
        return given(0.0), points[0] if points else 0.0
    below = points[0]
    for above in points[1:]:
        low, high = sum(given(below)), sum(given(above))
        if high >= seats:
            fraction = below + (above - below) * (seats - low) / (high - low)
            return given(fraction), fraction
        below = above
    return given(below), below
