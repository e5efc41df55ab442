"""Flows: the requests of one FlowSchema that are not told apart any further, as those of one user."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from apiserver.exposition import Histogram
from apiserver.flowcontrol.level import Level
from apiserver.responses import AnswerHeaders

# Seconds; those of kube-apiserver.
WAIT_BUCKETS = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)


@dataclass(slots=True, eq=False)
class Schema:
    """A FlowSchema that is in force at a priority level, and what has become of its requests."""

    name: str
    uid: str
    level: Level
    distinguisher: str
    headers: AnswerHeaders
    dispatched: int = 0
    running: int = 0
    seats: int = 0
    queued: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    # Those that did not have to wait are not among these.
    waits: Histogram = field(default_factory=lambda: Histogram(WAIT_BUCKETS))
    waits_in_vain: Histogram = field(default_factory=lambda: Histogram(WAIT_BUCKETS))


@dataclass(slots=True, eq=False)
class Flow:
    """One flow; the hand of queues that it may use is dealt when it first has to wait."""

    schema: Schema
    distinguisher: str
    hand: tuple[int, ...] = ()
