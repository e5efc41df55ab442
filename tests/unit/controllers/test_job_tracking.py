"""No end of a pod is lost or counted twice, wherever the controller is killed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apimachinery.meta import Object, uid
from apimachinery.time import rfc3339
from controllers.job_backoff import Backoff
from controllers.job_plan import decide, survey
from controllers.job_pods import TRACKING
from controllers.job_tracking import UNCOUNTED_MAX, Done, book, conclude, ensured
from tests.support.jobs import NOW, Pass, indexed, job, job_pod


def started(**spec: object) -> Object:
    return job(status={"startTime": rfc3339(NOW - 100)}, **spec)


def test_an_end_is_written_down_before_the_finalizer_goes_and_counted_after() -> None:
    owner = started(parallelism=1, completions=5)
    pod = job_pod(owner, "Succeeded")
    seen = Pass(owner, [pod])
    assert seen.booking.status["uncountedTerminatedPods"] == {"succeeded": [uid(pod)]}
    assert "succeeded" not in seen.booking.status and seen.booking.release == (pod,)
    assert seen.status["uncountedTerminatedPods"] == {} and seen.count("succeeded") == 1


def test_what_is_written_down_is_not_written_down_again() -> None:
    pod = job_pod(started(), "Failed")
    owner = started(parallelism=1, completions=5)
    owner["status"]["uncountedTerminatedPods"] = {"failed": [uid(pod)]}
    seen = Pass(owner, [pod])
    assert seen.booking.status["uncountedTerminatedPods"] == {"failed": [uid(pod)]}
    assert seen.found.failed == 1 and seen.count("failed") == 1


def test_who_has_lost_the_finalizer_or_is_gone_is_counted_at_once() -> None:
    pod = job_pod(started(), "Failed", tracked=False)
    owner = started(parallelism=1, completions=5)
    owner["status"] |= {"uncountedTerminatedPods": {"failed": [uid(pod)], "succeeded": ["gone"]}, "failed": 2}
    seen = Pass(owner, [pod])
    assert seen.booking.status["failed"] == 3 and seen.booking.status["succeeded"] == 1
    assert seen.booking.status["uncountedTerminatedPods"] == {}


def test_a_pod_that_the_cache_still_shows_with_its_finalizer_is_not_counted_again() -> None:
    owner = started(parallelism=1, completions=5)
    owner["status"]["succeeded"] = 1
    pod = job_pod(owner, "Succeeded")
    seen = Pass(owner, [pod], released=[uid(pod)])
    assert seen.count("succeeded") == 1 and seen.booking.release == ()


def test_a_pass_writes_down_so_many_and_leaves_the_rest_for_the_next() -> None:
    owner = started(parallelism=10, completions=UNCOUNTED_MAX + 20)
    pods = [job_pod(owner, "Succeeded") for _ in range(UNCOUNTED_MAX + 20)]
    first = Pass(owner, pods)
    assert first.count("succeeded") == UNCOUNTED_MAX and not first.over
    second = Pass({**owner, "status": first.status}, pods[UNCOUNTED_MAX:])
    assert second.count("succeeded") == UNCOUNTED_MAX + 20 and second.over


def test_a_job_is_not_over_before_every_pod_is_counted() -> None:
    owner = started()
    found = survey(owner, [job_pod(owner, "Succeeded")], (), Backoff(), NOW)
    booking = book(found, decide(found), Done())
    status, over = conclude(booking.status, booking, found.tracked, NOW)  # the finalizer could not be removed
    assert not over and status["uncountedTerminatedPods"] and "completionTime" not in status


def test_a_condition_is_told_anew_only_when_it_says_something_new() -> None:
    once = ensured([], "Suspended", "True", "JobSuspended", "Job suspended", NOW)
    assert ensured(once, "Suspended", "True", "JobSuspended", "Job suspended", NOW + 5) is once
    [changed] = ensured(once, "Suspended", "False", "JobResumed", "Job resumed", NOW + 5)
    assert changed["lastTransitionTime"] == rfc3339(NOW + 5)
    assert ensured([], "Suspended", "False", "JobResumed", "Job resumed", NOW) == []


KILLED_AT = st.sampled_from(["never", "before", "written", "released"])


@given(
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["Succeeded", "Failed"]), KILLED_AT, st.integers(0, 3), st.booleans()), max_size=25
    ),
)
def test_a_controller_that_is_killed_anywhere_counts_each_pod_once(
    by_index: bool, history: list[tuple[str, str, int, bool]]
) -> None:
    """Each step one more pod ends, a pass is killed somewhere, and perhaps somebody deletes what can be deleted."""
    owner = (
        indexed(100, backoffLimit=1000) if by_index else started(parallelism=1, completions=100, backoffLimit=1000)
    )
    ended: list[str] = []
    pods: list[Object] = []
    # After the history comes a pass that nobody disturbs.
    for phase, killed, removed, cleaned in [*history, ("", "never", 0, False)]:
        if phase:
            pods.append(job_pod(owner, phase, index=len(ended) if by_index else None))
            ended.append(phase)
        found = survey(owner, pods, (), Backoff(), NOW)
        booking = book(found, decide(found), Done())
        if killed == "before":
            continue
        owner = {**owner, "status": booking.status}
        released = list(booking.release) if killed == "never" else list(booking.release)[:removed]
        if killed == "written":
            continue
        for pod in released:
            pod["metadata"]["finalizers"].remove(TRACKING)
        if cleaned:
            pods = [pod for pod in pods if pod["metadata"]["finalizers"]]
        if killed == "never":
            left = found.tracked - {uid(pod) for pod in released}
            owner = {**owner, "status": conclude(booking.status, booking, left, NOW)[0]}
    counts = {phase: owner["status"].get(phase.lower(), 0) for phase in ("Succeeded", "Failed")}
    assert counts == {phase: ended.count(phase) for phase in counts}
