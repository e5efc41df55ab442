"""What goes wrong between controllers of workloads and their server: lost answers, refusals, owners that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from apiclient.rest import ApiUnavailable
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, uid
from apimachinery.resources import (
    CONTROLLERREVISIONS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    Resource,
)
from apimachinery.time import rfc3339
from controllers.context import Context, Controller
from controllers.cron_job import CronJobController
from controllers.daemon_set import DaemonSetController
from controllers.deployment import DeploymentController
from controllers.job import JobController
from controllers.replicaset import ReplicaSetController
from controllers.stateful_set import StatefulSetController
from tests.support.clock import ManualClock
from tests.support.jobs import job
from tests.support.staged_api import RefusingApi, StagedApi
from tests.support.workloads import deployment, metadata, node, pod, replica_set, template
from tests.unit.controllers.test_stale_caches import daemon_set, new, running

Maker = Callable[[Context], Controller]


class LossyApi(StagedApi):
    """One that does what it is asked for, and whose answers to some creations of pods are lost."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self.lost = set(lost)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **more: Any) -> Object:
        """Store; the connection breaks before the answer."""
        made = await super().create(resource, obj, namespace, **more)
        if resource is PODS and self.count("create", PODS) in self.lost:
            raise ApiUnavailable("https://server", ConnectionResetError("connection reset by peer"))
        return made


class EndingNamespaceApi(StagedApi):
    """One in whose namespace nothing can be created any more."""

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **more: Any) -> Object:
        """Refuse, as the admission plugin NamespaceLifecycle does."""
        self.calls.append(("create", resource.plural))
        why = "unable to create new content in namespace default because it is being terminated"
        raise ApiError(403, "Forbidden", why, {"causes": [{"reason": "NamespaceTerminating", "message": why}]})


class StallingApi(StagedApi):
    """One that answers nothing more after so many creations of pods, until it is told to."""

    def __init__(self, pods: int) -> None:
        super().__init__()
        self.pods_left = pods

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **more: Any) -> Object:
        """Store, or wait for ever."""
        if resource is PODS:
            if self.pods_left <= 0:
                await asyncio.Event().wait()
            self.pods_left -= 1
        return await super().create(resource, obj, namespace, **more)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def stateful_set() -> Object:
    selector = {"matchLabels": {"app": "web"}}
    spec = {"replicas": 3, "selector": selector, "template": template(), "serviceName": "web"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata("web"), "spec": spec}


def cron_job() -> Object:
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": job()["spec"]}, "timeZone": "Etc/UTC"}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata("tick"), "spec": spec}


async def rename(api: StagedApi, which: str, **changed: Any) -> None:
    """Something changes about the owner, so that it is looked at."""
    await api.patch(REPLICASETS, which, {"metadata": changed}, "default")


@pytest.mark.parametrize(
    ("maker", "resource", "owner"),
    [
        (ReplicaSetController, REPLICASETS, replica_set(replicas=4)),
        (JobController, JOBS, job(parallelism=4, completions=9)),
        (DaemonSetController, DAEMONSETS, daemon_set()),
    ],
)
@pytest.mark.parametrize("lost", [(1,), (2, 3), (1, 3, 4)])
async def test_pods_whose_creation_was_not_answered_are_not_created_again(
    clock: ManualClock, maker: Maker, resource: Resource, owner: Object, lost: tuple[int, ...]
) -> None:
    api = LossyApi(*lost)
    async with running(api, clock, maker):
        for number in range(4):
            await api.create(NODES, node(f"n{number}"))
        await clock.advance(1)
        api.hold(PODS)
        await api.create(resource, new(owner))
        await clock.advance(30)
        assert len(api.objects(PODS)) <= 4
        api.release(PODS)
        for _ in range(len(lost)):
            await clock.advance(2)
            api.hold(PODS)
            await clock.advance(30)
            api.release(PODS)
        await clock.advance(30)
        assert len(api.objects(PODS)) == 4 and api.count("create", PODS) == 4


