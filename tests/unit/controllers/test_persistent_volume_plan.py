"""How claims and volumes find each other, step by step: the cases of Kubernetes' own tables of its binder.

Source: kubernetes/pkg/controller/volume/persistentvolume (binder, provision, delete and recycle tests)
"""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.patch import merge_patch
from apimachinery.persistent_volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
)
from controllers.persistent_volume_plan import (
    LOST_REFERENCE,
    LOST_VOLUME,
    MISBOUND,
    NO_RECYCLER,
    NO_VOLUME,
    WAITS,
    Plan,
    plan_claim,
    plan_volume,
)

CLASSES: dict[str, Object] = {
    "gold": {"metadata": {"name": "gold"}, "provisioner": "example.com/gold", "volumeBindingMode": "Immediate"},
    "wait": {
        "metadata": {"name": "wait"},
        "provisioner": "example.com/wait",
        "volumeBindingMode": "WaitForFirstConsumer",
    },
    "static": {"metadata": {"name": "static"}, "provisioner": "kubernetes.io/no-provisioner"},
}
DONE = {BIND_COMPLETED: "yes"}
OURS = {BOUND_BY_CONTROLLER: "yes"}


def claim(
    uid: str = "uid1",
    *,
    volume: str = "",
    phase: str = "Pending",
    size: str = "1Gi",
    storage_class: str | None = "",
    annotations: Object | None = None,
    **spec: Any,
) -> Object:
    of_class = {} if storage_class is None else {"storageClassName": storage_class}
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **of_class}
    status: Object = {"phase": phase}
    if phase == "Bound":
        status |= {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    named = {"volumeName": volume} if volume else {}
    metadata = {"name": "c", "namespace": "ns", "uid": uid, "resourceVersion": "7", "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {**asked, **named, **spec}, "status": status}


def volume(
    called: str = "v",
    size: str = "1Gi",
    *,
    bound: str | None = None,
    phase: str = "Available",
    storage_class: str = "",
    annotations: Object | None = None,
    labels: Object | None = None,
    **spec: Any,
) -> Object:
    has = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Retain"}
    if bound is not None:
        has["claimRef"] = {"namespace": "ns", "name": "c", **({"uid": bound} if bound else {})}
    metadata = {"name": called, "uid": f"uid-{called}", "annotations": annotations or {}, "labels": labels or {}}
    of_class = {"storageClassName": storage_class} if storage_class else {}
    return {"metadata": metadata, "spec": {**has, **of_class, **spec}, "status": {"phase": phase}}


def plan(of: Object, *volumes: Object, default: str = "", pods: tuple[str, ...] = ()) -> Plan:
    return plan_claim(of, volumes, CLASSES.get, default, pods)


def bound_to(found: Plan) -> str | None:
    """The volume that a plan binds its claim to."""
    return found.volume.obj["metadata"]["name"] if found.volume is not None else None


def events(found: Plan) -> list[tuple[str, str, str]]:
    return [(told.type, told.reason, told.message) for told in found.told]


def after(found: Plan, which: str) -> Object:
    """An object as it is when the plan has been carried out."""
    change = getattr(found, which)
    assert change is not None
    with_fields = merge_patch(change.obj, change.fields)
    result: Object = merge_patch(with_fields, {"status": change.status})
    return result


def changes_nothing(found: Plan) -> bool:
    return not any(change is not None and (change.fields or change.status) for change in (found.volume, found.claim))


def test_a_binding_is_written_on_both_sides() -> None:
    found = plan(claim(), volume())
    bound = after(found, "volume")
    assert bound["spec"]["claimRef"] == {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": "ns",
        "name": "c",
        "uid": "uid1",
        "resourceVersion": "7",
    }
    assert bound["metadata"]["annotations"] == OURS
    assert bound["status"]["phase"] == "Bound"
    claimed = after(found, "claim")
    assert claimed["spec"]["volumeName"] == "v"
    assert claimed["metadata"]["annotations"] == {**OURS, **DONE}
    assert claimed["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
    }


def test_what_is_bound_on_both_sides_is_left_alone() -> None:
    found = plan(claim(volume="v", phase="Bound", annotations={**OURS, **DONE}), volume(bound="uid1", phase="Bound"))
    assert changes_nothing(found) and not found.told


@pytest.mark.parametrize(
    ("of", "volumes", "expected"),
    [
        pytest.param(claim(), [volume("v", "10Gi"), volume("w", "2Gi")], "w", id="the smallest that fits"),
        pytest.param(claim(size="5Gi"), [volume("v", "1Gi")], None, id="too small"),
        pytest.param(claim(), [volume("v", bound="uid1"), volume("w")], "v", id="the one that is bound already"),
        pytest.param(claim(), [volume("v", "10Gi", bound=""), volume("w")], "v", id="one that is kept for it"),
        pytest.param(claim(), [volume("v", bound="another")], None, id="somebody else's"),
        pytest.param(claim(), [volume("v", phase="Released")], None, id="not available"),
        pytest.param(claim(), [volume("v", storage_class="gold")], None, id="of another class"),
        pytest.param(claim(storage_class="gold"), [volume("v", storage_class="gold")], "v", id="of its class"),
        pytest.param(claim(), [volume("v", accessModes=["ReadOnlyMany"])], None, id="other access modes"),
        pytest.param(
            claim(),
            [volume("v", "1Gi", accessModes=["ReadWriteOnce", "ReadOnlyMany"]), volume("w", "5Gi")],
            "w",
            id="what can be used in few ways before what can in many",
        ),
        pytest.param(claim(), [volume("v", volumeMode="Block")], None, id="a device"),
        pytest.param(claim(volumeMode="Block"), [volume("v", volumeMode="Block")], "v", id="a device is wanted"),
        pytest.param(
            claim(selector={"matchLabels": {"k": "a"}}),
            [volume("v"), volume("w", "5Gi", labels={"k": "a"})],
            "w",
            id="what its selector says",
        ),
        pytest.param(
            claim(storage_class="wait"), [volume("v", storage_class="wait")], None, id="the scheduler is to choose"
        ),
        pytest.param(
            claim(storage_class="wait"),
            [volume("v", storage_class="wait", bound="uid1")],
            "v",
            id="the scheduler has chosen",
        ),
        pytest.param(claim(volume="w"), [volume("v"), volume("w", "5Gi")], "w", id="the one that it names"),
        pytest.param(claim(volume="w"), [volume("v")], None, id="it names one that is not there"),
        pytest.param(claim(volume="v"), [volume("v", bound="")], "v", id="named from both sides"),
        pytest.param(claim(volume="v"), [volume("v", bound="another")], None, id="it names somebody else's"),
    ],
)
def test_a_claim_gets(of: Object, volumes: list[Object], expected: str | None) -> None:
    assert bound_to(plan(of, *volumes)) == expected


def test_a_volume_that_is_going_is_for_nobody() -> None:
    going = volume()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert bound_to(plan(claim(), going)) is None
    assert events(plan(claim(volume="v"), going))[0][2].endswith("the volume is marked for deletion")


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (volume(size="1Mi"), "requested PV is too small"),
        (volume(storage_class="gold"), "storageClassName does not match"),
        (volume(volumeMode="Block"), "incompatible volumeMode"),
        (volume(accessModes=["ReadOnlyMany"]), "incompatible accessMode"),
    ],
)
def test_a_volume_that_is_named_and_does_not_fit_is_told_of(of: Object, why: str) -> None:
    found = plan(claim(volume="v"), of)
    assert events(found) == [("Warning", "VolumeMismatch", f'Cannot bind to requested volume "v": {why}')]
    assert bound_to(found) is None


