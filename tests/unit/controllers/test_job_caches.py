"""The controllers of Jobs and CronJobs at work on caches that show the past: nothing is done or counted twice."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, deletion_requested, find_condition, name
from apimachinery.patch import merge_patch
from apimachinery.resources import CRONJOBS, JOBS, PODS, Resource
from apimachinery.time import rfc3339
from controllers.cron_job import LOOK_AGAIN_SECONDS, CronJobController
from controllers.job import JobController
from controllers.job_pods import TRACKING
from controllers.ttl_after_finished import TtlAfterFinished
from tests.support.clock import ManualClock
from tests.support.jobs import job
from tests.support.staged_api import StagedApi
from tests.unit.controllers.test_stale_caches import new, running

_DELETE_FROM = "$deleteFromPrimitiveList/finalizers"


class SetClock(ManualClock):
    """One whose time of day can be set, while the time that passes goes on."""

    wall_seconds_ahead = 0.0

    def now(self) -> float:
        """The time of day."""
        return super().now() + self.wall_seconds_ahead


class FinalizingApi(StagedApi):
    """One in which finalizers hold what is deleted, and can be removed by a strategic patch."""

    async def patch(
        self, resource: Resource, which: str, patch: Object, namespace: str | None = None, **more: Any
    ) -> Object:
        """Patch; what nothing holds any more is gone."""
        patch = {**patch, "metadata": dict(patch.get("metadata") or {})}
        if removed := patch["metadata"].pop(_DELETE_FROM, None):
            known = self._find(resource, which, namespace)["metadata"].get("finalizers") or []
            patch["metadata"]["finalizers"] = [one for one in known if one not in removed]
        made = await super().patch(resource, which, patch, namespace)
        if deletion_requested(made) and not made["metadata"].get("finalizers"):
            self._write(resource, "DELETED", made)
        return made

    async def delete(self, resource: Resource, which: str, namespace: str | None = None, **more: Any) -> Object:
        """Remove, or mark as to be removed."""
        known = self._find(resource, which, namespace)
        if not known["metadata"].get("finalizers"):
            return await super().delete(resource, which, namespace)
        self.calls.append(("delete", resource.plural))
        return self._write(resource, "MODIFIED", merge_patch(known, {"metadata": {"deletionTimestamp": rfc3339(0)}}))

    async def end(self, pod: Object, phase: str) -> None:
        """Have a pod end."""
        await super().patch(
            PODS, name(pod), {"metadata": {}, "status": {"phase": phase}}, pod["metadata"]["namespace"]
        )


async def test_pods_are_created_once_while_the_cache_does_not_show_them() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        api.hold(PODS)
        await api.create(JOBS, new(job(parallelism=3, completions=9)))
        await clock.advance(30)
        await api.patch(JOBS, "work", {"metadata": {"labels": {"changed": "yes"}}}, "default")
        await clock.advance(30)
        assert len(api.objects(PODS)) == 3
        api.release(PODS)
        await clock.advance(2)
        assert len(api.objects(PODS)) == 3 and api.count("create", PODS) == 3


async def test_ends_are_counted_once_while_the_cache_still_shows_the_finalizers() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        await api.create(JOBS, new(job(parallelism=2, completions=4)))
        await clock.advance(2)
        first, second = api.objects(PODS)
        await api.end(first, "Succeeded")
        await api.end(second, "Succeeded")
        await clock.settle()
        api.hold(PODS)
        for changes in range(3):
            await clock.advance(5)
            await api.patch(JOBS, "work", {"metadata": {"labels": {"n": str(changes)}}}, "default")
        api.release(PODS)
        await clock.advance(5)
        [work] = api.objects(JOBS)
        assert work["status"]["succeeded"] == 2 and len(api.objects(PODS)) == 4


async def test_a_job_runs_to_its_end_and_is_removed_in_time() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController, TtlAfterFinished):
        await api.create(JOBS, new(job(ttlSecondsAfterFinished=60)))
        await clock.advance(2)
        [pod] = api.objects(PODS)
        assert pod["metadata"]["finalizers"] == [TRACKING]
        await api.end(pod, "Succeeded")
        await clock.advance(2)
        [work] = api.objects(JOBS)
        assert find_condition(work, "Complete") and api.objects(PODS)[0]["metadata"]["finalizers"] == []
        await clock.advance(50)
        assert api.objects(JOBS)
        await clock.advance(20)
        assert not api.objects(JOBS)


async def test_a_failed_pod_is_replaced_after_the_delay_and_not_before() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        await api.create(JOBS, new(job()))
        await clock.advance(1)
        [pod] = api.objects(PODS)
        await api.patch(PODS, name(pod), {"metadata": {"creationTimestamp": rfc3339(clock.now())}}, "default")
        await api.end(pod, "Failed")
        await clock.advance(8)
        assert len(api.objects(PODS)) == 1
        await clock.advance(4)
        assert len(api.objects(PODS)) == 2


async def test_a_deadline_is_kept_without_anything_happening() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        await api.create(JOBS, new(job(activeDeadlineSeconds=100)))
        await clock.advance(98)
        [work] = api.objects(JOBS)
        assert "conditions" not in work["status"] and len(api.objects(PODS)) == 1
        await clock.advance(5)
        [work] = api.objects(JOBS)
        assert (find_condition(work, "Failed") or {})["reason"] == "DeadlineExceeded" and not api.objects(PODS)


async def test_orphans_that_match_are_adopted_and_tracked() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        orphan = {"name": "orphan", "namespace": "default", "labels": {"app": "web"}}
        await api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": orphan, "spec": {}, "status": {}})
        await api.create(JOBS, new(job()))
        await clock.advance(2)
        [pod] = api.objects(PODS)
        assert pod["metadata"]["finalizers"] == [TRACKING] and pod["metadata"]["ownerReferences"]
        await api.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, "default")
        await clock.advance(2)
        pods = {name(one): one for one in api.objects(PODS)}
        assert pods["orphan"]["metadata"]["finalizers"] == [] and len(pods) == 2


async def test_a_job_of_another_controller_is_left_alone() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, JobController):
        await api.create(JOBS, new(job(managedBy="example.com/queue")))
        await clock.advance(5)
        assert not api.objects(PODS) and "startTime" not in api.objects(JOBS)[0].get("status", {})


def every_minute(clock: ManualClock, **spec: Any) -> Object:
    made = {"schedule": "* * * * *", "timeZone": "UTC", "jobTemplate": {"spec": job()["spec"]}, **spec}
    metadata = {"name": "tick", "namespace": "default", "creationTimestamp": rfc3339(clock.now())}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": made}


async def test_a_cron_job_makes_one_job_a_minute_though_its_cache_stands_still() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, CronJobController):
        await api.create(CRONJOBS, every_minute(clock))
        await clock.advance(61)
        assert len(api.objects(JOBS)) == 1
        api.hold(JOBS)
        await clock.advance(30)
        api.release(JOBS)
        await clock.advance(151)
        names = [name(one) for one in api.objects(JOBS)]
        assert len(names) == 4 and api.count("create", JOBS) == 4
        [tick] = api.objects(CRONJOBS)
        assert [one["name"] for one in tick["status"]["active"]] == names


async def test_by_a_new_schedule_nothing_is_late() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, CronJobController):
        await api.create(CRONJOBS, every_minute(clock, schedule="0 0 1 1 *"))
        await clock.advance(630)
        await api.patch(CRONJOBS, "tick", {"metadata": {}, "spec": {"schedule": "*/10 * * * *"}}, "default")
        await clock.advance(560)
        assert not api.objects(JOBS)
        await clock.advance(20)
        assert len(api.objects(JOBS)) == 1


async def test_a_suspended_cron_job_goes_on_when_it_may() -> None:
    clock, api = ManualClock(), FinalizingApi()
    async with running(api, clock, CronJobController):
        await api.create(CRONJOBS, every_minute(clock, suspend=True))
        await clock.advance(300)
        assert not api.objects(JOBS)
        await api.patch(CRONJOBS, "tick", {"metadata": {}, "spec": {"suspend": False}}, "default")
        await clock.advance(1)
        assert len(api.objects(JOBS)) == 1


async def test_a_clock_that_was_set_makes_no_schedule_late_for_long() -> None:
    clock, api = SetClock(), FinalizingApi()
    async with running(api, clock, CronJobController):
        await api.create(CRONJOBS, every_minute(clock, schedule="0 */2 * * *"))
        await clock.advance(1)
        clock.wall_seconds_ahead = 7200.0
        await clock.advance(LOOK_AGAIN_SECONDS + 1)
        assert len(api.objects(JOBS)) == 1