async def test_a_quota_that_is_used_up_is_told_of_and_asked_ever_more_rarely(clock: ManualClock) -> None:
    api = RefusingApi(PODS)
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=100)))
        await clock.advance(300)
        tries = api.count("create", PODS)
        assert 5 <= tries <= 20  # 5 ms after the first, doubled each time; and never a hundred at once
        [web] = api.objects(REPLICASETS)
        failure = find_condition(web, "ReplicaFailure")
        assert failure is not None
        assert (failure["status"], failure["reason"], failure["message"]) == (
            "True",
            "FailedCreate",
            "exceeded quota",
        )
        api.refused.clear()
        await rename(api, "web-1", labels={"asked": "again"})
        await clock.advance(2)
        [web] = api.objects(REPLICASETS)
        assert len(api.objects(PODS)) == 100 and find_condition(web, "ReplicaFailure") is None


@pytest.mark.parametrize(
    ("maker", "resource", "owner"),
    [
        (DeploymentController, DEPLOYMENTS, deployment(replicas=50)),
        (ReplicaSetController, REPLICASETS, replica_set(replicas=50)),
        (StatefulSetController, STATEFULSETS, stateful_set()),
        (DaemonSetController, DAEMONSETS, daemon_set()),
        (JobController, JOBS, job(parallelism=50, completions=50)),
        (CronJobController, CRONJOBS, cron_job()),
    ],
)
async def test_in_a_namespace_that_is_going_nothing_is_tried_over_and_over(
    clock: ManualClock, maker: Maker, resource: Resource, owner: Object
) -> None:
    api = EndingNamespaceApi()
    async with running(api, clock, maker):
        await StagedApi.create(api, NODES, node("n1"))
        await clock.advance(1)
        await StagedApi.create(api, resource, new(owner))
        asked = len(api.calls)
        await clock.advance(600 if resource is not CRONJOBS else 90)
        tries = [call for call in api.calls[asked:] if call[0] == "create"]
        assert len(tries) <= 4
        assert api.objects(PODS) == [] and api.objects(CONTROLLERREVISIONS) == []
        for left in api.objects(resource):
            assert find_condition(left, "ReplicaFailure") is None


async def test_an_owner_that_was_replaced_unseen_adopts_nothing(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        made = await api.create(REPLICASETS, new(replica_set(replicas=1)))
        await clock.advance(2)
        api.hold(REPLICASETS)
        await api.delete(REPLICASETS, "web-1", "default")
        other = {**new(replica_set(replicas=1)), "spec": {**made["spec"], "replicas": 0}}
        await api.create(REPLICASETS, other)
        await api.create(PODS, {**pod("stray"), "metadata": {"name": "stray", "namespace": "default"}})
        await api.patch(PODS, "stray", {"metadata": {"labels": {"app": "web"}}}, "default")
        await clock.advance(5)
        [stray] = [one for one in api.objects(PODS) if one["metadata"]["name"] == "stray"]
        assert "ownerReferences" not in stray["metadata"]


async def test_an_owner_that_is_to_be_deleted_after_its_pods_neither_creates_nor_adopts(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=3)))
        await clock.advance(2)
        going = {"deletionTimestamp": rfc3339(clock.now()), "finalizers": ["foregroundDeletion"]}
        await rename(api, "web-1", **going)
        await clock.advance(1)
        for gone in api.objects(PODS)[:2]:
            await api.delete(PODS, gone["metadata"]["name"], "default")
        await api.patch(REPLICASETS, "web-1", {"metadata": {}, "spec": {"replicas": 9}}, "default")
        stray = {"name": "stray", "namespace": "default", "labels": {"app": "web"}}
        await api.create(PODS, {**pod("stray"), "metadata": stray})
        await clock.advance(10)
        found = {one["metadata"]["name"]: one for one in api.objects(PODS)}
        assert len(found) == 2 and "ownerReferences" not in found["stray"]["metadata"]
        [web] = api.objects(REPLICASETS)
        assert web["status"]["replicas"] == 1  # what is left of it is still told


async def test_a_leader_that_follows_in_the_middle_of_a_burst_completes_it(clock: ManualClock) -> None:
    api = StallingApi(10)
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=40)))
        await clock.advance(2)
        assert len(api.objects(PODS)) == 10
    api.pods_left = 1000
    async with running(api, clock, ReplicaSetController):
        await clock.advance(5)
        assert len(api.objects(PODS)) == 40 and api.count("create", PODS) == 40


