"""Controllers whose caches show the past: nothing is done twice, and all is done once the present is seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICASETS,
    SECRETS,
)
from controllers.daemon_set import DaemonSetController
from controllers.daemon_set_nodes import HASH_LABEL
from controllers.deployment import DeploymentController
from controllers.garbage_collector import GarbageCollector
from controllers.replicaset import ReplicaSetController
from tests.support.clock import ManualClock
from tests.support.staged_api import NarrowApi, RefusingApi, StagedApi
from tests.support.staged_controllers import running
from tests.support.workloads import deployment, metadata, node, replica_set, template


def new(obj: Object, **spec: Any) -> Object:
    """An object as a user creates it."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace")}
    metadata["creationTimestamp"] = obj["metadata"]["creationTimestamp"]
    return {**{key: obj[key] for key in ("apiVersion", "kind")}, "metadata": metadata, "spec": obj["spec"] | spec}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_pods_are_created_once_while_the_cache_does_not_show_them(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        api.hold(PODS)
        web = await api.create(REPLICASETS, new(replica_set(replicas=5)))
        await clock.advance(30)
        assert len(api.objects(PODS)) == 5
        await api.patch(REPLICASETS, web["metadata"]["name"], {"metadata": {}, "spec": {"replicas": 7}}, "default")
        await clock.advance(30)
        assert len(api.objects(PODS)) == 5  # what was done is not known yet: nothing more is
        api.release(PODS)
        await clock.advance(2)
        assert len(api.objects(PODS)) == 7 and api.count("create", PODS) == 7


async def test_pods_are_deleted_once_while_the_cache_still_shows_them(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=6)))
        await clock.advance(2)
        api.hold(PODS)
        await api.patch(REPLICASETS, "web-1", {"metadata": {}, "spec": {"replicas": 4}}, "default")
        await clock.advance(30)
        for changes in range(3):
            await api.patch(REPLICASETS, "web-1", {"metadata": {"labels": {"n": str(changes)}}}, "default")
            await clock.advance(5)
        assert len(api.objects(PODS)) == 4 and api.count("delete", PODS) == 2
        api.release(PODS)
        await clock.advance(2)
        assert len(api.objects(PODS)) == 4 and api.count("delete", PODS) == 2


async def test_a_rollout_takes_no_second_step_before_it_sees_the_first(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DeploymentController):
        api.hold(REPLICASETS)
        await api.create(DEPLOYMENTS, new(deployment(replicas=4)))
        await clock.advance(30)
        assert len(api.objects(REPLICASETS)) == 1 and api.count("create", REPLICASETS) == 1
        api.release(REPLICASETS)
        await clock.advance(2)
        assert len(api.objects(REPLICASETS)) == 1 and api.count("create", REPLICASETS) == 1


async def test_when_the_first_pod_is_refused_the_server_is_not_asked_for_all(clock: ManualClock) -> None:
    api = RefusingApi(PODS)
    async with running(api, clock, ReplicaSetController):
        await api.create(REPLICASETS, new(replica_set(replicas=500)))
        await clock.settle()
        assert api.count("create", PODS) <= 2
        api.refused.clear()

        def is_told() -> bool:
            [web] = api.objects(REPLICASETS)
            return web.get("status", {}).get("replicas") == 500 and "conditions" not in web["status"]

        await clock.run_until(is_told)
        assert len(api.objects(PODS)) == 500


async def test_a_taken_name_of_another_template_is_avoided_by_counting_collisions(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DeploymentController):
        await api.create(DEPLOYMENTS, new(deployment(replicas=1)))
        await clock.advance(2)
        [first] = api.objects(REPLICASETS)
        await api.delete(DEPLOYMENTS, "web", "default")
        await clock.advance(2)
        stranger = {**first["metadata"], "ownerReferences": [], "labels": {}}
        await api.delete(REPLICASETS, first["metadata"]["name"], "default")
        await api.create(REPLICASETS, {**first, "metadata": stranger})
        await api.create(DEPLOYMENTS, new(deployment(replicas=1)))
        await clock.advance(2)
        [web] = api.objects(DEPLOYMENTS)
        assert web["status"]["collisionCount"] == 1
        assert len(api.objects(REPLICASETS)) == 2


async def test_a_resource_that_is_not_served_neither_stops_the_collector_nor_makes_owners_absent(
    clock: ManualClock,
) -> None:
    api = NarrowApi(SECRETS)
    async with running(api, clock, GarbageCollector, patience=30.0):
        for which, kind, group in (("lost", "ConfigMap", "v1"), ("unsure", "Secret", "v1")):
            owner = {"apiVersion": group, "kind": kind, "name": "gone", "uid": "no-such-uid"}
            metadata = {"name": which, "namespace": "default", "ownerReferences": [owner]}
            await api.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        async with asyncio.timeout(10):
            await clock.run_until(lambda: api.count("delete", CONFIGMAPS) > 0)
        await clock.advance(60)
        assert [obj["metadata"]["name"] for obj in api.objects(CONFIGMAPS)] == ["unsure"]


def daemon_set() -> Object:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template()}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata("agent"), "spec": spec}


async def test_a_node_gets_one_pod_of_a_daemon_set_while_the_cache_does_not_show_it(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DaemonSetController):
        await api.create(NODES, node("n1"))
        await clock.advance(1)
        api.hold(PODS)
        await api.create(DAEMONSETS, new(daemon_set()))
        await clock.advance(1)
        await api.create(NODES, node("n2"))
        await clock.advance(30)
        assert len(api.objects(PODS)) == 1
        api.release(PODS)
        await clock.advance(2)
        assert len(api.objects(PODS)) == 2 and api.count("create", PODS) == 2


async def test_a_node_that_turns_a_daemon_set_s_pods_down_is_asked_ever_more_rarely(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DaemonSetController):
        await api.create(NODES, node("n1"))
        await api.create(DAEMONSETS, new(daemon_set()))
        for _ in range(100):
            await clock.advance(0.1)
            for pod in api.objects(PODS):
                if "status" not in pod:
                    failed = {"metadata": {}, "status": {"phase": "Failed"}}
                    await api.patch(PODS, pod["metadata"]["name"], failed, "default")
        # One at once, then 1, 2 and 4 seconds after each other; the next is due in the 16th second.
        assert api.count("create", PODS) == 5


async def test_pods_of_two_revisions_of_one_template_are_none_of_them_old(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, DaemonSetController):
        for which in ("n1", "n2"):
            await api.create(NODES, node(which))
        await api.create(DAEMONSETS, new(daemon_set()))
        await clock.advance(2)
        [revision] = api.objects(CONTROLLERREVISIONS)
        before = {pod["metadata"]["uid"] for pod in api.objects(PODS)}
        found = {**revision["metadata"], "name": "agent-twin", "labels": {**revision["metadata"]["labels"]}}
        found["labels"][HASH_LABEL] = "twin"
        await api.create(CONTROLLERREVISIONS, {**revision, "metadata": found, "revision": 7})
        await clock.advance(1)
        api.hold(PODS)
        await api.patch(DAEMONSETS, "agent", {"metadata": {"labels": {"looked": "at"}}}, "default")
        await clock.advance(5)
        api.release(PODS)
        await clock.advance(5)
        [kept] = api.objects(CONTROLLERREVISIONS)
        assert kept["metadata"]["name"] == "agent-twin"
        assert {pod["metadata"]["uid"] for pod in api.objects(PODS)} == before
        assert {pod["metadata"]["labels"][HASH_LABEL] for pod in api.objects(PODS)} == {"twin"}
