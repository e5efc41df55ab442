"""The StatefulSet controller over caches that show the past, and over names that are taken."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from controllers.controller_history import new_revision
from controllers.stateful_set import StatefulSetController, member_facts
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.support.stateful_sets import member, stateful_set
from tests.support.workloads import template
from tests.unit.controllers.test_stale_caches import new, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def parallel(replicas: int = 3, **spec: Any) -> Object:
    return new(stateful_set(replicas, podManagementPolicy="Parallel", **spec))


async def test_pods_are_created_once_while_the_cache_does_not_show_them(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, StatefulSetController):
        api.hold(PODS)
        await api.create(STATEFULSETS, parallel(3))
        await clock.advance(30)
        await api.patch(STATEFULSETS, "web", {"metadata": {}, "spec": {"replicas": 5}}, "default")
        await clock.advance(30)
        assert api.count("create", PODS) == 3  # what was done is not known yet: nothing more is
        api.release(PODS)
        await clock.advance(2)
        assert sorted(map(name, api.objects(PODS))) == [f"web-{number}" for number in range(5)]
        assert api.count("create", PODS) == 5


async def test_claims_are_created_once_while_the_cache_does_not_show_them(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, StatefulSetController):
        api.hold(PERSISTENTVOLUMECLAIMS)
        await api.create(STATEFULSETS, parallel(2, claims=["data"]))
        await clock.advance(30)
        assert sorted(map(name, api.objects(PODS))) == ["web-0", "web-1"]
        assert sorted(map(name, api.objects(PERSISTENTVOLUMECLAIMS))) == ["data-web-0", "data-web-1"]


async def test_history_is_written_once_while_the_cache_does_not_show_it(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, StatefulSetController):
        api.hold(CONTROLLERREVISIONS)
        await api.create(STATEFULSETS, parallel(1))
        await clock.advance(5)
        [first] = api.objects(CONTROLLERREVISIONS)
        await api.patch(
            STATEFULSETS, "web", {"metadata": {"generation": 2}, "spec": {"template": template("nginx:2")}}, "default"
        )
        await clock.advance(5)
        assert len(api.objects(CONTROLLERREVISIONS)) == 1
        api.release(CONTROLLERREVISIONS)
        await clock.advance(5)
        assert sorted(one["revision"] for one in api.objects(CONTROLLERREVISIONS)) == [1, 2]
        [web] = api.objects(STATEFULSETS)
        assert web["status"]["currentRevision"] == name(first)  # the update is not over: the pod is not ready


async def test_another_template_with_the_same_hash_is_told_apart_by_a_count(clock: ManualClock) -> None:
    api = StagedApi()
    taken = new_revision(STATEFULSETS, stateful_set(1), number=1)
    taken["metadata"] |= {"ownerReferences": [], "labels": {}}
    await api.create(CONTROLLERREVISIONS, {**taken, "data": {"spec": {"template": template("other")}}})
    async with running(api, clock, StatefulSetController):
        await api.create(STATEFULSETS, parallel(1))
        await clock.advance(5)
        [web] = api.objects(STATEFULSETS)
        assert web["status"]["collisionCount"] == 1
        assert web["status"]["updateRevision"] != name(taken)
        assert len(api.objects(CONTROLLERREVISIONS)) == 2


async def test_a_pod_of_another_that_has_the_name_is_left_alone(clock: ManualClock) -> None:
    api = StagedApi()
    stranger = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "default"}, "spec": {}}
    await api.create(PODS, stranger)
    async with running(api, clock, StatefulSetController):
        await api.create(STATEFULSETS, new(stateful_set(2)))
        await clock.advance(10)
        assert [name(pod) for pod in api.objects(PODS)] == ["web-0"]
        await api.delete(PODS, "web-0", "default")
        await clock.advance(20)
        [pod] = api.objects(PODS)
        assert pod["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"


async def test_a_leader_that_does_not_know_yet_that_it_was_replaced_doubles_nothing(clock: ManualClock) -> None:
    api = StagedApi()
    async with running(api, clock, StatefulSetController, StatefulSetController):
        api.hold(PODS)
        await api.create(STATEFULSETS, parallel(3, claims=["data"]))
        await clock.advance(5)
        api.release(PODS)
        await clock.advance(30)
        assert sorted(map(name, api.objects(PODS))) == ["web-0", "web-1", "web-2"]
        assert len(api.objects(PERSISTENTVOLUMECLAIMS)) == 3 and len(api.objects(CONTROLLERREVISIONS)) == 1
        assert api.count("delete", PODS) == 0


def test_only_changes_that_decisions_rest_on_are_looked_at() -> None:
    web = stateful_set(1)
    pod = member(web, 0)
    noted = {**pod, "metadata": {**pod["metadata"], "annotations": {"seen": "yes"}}}
    assert member_facts(pod) == member_facts(noted)
    for other in (member(web, 0, ready=False), member(web, 0, phase="Failed"), member(web, 0, leaving=True)):
        assert member_facts(pod) != member_facts(other)
