"""How the ends of pods get into a Job's status, each exactly once, whenever the controller is killed. Pure.

1. The uids of pods that have ended are written into `status.uncountedTerminatedPods` (of an Indexed Job that a task
   is done stands in `completedIndexes` instead): `book`.
2. Their finalizer is removed. A pod that still has it and is written down already is not written down again.
3. Whoever is written down and has no finalizer any more is moved into the count: `settle`.

Killed after any of them, the next pass goes on where this one stopped: the second write is one of a status that must
not have changed since the first, and moves uids and counts together.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, deletion_requested, find_condition, get_path, uid
from apimachinery.time import rfc3339
from controllers.job_plan import Ending, Plan, Survey, succeeding, uncounted
from controllers.job_pods import completion_index, index_within, is_failed, is_indexed, is_suspended
from controllers.job_policies import judge_failure
from controllers.pods import phase

# So many uids are a status of 20 kB.
UNCOUNTED_MAX = 500
_LEFT_OUT_IF_NOTHING = ("active", "succeeded", "failed", "completedIndexes")


@dataclass(slots=True)
class Done:
    """What has become of a plan: how many pods were created, deleted, and ready before that."""

    created: int = 0
    deleted: int = 0
    deleted_ready: int = 0


@dataclass(frozen=True, slots=True)
class Booking:
    """The status to be written before these pods lose their finalizer, and how the Job then ends, if it does."""

    status: Object
    release: tuple[Object, ...]
    ending: Ending | None
    told: tuple[str, ...] = ()
    complete: bool = True


def book(found: Survey, plan: Plan, done: Done) -> Booking:
    """Write down who has ended. What is told of being suspended is an event's reason as well."""
    status = dict(found.job.get("status") or {})
    conditions: list[dict[str, Any]] = list(status.get("conditions") or ())
    active = len(found.active) + done.created - done.deleted
    status |= {"active": active, "ready": found.ready - done.deleted_ready}
    status["terminating"] = found.terminating + done.deleted
    status["startTime"] = found.start_time
    end = plan.ending
    if end is not None and done.deleted < len(plan.delete):
        end = None  # what still runs has a finalizer that only a pass which ends the Job removes
    elif end is None and _is_complete(found, active):
        end = succeeding("CompletionsReached", "Reached expected number of succeeded pods")
    elif end is None and plan.managed:
        conditions, told = _with_suspension(found, status, conditions)
        status, release, complete = _write_down(found, status, None)
        return Booking(_tidy(status, conditions), release, None, told, complete)
    status, release, complete = _write_down(found, status, end)
    if end is not None:
        conditions = ensured(conditions, end.interim, "True", end.reason, end.message, found.now)
    return Booking(_tidy(status, conditions), release, end, (), complete)


def _is_complete(found: Survey, active: int) -> bool:
    if get_path(found.job, "spec", "completions") is None:
        return found.succeeded > 0 and active == 0
    return found.succeeded >= found.completions and active == 0


