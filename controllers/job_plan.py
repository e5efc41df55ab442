"""What a Job needs next: how it stands, whether it ends, and which pods to create or delete. Pure.

A pass has three steps: `survey` counts, `decide` chooses what is done to pods, and when that is done
`controllers.job_tracking` puts it into the status.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, deletion_requested, find_condition, get_path, uid
from apimachinery.time import parse_rfc3339, rfc3339
from controllers.deletion_ranking import choose_pods_to_delete
from controllers.job_backoff import Backoff, finished_at
from controllers.job_indexes import Indexes
from controllers.job_pods import (
    all_index_failures,
    completion_index,
    index_failures,
    index_within,
    is_failed,
    is_indexed,
    is_suspended,
    is_tracked,
    limits_indexes,
    waits_for_ends,
)
from controllers.job_policies import FAIL_INDEX, judge_failure, success_rule
from controllers.pods import is_active, is_ready, is_terminating, phase

# A pass creates or deletes this many pods at most.
BURST_PODS = 500
NO_INDEXES, NO_FAILURES = Indexes(), Backoff()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a Job ends: at first by a condition that has its pods removed, then by the one that says it is over."""

    interim: str
    final: str
    reason: str
    message: str


def failing(reason: str, message: str) -> Ending:
    """The end of a Job that fails."""
    return Ending("FailureTarget", "Failed", reason, message)


def succeeding(reason: str, message: str) -> Ending:
    """The end of a Job that succeeds."""
    return Ending("SuccessCriteriaMet", "Complete", reason, message)


@dataclass(slots=True)
class Survey:
    """How a Job stands."""

    job: Object
    pods: list[Object]
    tracked: set[str]
    now: float
    active: list[Object] = field(default_factory=list)
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    done: Indexes = NO_INDEXES
    done_before: Indexes = NO_INDEXES
    failed_indexes: Indexes | None = None
    # By index the failed pod that stays until there is another: it knows how many have failed before.
    kept: dict[int, Object] = field(default_factory=dict)
    backoff: Backoff = NO_FAILURES
    start_time: str | None = None

    @property
    def completions(self) -> int:
        """How many must succeed; of no interest where `spec.completions` is not set."""
        return int(get_path(self.job, "spec", "completions", default=0))


def survey(job: Object, pods: list[Object], released: Iterable[str], backoff: Backoff, now: float) -> Survey:
    """Count. `released` are the uids of pods that are counted for good, though the cache may not show it yet."""
    tracked = {uid(pod) for pod in pods if is_tracked(pod)} - set(released)
    found = Survey(job, pods, tracked, now)
    found.active = [pod for pod in pods if is_active(pod)]
    found.ready = sum(map(is_ready, found.active))
    found.terminating = sum(map(is_terminating, pods))
    status = job.get("status") or {}
    succeeded, failed = (_newly_ended(found, kind) for kind in ("succeeded", "failed"))
    found.succeeded = status.get("succeeded", 0) + len(succeeded) + len(uncounted(status, "succeeded"))
    counting = sum(judge_failure(job, pod).counts for pod in failed)
    found.failed = status.get("failed", 0) + counting + len(uncounted(status, "failed"))
    found.backoff = backoff.with_ends(succeeded, failed)
    found.start_time = status.get("startTime")
    if found.start_time is None and not is_suspended(job):
        found.start_time = rfc3339(now)
    if is_indexed(job):
        _survey_indexes(found, status)
    return found


def uncounted(status: Object, kind: str) -> list[str]:
    """The uids of pods that have ended and are not in the count yet."""
    listed: list[str] = get_path(status, "uncountedTerminatedPods", kind, default=[])
    return listed


def _newly_ended(found: Survey, kind: str) -> list[Object]:
    known = set(uncounted(found.job.get("status") or {}, kind))
    candidates = (pod for pod in found.pods if uid(pod) in found.tracked and uid(pod) not in known)
    if is_indexed(found.job):
        candidates = (pod for pod in candidates if index_within(pod, found.completions) is not None)
    if kind == "succeeded":
        return [pod for pod in candidates if phase(pod) == "Succeeded"]
    return [pod for pod in candidates if is_failed(pod, found.job)]


