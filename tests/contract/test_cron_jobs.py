"""CronJobs as their users see them: a real API server, a real manager, kubectl, and pods that succeed at once.

Nobody waits for the clock: a CronJob whose last Job was made two years ago has one to make now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, annotations, controller_of, get_path, name, uid
from apimachinery.resources import CRONJOBS, EVENTS, JOBS, NAMESPACES, SERVICEACCOUNTS
from apimachinery.time import rfc3339
from controllers.cron_job_plan import SCHEDULED_AT, new_job
from controllers.cron_job_times import due, times_of, zone_of
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.ended_pods import pods_end, stay, succeed
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, until

YEARLY = "0 0 1 1 *"
TWO_YEARS_SECONDS = 2 * 366 * 86400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("cron-jobs")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    found: str = name(await client.create(NAMESPACES, {"metadata": {"generateName": "cron-jobs-"}}))
    await until(client, SERVICEACCOUNTS, found, lambda accounts: "default" in accounts)
    return found


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, home: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, home)


async def create(client: Client, scope: str, **spec: object) -> Object:
    pod_spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}
    template = {"spec": {"template": {"spec": pod_spec}}}
    made = {"metadata": {"name": "tick"}, "spec": {"schedule": YEARLY, "jobTemplate": template, **spec}}
    return await client.create(CRONJOBS, {"apiVersion": "batch/v1", "kind": "CronJob", **made}, scope)


async def let_time_come(client: Client, scope: str, which: str = "tick") -> Object:
    status = {"lastScheduleTime": rfc3339(time.time() - TWO_YEARS_SECONDS)}
    return await client.patch(CRONJOBS, which, {"status": status}, scope, subresource="status")


async def test_kubectl_creates_a_cron_job_which_creates_jobs(client: Client, scope: str, kubectl: Kubectl) -> None:
    async with pods_end(client, scope, succeed):
        await asyncio.to_thread(
            kubectl, "create", "cronjob", "tick", "--image=i:1", f"--schedule={YEARLY}", "--", "date"
        )
        owner = await let_time_come(client, scope)
        jobs = await until(client, JOBS, scope, lambda found: len(found) == 1)
        succeeded = lambda found: get_path(found["tick"], "status", "lastSuccessfulTime") is not None  # noqa: E731
        status = (await until(client, CRONJOBS, scope, succeeded))["tick"]["status"]
        by_hand = await asyncio.to_thread(kubectl, "create", "job", "now", "--from=cronjob/tick")
        assert "job.batch/now created" in by_hand
        await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/now", "--timeout=30s")
    [job] = jobs.values()
    moment = due(owner, times_of(owner, zone_of(owner)), time.time(), within_deadline=True).latest
    assert moment is not None and name(job) == f"tick-{int(moment) // 60}"
    assert (controller_of(job) or {})["uid"] == uid(owner) and annotations(job)[SCHEDULED_AT].startswith(
        rfc3339(moment)[:4]
    )
    assert status["lastScheduleTime"] == rfc3339(moment)
    await until(
        client,
        EVENTS,
        scope,
        lambda found: {"SuccessfulCreate", "SawCompletedJob"} <= {one["reason"] for one in found.values()},
    )


async def test_the_example_can_be_run_by_hand(client: Client, scope: str, kubectl: Kubectl) -> None:
    async with pods_end(client, scope, succeed):
        await asyncio.to_thread(kubectl, "apply", "-f", str(REPOSITORY / "manifests" / "cronjob.yaml"))
        await asyncio.to_thread(kubectl, "create", "job", "now", "--from=cronjob/report")
        await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/now", "--timeout=30s")
    [row] = await asyncio.to_thread(kubectl.lines, "get", "cronjobs", "--no-headers")
    assert row[:8] == ["report", "30", "7", "*", "*", "1-5", "Europe/Berlin", "False"]


async def test_a_job_that_still_runs_is_replaced(client: Client, scope: str) -> None:
    async with pods_end(client, scope, stay):
        owner = await create(client, scope, concurrencyPolicy="Replace")
        first = new_job(owner, time.time(), zone_of(owner))
        first["metadata"]["name"] = "first"
        made = await client.create(JOBS, first, scope)
        status = {"active": [{"kind": "Job", "name": "first", "namespace": scope, "uid": uid(made)}]}
        await client.patch(CRONJOBS, "tick", {"status": status}, scope, subresource="status")
        await let_time_come(client, scope)
        jobs = await until(client, JOBS, scope, lambda found: len(found) == 1 and "first" not in found)
        active = lambda found: [one["name"] for one in found["tick"]["status"].get("active", ())] == list(jobs)  # noqa: E731
        await until(client, CRONJOBS, scope, active)


async def test_a_job_that_a_killed_manager_has_made_is_noted_down_and_not_made_again(
    client: Client, scope: str
) -> None:
    async with pods_end(client, scope, stay):
        owner = await create(client, scope)
        moment = due(owner, times_of(owner, zone_of(owner)), time.time(), within_deadline=True).latest
        assert moment is None
        early = {**owner, "status": {"lastScheduleTime": rfc3339(time.time() - TWO_YEARS_SECONDS)}}
        moment = due(early, times_of(early, zone_of(early)), time.time(), within_deadline=True).latest
        assert moment is not None
        made = await client.create(JOBS, new_job(owner, moment, zone_of(owner)), scope)
        await let_time_come(client, scope)
        noted = lambda found: [one["uid"] for one in found["tick"]["status"].get("active", ())] == [uid(made)]  # noqa: E731
        status = (await until(client, CRONJOBS, scope, noted))["tick"]["status"]
    assert status["lastScheduleTime"] == rfc3339(moment)
    assert [name(job) for job in (await client.list(JOBS, scope))["items"]] == [name(made)]


async def test_old_jobs_are_removed(client: Client, scope: str) -> None:
    async with pods_end(client, scope, succeed):
        owner = await create(client, scope, successfulJobsHistoryLimit=1)
        for which in ("a", "b", "c"):
            job = new_job(owner, time.time(), zone_of(owner))
            await client.create(JOBS, {**job, "metadata": {**job["metadata"], "name": which}}, scope)
        await until(client, JOBS, scope, lambda found: len(found) == 1)
