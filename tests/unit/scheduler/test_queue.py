"""The queue: whose turn it is, how long failures wait, and what brings a pod back."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.framework import PodClass
from scheduler.pods import Usage
from scheduler.queue import VOID_ENTRIES_MAX, Part, QueuedPod, SchedulingQueue
from tests.unit.scheduler.factories import make_pod

CLASS, OTHER_CLASS = (PodClass((), Usage((), cpu, 0)) for cpu in (1, 2))
GATES = [{"name": "example.com/wait"}]


def add(queue: SchedulingQueue, name: str, *, now: float = 0.0, pod_class: PodClass = CLASS, **spec: Any) -> None:
    queue.add(make_pod(name, **spec), pod_class, now)


def pop(queue: SchedulingQueue, now: float = 0.0) -> QueuedPod:
    found = queue.pop(now)
    assert found is not None, "no pod is due"
    return found


def names(queue: SchedulingQueue, now: float = 0.0) -> list[str]:
    found = []
    while (queued := queue.pop(now)) is not None:
        found.append(queued.pod["metadata"]["name"])
    return found


def everything(*_: object) -> bool:
    return True


def test_the_highest_priority_comes_first_and_then_who_came_first() -> None:
    queue = SchedulingQueue()
    add(queue, "early", now=1)
    add(queue, "late", now=2)
    add(queue, "important", now=3, priority=10)
    add(queue, "negative", now=0, priority=-1)
    assert names(queue) == ["important", "early", "late", "negative"]


def test_a_pod_that_failed_goes_behind_those_of_equal_priority_that_came_meanwhile() -> None:
    queue = SchedulingQueue()
    add(queue, "failing", now=0)
    queue.fail(pop(queue), frozenset({"Fit"}), now=5)
    add(queue, "new", now=3)
    queue.move(everything, now=20)
    assert names(queue, now=20) == ["new", "failing"]


def test_an_unschedulable_pod_waits_for_a_change_that_may_help() -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    assert queue.pop(100) is None
    queue.move(lambda pod_class, rejectors, _: "Ports" in rejectors, now=100)
    assert queue.pop(100) is None
    queue.move(lambda pod_class, rejectors, _: pod_class is CLASS and "Fit" in rejectors, now=100)
    assert names(queue, now=100) == ["pod"]


def full_of_equal_pods(count: int) -> SchedulingQueue:
    queue = SchedulingQueue()
    for number in range(count):
        add(queue, f"pod-{number}", priority=1 if number == 7 else 0)
    for number in range(count):
        queue.fail(pop(queue), frozenset({"Fit"}), now=number / count)
    return queue


def test_whether_a_change_helps_is_asked_once_for_all_equal_pods() -> None:
    queue = full_of_equal_pods(100)
    asked = []

    def note(pod_class: PodClass, rejectors: frozenset[str], first: int) -> bool:
        asked.append(pod_class)
        return True

    queue.move(note, now=100)
    assert asked == [CLASS]


def test_of_equal_pods_one_is_tried_and_each_that_is_placed_brings_the_next() -> None:
    queue = full_of_equal_pods(10)
    queue.move(everything, now=100)
    tried = [pop(queue, 100)]
    assert queue.pop(100) is None
    for _ in range(2):
        queue.follow(CLASS, now=100)
        tried.append(pop(queue, 100))
    queue.fail(tried[-1], frozenset({"Fit"}), now=100)
    queue.follow(CLASS, now=100)
    assert queue.pop(100) is None, "what turned one of them down turns them all down"
    assert [queued.key for queued in tried] == ["default/pod-7", "default/pod-0", "default/pod-1"]
    assert queue.counts()["unschedulable"] == 8


def test_equal_pods_go_on_when_the_one_that_was_tried_leaves_in_another_way() -> None:
    queue = full_of_equal_pods(5)
    queue.move(everything, now=100)
    queue.fail_by_error(pop(queue, 100), now=100)
    queue.remove(pop(queue, 100).uid, now=100)
    assert queue.pop(100) is not None
    queue = full_of_equal_pods(5)
    queue.move(everything, now=100)
    queue.remove("uid-default-pod-0", now=100)
    assert queue.pop(100) is not None
    queue = full_of_equal_pods(5)
    queue.move(everything, now=100)
    queue.update(make_pod("pod-0"), OTHER_CLASS, now=100)
    assert {pop(queue, 100).key, pop(queue, 100).key} == {"default/pod-0", "default/pod-1"}


def test_a_pod_that_left_its_equals_is_not_brought_by_them() -> None:
    queue = full_of_equal_pods(3)
    queue.remove("uid-default-pod-0", now=100)
    queue.move(everything, now=100)
    assert pop(queue, 100).key == "default/pod-1"
    queue.follow(CLASS, now=100)
    queue.follow(CLASS, now=100)
    assert pop(queue, 100).key == "default/pod-2"
    assert queue.pop(100) is None


@pytest.mark.parametrize(("failures", "delay"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)])
def test_the_delay_doubles_from_one_second_to_ten(failures: int, delay: float) -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    now = 0.0
    for _ in range(failures - 1):
        queue.fail_by_error(pop(queue, now), now)
        now += 10
    queue.fail_by_error(pop(queue, now), now)
    assert queue.next_due() == now + delay
    assert queue.pop(now + delay - 0.01) is None
    assert names(queue, now + delay) == ["pod"]


def test_an_idle_scheduler_does_not_let_a_pod_wait_that_may_fit_now() -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    queue.move(everything, now=0.1)
    assert queue.counts()["backoff"] == 1
    assert names(queue, now=0.1) == ["pod"]


def test_a_busy_one_does() -> None:
    queue = SchedulingQueue()
    add(queue, "failed", priority=100)
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    add(queue, "first", now=0.1)
    add(queue, "second", now=0.1)
    queue.move(everything, now=0.1)
    assert pop(queue, 0.1).key == "default/first"
    assert names(queue, now=1.1) == ["failed", "second"]


def test_a_pod_with_gates_waits_until_they_are_gone() -> None:
    queue = SchedulingQueue()
    add(queue, "pod", schedulingGates=GATES)
    assert queue.counts()["gated"] == 1
    queue.move(everything, now=1000)
    assert queue.pop(1000) is None
    queue.update(make_pod("pod", schedulingGates=GATES, nodeSelector={"a": "b"}), OTHER_CLASS, 0.0)
    assert queue.pop(1000) is None
    queue.update(make_pod("pod"), CLASS, 0.0)
    assert names(queue) == ["pod"]


def test_a_pod_that_demands_something_else_is_tried_again() -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    queue.update(make_pod("pod", labels={"only": "a label"}), CLASS, 0.0)
    assert queue.pop(0) is None
    queue.update(make_pod("pod"), OTHER_CLASS, 0.0)
    assert pop(queue).pod_class is OTHER_CLASS


@pytest.mark.parametrize("part", list(Part))
def test_a_pod_that_is_gone_is_gone_whichever_part_it_was_in(part: Part) -> None:
    queue = SchedulingQueue()
    add(queue, "pod", schedulingGates=GATES if part is Part.GATED else None)
    if part not in (Part.GATED, Part.ACTIVE):
        queued = pop(queue)
        if part is Part.UNSCHEDULABLE:
            queue.fail(queued, frozenset({"Fit"}), now=0)
        elif part is Part.BACKOFF:
            queue.fail_by_error(queued, now=0)
    assert queue.counts()[part.value] == 1
    queue.remove("uid-default-pod", 0.0)
    queue.move(everything, now=1000)
    assert queue.pop(1000) is None
    assert len(queue) == 0


def test_a_pod_that_is_removed_while_it_is_being_placed_does_not_come_back() -> None:
    queue = SchedulingQueue()
    for end in (queue.fail_by_error, lambda queued, now: queue.fail(queued, frozenset(), now)):
        add(queue, "pod")
        queued = pop(queue)
        queue.remove(queued.uid, 0.0)
        end(queued, 0.0)
        assert queue.pop(1000) is None
    add(queue, "pod")
    queued = pop(queue)
    queue.remove(queued.uid, 0.0)
    queue.retry(queued)
    assert queue.pop(1000) is None


def test_an_attempt_that_was_called_off_does_not_count_as_a_failure() -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    queue.retry(pop(queue))
    again = pop(queue)
    assert again.failures == 0


def test_a_queue_that_nobody_takes_from_keeps_nothing_of_pods_that_are_gone() -> None:
    queue = SchedulingQueue()
    for _ in range(4 * VOID_ENTRIES_MAX):
        add(queue, "pod")
        queue.remove("uid-default-pod", now=0)
    assert len(queue._active) <= 2 * VOID_ENTRIES_MAX
    queue = SchedulingQueue()
    add(queue, "steady")
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    for _ in range(4 * VOID_ENTRIES_MAX):
        add(queue, "pod")
        queue.fail(pop(queue), frozenset({"Fit"}), now=0)
        queue.remove("uid-default-pod", now=0)
    assert len(queue._groups[CLASS].waiting) <= 2 * VOID_ENTRIES_MAX
    queue.move(everything, now=100)
    assert names(queue, now=100) == ["steady"]


def test_a_pod_that_nothing_helps_is_tried_again_after_five_minutes_all_the_same() -> None:
    queue = SchedulingQueue()
    add(queue, "pod")
    queue.fail(pop(queue), frozenset({"Fit"}), now=0)
    assert queue.next_due() == 300
    assert queue.pop(299) is None
    queue.fail(pop(queue, 300), frozenset({"Fit"}), now=300)
    assert queue.pop(599) is None
    assert names(queue, 600) == ["pod"]
