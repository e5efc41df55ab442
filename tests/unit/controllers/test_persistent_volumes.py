"""Claims from their first day to their volumes' last: the binder, the provisioner, the maker of pods' own claims."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.persistent_volumes import LOCAL_PATH, LOCAL_PATH_NODE_LABEL, SELECTED_NODE, is_reachable
from apimachinery.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from controllers.ephemeral_volumes import EphemeralVolumes
from controllers.local_path_provisioner import LocalPathProvisioner, Unable, is_to_go, volume_for
from controllers.persistent_volume_binder import PersistentVolumeBinder
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.unit.controllers.test_persistent_volume_plan import claim as plain_claim
from tests.unit.controllers.test_persistent_volume_plan import volume
from tests.unit.controllers.test_stale_caches import running

LOCAL: Object = {
    "metadata": {"name": "local-path"},
    "provisioner": LOCAL_PATH,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}
NODE: Object = {"metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}}}
BOTH = (PersistentVolumeBinder, LocalPathProvisioner)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def claim(**more: Any) -> Object:
    return {**plain_claim(storage_class="local-path", **more), "kind": "PersistentVolumeClaim"}


async def api_with(*objects: tuple[Any, Object]) -> StagedApi:
    api = StagedApi()
    for resource, obj in objects:
        await api.create(resource, obj)
    return api


def only(api: StagedApi, resource: Any) -> Object:
    (found,) = api.objects(resource)
    return found


async def test_a_claim_gets_a_volume_on_the_node_of_its_pod_and_gives_it_back(clock: ManualClock) -> None:
    api = await api_with((STORAGECLASSES, LOCAL), (NODES, NODE), (PERSISTENTVOLUMECLAIMS, claim()))
    async with running(api, clock, *BOTH):
        assert not api.objects(PERSISTENTVOLUMES), "nobody knows yet where it is used"
        selected = {"metadata": {"annotations": {SELECTED_NODE: "node-1"}}}
        await api.patch(PERSISTENTVOLUMECLAIMS, "c", selected, "ns")
        await clock.advance(1)
        made, bound = only(api, PERSISTENTVOLUMES), only(api, PERSISTENTVOLUMECLAIMS)
        assert (made["status"]["phase"], bound["status"]["phase"]) == ("Bound", "Bound")
        assert bound["spec"]["volumeName"] == made["metadata"]["name"] == f"pvc-{bound['metadata']['uid']}"
        assert bound["status"]["capacity"] == {"storage": "1Gi"}
        assert made["metadata"]["labels"] == {LOCAL_PATH_NODE_LABEL: "node-1"}
        assert is_reachable(made, {"kubernetes.io/hostname": "node-1"})
        assert not is_reachable(made, {"kubernetes.io/hostname": "node-2"})
        await api.delete(PERSISTENTVOLUMECLAIMS, "c", "ns")
        await clock.advance(1)
        assert not api.objects(PERSISTENTVOLUMES)


async def test_a_volume_that_is_to_be_kept_is_only_released(clock: ManualClock) -> None:
    selected = claim(annotations={SELECTED_NODE: "node-1"})
    kept = {**LOCAL, "reclaimPolicy": "Retain"}
    api = await api_with((STORAGECLASSES, kept), (NODES, NODE), (PERSISTENTVOLUMECLAIMS, selected))
    async with running(api, clock, *BOTH):
        await clock.advance(1)
        await api.delete(PERSISTENTVOLUMECLAIMS, "c", "ns")
        await clock.advance(1)
        assert only(api, PERSISTENTVOLUMES)["status"]["phase"] == "Released"


async def test_a_claim_for_a_node_that_is_gone_is_given_back_to_the_scheduler(clock: ManualClock) -> None:
    selected = claim(annotations={SELECTED_NODE: "node-9"})
    api = await api_with((STORAGECLASSES, LOCAL), (PERSISTENTVOLUMECLAIMS, selected))
    async with running(api, clock, *BOTH):
        await clock.advance(1)
        assert SELECTED_NODE not in only(api, PERSISTENTVOLUMECLAIMS)["metadata"]["annotations"]
        assert not api.objects(PERSISTENTVOLUMES)


async def test_two_claims_never_get_one_volume(clock: ManualClock) -> None:
    """Although the caches show it as free to both."""
    first, second = (plain_claim() for _ in range(2))
    second["metadata"] = {**second["metadata"], "name": "d"}
    api = await api_with((PERSISTENTVOLUMES, volume()))
    api.hold(PERSISTENTVOLUMES)
    async with running(api, clock, PersistentVolumeBinder):
        for one in (first, second):
            await api.create(PERSISTENTVOLUMECLAIMS, {**one, "kind": "PersistentVolumeClaim"})
        await clock.advance(1)
        api.release(PERSISTENTVOLUMES)
        await clock.advance(10)
        phases = sorted(one["status"]["phase"] for one in api.objects(PERSISTENTVOLUMECLAIMS))
        assert phases == ["Bound", "Pending"]


async def test_a_claim_that_waits_is_bound_when_a_volume_comes(clock: ManualClock) -> None:
    api = await api_with((PERSISTENTVOLUMECLAIMS, {**plain_claim(), "kind": "PersistentVolumeClaim"}))
    async with running(api, clock, PersistentVolumeBinder):
        await api.create(PERSISTENTVOLUMES, volume(phase="Pending"))
        await clock.advance(1)
        assert only(api, PERSISTENTVOLUMECLAIMS)["status"]["phase"] == "Bound"
        await api.delete(PERSISTENTVOLUMES, "v")
        await clock.advance(1)
        assert only(api, PERSISTENTVOLUMECLAIMS)["status"]["phase"] == "Lost"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"accessModes": ["ReadWriteMany"]}, "not ReadWriteMany"),
        ({"volumeMode": "Block"}, "only volumeMode Filesystem"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "Selector"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}, "data source"),
    ],
)
def test_what_a_folder_can_not_be_is_refused(changed: Object, why: str) -> None:
    with pytest.raises(Unable, match=why):
        volume_for(claim(**changed), LOCAL, NODE)


def test_only_what_was_made_here_and_is_released_is_deleted() -> None:
    made = volume_for(claim(), LOCAL, NODE)
    assert is_to_go({**made, "status": {"phase": "Released"}})
    assert not is_to_go({**made, "status": {"phase": "Bound"}})
    by_hand = {**made, "metadata": {"name": "by-hand"}, "status": {"phase": "Released"}}
    assert not is_to_go(by_hand)


TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"storageClassName": "local-path"}}
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": TEMPLATE}}]},
}


async def test_a_pod_gets_claims_of_its_own_again_and_again(clock: ManualClock) -> None:
    api = await api_with((PODS, POD))
    async with running(api, clock, EphemeralVolumes):
        made = only(api, PERSISTENTVOLUMECLAIMS)
        assert made["metadata"]["name"] == "p-scratch" and made["metadata"]["labels"] == {"app": "x"}
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
        assert made["spec"] == TEMPLATE["spec"]
        await api.delete(PERSISTENTVOLUMECLAIMS, "p-scratch", "ns")
        await clock.advance(1)
        assert len(api.objects(PERSISTENTVOLUMECLAIMS)) == 1


async def test_a_claim_of_somebody_else_is_left_alone(clock: ManualClock) -> None:
    theirs = {"kind": "PersistentVolumeClaim", "metadata": {"name": "p-scratch", "namespace": "ns"}, "spec": {}}
    api = await api_with((PERSISTENTVOLUMECLAIMS, theirs), (PODS, POD))
    async with running(api, clock, EphemeralVolumes):
        await clock.advance(1)
        assert not only(api, PERSISTENTVOLUMECLAIMS)["metadata"].get("ownerReferences")
