"""Claims for devices, the classes and slices of devices, and ComponentStatuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    COMPONENTSTATUSES,
    DEVICECLASSES,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    RESOURCESLICES,
)
from apiserver.registry.componentstatuses import component_status
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems

RESULT = {"request": "gpu", "driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}
ALLOCATION = {"devices": {"results": [RESULT]}}
POD = {"resource": "pods", "name": "p", "uid": "u"}


def claim(**exactly: Any) -> Object:
    requests = [{"name": "gpu", "exactly": {"deviceClassName": "gpus", **exactly}}]
    return {"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {"requests": requests}}}


def resource_slice(**spec: Any) -> Object:
    said = {
        "driver": "gpu.example.com",
        "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
        "nodeName": "n1",
        "devices": [{"name": "gpu-0", "attributes": {"model": {"string": "large"}}}],
        **spec,
    }
    return {"metadata": {"name": "s"}, "spec": said}


def device(**fields: Any) -> Object:
    return resource_slice(devices=[{"name": "gpu-0", **fields}])


def test_one_device_is_asked_for():
    made = created(RESOURCECLAIMS, claim())
    assert made["spec"]["devices"]["requests"][0]["exactly"] == {
        "deviceClassName": "gpus",
        "allocationMode": "ExactCount",
        "count": 1,
    }
    every = created(RESOURCECLAIMS, claim(allocationMode="All"))
    assert "count" not in every["spec"]["devices"]["requests"][0]["exactly"]


@pytest.mark.parametrize(
    ("exactly", "told"),
    [
        ({"deviceClassName": ""}, "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        ({"count": -1}, "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"),
        ({"allocationMode": "All", "count": 2}, "must not be specified when allocationMode is 'All'"),
        (
            {"allocationMode": "Some"},
            'allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"',
        ),
        ({"selectors": [{}]}, "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
        ({"selectors": [{"cel": {"expression": "x" * 10241}}]}, "Too long: may not be more than 10240 bytes"),
        ({"tolerations": [{"operator": "Exists", "value": "x"}]}, "must be empty for operator `Exists`"),
    ],
)
def test_what_is_wrong_with_a_claim_is_told(exactly, told):
    (found,) = problems(RESOURCECLAIMS, claim(**exactly))
    assert told in found


def test_a_request_is_one_thing_or_alternatives():
    neither = claim()
    neither["spec"]["devices"]["requests"][0] = {"name": "gpu"}
    (found,) = problems(RESOURCECLAIMS, neither)
    assert found.endswith("exactly one of `exactly` or `firstAvailable` is required")


@pytest.mark.parametrize(("name", "right"), [("gpu", True), ("gpu/large", True), ("gpu/small", False), ("x", False)])
def test_constraints_name_requests(name, right):
    made = claim()
    alternatives = [{"name": "large", "deviceClassName": "gpus"}]
    made["spec"]["devices"] = {
        "requests": [{"name": "gpu", "firstAvailable": alternatives}],
        "constraints": [{"requests": [name], "matchAttribute": "gpu.example.com/model"}],
    }
    assert (problems(RESOURCECLAIMS, made) == []) is right


def test_what_is_asked_for_stays():
    told = ["spec: Invalid value: "]
    found = update_problems(RESOURCECLAIMS, claim(count=2), claim())
    assert [one[: len(told[0])] for one in found] == told and found[0].endswith("field is immutable")


def test_devices_are_given_and_then_reserved():
    old = created(RESOURCECLAIMS, claim())
    assert status_problems(RESOURCECLAIMS, {"allocation": ALLOCATION, "reservedFor": [POD]}, old) == []
    assert status_problems(RESOURCECLAIMS, {"reservedFor": [POD]}, old) == [
        "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
    ]
    (found,) = status_problems(
        RESOURCECLAIMS, {"allocation": {"devices": {"results": [{**RESULT, "request": "x"}]}}}, old
    )
    assert found.startswith("status.allocation.devices.results[0].request: Invalid value")


def test_what_has_been_given_stays():
    old = {**created(RESOURCECLAIMS, claim()), "status": {"allocation": ALLOCATION}}
    changed = copy.deepcopy(ALLOCATION)
    changed["devices"]["results"][0]["device"] = "gpu-1"
    (found,) = status_problems(RESOURCECLAIMS, {"allocation": changed}, old)
    assert found.startswith("status.allocation: Invalid value") and found.endswith("field is immutable")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, "pending"),
        ({"allocation": ALLOCATION}, "allocated"),
        ({"allocation": ALLOCATION, "reservedFor": [POD]}, "allocated,reserved"),
    ],
)
def test_the_state_of_a_claim_is_shown(status, state):
    assert shown(RESOURCECLAIMS, {**created(RESOURCECLAIMS, claim()), "status": status})["State"] == state


def test_templates_say_only_labels_and_annotations():
    made = {"metadata": {"name": "t", "namespace": "default"}, "spec": {"spec": claim()["spec"]}}
    assert problems(RESOURCECLAIMTEMPLATES, made) == []
    made["spec"]["metadata"] = {"name": "x"}
    assert problems(RESOURCECLAIMTEMPLATES, made) == ["spec.metadata.name: Forbidden: cannot be set"]


@pytest.mark.parametrize(("name", "right"), [("example.com/gpu", True), ("cpu", False), ("kubernetes.io/x", False)])
def test_classes_have_names_as_extended_resources(name, right):
    made = {"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": name}}
    assert (problems(DEVICECLASSES, made) == []) is right


def test_a_slice_is_as_it_should_be():
    assert problems(RESOURCESLICES, resource_slice()) == []


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (resource_slice(nodeName=None), "spec: Required value: exactly one of `nodeName`, `nodeSelector`, "),
        (resource_slice(allNodes=True), "but multiple fields are set"),
        (resource_slice(pool={"name": "n1"}), "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than"),
        (device(attributes={"9": {"int": 1}}), "a valid C identifier must start with alphabetic character"),
        (device(attributes={"a": {"int": 1, "bool": True}}), "exactly one value must be specified"),
        (device(attributes={"a": {"version": "1"}}), "must be a string compatible with semver.org spec 2.0.0"),
        (device(allNodes=True), "can only be set if `perDeviceNodeSelection` is set to true"),
        (
            device(taints=[{"key": "a", "effect": "Bad"}]),
            'spec.devices[0].taints[0].effect: Unsupported value: "Bad"',
        ),
        (device(bindingConditions=["a"]), "bindingFailureConditions are required to use bindingConditions"),
    ],
)
def test_what_is_wrong_with_a_slice_is_told(made, told):
    (found,) = problems(RESOURCESLICES, made)
    assert told in found


def test_the_node_of_a_slice_stays():
    (found,) = update_problems(RESOURCESLICES, resource_slice(nodeName="n2"), resource_slice())
    assert found == 'spec.nodeName: Invalid value: "n2": field is immutable'


def test_the_columns_of_slices():
    cells = shown(RESOURCESLICES, created(RESOURCESLICES, resource_slice()))
    assert (cells["Node"], cells["Driver"], cells["Pool"]) == ("n1", "gpu.example.com", "n1")


def test_the_columns_of_components():
    well = shown(COMPONENTSTATUSES, component_status("scheduler", healthy=True, message="ok"))
    assert well == {"Name": "scheduler", "Status": "Healthy", "Message": "ok", "Error": ""}
    ill = shown(COMPONENTSTATUSES, component_status("scheduler", healthy=False, error="no answer"))
    assert (ill["Status"], ill["Error"]) == ("Unhealthy", "no answer")
