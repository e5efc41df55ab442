"""The quota controller: what it counts, when it counts again, and that it never takes away what was just charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apimachinery.errors import expired
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    RESOURCEQUOTAS,
    Resource,
)
from apimachinery.time import rfc3339
from controllers.resource_quota import RECOUNT_SECONDS, RESYNC_SECONDS, ResourceQuotaController
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.unit.controllers.test_stale_caches import running


class BusyApi(StagedApi):
    """Somebody creates pods at the moment when they are counted, and they are charged."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[str] = []
        self.forgets = False
        self._quotas: list[Object] = []

    async def list(self, resource: Resource, namespace: str | None = None, **more: Any) -> Object:
        if resource is RESOURCEQUOTAS and (version := more.get("resource_version")):
            if self.forgets:
                raise expired("too old resource version")
            then = [one for one in self._quotas if int(one["metadata"]["resourceVersion"]) <= int(version)]
            return {"items": then[-1:], "metadata": {"resourceVersion": version}}
        if resource is not PODS or namespace is None or not self.meanwhile:
            return await super().list(resource, namespace, **more)
        early, late = self.meanwhile.pop(0), self.meanwhile.pop(0)
        await self._charge(early)
        found = await super().list(resource, namespace, **more)
        await self._charge(late)
        return found

    def _write(self, resource: Resource, kind: str, obj: Object) -> Object:
        written = super()._write(resource, kind, obj)
        if resource is RESOURCEQUOTAS:
            self._quotas.append(written)
        return written

    async def _charge(self, name: str) -> None:
        await self.create(PODS, pod(name))
        used = int(self.quota()["status"]["used"]["pods"]) + 1
        await self.patch(RESOURCEQUOTAS, "q", {"metadata": {}, "status": {"used": {"pods": str(used)}}}, "default")

    def quota(self) -> Object:
        return self.objects(RESOURCEQUOTAS)[0]

    def used(self) -> Any:
        return self.quota()["status"]["used"]


def pod(name: str, **status: Any) -> Object:
    spec = {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def quota(hard: dict[str, str], used: dict[str, str] | None = None) -> Object:
    metadata = {"name": "q", "namespace": "default"}
    made = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}}
    return made if used is None else {**made, "status": {"hard": hard, "used": used}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def counting(clock: ManualClock, *objects: tuple[Resource, Object]) -> AsyncIterator[BusyApi]:
    api = BusyApi()
    for resource, obj in objects:
        await api.create(resource, obj)
    async with running(api, clock, ResourceQuotaController):
        await clock.advance(1)
        yield api


async def test_a_new_quota_is_told_what_is_there(clock: ManualClock) -> None:
    hard = {
        "pods": "5",
        "cpu": "1",
        "count/configmaps": "5",
        "count/nothing.example.com": "5",
        "persistentvolumeclaims": "1",
    }
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": {}}
    async with counting(
        clock,
        (RESOURCEQUOTAS, quota(hard)),
        (PODS, pod("a")),
        (PODS, pod("b", phase="Failed")),
        (CONFIGMAPS, {"metadata": {"name": "a", "namespace": "default"}}),
        (PERSISTENTVOLUMECLAIMS, claim),
    ) as api:
        # What nobody serves is limited, but not counted.
        assert api.used() == {"pods": "1", "cpu": "100m", "count/configmaps": "1", "persistentvolumeclaims": "1"}
        assert api.quota()["status"]["hard"] == hard


async def test_what_leaves_or_ends_is_taken_off(clock: ManualClock) -> None:
    full = quota({"pods": "5"}, {"pods": "2"})
    async with counting(clock, (PODS, pod("a")), (PODS, pod("b")), (RESOURCEQUOTAS, full)) as api:
        await api.delete(PODS, "a", "default")
        await clock.advance(1)
        assert api.used() == {"pods": "1"}
        await api.patch(PODS, "b", {"metadata": {}, "status": {"phase": "Succeeded"}}, "default")
        await clock.advance(1)
        assert api.used() == {"pods": "0"}


async def test_a_pod_whose_node_does_not_stop_it_uses_nothing_after_its_time(clock: ManualClock) -> None:
    async with counting(clock, (PODS, pod("a")), (RESOURCEQUOTAS, quota({"pods": "5"}, {"pods": "1"}))) as api:
        stamp = rfc3339(clock.now() + 10)
        going = {"metadata": {"deletionTimestamp": stamp, "deletionGracePeriodSeconds": 10}}
        await api.patch(PODS, "a", going, "default")
        await clock.advance(15)
        assert api.used() == {"pods": "1"}
        await clock.advance(10)
        assert api.used() == {"pods": "0"}


@pytest.mark.parametrize(("forgets", "for_a_moment"), [(False, "4"), (True, "5")])
async def test_what_is_charged_while_it_counts_stays_charged(
    clock: ManualClock, forgets: bool, for_a_moment: str
) -> None:
    three = [(PODS, pod(name)) for name in "abc"]
    async with counting(clock, *three, (RESOURCEQUOTAS, quota({"pods": "9"}, {"pods": "3"}))) as api:
        api.meanwhile, api.forgets = ["d", "e"], forgets
        await api.delete(PODS, "a", "default")
        await clock.advance(0.5)
        # There are four. Whether d was charged before it was counted is not known any more when that is forgotten.
        assert api.used() == {"pods": for_a_moment}
        await clock.advance(RECOUNT_SECONDS + 1)
        assert api.used() == {"pods": "4"}


async def test_what_was_missed_is_found_in_the_end(clock: ManualClock) -> None:
    async with counting(clock, (PODS, pod("a")), (RESOURCEQUOTAS, quota({"pods": "9"}, {"pods": "1"}))) as api:
        await api.patch(RESOURCEQUOTAS, "q", {"metadata": {}, "status": {"used": {"pods": "7"}}}, "default")
        await clock.advance(RESYNC_SECONDS + 1)
        assert api.used() == {"pods": "1"}


async def test_nothing_is_written_that_says_nothing_new(clock: ManualClock) -> None:
    async with counting(clock, (PODS, pod("a")), (RESOURCEQUOTAS, quota({"pods": "9"}, {"pods": "1"}))) as api:
        assert api.count("update", RESOURCEQUOTAS) == 0


async def test_custom_resources_are_counted_once_they_are_served(clock: ManualClock) -> None:
    widgets = Resource("example.com", "v1", "Widget", "widgets", "widget")
    async with counting(clock, (RESOURCEQUOTAS, quota({"count/widgets.example.com": "9"}))) as api:
        assert api.used() == {}
        api.custom = [widgets]
        await api.create(widgets, {"metadata": {"name": "a", "namespace": "default"}})
        await api.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": "widgets.example.com"}})
        await clock.advance(3)
        assert api.used() == {"count/widgets.example.com": "1"}
        await api.delete(widgets, "a", "default")
        await clock.advance(1)
        assert api.used() == {"count/widgets.example.com": "0"}
