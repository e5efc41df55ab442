"""What a PodDisruptionBudget says of its pods, and when announcements of pods' ends are taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiclient.events import EventRecorder
from apimachinery.meta import Object, find_condition, name
from apimachinery.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
    Resource,
)
from apimachinery.time import rfc3339
from controllers.context import Context, Informers, Options, run_controller
from controllers.disruption import DisruptionController
from controllers.disruption_status import (
    DELETION_SECONDS_MAX,
    STALE_SECONDS,
    counts_by_scale,
    disrupted,
    expected_and_desired,
    failed_status,
    plan_status,
    seconds_until_stale,
)
from controllers.requests import replacing
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.support.workloads import EPOCH, deployment, metadata, owned_by, pod, replica_set

NOW = EPOCH + 1000


def budget(status: Object | None = None, **spec: Any) -> Object:
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    return {**kind, "metadata": metadata("web", generation=3), "spec": spec, "status": status or {}}


def ready(which: str) -> Object:
    return pod(which, node="n1", phase="Running", ready_since=EPOCH)


def leaving(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected", "desired"),
    [
        ({"minAvailable": 3}, 4, 0, 4, 3),
        ({"minAvailable": 5}, 4, 0, 4, 5),
        ({"minAvailable": 0}, 4, 0, 4, 0),
        ({"minAvailable": "30%"}, 4, 10, 10, 3),
        ({"minAvailable": "67%"}, 1, 3, 3, 3),
        ({"minAvailable": "100%"}, 1, 3, 3, 3),
        ({"maxUnavailable": 1}, 2, 5, 5, 4),
        ({"maxUnavailable": 7}, 2, 5, 5, 0),
        ({"maxUnavailable": "10%"}, 2, 5, 5, 4),
        ({"maxUnavailable": "0%"}, 2, 5, 5, 5),
        ({}, 4, 5, 0, 0),
    ],
)
def test_how_many_pods_have_to_be_healthy(spec: Object, pods: int, scale: int, expected: int, desired: int) -> None:
    assert expected_and_desired(budget(**spec), pods, scale) == (expected, desired)


@pytest.mark.parametrize(
    ("spec", "asked"),
    [({"minAvailable": 3}, False), ({"minAvailable": "30%"}, True), ({"maxUnavailable": 0}, True), ({}, False)],
)
def test_the_size_of_controllers_is_asked_for_only_if_it_matters(spec: Object, asked: bool) -> None:
    assert counts_by_scale(budget(**spec)) is asked


def test_the_pods_above_the_limit_may_go() -> None:
    pods = [*map(ready, "abcd"), pod("sick", node="n1", phase="Running"), leaving(ready("gone"))]
    status = plan_status(budget(minAvailable=2), pods, 0, {}, NOW)
    assert status == {
        "currentHealthy": 4,
        "desiredHealthy": 2,
        "expectedPods": 6,
        "disruptionsAllowed": 2,
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "DisruptionAllowed",
                "status": "True",
                "reason": "SufficientPods",
                "message": "",
                "observedGeneration": 3,
                "lastTransitionTime": rfc3339(NOW),
            }
        ],
    }


def test_too_few_pods_allow_nothing_and_the_condition_keeps_its_time() -> None:
    first = plan_status(budget(minAvailable=3), [ready("a")], 0, {}, NOW)
    assert first["disruptionsAllowed"] == 0
    [condition] = first["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "InsufficientPods")
    later = plan_status(budget(first, minAvailable=3), [ready("a"), ready("b")], 0, {}, NOW + 60)
    assert later["conditions"] == first["conditions"]


def test_a_budget_without_pods_allows_nothing() -> None:
    assert plan_status(budget(minAvailable=0), [], 0, {}, NOW)["disruptionsAllowed"] == 0
    assert plan_status(budget(maxUnavailable=1), [], 0, {}, NOW)["disruptionsAllowed"] == 0


def test_evicted_pods_count_as_gone_until_they_are_or_should_long_have_been() -> None:
    pods = [ready("fresh"), ready("overdue"), leaving(ready("leaving")), ready("other")]
    evicted = {
        "fresh": rfc3339(NOW - 20),
        "overdue": rfc3339(NOW - DELETION_SECONDS_MAX - 1),
        "leaving": rfc3339(NOW - 20),
        "vanished": rfc3339(NOW - 20),
    }
    web = budget({"disruptedPods": evicted}, minAvailable=1)
    found = disrupted(web, pods, NOW)
    assert found.pods == {"fresh": evicted["fresh"]}
    assert [name(one) for one in found.overdue] == ["overdue"]
    assert found.look_again_seconds == DELETION_SECONDS_MAX - 20
    status = plan_status(web, pods, 0, found.pods, NOW)
    assert (status["currentHealthy"], status["disruptionsAllowed"]) == (2, 1)
    assert status["disruptedPods"] == found.pods


def test_what_is_not_evicted_any_more_is_taken_out_of_the_stored_status() -> None:
    patch = replacing({"disruptedPods": {"a": "1", "b": "1"}}, {"disruptedPods": {"b": "1"}})
    assert patch == {"disruptedPods": {"a": None, "b": "1"}}
    assert replacing({"disruptedPods": {"a": "1"}}, {"expectedPods": 1}) == {"disruptedPods": None, "expectedPods": 1}


def test_what_can_not_be_counted_allows_nothing_and_says_why() -> None:
    counted = plan_status(budget(minAvailable=1), [ready("a"), ready("b")], 0, {}, NOW)
    failed = failed_status(budget(counted, minAvailable=1), "no such controller", NOW + 5)
    assert failed["disruptionsAllowed"] == 0 and failed["currentHealthy"] == 2
    [condition] = failed["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")
    assert (condition["message"], condition["lastTransitionTime"]) == ("no such controller", rfc3339(NOW + 5))
    assert failed_status(budget(), "new", NOW)["expectedPods"] == 0


def announced(reason: str = "EvictionByEvictionAPI", status: str = "True", **more: Any) -> Object:
    found = pod("p", **{"node": "n1", "phase": "Running", **more})
    told = {"type": "DisruptionTarget", "status": status, "reason": reason, "lastTransitionTime": rfc3339(NOW - 20)}
    return {**found, "status": {**found["status"], "conditions": [told]}}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (announced(), STALE_SECONDS - 20),
        (announced(status="False"), None),
        (announced(reason="TerminationByKubelet"), None),
        (announced(phase="Failed"), None),
        (leaving(announced()), None),
        (ready("p"), None),
    ],
)
def test_an_announced_end_is_believed_for_a_while(given: Object, seconds: float | None) -> None:
    assert seconds_until_stale(given, NOW) == seconds


def test_an_announced_end_that_has_not_come_is_out_of_date() -> None:
    assert seconds_until_stale(announced(), NOW + STALE_SECONDS) == 0


CROWDS = Resource("example.com", "v1", "Crowd", "crowds", "crowd", subresources=("scale",))
SELECTOR = {"matchLabels": {"app": "web"}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@asynccontextmanager
async def working(clock: ManualClock, api: StagedApi) -> AsyncIterator[None]:
    """The controller at work on a staged API."""
    client: Any = api
    informers = Informers(client, client, clock=clock)
    context = Context(client, client, informers, EventRecorder(client, "test", clock=clock), clock, Options())
    controller = DisruptionController(context)
    try:
        async with asyncio.TaskGroup() as group:
            informers.start(group)
            group.create_task(run_controller("test", controller, workers=1, clock=clock))
            await clock.advance(1)
            yield
            raise _Over
    except* _Over:
        pass


class _Over(Exception):
    """The test is over: ends all tasks of its group."""


async def create_pods(api: StagedApi, owner: Object, count: int) -> None:
    for number in range(count):
        await api.create(PODS, owned_by(ready(f"{owner['metadata']['name']}-{number}"), owner))


def told(api: StagedApi) -> Object:
    [web] = api.objects(PODDISRUPTIONBUDGETS)
    status: Object = web["status"]
    return status


def of_kind(resource: Resource, replicas: int) -> Object:
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**kind, "metadata": metadata(resource.singular), "spec": {"replicas": replicas}}


@pytest.mark.parametrize("resource", [REPLICASETS, STATEFULSETS, REPLICATIONCONTROLLERS, CROWDS])
async def test_expected_are_the_pods_that_their_controller_wants(clock: ManualClock, resource: Resource) -> None:
    api = StagedApi()
    api.custom = [CROWDS]
    async with working(clock, api):
        await create_pods(api, await api.create(resource, of_kind(resource, 5)), 4)
        await api.create(PODDISRUPTIONBUDGETS, budget(selector=SELECTOR, maxUnavailable="20%"))
        await clock.advance(5)
        counts = [told(api)[key] for key in ("expectedPods", "desiredHealthy", "currentHealthy")]
        assert counts == [5, 4, 4] and told(api)["disruptionsAllowed"] == 0


async def test_the_size_of_a_deployment_counts_and_not_that_of_its_replica_sets(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        web = await api.create(DEPLOYMENTS, deployment(replicas=6))
        for which in ("web-1", "web-2"):
            child = await api.create(REPLICASETS, owned_by(replica_set(which, replicas=4), web))
            await create_pods(api, child, 3)
        await api.create(PODDISRUPTIONBUDGETS, budget(selector=SELECTOR, maxUnavailable=1))
        await clock.advance(5)
        assert (told(api)["expectedPods"], told(api)["disruptionsAllowed"]) == (6, 1)
        await api.patch(DEPLOYMENTS, "web", {"metadata": {}, "spec": {"replicas": 7}}, "default")
        await clock.advance(1)
        assert (told(api)["expectedPods"], told(api)["disruptionsAllowed"]) == (7, 0)


async def test_pods_of_no_controller_are_left_out_of_what_is_expected(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        await create_pods(api, await api.create(REPLICASETS, replica_set(replicas=2)), 2)
        await api.create(PODS, ready("bare"))
        await api.create(PODDISRUPTIONBUDGETS, budget(selector=SELECTOR, maxUnavailable=1))
        await clock.advance(1)
        assert (told(api)["expectedPods"], told(api)["currentHealthy"]) == (2, 3)


async def test_nothing_is_allowed_until_the_controller_of_all_pods_is_known(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        api.hold(REPLICASETS)
        await create_pods(api, await api.create(REPLICASETS, replica_set(replicas=2)), 2)
        await api.create(PODDISRUPTIONBUDGETS, budget(selector=SELECTOR, maxUnavailable=1))
        await clock.advance(1)
        [condition] = told(api)["conditions"]
        assert condition["reason"] == "SyncFailed" and condition["message"].startswith("found no controllers for pod")
        api.release(REPLICASETS)
        await clock.advance(1)
        assert told(api)["disruptionsAllowed"] == 1


async def test_a_budget_without_a_selector_has_no_pods_and_with_an_empty_one_all(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        await api.create(PODS, ready("a"))
        await api.create(PODDISRUPTIONBUDGETS, budget(minAvailable=0))
        await clock.advance(1)
        assert told(api)["expectedPods"] == 0
        await api.patch(
            PODDISRUPTIONBUDGETS, "web", {"metadata": {"generation": 4}, "spec": {"selector": {}}}, "default"
        )
        await clock.advance(1)
        assert (told(api)["expectedPods"], told(api)["disruptionsAllowed"]) == (1, 1)


async def test_an_evicted_pod_that_stays_counts_again_after_two_minutes(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        await api.create(PODS, ready("a"))
        await api.create(PODS, ready("b"))
        await api.create(PODDISRUPTIONBUDGETS, budget(selector=SELECTOR, minAvailable=1))
        await clock.advance(1)
        spent = {"disruptionsAllowed": 0, "disruptedPods": {"a": rfc3339(clock.now())}}
        await api.patch(PODDISRUPTIONBUDGETS, "web", {"metadata": {}, "status": spent}, "default")
        await clock.advance(DELETION_SECONDS_MAX - 5)
        assert (told(api)["currentHealthy"], told(api)["disruptionsAllowed"]) == (1, 0)
        await clock.advance(10)
        assert (told(api)["currentHealthy"], told(api)["disruptionsAllowed"]) == (2, 1)
        assert "disruptedPods" not in told(api)


async def test_an_announced_end_that_does_not_come_is_taken_back(clock: ManualClock) -> None:
    api = StagedApi()
    async with working(clock, api):
        await api.create(PODS, announced())
        await clock.advance(STALE_SECONDS - 25)
        [kept] = api.objects(PODS)
        assert (find_condition(kept, "DisruptionTarget") or {})["status"] == "True"
        await clock.advance(10)
        [changed] = api.objects(PODS)
        assert (find_condition(changed, "DisruptionTarget") or {})["status"] == "False"
        assert api.count("patch", PODS) == 1
