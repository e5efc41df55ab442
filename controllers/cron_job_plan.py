"""What a CronJob needs next: a Job that is due, others that are to go, and what its status tells. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from email.utils import formatdate
from typing import Any

from apimachinery.meta import (
    Object,
    deletion_requested,
    find_condition,
    get_path,
    name,
    namespace,
    owner_reference,
    uid,
)
from apimachinery.resources import CRONJOBS
from apimachinery.time import parse_rfc3339, rfc3339
from controllers.cron_job_times import (
    MISSED_MAX,
    BadSchedule,
    Times,
    UnknownTimeZone,
    due,
    seconds_to_next,
    times_of,
    zone_of,
)

KIND = {"apiVersion": CRONJOBS.api_version, "kind": CRONJOBS.kind}
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
TOO_MANY_MISSED = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"


@dataclass(frozen=True, slots=True)
class Told:
    """An event."""

    type: str
    reason: str
    message: str


@dataclass(slots=True)
class Plan:
    """Which Job to create, which to delete first, and what is told; `start` is the time that has come."""

    active: list[Object]
    last_successful: str | None
    events: list[Told] = field(default_factory=list)
    start: float | None = None
    zone: tzinfo | None = None
    replace: list[Object] = field(default_factory=list)
    wait_seconds: float | None = None

    def tell(self, kind: str, reason: str, message: str) -> None:
        """Add an event."""
        self.events.append(Told(kind, reason, message))


def finished_as(job: Object) -> str | None:
    """`Complete` or `Failed`; None while the Job is not over."""
    for kind in ("Complete", "Failed"):
        condition = find_condition(job, kind)
        if condition is not None and condition["status"] == "True":
            return kind
    return None


def references(cron_job: Object) -> list[Object]:
    """The Jobs that the status says are running."""
    found: list[Object] = get_path(cron_job, "status", "active", default=[])
    return found


def unexpected(cron_job: Object, jobs: Iterable[Object]) -> list[Object]:
    """Jobs that run, and that the status says nothing of."""
    known = {one.get("uid") for one in references(cron_job)}
    return [job for job in jobs if uid(job) not in known and finished_as(job) is None]


def plan(cron_job: Object, jobs: Iterable[Object], missing: set[str], now: float) -> Plan:
    """What is to be done. `missing` are the uids of Jobs that the status names and that do not exist any more."""
    found = Plan(list(references(cron_job)), get_path(cron_job, "status", "lastSuccessfulTime"))
    _look_at_jobs(found, cron_job, list(jobs), missing)
    if deletion_requested(cron_job):
        return found
    try:
        zone = zone_of(cron_job)
    except UnknownTimeZone as error:
        found.tell("Warning", "UnknownTimeZone", str(error))
        return found
    if get_path(cron_job, "spec", "suspend", default=False):
        return found
    try:
        times = times_of(cron_job, zone)
    except ValueError as error:
        schedule = cron_job["spec"].get("schedule", "")
        found.tell("Warning", "UnparseableSchedule", f'unparseable schedule: "{schedule}" : {error}')
        return found
    if "TZ" in cron_job["spec"]["schedule"]:
        told = f'CRON_TZ or TZ used in schedule "{cron_job["spec"]["schedule"]}" is not officially supported, '
        told += "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        found.tell("Warning", "UnsupportedSchedule", told)
    _look_at_schedule(found, cron_job, times, now)
    return found


def _look_at_jobs(found: Plan, cron_job: Object, jobs: list[Object], missing: set[str]) -> None:
    for job in unexpected(cron_job, jobs):
        told = f"Saw a job that the controller did not create or forgot: {name(job)}"
        found.tell("Warning", "UnexpectedJob", told)
    over = {uid(job): (job, end) for job in jobs if (end := finished_as(job)) is not None}
    for one in found.active:
        if one.get("uid") in over:
            told = f"Saw completed job: {one['name']}, condition: {over[one['uid']][1]}"
            found.tell("Normal", "SawCompletedJob", told)
        elif one.get("uid") in missing:
            found.tell("Normal", "MissingJob", f"Active job went missing: {one['name']}")
    found.active = [one for one in found.active if one.get("uid") not in missing and one.get("uid") not in over]
    for job, end in over.values():
        completed = get_path(job, "status", "completionTime")
        if end == "Complete" and completed is not None:
            found.last_successful = max(found.last_successful or completed, completed, key=parse_rfc3339)


def _look_at_schedule(found: Plan, cron_job: Object, times: Times, now: float) -> None:
    spec = cron_job["spec"]
    try:
        latest = due(cron_job, times, now, within_deadline=True)
    except BadSchedule as error:
        found.tell("Warning", "InvalidSchedule", f"invalid schedule: {spec['schedule']} : {error}")
        return
    found.wait_seconds = seconds_to_next(cron_job, times, now)
    at = latest.latest
    if at is None:
        return
    if latest.missed > MISSED_MAX:
        found.tell("Warning", "TooManyMissedTimes", TOO_MANY_MISSED)
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and at + deadline < now:
        told = formatdate(at).replace("-0000", "+0000")
        found.tell("Warning", "MissSchedule", f"Missed scheduled time to start a job: {told}")
        return
    started = job_name(cron_job, at) in {one.get("name") for one in found.active}
    if started or get_path(cron_job, "status", "lastScheduleTime") == rfc3339(at):
        return
    if spec.get("concurrencyPolicy") == "Forbid" and found.active:
        told = "Not starting job because prior execution is running and concurrency policy is Forbid"
        found.tell("Normal", "JobAlreadyActive", told)
        return
    if spec.get("concurrencyPolicy") == "Replace":
        found.replace = found.active
    found.start, found.zone = at, times.zone


def surplus(cron_job: Object, jobs: Iterable[Object]) -> list[Object]:
    """Finished Jobs beyond what is kept of each kind, those first that started first."""
    gone: list[Object] = []
    over = [(job, finished_as(job)) for job in jobs if not deletion_requested(job)]
    for end, field_ in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        kept = get_path(cron_job, "spec", field_)
        if kept is not None:
            ended = sorted((job for job, how in over if how == end), key=_start_order)
            gone += ended[: max(0, len(ended) - kept)]
    return gone


def _start_order(job: Object) -> tuple[bool, str, str]:
    started = get_path(job, "status", "startTime", default="")
    return (not started, started, name(job))


def job_name(cron_job: Object, at: float) -> str:
    """Called after its minute: whoever tries to make the same Job again finds it there."""
    return f"{name(cron_job)}-{int(at) // 60}"


def new_job(cron_job: Object, at: float, zone: tzinfo) -> Object:
    """The Job of a time that has come."""
    template = cron_job["spec"]["jobTemplate"]
    metadata: dict[str, Any] = template.get("metadata") or {}
    stamp = datetime.fromtimestamp(at, zone).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron_job, at),
            "namespace": namespace(cron_job),
            "labels": dict(metadata.get("labels") or {}),
            "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_AT: stamp},
            "ownerReferences": [owner_reference({**cron_job, **KIND})],
        },
        "spec": template.get("spec") or {},
    }


def reference_to(job: Object) -> Object:
    """The entry of `status.active` that names a Job."""
    metadata = job["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {"apiVersion": "batch/v1", "kind": "Job", **kept}


def status_of(cron_job: Object, active: list[Object], scheduled: float | None, successful: str | None) -> Object:
    """The status that tells of all this."""
    status = dict(cron_job.get("status") or {})
    status["active"] = active
    if scheduled is not None:
        status["lastScheduleTime"] = rfc3339(scheduled)
    if successful is not None:
        status["lastSuccessfulTime"] = successful
    return {key: value for key, value in status.items() if value}
