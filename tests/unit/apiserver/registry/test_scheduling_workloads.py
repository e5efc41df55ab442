"""Workloads of groups of pods, and the pods that belong to one."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import PODS, WORKLOADS, by_plural, find
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import created, pod, problems, update_problems

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DEPLOYMENT = {"apiGroup": "apps", "kind": "Deployment", "name": "web"}


def gang(name: str = "workers", minimum: int = 3) -> Object:
    return {"name": name, "policy": {"gang": {"minCount": minimum}}}


def workload(*groups: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "train", "namespace": "default"}, "spec": {"podGroups": list(groups), **spec}}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (workload(gang()), []),
        (workload(gang("driver", 1), {"name": "rest", "policy": {"basic": {}}}, controllerRef=DEPLOYMENT), []),
        (workload(gang(), controllerRef={"kind": "Pod", "name": "x"}), []),
        (workload(), ["spec.podGroups: Required value: must have at least one item"]),
        (workload(*(gang(f"g{n}") for n in range(8))), []),
        (workload(*(gang(f"g{n}") for n in range(9))), ["spec.podGroups: Too many: 9: must have at most 8 items"]),
        (
            workload(gang(minimum=0)),
            ["spec.podGroups[0].policy.gang.minCount: Invalid value: 0: must be greater than zero"],
        ),
        (workload(gang("A")), [f'spec.podGroups[0].name: Invalid value: "A": {LABEL}']),
        (workload(gang(), gang()), ['spec.podGroups[1].name: Duplicate value: "workers"']),
        (
            workload({"name": "x", "policy": {}}),
            ["spec.podGroups[0].policy: Required value: exactly one of `basic`, `gang` is required"],
        ),
        (
            workload({"name": "x", "policy": {"basic": {}, "gang": {"minCount": 1}}}),
            [
                'spec.podGroups[0].policy: Invalid value: "{`basic`, `gang`}": exactly one of `basic`, `gang` is '
                "required, but multiple fields are set"
            ],
        ),
        (
            workload(gang(), controllerRef={"apiGroup": "apps", "kind": "a/b"}),
            [
                "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.controllerRef.name: Required value",
            ],
        ),
    ],
)
def test_what_a_workload_may_be(wrong: Object, told: list[str]) -> None:
    assert problems(WORKLOADS, wrong) == told


def test_groups_stay_as_they_are_and_so_does_the_controller_once_it_is_named() -> None:
    old = workload(gang())
    assert not update_problems(WORKLOADS, workload(gang(), controllerRef=DEPLOYMENT), old)
    (told,) = update_problems(WORKLOADS, workload(gang(minimum=4)), old)
    assert told.startswith("spec.podGroups: Invalid value: ")
    assert told.endswith(": field is immutable")
    (told,) = update_problems(WORKLOADS, workload(gang()), workload(gang(), controllerRef=DEPLOYMENT))
    assert told.startswith("spec.controllerRef: Invalid value: ")


def test_an_empty_policy_is_kept() -> None:
    assert created(WORKLOADS, workload({"name": "x", "policy": {"basic": {}}}))["spec"]["podGroups"] == [
        {"name": "x", "policy": {"basic": {}}}
    ]


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        ({"name": "train", "podGroup": "workers"}, []),
        ({"name": "train.v1", "podGroup": "workers", "podGroupReplicaKey": "2"}, []),
        ({"name": "Train", "podGroup": "w.x", "podGroupReplicaKey": "Y"}, ["name", "podGroup", "podGroupReplicaKey"]),
        ({}, ["name", "podGroup"]),
    ],
)
def test_what_a_pod_may_refer_to(reference: Object, wrong: list[str]) -> None:
    told = problems(PODS, pod(workloadRef=reference))
    assert [each.partition(": Invalid value: ")[0] for each in told] == [
        f"spec.workloadRef.{field}" for field in wrong
    ]


def test_a_pod_stays_with_its_group() -> None:
    old = pod(workloadRef={"name": "train", "podGroup": "workers"}, schedulingGates=[{"name": "example.com/wait"}])
    other = pod(workloadRef={"name": "train", "podGroup": "others"}, schedulingGates=[{"name": "example.com/wait"}])
    (told,) = update_problems(PODS, other, old)
    assert told.startswith("spec: Forbidden: pod updates may not change fields other than")


def test_workloads_are_beside_priority_classes() -> None:
    assert by_plural("scheduling.k8s.io", "workloads", "v1alpha1") is WORKLOADS is find("workload")
    assert strategy(WORKLOADS).resource is WORKLOADS
