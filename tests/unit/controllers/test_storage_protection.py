"""Claims and volumes that are to go: they stay while they are used, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTRIBUTESCLASSES
from controllers.attributes_class_protection import FINALIZER as CLASS_FINALIZER
from controllers.attributes_class_protection import AttributesClassProtection, is_used
from controllers.storage_protection import (
    CLAIM_FINALIZER,
    VOLUME_FINALIZER,
    ClaimProtection,
    VolumeProtection,
    claims_in_use,
)
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.unit.controllers.test_stale_caches import running

GOING = {"deletionTimestamp": "2025-06-15T15:06:00Z"}


def pod(name: str, *volumes: Object, node: str = "n", **metadata: Any) -> Object:
    named = {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata}
    return {"metadata": named, "spec": {"nodeName": node, "volumes": list(volumes)}}


def mount(claim: str) -> Object:
    return {"name": "v", "persistentVolumeClaim": {"claimName": claim}}


def claim(name: str, *, owner: str = "", **metadata: Any) -> Object:
    owners = [{"kind": "Pod", "name": owner, "uid": f"uid-{owner}", "controller": True}] if owner else []
    kept = {"finalizers": [CLAIM_FINALIZER], "ownerReferences": owners}
    return {"metadata": {"name": name, "namespace": "default", **kept, **metadata}}


EPHEMERAL = {"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}
SHUT_DOWN = {**GOING, "deletionGracePeriodSeconds": 0}


@pytest.mark.parametrize(
    ("pods", "used"),
    [
        ([], set()),
        ([pod("p", mount("c"))], {"c"}),
        ([pod("p", mount("other"))], set()),
        ([pod("p", mount("c"), node="")], set()),
        ([pod("p", mount("c"), **SHUT_DOWN)], {"c"}),
        ([pod("p", EPHEMERAL)], {"p-v"}),
        ([pod("p", EPHEMERAL, **SHUT_DOWN)], set()),
        ([{**pod("p", EPHEMERAL), "metadata": {"name": "p", "uid": "a later one"}}], set()),
    ],
)
def test_claims_are_used_by_pods_on_nodes(pods: list[Object], used: set[str]) -> None:
    assert claims_in_use([claim("c"), claim("p-v", owner="p")], pods) == used


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def finalizers(api: StagedApi, resource: Any) -> dict[str, list[str]]:
    return {obj["metadata"]["name"]: obj["metadata"]["finalizers"] for obj in api.objects(resource)}


async def test_a_claim_goes_when_the_last_pod_that_uses_it_has_gone(clock: ManualClock) -> None:
    api = StagedApi()
    for one in (claim("used"), claim("unused", finalizers=["other", CLAIM_FINALIZER]), claim("stays")):
        await api.create(PERSISTENTVOLUMECLAIMS, one)
    await api.create(PODS, pod("p", mount("used")))
    async with running(api, clock, ClaimProtection):
        for name in ("used", "unused"):
            await api.patch(PERSISTENTVOLUMECLAIMS, name, {"metadata": GOING}, "default")
        await clock.advance(1)
        kept = {"used": [CLAIM_FINALIZER], "unused": ["other"], "stays": [CLAIM_FINALIZER]}
        assert finalizers(api, PERSISTENTVOLUMECLAIMS) == kept
        await api.delete(PODS, "p", "default")
        await clock.advance(1)
        assert finalizers(api, PERSISTENTVOLUMECLAIMS) == {**kept, "used": []}


async def test_a_pod_that_no_cache_shows_keeps_its_claim(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(PERSISTENTVOLUMECLAIMS, claim("used"))
    async with running(api, clock, ClaimProtection):
        api.hold(PODS)
        await api.create(PODS, pod("p", mount("used")))
        await api.patch(PERSISTENTVOLUMECLAIMS, "used", {"metadata": GOING}, "default")
        await clock.advance(1)
        assert finalizers(api, PERSISTENTVOLUMECLAIMS) == {"used": [CLAIM_FINALIZER]}


async def test_a_volume_goes_when_it_is_bound_no_more(clock: ManualClock) -> None:
    api = StagedApi()
    made = {"metadata": {"name": "v", "finalizers": [VOLUME_FINALIZER]}, "status": {"phase": "Bound"}}
    await api.create(PERSISTENTVOLUMES, made)
    async with running(api, clock, VolumeProtection):
        await api.patch(PERSISTENTVOLUMES, "v", {"metadata": GOING})
        await clock.advance(1)
        assert finalizers(api, PERSISTENTVOLUMES) == {"v": [VOLUME_FINALIZER]}
        await api.patch(PERSISTENTVOLUMES, "v", {"metadata": {}, "status": {"phase": "Released"}})
        await clock.advance(1)
        assert finalizers(api, PERSISTENTVOLUMES) == {"v": []}


@pytest.mark.parametrize(
    ("claim", "used"),
    [
        ({}, False),
        ({"spec": {"volumeAttributesClassName": "gold"}}, True),
        ({"status": {"currentVolumeAttributesClassName": "gold"}}, True),
        ({"status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}}, True),
        ({"spec": {"volumeAttributesClassName": "silver"}}, False),
    ],
)
def test_classes_are_used_by_claims_that_have_or_want_them(claim: Object, used: bool) -> None:
    assert is_used("gold", [claim], []) is used
    assert is_used("gold", [], [claim]) is (used and "spec" in claim)


async def test_a_class_goes_when_no_claim_has_to_do_with_it(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(VOLUMEATTRIBUTESCLASSES, {"metadata": {"name": "gold", "finalizers": [CLASS_FINALIZER]}})
    await api.create(PERSISTENTVOLUMECLAIMS, {**claim("c"), "spec": {"volumeAttributesClassName": "gold"}})
    async with running(api, clock, AttributesClassProtection):
        await api.patch(VOLUMEATTRIBUTESCLASSES, "gold", {"metadata": GOING})
        await clock.advance(1)
        assert finalizers(api, VOLUMEATTRIBUTESCLASSES) == {"gold": [CLASS_FINALIZER]}
        await api.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
        await clock.advance(1)
        assert finalizers(api, VOLUMEATTRIBUTESCLASSES) == {"gold": []}