def _survey_indexes(found: Survey, status: Object) -> None:
    by_index = [
        (index, pod)
        for pod in found.pods
        if uid(pod) in found.tracked and (index := index_within(pod, found.completions)) is not None
    ]
    failures = Indexes.parse(status.get("failedIndexes"), found.completions)
    found.done_before = Indexes.parse(status.get("completedIndexes"), found.completions)
    # An index has one end only: of twins, or of a pod that was given up and succeeded after all, the first one told.
    succeeded = (index for index, pod in by_index if phase(pod) == "Succeeded" and index not in failures)
    found.done = found.done_before.with_indexes(succeeded)
    found.succeeded = len(found.done)
    if not limits_indexes(found.job):
        return
    failed = (index for index, pod in by_index if index not in found.done and _fails_index(found.job, pod))
    failures = failures.with_indexes(failed)
    found.failed_indexes = failures
    running = _indexes_of(found.active)
    for index, pod in by_index:
        if not is_failed(pod, found.job) or index in found.done or index in failures or index in running:
            continue
        other = found.kept.get(index)
        if other is None or _is_later(pod, other):
            found.kept[index] = pod


def _is_later(pod: Object, other: Object) -> bool:
    return all_index_failures(pod) >= all_index_failures(other) and finished_at(pod) >= finished_at(other)


def _fails_index(job: Object, pod: Object) -> bool:
    if not is_failed(pod, job):
        return False
    verdict = judge_failure(job, pod)
    if verdict.action == FAIL_INDEX:
        return True
    return verdict.counts and index_failures(pod) >= get_path(job, "spec", "backoffLimitPerIndex")


def _indexes_of(pods: Iterable[Object]) -> set[int]:
    return {index for pod in pods if (index := completion_index(pod)) is not None}