def _with_suspension(
    found: Survey, status: Object, conditions: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    suspended = is_suspended(found.job)
    told = ("True", "JobSuspended", "Job suspended") if suspended else ("False", "JobResumed", "Job resumed")
    changed = ensured(conditions, "Suspended", *told, found.now)
    if changed == conditions:
        return conditions, ()
    if not suspended:
        # A deadline is about the time that the Job is active in one go.
        status["startTime"] = rfc3339(found.now)
    return changed, ("Suspended" if suspended else "Resumed",)


def _write_down(found: Survey, status: Object, end: Ending | None) -> tuple[Object, tuple[Object, ...], bool]:
    """(status, pods to be released, whether these are all that can be)"""
    status = settle(status, found.tracked)
    succeeded, failed = uncounted(status, "succeeded"), uncounted(status, "failed")
    indexes: set[int] = set()
    release: list[Object] = []
    complete = True
    for pod in sorted(found.pods, key=_order) if is_indexed(found.job) else found.pods:
        if uid(pod) not in found.tracked or not _may_go(found, pod, end):
            continue
        if len(indexes) + len(succeeded) + len(failed) >= UNCOUNTED_MAX:
            complete = False
            break
        release.append(pod)
        index = index_within(pod, found.completions)
        if is_indexed(found.job) and index is None:
            continue
        if phase(pod) == "Succeeded" and uid(pod) not in failed:
            if index is not None and is_indexed(found.job):
                indexes |= {index} if index in found.done and index not in found.done_before else set()
            elif uid(pod) not in succeeded:
                succeeded = [*succeeded, uid(pod)]
        elif _counts_as_failed(found, pod, end) and uid(pod) not in failed:
            failed = [*failed, uid(pod)]
    status["uncountedTerminatedPods"] = _uncounted(succeeded, failed)
    if is_indexed(found.job):
        all_done = found.done_before.with_indexes(indexes)
        status |= {"succeeded": len(all_done), "completedIndexes": str(all_done)}
        if found.failed_indexes is not None:
            status["failedIndexes"] = str(found.failed_indexes)
    return status, tuple(release), complete


def _order(pod: Object) -> int:
    index = completion_index(pod)
    return -1 if index is None else index


def _may_go(found: Survey, pod: Object, end: Ending | None) -> bool:
    if deletion_requested(found.job) or end is not None or phase(pod) == "Succeeded":
        return True
    index = completion_index(pod)
    kept = found.kept.get(index) if index is not None else None
    return is_failed(pod, found.job) and (kept is None or uid(kept) != uid(pod))


def _counts_as_failed(found: Survey, pod: Object, end: Ending | None) -> bool:
    """Of a Job that fails everything counts as failed that has not succeeded."""
    if not is_failed(pod, found.job) and (end is None or end.final != "Failed"):
        return False
    return judge_failure(found.job, pod).counts


def settle(status: Object, tracked: set[str]) -> Object:
    """Move those who have no finalizer any more into the counts."""
    status = dict(status)
    left = {kind: [one for one in uncounted(status, kind) if one in tracked] for kind in ("succeeded", "failed")}
    for kind, uids in left.items():
        status[kind] = status.get(kind, 0) + len(uncounted(status, kind)) - len(uids)
    status["uncountedTerminatedPods"] = _uncounted(**left)
    return status


def conclude(status: Object, booking: Booking, tracked: set[str], now: float) -> tuple[Object, bool]:
    """(the status once pods have lost their finalizer, whether the Job is over: all are counted and gone)"""
    status = settle(status, tracked)
    conditions: list[dict[str, Any]] = list(status.get("conditions") or ())
    end = booking.ending
    over = end is not None and booking.complete and not status["uncountedTerminatedPods"]
    if end is None or not over or status.get("terminating"):
        return _tidy(status, conditions), False
    if end.final == "Complete":
        status["completionTime"] = rfc3339(now)
    return _tidy(status, ensured(conditions, end.final, "True", end.reason, end.message, now)), True


def ensured(
    conditions: list[dict[str, Any]], kind: str, status: str, reason: str, message: str, now: float
) -> list[dict[str, Any]]:
    """Conditions with this one; that something is not so is told only if it was before."""
    known, stamp = find_condition(conditions, kind), rfc3339(now)
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    if known is None:
        new = {**told, "lastProbeTime": stamp, "lastTransitionTime": stamp}
        return conditions if status == "False" else [*conditions, new]
    if told.items() <= known.items():
        return conditions
    new = {**told, "lastProbeTime": stamp, "lastTransitionTime": stamp}
    return [new if condition is known else condition for condition in conditions]


def _uncounted(succeeded: list[str], failed: list[str]) -> Object:
    return {**({"succeeded": succeeded} if succeeded else {}), **({"failed": failed} if failed else {})}


def _tidy(status: Object, conditions: list[dict[str, Any]]) -> Object:
    told = {**status, "conditions": conditions}
    optional = (*_LEFT_OUT_IF_NOTHING, "conditions", "startTime")
    return {key: value for key, value in told.items() if value or key not in optional}
