"""Jobs each of whose pods has a task of its own."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.time import rfc3339
from tests.support.jobs import NOW, Pass, indexed, job_pod


def pods(owner: Object, **by_phase: tuple[int, ...]) -> list[Object]:
    return [job_pod(owner, phase, index=index) for phase, indexes in by_phase.items() for index in indexes]


def started(owner: Object, **status: Any) -> Object:
    return {**owner, "status": {"startTime": rfc3339(NOW - 100), **status}}


@pytest.mark.parametrize(
    ("parallelism", "running", "succeeded", "create"),
    [
        (2, (), (), (0, 1)),
        (3, (1,), (), (0, 2)),
        (3, (2,), (0, 1), (3, 4)),
        (5, (), (1, 3), (0, 2, 4)),
        (2, (0, 4), (1,), ()),
    ],
)
def test_the_lowest_tasks_that_nobody_has_come_first(
    parallelism: int, running: tuple[int, ...], succeeded: tuple[int, ...], create: tuple[int, ...]
) -> None:
    owner = indexed(5, parallelism=parallelism)
    assert Pass(owner, pods(owner, Running=running, Succeeded=succeeded)).plan.create == create


def test_a_task_that_is_done_twice_counts_once() -> None:
    owner = indexed(3)
    seen = Pass(owner, pods(owner, Succeeded=(0, 0, 1)))
    assert (seen.status["completedIndexes"], seen.count("succeeded")) == ("0,1", 2)
    again = Pass(started(owner, completedIndexes="0,1", succeeded=2), pods(owner, Succeeded=(1, 2)))
    assert (again.status["completedIndexes"], again.count("succeeded")) == ("0-2", 3) and again.over


def test_pods_without_a_task_or_with_the_same_go() -> None:
    owner = indexed(3)
    twins = [job_pod(owner, index=1, name="a", ready=True), job_pod(owner, "Pending", index=1, name="b")]
    strange = [job_pod(owner, name="none"), job_pod(owner, index=7, name="beyond")]
    seen = Pass(owner, [*twins, *strange])
    assert {name(pod) for pod in seen.plan.delete} == {"b", "none", "beyond"} and seen.plan.create == ()


def test_pods_of_no_task_count_neither_as_succeeded_nor_as_failed() -> None:
    owner = indexed(2)
    seen = Pass(owner, [job_pod(owner, "Succeeded", index=5), job_pod(owner, "Failed")])
    assert (seen.count("succeeded"), seen.count("failed")) == (0, 0) and len(seen.booking.release) == 2


def test_a_job_that_is_made_smaller_forgets_what_it_has_done_beyond() -> None:
    owner = started(indexed(2), completedIndexes="0,3-4", succeeded=3)
    seen = Pass(owner)
    assert (seen.status["completedIndexes"], seen.count("succeeded"), seen.plan.create) == ("0", 1, (1,))


def test_a_task_whose_pod_is_still_to_end_waits_if_the_job_says_so() -> None:
    owner = indexed(2, podReplacementPolicy="Failed")
    leaving = job_pod(owner, index=0, deleted=True)
    assert Pass(owner, [leaving]).plan.create == (1,)
    assert Pass(owner, [leaving, job_pod(owner, index=1)]).plan.create == ()
    assert Pass(indexed(2), [job_pod(owner, index=0, deleted=True, ended=NOW - 60)]).plan.create == (0, 1)


class TestLimitsPerIndex:
    def test_an_index_fails_when_it_has_failed_too_often(self) -> None:
        owner = indexed(2, per_index=1)
        first = Pass(owner, [job_pod(owner, "Failed", index=0, ended=NOW - 60), job_pod(owner, index=1)])
        assert first.plan.create == (0,) and first.status["failedIndexes"] == ""
        second = Pass(owner, [job_pod(owner, "Failed", index=0, failures=1), job_pod(owner, index=1)])
        assert second.status["failedIndexes"] == "0" and second.plan.create == ()

    def test_the_others_go_on_and_the_job_fails_in_the_end(self) -> None:
        owner = started(indexed(2, per_index=0), failedIndexes="0", failed=1)
        assert Pass(owner, [job_pod(owner, index=1)]).plan.ending is None
        seen = Pass(owner, [job_pod(owner, "Succeeded", index=1)])
        assert seen.over and seen.condition("Failed") == ("FailedIndexes", "Job has failed indexes")
        assert (seen.status["completedIndexes"], seen.status["failedIndexes"]) == ("1", "0")

    def test_too_many_failed_indexes_end_the_job_early(self) -> None:
        owner = indexed(5, per_index=0, maxFailedIndexes=1)
        assert Pass(owner, pods(owner, Failed=(0,), Running=(1, 2, 3, 4))).plan.ending is None
        seen = Pass(owner, pods(owner, Failed=(0, 1), Running=(2, 3, 4)))
        told = "Job has exceeded the specified maximal number of failed indexes"
        assert seen.condition("FailureTarget") == ("MaxFailedIndexesExceeded", told)
        assert len(seen.plan.delete) == 3

    def test_a_failed_pod_is_held_until_its_replacement_has_its_count(self) -> None:
        owner = indexed(1, per_index=3)
        failed = job_pod(owner, "Failed", index=0, failures=1, ended=NOW - 5)
        waiting = Pass(owner, [failed])
        assert waiting.booking.release == () and waiting.plan.wait_seconds == 15
        replaced = Pass(owner, [failed, job_pod(owner, "Pending", index=0, failures=2)])
        assert replaced.booking.release == (failed,) and replaced.count("failed") == 1

    def test_each_index_waits_for_itself(self) -> None:
        owner = indexed(3, per_index=3)
        long_ago = job_pod(owner, "Failed", index=0, ended=NOW - 60)
        just_now = job_pod(owner, "Failed", index=1, ended=NOW - 1)
        seen = Pass(owner, [long_ago, just_now])
        assert seen.plan.create == (0, 2) and seen.plan.wait_seconds == 9

    def test_of_several_failed_pods_the_last_is_held(self) -> None:
        owner = indexed(1, per_index=5)
        earlier = job_pod(owner, "Failed", index=0, failures=0, ended=NOW - 30)
        later = job_pod(owner, "Failed", index=0, failures=1, ended=NOW - 2)
        seen = Pass(owner, [later, earlier])
        assert seen.booking.release == (earlier,) and seen.found.kept == {0: later}

    def test_an_index_does_not_both_succeed_and_fail(self) -> None:
        owner = indexed(3, per_index=0)
        twins = Pass(owner, [job_pod(owner, "Succeeded", index=0), job_pod(owner, "Failed", index=0)])
        assert (twins.status["completedIndexes"], twins.status["failedIndexes"]) == ("0", "")
        given_up = Pass(started(owner, failedIndexes="1", failed=1), [job_pod(owner, "Succeeded", index=1)])
        assert ("completedIndexes" in given_up.status, given_up.status["failedIndexes"]) == (False, "1")
