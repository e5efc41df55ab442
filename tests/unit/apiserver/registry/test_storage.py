"""Classes and drivers of storage, RuntimeClasses and PriorityClasses."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    CSIDRIVERS,
    CSINODES,
    CSISTORAGECAPACITIES,
    PRIORITYCLASSES,
    RUNTIMECLASSES,
    STORAGECLASSES,
    VOLUMEATTACHMENTS,
    VOLUMEATTRIBUTESCLASSES,
)
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems

CLASS = {"provisioner": "example.com/Disk"}
ATTACHED = {"attacher": "disk.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv1"}}


def cluster_wide(name: str = "x", **fields: Any) -> Object:
    return {"metadata": {"name": name}, **fields}


def test_volumes_of_a_class_are_made_at_once_and_go_with_their_claims():
    stored = created(STORAGECLASSES, cluster_wide(**CLASS))
    assert (stored["reclaimPolicy"], stored["volumeBindingMode"]) == ("Delete", "Immediate")
    assert problems(STORAGECLASSES, cluster_wide(**CLASS)) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, ["provisioner: Required value"]),
        (
            {**CLASS, "reclaimPolicy": "Recycle"},
            ['reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'],
        ),
        ({**CLASS, "parameters": {"a": "x" * 2**18}}, ["parameters: Too long: may not be more than 262144 bytes"]),
        (
            {**CLASS, "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": []}]}]},
            ["allowedTopologies[0].matchLabelExpressions[0].values: Required value"],
        ),
    ],
)
def test_what_is_wrong_with_a_class_of_storage_is_told(wrong, told):
    assert problems(STORAGECLASSES, cluster_wide(**wrong)) == told


def test_how_a_class_makes_volumes_stays():
    new = cluster_wide(
        provisioner="example.com/other", parameters={"a": "b"}, volumeBindingMode="WaitForFirstConsumer"
    )
    assert update_problems(STORAGECLASSES, new, cluster_wide(**CLASS)) == [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable',
    ]


def test_the_default_class_is_shown_as_such():
    made = created(STORAGECLASSES, cluster_wide(**CLASS))
    made["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert shown(STORAGECLASSES, made) == {
        "Name": "x (default)",
        "Provisioner": "example.com/Disk",
        "ReclaimPolicy": "Delete",
        "VolumeBindingMode": "Immediate",
        "AllowVolumeExpansion": False,
        "Age": "<unknown>",
    }


def test_attributes_of_volumes_are_some():
    assert problems(VOLUMEATTRIBUTESCLASSES, cluster_wide(driverName="d")) == [
        "parameters: Required value: must contain at least one key/value pair"
    ]


def test_a_driver_attaches_volumes_that_outlive_pods():
    spec = created(CSIDRIVERS, cluster_wide(spec={}))["spec"]
    assert spec["attachRequired"] is True and spec["volumeLifecycleModes"] == ["Persistent"]
    assert problems(CSIDRIVERS, cluster_wide(spec={})) == []
    assert shown(CSIDRIVERS, cluster_wide(spec=spec)) == {
        "Name": "x",
        "AttachRequired": True,
        "PodInfoOnMount": False,
        "StorageCapacity": False,
        "TokenRequests": "<unset>",
        "RequiresRepublish": False,
        "Modes": "Persistent",
        "Age": "<unknown>",
    }


def test_a_driver_gets_one_token_for_each_audience():
    tokens = [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 5}]
    assert problems(CSIDRIVERS, cluster_wide(spec={"tokenRequests": tokens})) == [
        'spec.tokenRequests[1].audience: Duplicate value: "a"',
        "spec.tokenRequests[2].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
    ]


def test_whether_a_driver_attaches_volumes_stays():
    (told,) = update_problems(CSIDRIVERS, cluster_wide(spec={"attachRequired": False}), cluster_wide(spec={}))
    assert told == "spec.attachedRequired: Invalid value: false: field is immutable"


def node(*drivers: Object) -> Object:
    return cluster_wide(spec={"drivers": list(drivers)})


def test_each_driver_is_on_a_node_once():
    driver = {"name": "d", "nodeID": "n", "topologyKeys": ["zone"]}
    assert problems(CSINODES, node(driver)) == []
    assert problems(CSINODES, node(driver, driver)) == ['spec.drivers[1].name: Duplicate value: "d"']
    assert problems(CSINODES, node({"name": "d"})) == ["spec.drivers[0].nodeID: Required value"]
    assert shown(CSINODES, node(driver))["Drivers"] == 1


def test_only_how_many_volumes_a_driver_can_have_changes():
    driver = {"name": "d", "nodeID": "n"}
    assert update_problems(CSINODES, node({**driver, "allocatable": {"count": 5}}), node(driver)) == []
    assert len(update_problems(CSINODES, node({**driver, "nodeID": "m"}), node(driver))) == 1


def test_room_for_volumes_is_not_negative():
    made = {"metadata": {"name": "x", "namespace": "default"}, "storageClassName": "fast", "capacity": "-1"}
    assert problems(CSISTORAGECAPACITIES, made) == [
        'capacity: Invalid value: "-1": must be greater than or equal to 0'
    ]
    assert shown(CSISTORAGECAPACITIES, made) == {"Name": "x", "StorageClassName": "fast", "Capacity": "-1"}


def test_one_volume_is_attached():
    assert problems(VOLUMEATTACHMENTS, cluster_wide(spec=ATTACHED)) == []
    assert problems(VOLUMEATTACHMENTS, cluster_wide(spec={**ATTACHED, "source": {}})) == [
        "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    ]
    (told,) = update_problems(
        VOLUMEATTACHMENTS, cluster_wide(spec={**ATTACHED, "nodeName": "n2"}), cluster_wide(spec=ATTACHED)
    )
    assert told.startswith("spec: Invalid value: {") and told.endswith("}: field is immutable")


def test_not_too_much_is_told_of_an_attachment():
    old = created(VOLUMEATTACHMENTS, cluster_wide(spec=ATTACHED))
    assert status_problems(VOLUMEATTACHMENTS, {"attached": True, "attachError": {"errorCode": -1}}, old) == [
        "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"
    ]


def test_a_runtime_class_has_a_handler_which_stays():
    assert problems(RUNTIMECLASSES, cluster_wide(handler="runc")) == []
    assert len(problems(RUNTIMECLASSES, cluster_wide(handler="Run C"))) == 1
    assert update_problems(RUNTIMECLASSES, cluster_wide(handler="crun"), cluster_wide(handler="runc")) == [
        'handler: Invalid value: "crun": field is immutable'
    ]


def test_tolerations_of_a_runtime_class_stand_once():
    toleration = {"key": "a", "operator": "Exists"}
    (told,) = problems(
        RUNTIMECLASSES, cluster_wide(handler="x", scheduling={"tolerations": [toleration, toleration]})
    )
    assert told.startswith("scheduling.tolerations[1]: Duplicate value: {")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("high", 1_000_000_000, []),
        ("system-node-critical", 2_000_001_000, []),
        ("high", 1_000_000_001, ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]),
        (
            "system-mine",
            1,
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use "
                "only. error: system-mine is not a known system priority class"
            ],
        ),
    ],
)
def test_the_greatest_priorities_are_the_systems_own(name, value, told):
    assert problems(PRIORITYCLASSES, cluster_wide(name, value=value)) == told


def test_what_a_priority_class_means_stays():
    old = cluster_wide(value=5)
    assert created(PRIORITYCLASSES, old)["preemptionPolicy"] == "PreemptLowerPriority"
    assert update_problems(PRIORITYCLASSES, cluster_wide(value=6), old) == [
        "value: Forbidden: may not be changed in an update."
    ]
    assert shown(PRIORITYCLASSES, cluster_wide(value=5))["Global-Default"] is False
