"""What becomes of what is sent: it arrives, late, or not at all. By seed, and stormy only while a history says so."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass


class Fate(enum.Enum):
    """Of a piece that is sent."""

    ARRIVES = enum.auto()
    # It never arrives, and the connection breaks.
    LOST = enum.auto()
    # It arrives, takes effect, and the connection breaks before the answer.
    ANSWER_LOST = enum.auto()


@dataclass(frozen=True, slots=True)
class Climate:
    """How often things go wrong, of one; and for how many seconds what is late is late."""

    requests_lost: float = 0.0
    answers_lost: float = 0.0
    watches_cut: float = 0.0
    late: float = 0.0
    late_seconds: float = 0.0


CALM = Climate()


class Weather:
    """Decides for each piece."""

    def __init__(self, rng: random.Random, *, latency_seconds: float) -> None:
        self._rng = rng
        self._latency = latency_seconds
        self.climate = CALM
        # Those whose requests are spared: whoever acts as a user wants to know what became of it.
        self.spared: frozenset[str] = frozenset()

    def request(self, host: str) -> tuple[Fate, float]:
        """The fate of a request of a host, and after how many seconds."""
        climate, chance = self.climate, self._rng.random()
        delay = self._delay(host)
        if host in self.spared:
            return Fate.ARRIVES, delay
        if chance < climate.requests_lost:
            return Fate.LOST, delay
        if chance < climate.requests_lost + climate.answers_lost:
            return Fate.ANSWER_LOST, delay
        return Fate.ARRIVES, delay

    def answer(self, host: str) -> tuple[Fate, float]:
        """The fate of an answer to a host, or of a piece of it: watches have many."""
        delay = self._delay(host)
        lost = self._rng.random() < self.climate.watches_cut and host not in self.spared
        return (Fate.LOST if lost else Fate.ARRIVES), delay

    def _delay(self, host: str) -> float:
        if self._rng.random() < self.climate.late and host not in self.spared:
            return self._rng.uniform(0.0, self.climate.late_seconds)
        return self._latency * self._rng.uniform(0.5, 1.5)
