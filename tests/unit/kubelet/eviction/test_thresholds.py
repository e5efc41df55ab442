"""When a node is short of something, and from when on pods have to go for it."""

from __future__ import annotations

import pytest

from kubelet.eviction import flags
from kubelet.eviction.thresholds import (
    ALLOCATABLE_MEMORY,
    Observation,
    Rule,
    Settings,
    Tracker,
    is_crossed,
    make_rules,
    most_urgent,
    parse_amounts,
)
from kubelet.node.node_settings import DEFAULT_EVICTION, Threshold, parse_thresholds
from tests.unit.kubelet.eviction.factories import GIB, MIB, PLENTY

HARD = Rule("memory.available", Threshold(amount=100 * MIB))
SOFT = Rule("memory.available", Threshold(amount=GIB), grace_seconds=90.0)


def with_memory(free: int) -> dict[str, Observation]:
    return {**PLENTY, "memory.available": Observation(free, 8 * GIB)}


def default_tracker() -> Tracker:
    return Tracker(Settings(make_rules(parse_thresholds(DEFAULT_EVICTION), {}, {}, {})))


@pytest.mark.parametrize(
    ("signal", "found", "condition"),
    [
        ("memory.available", Observation(99 * MIB, 8 * GIB), "MemoryPressure"),
        (ALLOCATABLE_MEMORY, Observation(99 * MIB, 2 * GIB), "MemoryPressure"),
        ("nodefs.available", Observation(9 * GIB, 100 * GIB), "DiskPressure"),
        ("nodefs.inodesFree", Observation(49, 1000), "DiskPressure"),
        ("imagefs.available", Observation(14 * GIB, 100 * GIB), "DiskPressure"),
        ("imagefs.inodesFree", Observation(49, 1000), "DiskPressure"),
    ],
)
def test_less_than_a_threshold_is_a_shortage(signal: str, found: Observation, condition: str) -> None:
    tracker = default_tracker()
    assert tracker.observe(PLENTY, 0.0) == () and tracker.conditions(0.0) == set()
    (rule,) = tracker.observe({**PLENTY, signal: found}, 1.0)
    assert (rule.signal, rule.condition) == (signal, condition)
    assert tracker.conditions(1.0) == {condition}


def test_exactly_the_threshold_is_none_and_neither_is_a_disk_without_inodes() -> None:
    assert not is_crossed(HARD, Observation(100 * MIB, 8 * GIB))
    assert not is_crossed(Rule("nodefs.inodesFree", Threshold(share=0.05)), Observation(0, 0))
    assert not is_crossed(HARD, None)


def test_process_ids_count_only_when_there_is_a_threshold() -> None:
    few = {**PLENTY, "pid.available": Observation(1, 1000)}
    assert default_tracker().observe(few, 0.0) == ()
    tracker = Tracker(Settings((Rule("pid.available", Threshold(amount=10)),)))
    assert [rule.resource for rule in tracker.observe(few, 0.0)] == ["pids"]
    assert tracker.conditions(0.0) == {"PIDPressure"}


def test_a_soft_threshold_makes_the_condition_at_once_and_evicts_after_its_grace_period() -> None:
    tracker = Tracker(Settings((SOFT,)))
    short = with_memory(900 * MIB)
    assert tracker.observe(short, 0.0) == () and tracker.conditions(0.0) == {"MemoryPressure"}
    assert tracker.observe(short, 89.0) == () and tracker.next_look(89.0) == 1.0
    assert tracker.observe(short, 90.0) == (SOFT,)
    assert tracker.next_look(90.0) == 10.0


def test_a_soft_threshold_that_is_left_in_between_begins_anew() -> None:
    tracker = Tracker(Settings((SOFT,)))
    tracker.observe(with_memory(900 * MIB), 0.0)
    tracker.observe(PLENTY, 60.0)
    assert tracker.observe(with_memory(900 * MIB), 100.0) == ()
    assert tracker.observe(with_memory(900 * MIB), 190.0) == (SOFT,)


def test_what_was_crossed_counts_until_the_minimum_is_reclaimed() -> None:
    rule = Rule("memory.available", Threshold(amount=100 * MIB), reclaim=Threshold(amount=400 * MIB))
    tracker = Tracker(Settings((rule,)))
    assert tracker.observe(with_memory(300 * MIB), 0.0) == ()
    assert tracker.observe(with_memory(50 * MIB), 1.0) == (rule,)
    assert tracker.observe(with_memory(300 * MIB), 2.0) == (rule,)
    assert not tracker.is_satisfied(with_memory(300 * MIB)) and tracker.is_satisfied(with_memory(500 * MIB))
    assert tracker.observe(with_memory(500 * MIB), 3.0) == ()
    assert tracker.observe(with_memory(300 * MIB), 4.0) == ()


def test_a_condition_stays_for_the_transition_period() -> None:
    tracker = Tracker(Settings((HARD,), transition_seconds=300.0))
    tracker.observe(with_memory(0), 0.0)
    assert tracker.observe(PLENTY, 10.0) == () and tracker.conditions(10.0) == {"MemoryPressure"}
    assert tracker.conditions(300.0) == {"MemoryPressure"} and tracker.conditions(301.0) == set()


def test_memory_comes_first() -> None:
    disk = Rule("nodefs.available", Threshold(share=0.1))
    assert most_urgent((disk, HARD)) is HARD and most_urgent((disk,)) is disk


def test_a_soft_threshold_needs_a_grace_period_and_no_other_has_one() -> None:
    soft = {"memory.available": Threshold(amount=GIB)}
    with pytest.raises(ValueError, match="no grace period given for the soft eviction threshold of memory.available"):
        make_rules({}, soft, {}, {})
    with pytest.raises(ValueError, match="memory.available, which has no soft eviction threshold"):
        make_rules({}, {}, {"memory.available": 1.0}, {})
    assert make_rules({}, soft, {"memory.available": 90.0}, {}) == (SOFT,)


def test_flags_are_written_as_kubernetes_writes_them() -> None:
    assert flags.parse_grace_periods("memory.available=1m30s,nodefs.available=2m") == {
        "memory.available": 90.0,
        "nodefs.available": 120.0,
    }
    assert parse_amounts("memory.available=500Mi,nodefs.available=5%") == {
        "memory.available": Threshold(amount=500 * MIB),
        "nodefs.available": Threshold(share=0.05),
    }
    with pytest.raises(ValueError, match="is no amount to reclaim"):
        parse_amounts("memory.available<500Mi")
    with pytest.raises(ValueError, match="unknown eviction signal"):
        flags.parse_grace_periods("memory=1m")
