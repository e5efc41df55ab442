"""How many pods a Job runs, when it is over, and what it tells of that."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.selectors import selector_from_object
from apimachinery.time import rfc3339
from controllers.job import is_ours, pod_facts
from controllers.job_backoff import Backoff
from controllers.job_plan import BURST_PODS
from controllers.job_pods import COMPLETION_INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, TRACKING, new_pod
from controllers.ownership import plan_claims
from controllers.ttl_after_finished import seconds_left
from tests.support.jobs import NOW, Pass, indexed, job, job_pod

COMPLETED = ("CompletionsReached", "Reached expected number of succeeded pods")


def pods_of(owner: Object, running: int = 0, succeeded: int = 0, failed: int = 0) -> list[Object]:
    phases = ["Running"] * running + ["Succeeded"] * succeeded + ["Failed"] * failed
    return [job_pod(owner, phase, name=f"p{number}") for number, phase in enumerate(phases)]


def started(**spec: Any) -> Object:
    return job(status={"startTime": rfc3339(NOW - 100)}, **spec)


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": rfc3339(NOW)}


@pytest.mark.parametrize(
    ("parallelism", "completions", "running", "succeeded", "create", "delete"),
    [
        (2, 5, 0, 0, 2, 0),  # a new Job starts as many as may run at once
        (2, 5, 2, 0, 0, 0),  # and then waits for them
        (2, 5, 1, 1, 1, 0),  # each that is done is followed by another
        (2, 5, 0, 4, 1, 0),  # but no more than are still needed
        (2, 5, 2, 4, 0, 1),  # and a surplus is removed
        (2, None, 0, 0, 2, 0),  # a work queue runs in parallel
        (2, None, 1, 0, 1, 0),
        (2, None, 1, 1, 0, 0),  # until one has succeeded: the others end by themselves
        (0, 5, 3, 0, 0, 3),  # none in parallel is a pause
        (3, 5, 5, 0, 0, 2),  # fewer in parallel than run
        (700, 1000, 0, 0, BURST_PODS, 0),  # a pass creates a burst at most
    ],
)
def test_the_number_of_pods_follows_parallelism_and_completions(
    parallelism: int, completions: int | None, running: int, succeeded: int, create: int, delete: int
) -> None:
    owner = started(parallelism=parallelism, completions=completions)
    seen = Pass(owner, pods_of(owner, running, succeeded))
    assert (len(seen.plan.create), len(seen.plan.delete)) == (create, delete)
    assert seen.count("active") == running + create - delete and seen.count("succeeded") == succeeded


def test_a_job_is_complete_when_enough_pods_have_succeeded() -> None:
    owner = started(parallelism=2, completions=2)
    seen = Pass(owner, pods_of(owner, succeeded=2))
    assert seen.over and seen.condition("Complete") == seen.condition("SuccessCriteriaMet") == COMPLETED
    assert seen.status["completionTime"] == rfc3339(NOW) and seen.count("succeeded") == 2
    # The interim condition is written before the pods lose their finalizer, the final one only after that.
    assert [one["type"] for one in seen.booking.status["conditions"]] == ["SuccessCriteriaMet"]


def test_a_work_queue_is_complete_when_one_has_succeeded_and_none_runs() -> None:
    owner = started(parallelism=2, completions=None)
    assert not Pass(owner, pods_of(owner, running=1, succeeded=1)).over
    assert Pass(owner, pods_of(owner, succeeded=1, failed=1)).over


def test_a_job_without_completions_to_make_is_complete_at_once() -> None:
    seen = Pass(job(completions=0))
    assert seen.over and "startTime" in seen.status


def test_a_job_starts_when_it_is_first_seen_unless_it_is_suspended() -> None:
    assert Pass(job()).status["startTime"] == rfc3339(NOW)
    suspended = Pass(job(suspend=True))
    assert "startTime" not in suspended.status and not suspended.plan.create


def test_suspending_removes_the_pods_uncounted_and_resuming_starts_the_clock_again() -> None:
    owner = started(parallelism=2, completions=4, suspend=True)
    seen = Pass(owner, pods_of(owner, running=2))
    assert len(seen.plan.delete) == 2 and seen.plan.ending is None
    assert seen.condition("Suspended") == ("JobSuspended", "Job suspended")
    assert seen.booking.told == ("Suspended",) and seen.count("failed") == 0
    resumed = Pass(job(parallelism=2, completions=4, status=seen.status), now=NOW + 50)
    assert resumed.booking.told == ("Resumed",) and len(resumed.plan.create) == 2
    assert resumed.status["startTime"] == rfc3339(NOW + 50) and resumed.condition("Suspended") is None
    again = Pass(job(parallelism=2, completions=4, status=resumed.status), now=NOW + 60)
    assert again.booking.told == () and again.status["startTime"] == rfc3339(NOW + 50)


def test_a_job_that_was_never_suspended_says_nothing_of_it() -> None:
    assert "conditions" not in Pass(job()).status


def test_more_failures_than_the_limit_end_the_job_and_its_pods() -> None:
    owner = started(parallelism=2, completions=2, backoffLimit=1)
    seen = Pass(owner, pods_of(owner, running=1, failed=2))
    told = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert len(seen.plan.delete) == 1 and not seen.over and seen.condition("FailureTarget") == told
    # What was running counts as failed, and the Job is over only when it is gone.
    assert (seen.count("failed"), seen.count("terminating"), seen.count("active")) == (3, 1, 0)
    after = Pass({**owner, "status": seen.status})
    assert after.over and after.condition("Failed") == told and "completionTime" not in after.status


def test_as_many_failures_as_the_limit_are_allowed() -> None:
    owner = started(backoffLimit=1)
    assert Pass(owner, pods_of(owner, failed=1)).plan.ending is None


def test_restarts_in_place_count_against_the_limit() -> None:
    owner = started(restart="OnFailure", backoffLimit=2)
    pod = job_pod(owner)
    pod["status"]["containerStatuses"] = [{"name": "c", "restartCount": 1}]
    assert Pass(owner, [pod]).plan.ending is None
    pod["status"]["initContainerStatuses"] = [{"name": "i", "restartCount": 1}]
    ending = Pass(owner, [pod]).plan.ending
    assert ending is not None and ending.reason == "BackoffLimitExceeded"


def test_a_deadline_ends_the_job_and_until_then_it_is_waited_for() -> None:
    owner = started(activeDeadlineSeconds=150)
    early = Pass(owner, pods_of(owner, running=1))
    assert early.plan.ending is None and early.plan.wait_seconds == 50
    late = Pass(owner, pods_of(owner, running=1), now=NOW + 50)
    assert late.condition("FailureTarget") == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert Pass(started(activeDeadlineSeconds=1, suspend=True), now=NOW + 50).plan.ending is None


def test_a_job_ends_only_when_all_that_runs_is_being_deleted() -> None:
    owner = started(parallelism=2, completions=2, backoffLimit=0)
    seen = Pass(owner, pods_of(owner, running=2, failed=1), undeletable=1)
    assert not seen.over and seen.condition("FailureTarget") is None and seen.count("active") == 1


@pytest.mark.parametrize(("failures", "delay"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (50, 600)])
def test_the_delay_doubles_with_each_failure_in_a_row(failures: int, delay: float) -> None:
    assert Backoff(failures, NOW).seconds_left(NOW) == delay
    assert Backoff(failures, NOW - 1000).seconds_left(NOW) == 0


def test_a_failed_pod_is_replaced_only_after_the_delay() -> None:
    owner = started()
    failed = job_pod(owner, "Failed", ended=NOW - 4)
    seen = Pass(owner, [failed])
    assert seen.plan.create == () and seen.plan.wait_seconds == 6
    assert len(Pass(owner, [failed], now=NOW + 6).plan.create) == 1
    # The pod is counted now; how long to wait is remembered.
    again = Pass({**owner, "status": seen.status}, backoff=seen.found.backoff)
    assert again.plan.create == () and again.plan.wait_seconds == 6


def test_a_success_forgives_the_failures_before_it() -> None:
    owner = started(parallelism=3, completions=3)
    ends = [("Failed", -30), ("Succeeded", -20), ("Failed", -10)]
    pods = [job_pod(owner, phase, ended=NOW + at) for phase, at in ends]
    assert Backoff(5, NOW - 50).with_ends(pods[1:2], [pods[0], pods[2]]) == Backoff(1, NOW - 10)
    assert Backoff(5, NOW - 50).with_ends((), [pods[2]]) == Backoff(6, NOW - 10)
    assert Backoff(5, NOW - 50).with_ends(pods[1:2], ()) == Backoff()


def test_a_pod_that_is_being_deleted_is_failed_unless_it_has_to_end_first() -> None:
    owner = started()
    leaving = job_pod(owner, deleted=True, ended=NOW - 60)
    assert len(Pass(owner, [leaving]).plan.create) == 1
    assert (Pass(owner, [leaving]).count("failed"), Pass(owner, [leaving]).count("terminating")) == (1, 1)
    patient = started(podReplacementPolicy="Failed")
    seen = Pass(patient, [leaving])
    assert seen.plan.create == () and (seen.count("failed"), seen.count("terminating")) == (0, 1)
    ended = job_pod(patient, "Failed", deleted=True, ended=NOW - 60)
    assert len(Pass(patient, [ended]).plan.create) == 1


def test_a_job_that_is_being_deleted_creates_nothing_and_lets_its_pods_go() -> None:
    owner = job(meta={"deletionTimestamp": rfc3339(NOW)}, status={"startTime": rfc3339(NOW)})
    seen = Pass(owner, pods_of(owner, running=1))
    assert seen.plan.create == () and len(seen.booking.release) == 1


def test_ready_pods_are_told_of_as_long_as_they_run() -> None:
    owner = started(parallelism=3, completions=3)
    seen = Pass(owner, [job_pod(owner, ready=True), job_pod(owner, ready=True, deleted=True), job_pod(owner)])
    assert (seen.count("ready"), seen.count("terminating")) == (1, 1)


def test_a_surplus_is_taken_from_those_that_are_least_advanced() -> None:
    owner = started(parallelism=1, completions=5)
    pods = [job_pod(owner, ready=True, name="ready"), job_pod(owner, "Pending", name="pending")]
    assert [name(one) for one in Pass(owner, pods).plan.delete] == ["pending"]


def test_another_controllers_job_is_not_ours() -> None:
    assert is_ours(job()) and is_ours(job(managedBy="kubernetes.io/job-controller"))
    assert not is_ours(job(managedBy="example.com/queue"))


def test_a_job_that_is_complete_may_say_so_with_more_successes_than_it_needs() -> None:
    owner = started(parallelism=2, completions=2)
    assert Pass(owner, pods_of(owner, succeeded=3)).count("succeeded") == 3


def test_a_pod_of_the_template_is_tracked_and_owned() -> None:
    owner = job()
    owner["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
    made = new_pod(owner, None)
    assert made["metadata"]["generateName"] == "work-" and made["metadata"]["finalizers"] == [TRACKING]
    assert made["metadata"]["annotations"] == {"a": "b"} and made["spec"] == owner["spec"]["template"]["spec"]
    [reference] = made["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["controller"]) == ("Job", True)


def test_a_pod_of_an_index_knows_it_by_label_annotation_hostname_and_variable() -> None:
    owner = indexed(per_index=1)
    made = new_pod(owner, 3)
    metadata, spec = made["metadata"], made["spec"]
    assert metadata["labels"][COMPLETION_INDEX] == metadata["annotations"][COMPLETION_INDEX] == "3"
    assert metadata["annotations"][INDEX_FAILURES] == "0"
    assert (metadata["generateName"], spec["hostname"]) == ("work-3-", "work-3")
    [variable] = spec["containers"][0]["env"]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{COMPLETION_INDEX}']"
    assert "env" not in owner["spec"]["template"]["spec"]["containers"][0]
    assert (
        len(
            new_pod(indexed() | {"metadata": {**owner["metadata"], "name": "n" * 63}}, 12)["metadata"]["generateName"]
        )
        == 58
    )


def test_an_own_variable_of_that_name_stays() -> None:
    owner = indexed()
    own = {"name": "JOB_COMPLETION_INDEX", "value": "mine"}
    owner["spec"]["template"]["spec"]["containers"][0]["env"] = [own]
    assert new_pod(owner, 0)["spec"]["containers"][0]["env"] == [own]


def test_a_replacement_counts_on_from_the_pod_that_it_replaces() -> None:
    owner = indexed(per_index=3)
    replaced = job_pod(owner, "Failed", index=1, failures=1)
    assert new_pod(owner, 1, replaced)["metadata"]["annotations"][INDEX_FAILURES] == "2"
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}
    lenient = indexed(per_index=3, podFailurePolicy={"rules": [rule]})
    counts = new_pod(lenient, 1, replaced)["metadata"]["annotations"]
    assert (counts[INDEX_FAILURES], counts[INDEX_IGNORED_FAILURES]) == ("1", "1")


def test_changes_that_decide_nothing_are_ignored() -> None:
    before = job_pod(job())
    moved = {**before, "spec": {**before["spec"], "nodeName": "other"}}
    assert pod_facts(before) == pod_facts(moved)
    assert pod_facts(before) != pod_facts({**before, "metadata": {**before["metadata"], "finalizers": []}})


def test_pods_of_others_are_not_claimed() -> None:
    owner, other = job(), job("other")
    selector = selector_from_object(owner["spec"]["selector"])
    assert plan_claims(owner, selector, [job_pod(other)]).owned == []


def test_a_finished_job_stays_for_as_long_as_it_says() -> None:
    done = {"conditions": [condition("Failed")]}
    assert seconds_left(job(ttlSecondsAfterFinished=30, status=done), NOW + 10) == 20
    assert seconds_left(job(ttlSecondsAfterFinished=0, status=done), NOW) == 0
    assert seconds_left(job(ttlSecondsAfterFinished=30), NOW) is None
    assert seconds_left(job(status=done), NOW) is None
    leaving = job(ttlSecondsAfterFinished=0, status=done, meta={"deletionTimestamp": rfc3339(NOW)})
    assert seconds_left(leaving, NOW) is None
