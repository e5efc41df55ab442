"""When a node is short of something, since when, and from when on pods have to go: pure.

A hard threshold counts at once, a soft one once it has been crossed for its grace period. What was crossed counts
until there is as much more than the threshold as is to be reclaimed at least; the node's condition stays for a
transition period longer, so that it does not flap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.node.node_settings import Threshold, parse_thresholds

MEMORY, DISK, PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"
MEMORY_AVAILABLE, ALLOCATABLE_MEMORY = "memory.available", "allocatableMemory.available"
PIDS_AVAILABLE = "pid.available"
NOTHING = Threshold()
DEFAULT_TRANSITION_SECONDS = 300.0

_CONDITIONS = {
    MEMORY_AVAILABLE: MEMORY,
    ALLOCATABLE_MEMORY: MEMORY,
    "nodefs.available": DISK,
    "nodefs.inodesFree": DISK,
    "imagefs.available": DISK,
    "imagefs.inodesFree": DISK,
    "containerfs.available": DISK,
    "containerfs.inodesFree": DISK,
    PIDS_AVAILABLE: PIDS,
}
_RESOURCES = {MEMORY: "memory", PIDS: "pids"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One threshold: hard without a grace period. `reclaim` is what there is to be beyond it once it was crossed."""

    signal: str
    limit: Threshold
    grace_seconds: float = 0.0
    reclaim: Threshold = NOTHING

    @property
    def is_hard(self) -> bool:
        """Whether there is no grace period: neither for the node nor for its pods."""
        return self.grace_seconds <= 0

    @property
    def condition(self) -> str:
        """The condition of the Node that it stands for."""
        return _CONDITIONS[self.signal]

    @property
    def resource(self) -> str:
        """What the node is short of, as people are told."""
        return resource_of(self.signal)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is free of what there is."""

    available: int
    capacity: int


Observations = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class Settings:
    """The rules, and how long a soft one leaves pods at most."""

    rules: Sequence[Rule] = ()
    pod_grace_seconds_max: float = 0.0
    transition_seconds: float = DEFAULT_TRANSITION_SECONDS
    look_seconds: float = 10.0


def resource_of(signal: str) -> str:
    """memory, ephemeral-storage, inodes or pids."""
    if signal.endswith(".inodesFree"):
        return "inodes"
    return _RESOURCES.get(_CONDITIONS[signal], "ephemeral-storage")


def make_rules(
    hard: Mapping[str, Threshold],
    soft: Mapping[str, Threshold],
    grace_seconds: Mapping[str, float],
    reclaim: Mapping[str, Threshold],
) -> tuple[Rule, ...]:
    """The rules of these flags. What pods have together is watched as the node's memory is. Raises ValueError."""
    if missing := [signal for signal in soft if signal not in grace_seconds]:
        raise ValueError(f"no grace period given for the soft eviction threshold of {missing[0]}")
    if unused := [signal for signal in grace_seconds if signal not in soft]:
        raise ValueError(f"a grace period is given for {unused[0]}, which has no soft eviction threshold")
    rules = [Rule(signal, limit, 0.0, reclaim.get(signal, NOTHING)) for signal, limit in hard.items()]
    rules += [
        Rule(signal, limit, grace_seconds[signal], reclaim.get(signal, NOTHING)) for signal, limit in soft.items()
    ]
    memory = [rule for rule in rules if rule.signal == MEMORY_AVAILABLE and rule.is_hard]
    rules += [Rule(ALLOCATABLE_MEMORY, rule.limit, 0.0, rule.reclaim) for rule in memory]
    return tuple(rules)


def parse_amounts(text: str) -> dict[str, Threshold]:
    """--eviction-minimum-reclaim: `memory.available=0Mi,nodefs.available=5%`. Raises ValueError."""
    terms = filter(None, text.split(","))
    if plain := [term for term in terms if "=" not in term or "<" in term]:
        raise ValueError(f"{plain[0]!r} is no amount to reclaim, such as nodefs.available=500Mi")
    return parse_thresholds(text.replace("=", "<"))


def is_crossed(rule: Rule, found: Observation | None, *, reclaiming: bool = False) -> bool:
    """Whether less is free than there should be; some file systems have no fixed number of inodes, and say 0."""
    if found is None or found.capacity <= 0:
        return False
    limit = rule.limit.of(found.capacity) + (rule.reclaim.of(found.capacity) if reclaiming else 0)
    return found.available < limit


def most_urgent(rules: Sequence[Rule]) -> Rule:
    """The rule to act on first: memory ends processes by itself when it runs out."""
    return min(rules, key=lambda rule: rule.condition != MEMORY)


@dataclass(slots=True)
class Tracker:
    """What was crossed, and when; all times on a clock that never jumps."""

    settings: Settings
    crossed_at: dict[Rule, float] = field(default_factory=dict)
    due: tuple[Rule, ...] = ()
    _told_at: dict[str, float] = field(default_factory=dict)

    def observe(self, found: Observations, now: float) -> tuple[Rule, ...]:
        """Take in what was found now; the rules that pods have to go for."""
        crossed = [
            rule
            for rule in self.settings.rules
            if is_crossed(rule, found.get(rule.signal), reclaiming=rule in self.due)
        ]
        self.crossed_at = {rule: self.crossed_at.get(rule, now) for rule in crossed}
        self._told_at |= {rule.condition: now for rule in crossed}
        self.due = tuple(rule for rule in crossed if now - self.crossed_at[rule] >= rule.grace_seconds)
        return self.due

    def conditions(self, now: float) -> frozenset[str]:
        """The conditions that the Node has."""
        since = now - self.settings.transition_seconds
        return frozenset(kind for kind, at in self._told_at.items() if at >= since)

    def next_look(self, now: float) -> float:
        """After how many seconds to look again."""
        waits = [at + rule.grace_seconds - now for rule, at in self.crossed_at.items() if rule not in self.due]
        return min([self.settings.look_seconds, *(max(wait, 0.1) for wait in waits)])

    def is_satisfied(self, found: Observations) -> bool:
        """Whether nothing is crossed any more, with as much beyond it as is to be reclaimed."""
        return not any(is_crossed(rule, found.get(rule.signal), reclaiming=True) for rule in self.settings.rules)
