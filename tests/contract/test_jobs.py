"""Jobs as their users see them: a real API server, a real manager, kubectl, and pods that end as a test wishes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, annotations, controller_of, find_condition, get_path, name
from apimachinery.resources import EVENTS, JOBS, NAMESPACES, PODS, SERVICEACCOUNTS
from controllers.job_pods import COMPLETION_INDEX, TRACKING
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.ended_pods import pods_end, stay, succeed
from tests.support.kubectl import Kubectl
from tests.support.manager import ManagerProcess, condition_status, managing, until


@pytest.fixture(scope="module")
def manager(server: ApiServerProcess) -> Iterator[ManagerProcess]:
    with managing(server) as process:
        yield process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("jobs")) as process:
        asyncio.run(process.wait_ready())
        yield process


@pytest.fixture
async def scope(client: Client, manager: ManagerProcess) -> str:
    """A namespace for one test."""
    found: str = name(await client.create(NAMESPACES, {"metadata": {"generateName": "jobs-"}}))
    await until(client, SERVICEACCOUNTS, found, lambda accounts: "default" in accounts)
    return found


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, home: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, home)


def job(**spec: Any) -> Object:
    pod_spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}
    spec = {"template": {"spec": pod_spec}, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": spec}


def has(kind: str) -> Callable[[dict[str, Object]], bool]:
    return lambda found: condition_status(found["work"], kind) == "True"


async def told(client: Client, scope: str, *reasons: str) -> None:
    """Wait until events tell of all this."""
    await until(client, EVENTS, scope, lambda found: set(reasons) <= {one["reason"] for one in found.values()})


async def test_kubectl_creates_a_job_and_waits_for_it(client: Client, scope: str, kubectl: Kubectl) -> None:
    async with pods_end(client, scope, succeed):
        await asyncio.to_thread(kubectl, "create", "job", "work", "--image=i:1", "--", "date")
        waited = await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/work", "--timeout=30s")
        assert "condition met" in waited
    [row] = (await asyncio.to_thread(kubectl.lines, "get", "jobs", "--no-headers"))[:1]
    assert row[:3] == ["work", "Complete", "1/1"]
    status = (await client.get(JOBS, "work", scope))["status"]
    assert status["succeeded"] == 1 and status["uncountedTerminatedPods"] == {}
    assert (status["ready"], status["terminating"]) == (0, 0)
    [pod] = (await client.list(PODS, scope))["items"]
    assert TRACKING not in pod["metadata"].get("finalizers", ())
    await told(client, scope, "SuccessfulCreate", "Completed")


async def test_the_example_runs_its_tasks_two_at_a_time(client: Client, scope: str, kubectl: Kubectl) -> None:
    async with pods_end(client, scope, succeed):
        await asyncio.to_thread(kubectl, "apply", "-f", str(REPOSITORY / "manifests" / "job.yaml"))

        def two_at_most(pods: dict[str, Object]) -> None:
            assert sum(pod["status"]["phase"] in ("Pending", "Running") for pod in pods.values()) <= 2

        await until(client, PODS, scope, lambda pods: len(pods) == 5, seen=two_at_most)
        await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/tasks", "--timeout=30s")
    status = (await client.get(JOBS, "tasks", scope))["status"]
    assert (status["completedIndexes"], status["failedIndexes"], status["succeeded"]) == ("0-4", "", 5)
    pods = (await client.list(PODS, scope))["items"]
    assert {pod["spec"]["hostname"] for pod in pods} == {f"tasks-{index}" for index in range(5)}


async def test_an_index_that_can_not_be_done_fails_alone(client: Client, scope: str) -> None:
    def outcome(pod: Object) -> tuple[str, int]:
        return ("Failed", 42) if annotations(pod)[COMPLETION_INDEX] == "1" else ("Succeeded", 0)

    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 3}
    async with pods_end(client, scope, outcome):
        await client.create(JOBS, job(**spec, podFailurePolicy={"rules": [rule]}), scope)
        status = (await until(client, JOBS, scope, has("Failed")))["work"]["status"]
    assert (status["completedIndexes"], status["failedIndexes"], status["failed"]) == ("0,2", "1", 1)
    assert find_condition(status["conditions"], "Failed")["reason"] == "FailedIndexes"  # type: ignore[index]


async def test_a_suspended_job_runs_no_pods_until_it_is_resumed(client: Client, scope: str) -> None:
    async with pods_end(client, scope, stay):
        await client.create(JOBS, job(completions=2, parallelism=2, suspend=True), scope)
        await until(client, JOBS, scope, has("Suspended"))
        assert not (await client.list(PODS, scope))["items"]
        await client.patch(JOBS, "work", {"spec": {"suspend": False}}, scope)
        await until(client, JOBS, scope, lambda found: found["work"]["status"].get("ready") == 2)
        await client.patch(JOBS, "work", {"spec": {"suspend": True}}, scope)
        await until(client, PODS, scope, lambda found: not found)
        await told(client, scope, "Suspended", "Resumed")
    assert "failed" not in (await client.get(JOBS, "work", scope))["status"]


async def test_a_job_that_fails_takes_its_pods_along(client: Client, scope: str) -> None:
    async with pods_end(client, scope, stay):
        await client.create(JOBS, job(completions=2, parallelism=2, backoffLimit=0), scope)
        pods = await until(client, JOBS, scope, lambda found: get_path(found["work"], "status", "ready") == 2)
        pods = await until(client, PODS, scope, lambda found: len(found) == 2)
        first = next(iter(pods))
        await client.patch(PODS, first, {"status": {"phase": "Failed"}}, scope, subresource="status")
        status = (await until(client, JOBS, scope, has("Failed")))["work"]["status"]
        await until(client, PODS, scope, lambda found: set(found) == {first})
    assert (status["failed"], status["terminating"]) == (2, 0)
    await told(client, scope, "BackoffLimitExceeded")


async def test_a_finished_job_goes_when_its_time_is_up(client: Client, scope: str) -> None:
    async with pods_end(client, scope, succeed):
        await client.create(JOBS, job(ttlSecondsAfterFinished=0), scope)
        await until(client, JOBS, scope, lambda found: "work" not in found)
        await until(client, PODS, scope, lambda found: not found)


async def test_a_deleted_job_leaves_no_pod_held_by_its_finalizer(client: Client, scope: str) -> None:
    async with pods_end(client, scope, stay):
        await client.create(JOBS, job(completions=2, parallelism=2), scope)
        await until(client, PODS, scope, lambda found: len(found) == 2)
        await client.delete(JOBS, "work", scope, propagation_policy="Background")
        await until(client, PODS, scope, lambda found: not found)


async def test_an_orphaned_jobs_pods_stay_without_finalizer(client: Client, scope: str) -> None:
    async with pods_end(client, scope, stay):
        await client.create(JOBS, job(), scope)
        await until(client, PODS, scope, lambda found: len(found) == 1)
        await client.delete(JOBS, "work", scope, propagation_policy="Orphan")
        free = lambda pod: controller_of(pod) is None and not pod["metadata"].get("finalizers")  # noqa: E731
        await until(client, PODS, scope, lambda found: len(found) == 1 and all(map(free, found.values())))


async def test_no_pod_is_lost_or_counted_twice_while_the_manager_is_killed(
    client: Client, scope: str, manager: ManagerProcess
) -> None:
    async with pods_end(client, scope, succeed):
        await client.create(JOBS, job(completions=60, parallelism=6), scope)
        for milestone in (8, 20, 40):
            enough = lambda found, least=milestone: get_path(found["work"], "status", "succeeded", default=0) >= least  # noqa: E731
            await until(client, JOBS, scope, enough)
            manager.kill()
            manager.start()
        status = (await until(client, JOBS, scope, has("Complete")))["work"]["status"]
    pods = (await client.list(PODS, scope))["items"]
    assert status["succeeded"] == len(pods) == 60
    assert "failed" not in status
