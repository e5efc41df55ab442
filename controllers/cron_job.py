"""Creates a Job whenever the schedule of a CronJob says so.

CronJobs and their Jobs enqueue the CronJob, and a timer does when it is due next. What is missing in a cache is asked
for at the server before anything is concluded from it, and a Job is called after the minute that it is for: a
controller that is killed after creating it finds it there and only notes it down.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

from __future__ import annotations

from apiclient.informer import DELETED
from apimachinery.errors import ApiError, is_already_exists
from apimachinery.meta import Object, controller_of, get_path, is_controlled_by, name, namespace, namespaced_key, uid
from apimachinery.resources import CRONJOBS, JOBS
from controllers.context import Context
from controllers.cron_job_plan import (
    KIND,
    Plan,
    new_job,
    plan,
    reference_to,
    references,
    status_of,
    surplus,
    unexpected,
)
from controllers.cron_job_times import UnknownTimeZone, seconds_to_next, times_of, zone_of
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.pods import BY_CONTROLLER, by_controller
from controllers.requests import namespace_terminating, replacing, unless_gone

# A clock that was set, or a machine that slept, makes no schedule late for longer than this.
LOOK_AGAIN_SECONDS = 300.0


class CronJobController:
    """One control loop over all CronJobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._cron_jobs = context.informers.of(CRONJOBS)
        self._jobs = context.informers.of(JOBS)
        self.informers = (self._cron_jobs, self._jobs)
        self.queue = context.queue()
        self._expected_jobs = Expectations(self._jobs, context.clock)
        self._expected_cron_jobs = Expectations(self._cron_jobs, context.clock)
        self._jobs.add_index(BY_CONTROLLER, by_controller)
        self._cron_jobs.add_handler(self._cron_job_changed)
        self._jobs.add_handler(self._job_changed)

    def _cron_job_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        cron_job = new or old
        assert cron_job is not None
        key = namespaced_key(cron_job)
        if kind == DELETED:
            self.queue.cancel(key)
            self._expected_jobs.forget(key)
            self._expected_cron_jobs.forget(key)
            return
        if old is not None and _when(old) != _when(cron_job):
            # By a new schedule nothing is late: what has come before it was written was never meant.
            self.queue.cancel(key)
            try:
                wait = seconds_to_next(cron_job, times_of(cron_job, zone_of(cron_job)), self._clock.now())
            except (UnknownTimeZone, ValueError):
                wait = 0.0  # `reconcile` tells of it
            if wait is not None:
                self.queue.add_after(key, wait)
            return
        self.queue.add(key)

    def _job_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for job in (old, new):
            reference = controller_of(job) if job is not None else None
            if job is None or reference is None or reference["kind"] != CRONJOBS.kind:
                continue
            cron_job = self._cron_jobs.get(f"{namespace(job)}/{reference['name']}")
            if cron_job is not None and uid(cron_job) == reference["uid"]:
                self.queue.add(namespaced_key(cron_job))

    async def reconcile(self, key: str) -> None:
        """Note what has become of Jobs, create the one that is due, and remove old ones."""
        cron_job = self._cron_jobs.get(key)
        if cron_job is None:
            return
        if not (self._expected_jobs.satisfied(key) and self._expected_cron_jobs.satisfied(key)):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        jobs = list(self._jobs.by_index(BY_CONTROLLER, uid(cron_job)))
        if unexpected(cron_job, jobs):
            fresh = await unless_gone(self._client.get(CRONJOBS, name(cron_job), namespace(cron_job)))
            if fresh is None or uid(fresh) != uid(cron_job):
                return
            cron_job = fresh
        decided = plan(cron_job, jobs, await self._missing(cron_job, jobs), self._clock.now())
        for told in decided.events:
            self._tell(cron_job, told.type, told.reason, told.message)
        active = decided.active
        error: ApiError | None = None
        scheduled: float | None = None
        try:
            for one in decided.replace:
                await self._delete(cron_job, one["name"], one["uid"])
                active = [other for other in active if other is not one]
            made = await self._start(key, cron_job, decided)
            if made is not None:
                active, scheduled = [*active, reference_to(made)], decided.start
        except ApiError as failure:
            error = failure
        status = status_of(cron_job, active, scheduled, decided.last_successful)
        await self._write_status(key, cron_job, status)
        for job in surplus(cron_job, jobs):
            await self._delete(cron_job, name(job), uid(job))
        if error is not None and not namespace_terminating(error):
            raise error
        if decided.wait_seconds is not None:
            self.queue.add_after(key, min(decided.wait_seconds, LOOK_AGAIN_SECONDS))

    async def _missing(self, cron_job: Object, jobs: list[Object]) -> set[str]:
        """The uids of Jobs that the status names and that are not there, not even at the server."""
        known = {uid(job) for job in jobs}
        missing: set[str] = set()
        for one in references(cron_job):
            if one["uid"] in known:
                continue
            found = await unless_gone(self._client.get(JOBS, one["name"], namespace(cron_job)))
            if found is None or uid(found) != one["uid"]:
                missing.add(one["uid"])
        return missing

    async def _start(self, key: str, cron_job: Object, decided: Plan) -> Object | None:
        """Create the Job that is due; None if somebody else has one of this name, or one is noted down already."""
        if decided.start is None or decided.zone is None:
            return None
        wanted = new_job(cron_job, decided.start, decided.zone)
        try:
            made = await self._client.create(JOBS, wanted)
        except ApiError as error:
            if is_already_exists(error):
                return await self._made_before(cron_job, name(wanted), decided)
            if not namespace_terminating(error):
                self._tell(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self._expected_jobs.written(key, made)
        self._tell(cron_job, "Normal", "SuccessfulCreate", f"Created job {name(made)}")
        return made

    async def _made_before(self, cron_job: Object, job_name: str, decided: Plan) -> Object | None:
        found = await self._client.get(JOBS, job_name, namespace(cron_job))
        known = uid(found) in {one["uid"] for one in decided.active}
        return found if is_controlled_by(found, cron_job) and not known else None

    async def _delete(self, cron_job: Object, job_name: str, job_uid: str) -> None:
        deletion = self._client.delete(
            JOBS, job_name, namespace(cron_job), propagation_policy="Background", uid=job_uid
        )
        try:
            await unless_gone(deletion)
        except ApiError as error:
            self._tell(cron_job, "Warning", "FailedDelete", f"Deleted job: {error.message}")
            raise
        self._tell(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {job_name}")

    async def _write_status(self, key: str, cron_job: Object, status: Object) -> None:
        known = cron_job.get("status") or {}
        if status == known:
            return
        metadata = {"uid": uid(cron_job), "resourceVersion": cron_job["metadata"]["resourceVersion"]}
        patch = {"metadata": metadata, "status": replacing(known, status)}
        written = await self._client.patch(CRONJOBS, name(cron_job), patch, namespace(cron_job), subresource="status")
        self._expected_cron_jobs.written(key, written)

    def _tell(self, cron_job: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**cron_job, **KIND}, kind, reason, message)


def _when(cron_job: Object) -> tuple[str | None, str | None]:
    return get_path(cron_job, "spec", "schedule"), get_path(cron_job, "spec", "timeZone")