def test_claims_that_wait_say_what_for() -> None:
    assert events(plan(claim())) == [("Normal", "FailedBinding", NO_VOLUME)]
    assert events(plan(claim(storage_class="wait"))) == [("Normal", "WaitForFirstConsumer", WAITS)]
    assert events(plan(claim(storage_class="wait"), pods=("p",))) == [
        ("Normal", "WaitForPodScheduled", "waiting for pod p to be scheduled")
    ]
    assert events(plan(claim(storage_class="wait"), pods=("p", "q")))[0][2] == "waiting for pods p,q to be scheduled"
    assert events(plan(claim(volume="v"), volume(bound="another"))) == [
        ("Warning", "FailedBinding", 'volume "v" already bound to a different claim.')
    ]
    assert events(plan(claim(storage_class="none"))) == [
        ("Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "none" not found')
    ]
    assert events(plan(claim(storage_class="static"))) == [
        ("Warning", "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner")
    ]


@pytest.mark.parametrize(
    "of", [claim(storage_class="gold"), claim(storage_class="wait", annotations={SELECTED_NODE: "n"})]
)
def test_a_provisioner_is_asked_by_an_annotation(of: Object) -> None:
    found = plan(of)
    asked = f"example.com/{of['spec']['storageClassName']}"
    assert after(found, "claim")["metadata"]["annotations"][STORAGE_PROVISIONER] == asked
    (event,) = events(found)
    assert event[:2] == ("Normal", "ExternalProvisioning") and f"external provisioner '{asked}'" in event[2]


def test_a_claim_that_leaves_its_class_open_gets_the_default_one_later() -> None:
    assert after(plan(claim(storage_class=None), default="gold"), "claim")["spec"]["storageClassName"] == "gold"
    assert events(plan(claim(storage_class=""), default="gold")) == [("Normal", "FailedBinding", NO_VOLUME)]


@pytest.mark.parametrize(
    ("of", "volumes", "reason", "message"),
    [
        (claim(annotations=DONE, phase="Bound"), [], "ClaimLost", LOST_REFERENCE),
        (claim(annotations=DONE, phase="Bound", volume="v"), [], "ClaimLost", LOST_VOLUME),
        (claim(annotations=DONE, phase="Bound", volume="v"), [volume(bound="x")], "ClaimMisbound", MISBOUND),
    ],
)
def test_a_claim_whose_volume_is_gone_is_lost_for_good(
    of: Object, volumes: list[Object], reason: str, message: str
) -> None:
    found = plan(of, *volumes)
    assert events(found) == [("Warning", reason, message)]
    lost = after(found, "claim")
    assert lost["status"] == {"phase": "Lost"}
    assert not plan(lost, *volumes).told


def test_a_claim_whose_volume_forgot_it_is_bound_again() -> None:
    found = plan(claim(annotations=DONE, phase="Bound", volume="v"), volume())
    assert after(found, "volume")["spec"]["claimRef"]["uid"] == "uid1"


def test_what_can_not_be_is_an_error() -> None:
    found = plan(claim(volume="v", annotations=OURS), volume(bound="another"))
    assert "volume already claimed by" in found.error


def test_a_bound_claim_keeps_a_size_that_is_not_its_volumes() -> None:
    of = claim(annotations=DONE, phase="Bound", volume="v")
    assert changes_nothing(plan(of, volume(size="5Gi", bound="uid1", phase="Bound")))


DELETE = {"persistentVolumeReclaimPolicy": "Delete"}
MADE = {PROVISIONED_BY: "example.com/gold"}


@pytest.mark.parametrize(
    ("of", "its_claim", "phase"),
    [
        pytest.param(volume(phase="Pending"), None, "Available", id="nobody's"),
        pytest.param(volume(phase="Pending", bound=""), None, "Available", id="kept for a claim of that name"),
        pytest.param(volume(bound="uid1"), claim(volume="v"), "Bound", id="bound"),
        pytest.param(volume(bound="uid1", phase="Bound"), None, "Released", id="its claim is gone"),
        pytest.param(volume(bound="uid1", phase="Bound"), claim("later"), "Released", id="a claim of the same name"),
        pytest.param(
            volume(bound="uid1", phase="Bound", annotations=MADE, **DELETE),
            claim(volume="w"),
            "Released",
            id="made for a claim that found another",
        ),
        pytest.param(volume(bound="uid1", phase="Bound"), claim(volume="w"), "Available", id="not used after all"),
    ],
)
def test_a_volume_becomes(of: Object, its_claim: Object | None, phase: str) -> None:
    assert after(plan_volume(of, its_claim), "volume")["status"]["phase"] == phase


def test_a_volume_that_was_not_used_is_as_its_owner_left_it() -> None:
    kept = after(plan_volume(volume(bound="uid1"), claim(volume="w")), "volume")
    assert kept["spec"]["claimRef"] == {"namespace": "ns", "name": "c"}
    ours = after(plan_volume(volume(bound="uid1", annotations=OURS), claim(volume="w")), "volume")
    assert "claimRef" not in ours["spec"] and not ours["metadata"]["annotations"]


def test_a_binding_that_was_broken_off_is_left_to_its_claim() -> None:
    assert changes_nothing(plan_volume(volume(bound="uid1", annotations=OURS), claim()))
    mismatch = plan_volume(volume(bound="uid1", volumeMode="Block"), claim())
    assert [reason for _, reason, _ in events(mismatch)] == ["VolumeMismatch", "VolumeMismatch"]


@pytest.mark.parametrize(
    ("of", "reason", "message"),
    [
        pytest.param({"persistentVolumeReclaimPolicy": "Retain"}, None, "", id="kept"),
        pytest.param({**DELETE, "annotations": MADE}, None, "", id="left to who has made it"),
        pytest.param({"persistentVolumeReclaimPolicy": "Recycle"}, "VolumeFailedRecycle", NO_RECYCLER, id="recycled"),
        pytest.param(
            DELETE,
            "VolumeFailedDelete",
            'error getting deleter volume plugin for volume "v": no deletable volume plugin matched',
            id="nobody's to delete",
        ),
    ],
)
def test_what_becomes_of_a_volume_that_is_released(of: Object, reason: str | None, message: str) -> None:
    found = plan_volume(volume(bound="uid1", phase="Released", **of), None)
    if reason is None:
        assert changes_nothing(found) and not found.told
        return
    assert events(found) == [("Warning", reason, message)]
    failed = after(found, "volume")
    assert (failed["status"]["phase"], failed["status"]["message"]) == ("Failed", message)
    assert not plan_volume(failed, None).told