def ending(found: Survey) -> Ending | None:
    """Why the Job must end now whatever runs; None if it goes on, or is done once nothing runs any more."""
    job = found.job
    if (known := _true_condition(job, "SuccessCriteriaMet")) is not None:
        return succeeding(known.get("reason", ""), known.get("message", ""))
    if (known := _true_condition(job, "FailureTarget")) is not None:
        return failing(known.get("reason", ""), known.get("message", ""))
    for pod in found.pods:
        if is_failed(pod, job) and (verdict := judge_failure(job, pod)).action == "FailJob":
            return failing("PodFailurePolicy", verdict.message)
    limit = get_path(job, "spec", "backoffLimit", default=6)
    if found.failed > limit or _restarts_exceed(found, limit):
        return failing("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_left(found)
    if left is not None and left <= 0:
        return failing("DeadlineExceeded", "Job was active longer than specified deadline")
    return _ending_of_indexes(found) if is_indexed(job) else None


def _ending_of_indexes(found: Survey) -> Ending | None:
    if found.failed_indexes is not None:
        failures, most = len(found.failed_indexes), get_path(found.job, "spec", "maxFailedIndexes")
        if most is not None and failures > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return failing("MaxFailedIndexesExceeded", message)
        if failures and failures + len(found.done) >= found.completions:
            return failing("FailedIndexes", "Job has failed indexes")
    rule = success_rule(found.job, found.done)
    return succeeding("SuccessPolicy", f"Matched rules at index {rule}") if rule is not None else None


def _true_condition(job: Object, kind: str) -> dict[str, Any] | None:
    condition = find_condition(job, kind)
    return condition if condition is not None and condition["status"] == "True" else None


def _restarts_exceed(found: Survey, limit: int) -> bool:
    """Of pods whose containers are restarted in place the restarts count, for they never fail."""
    if get_path(found.job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in found.pods:
        if phase(pod) in ("Running", "Pending"):
            for kind in ("initContainerStatuses", "containerStatuses"):
                restarts += sum(one.get("restartCount", 0) for one in get_path(pod, "status", kind, default=()))
    return restarts >= max(limit, 1)


def deadline_left(found: Survey) -> float | None:
    """How long the Job may still run; None if it has no deadline, or is suspended."""
    seconds = get_path(found.job, "spec", "activeDeadlineSeconds")
    if seconds is None or found.start_time is None or is_suspended(found.job):
        return None
    return parse_rfc3339(found.start_time) + float(seconds) - found.now


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to pods: some deleted or some created, never both at once. `create` has an index, or None, each.

    Pods of a Job that ends are counted when they are gone; a surplus is not counted at all.
    """

    ending: Ending | None = None
    delete: tuple[Object, ...] = ()
    create: tuple[int | None, ...] = ()
    wait_seconds: float | None = None
    managed: bool = False


def decide(found: Survey) -> Plan:
    """What is done now, and when to look again although nothing has happened."""
    end = ending(found)
    if end is not None:
        return Plan(ending=end, delete=tuple(found.active))
    wait = deadline_left(found)
    if deletion_requested(found.job):
        return Plan(wait_seconds=wait)
    if is_suspended(found.job):
        return Plan(delete=tuple(found.active), managed=True)
    wanted = _wanted(found)
    surplus = _surplus(found, max(0, len(found.active) - wanted))[:BURST_PODS]
    if surplus:
        return Plan(delete=tuple(surplus), wait_seconds=wait, managed=True)
    missing = wanted - len(found.active) - (found.terminating if waits_for_ends(found.job) else 0)
    create, delay = _creations(found, min(missing, BURST_PODS)) if missing > 0 else ((), None)
    return Plan(create=create, wait_seconds=_sooner(wait, delay), managed=True)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def _wanted(found: Survey) -> int:
    """How many pods should run now."""
    parallelism: int = get_path(found.job, "spec", "parallelism", default=1)
    if get_path(found.job, "spec", "completions") is None:
        # The first success is everybody's: what runs may end by itself, and nothing new begins.
        return len(found.active) if found.succeeded > 0 else parallelism
    return max(0, min(found.completions - found.succeeded, parallelism))


def _surplus(found: Survey, at_least: int) -> list[Object]:
    """Pods to be deleted: of an Indexed Job those without a task, or with another's; then the least advanced."""
    remove: list[Object] = []
    left = found.active
    if is_indexed(found.job):
        groups: dict[int | None, list[Object]] = {}
        for pod in found.active:
            groups.setdefault(index_within(pod, found.completions), []).append(pod)
        remove = groups.pop(None, [])
        left = []
        for same in groups.values():
            dropped = choose_pods_to_delete(same, (), len(same) - 1, found.now) if len(same) > 1 else []
            remove += dropped
            left += [pod for pod in same if pod not in dropped]
    if len(remove) < at_least:
        remove = [*remove, *choose_pods_to_delete(left, (), at_least - len(remove), found.now)]
    return remove


def _creations(found: Survey, count: int) -> tuple[tuple[int | None, ...], float | None]:
    """(what to create, after how many seconds more can be)"""
    if not limits_indexes(found.job):
        delay = found.backoff.seconds_left(found.now)
        if delay > 0:
            return (), delay
    if not is_indexed(found.job):
        return (None,) * count, None
    busy = _indexes_of(found.active)
    if waits_for_ends(found.job):
        busy |= _indexes_of(pod for pod in found.pods if is_terminating(pod))
    taken = found.done.with_indexes(busy).union(found.failed_indexes or NO_INDEXES)
    pending = taken.first_absent(count, found.completions)
    delays = {index: _index_delay(found.kept.get(index), found.now) for index in pending}
    waiting = [delay for delay in delays.values() if delay > 0]
    return tuple(index for index in pending if delays[index] <= 0), min(waiting, default=None)


def _index_delay(last: Object | None, now: float) -> float:
    if last is None:
        return 0.0
    return Backoff(all_index_failures(last) + 1, finished_at(last)).seconds_left(now)