async def test_labels_that_match_no_more_let_a_pod_go_unless_it_has_ended(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        made = await api.create(REPLICASETS, new(replica_set(replicas=2)))
        await clock.advance(2)
        running_, ended = (one["metadata"]["name"] for one in api.objects(PODS))
        await api.patch(PODS, ended, {"metadata": {}, "status": {"phase": "Failed"}}, "default")
        for which in (running_, ended):
            await api.patch(PODS, which, {"metadata": {"labels": {"app": "other"}}}, "default")
        await clock.advance(5)
        owners = {
            one["metadata"]["name"]: [reference["uid"] for reference in one["metadata"]["ownerReferences"]]
            for one in api.objects(PODS)
        }
        assert len(owners) == 4
        assert owners[running_] == [] and owners[ended] == [uid(made)]


async def test_a_burst_of_pods_costs_few_writes_of_the_status(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=100)))
        await clock.advance(1)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(clock.now())}
        before = api.count("patch", REPLICASETS)
        for one in api.objects(PODS):
            running_ = {"metadata": {}, "status": {"phase": "Running", "conditions": [ready]}}
            await api.patch(PODS, one["metadata"]["name"], running_, "default")
            await clock.settle()
        await clock.advance(1)
        [web] = api.objects(REPLICASETS)
        assert web["status"]["readyReplicas"] == 100
        assert api.count("patch", REPLICASETS) - before <= 2


async def test_a_replica_set_that_is_taken_away_is_replaced_and_given_up_once_it_is_back(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DeploymentController, ReplicaSetController):
        made = await api.create(DEPLOYMENTS, new(deployment(replicas=2)))
        await clock.advance(2)
        [first] = [one["metadata"]["name"] for one in api.objects(REPLICASETS)]
        await rename(api, first, labels={"app": "other"})
        await clock.advance(5)
        found = {one["metadata"]["name"]: one for one in api.objects(REPLICASETS)}
        assert len(found) == 2 and found[first]["metadata"]["ownerReferences"] == []
        assert {one["spec"]["replicas"] for one in found.values()} == {2}  # what it had is its own
        await rename(api, first, labels={"app": "web"})
        await clock.advance(5)
        found = {one["metadata"]["name"]: one for one in api.objects(REPLICASETS)}
        assert [reference["uid"] for reference in found[first]["metadata"]["ownerReferences"]] == [uid(made)]
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(clock.now())}
        for one in api.objects(PODS):
            running_ = {"metadata": {}, "status": {"phase": "Running", "conditions": [ready]}}
            await api.patch(PODS, one["metadata"]["name"], running_, "default")
        await clock.advance(5)
        assert sorted(one["spec"]["replicas"] for one in api.objects(REPLICASETS)) == [0, 2]
        [web] = api.objects(DEPLOYMENTS)
        assert web["status"]["collisionCount"] == 1


async def test_owners_whose_selectors_overlap_keep_to_what_is_their_own(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DeploymentController, ReplicaSetController):
        for which, image in (("one", "nginx:1"), ("two", "nginx:2")):
            await api.create(DEPLOYMENTS, new(deployment(which, replicas=2, image=image)))
        await clock.advance(5)
        await api.patch(DEPLOYMENTS, "one", {"metadata": {}, "spec": {"replicas": 3}}, "default")
        await clock.advance(5)
        sizes = {one["metadata"]["name"][:3]: one["spec"]["replicas"] for one in api.objects(REPLICASETS)}
        assert sizes == {"one": 3, "two": 2} and len(api.objects(PODS)) == 5


async def test_pods_that_match_are_adopted_and_those_too_many_deleted(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        for which in ("a", "b", "c"):
            stray = {"name": which, "namespace": "default", "labels": {"app": "web"}}
            await api.create(PODS, {**pod(which), "metadata": stray})
        made = await api.create(REPLICASETS, new(replica_set(replicas=2)))
        await clock.advance(5)
        owners = [one["metadata"]["ownerReferences"][0]["uid"] for one in api.objects(PODS)]
        assert owners == [uid(made)] * 2 and api.count("create", PODS) == 3
