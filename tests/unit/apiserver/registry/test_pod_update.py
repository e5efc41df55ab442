"""What may be changed in a pod, and what becomes of it when it is deleted."""

from __future__ import annotations

import copy

import pytest

from apimachinery.resources import PODS
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import container_pod, created, pod, status_problems, update_problems

ONLY = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)
TOLERATION = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (pod(), pod()),
        (container_pod(image="nginx:1.28"), pod()),
        (
            pod(hostNetwork=False, containers=[{"name": "web", "image": "nginx:1.27", "stdin": False, "env": []}]),
            pod(),
        ),
        (pod(activeDeadlineSeconds=10), pod()),
        (pod(activeDeadlineSeconds=10), pod(activeDeadlineSeconds=20)),
        (pod(tolerations=[TOLERATION]), pod()),
        (pod(tolerations=[{**TOLERATION, "tolerationSeconds": 9}]), pod(tolerations=[TOLERATION])),
        (pod(), pod(schedulingGates=[{"name": "g"}])),
        (
            pod(nodeSelector={"a": "b", "c": "d"}, schedulingGates=[{"name": "g"}]),
            pod(nodeSelector={"a": "b"}, schedulingGates=[{"name": "g"}]),
        ),
        (pod(terminationGracePeriodSeconds=1), pod(terminationGracePeriodSeconds=-1)),
    ],
)
def test_a_few_things_may_be_changed(new, old):
    assert update_problems(PODS, new, old) == []


@pytest.mark.parametrize(
    ("new", "old", "told"),
    [
        (pod(nodeName="n1"), pod(), [f'{ONLY}+ spec.nodeName: "n1"']),
        (
            container_pod(command=["b"]),
            container_pod(command=["a"]),
            [f'{ONLY}- spec.containers[0].command[0]: "a"\n+ spec.containers[0].command[0]: "b"'],
        ),
        (
            pod(terminationGracePeriodSeconds=5),
            pod(),
            [f"{ONLY}- spec.terminationGracePeriodSeconds: 30\n+ spec.terminationGracePeriodSeconds: 5"],
        ),
        (
            pod(containers=[{"name": "web", "image": "i"}, {"name": "b", "image": "i"}]),
            pod(),
            ["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            pod(activeDeadlineSeconds=30),
            pod(activeDeadlineSeconds=20),
            [
                "spec.activeDeadlineSeconds: Invalid value: 30: must be less than or equal to previous value",
            ],
        ),
        (
            pod(),
            pod(activeDeadlineSeconds=20),
            ["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
        ),
        (
            pod(),
            pod(tolerations=[TOLERATION]),
            ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
        ),
        (
            pod(schedulingGates=[{"name": "g"}]),
            pod(),
            ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
        ),
        (
            pod(nodeSelector={"a": "c"}, schedulingGates=[{"name": "g"}]),
            pod(nodeSelector={"a": "b"}, schedulingGates=[{"name": "g"}]),
            [
                'spec.nodeSelector: Invalid value: {"a":"c"}: '
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            ],
        ),
    ],
)
def test_all_else_stays(new, old, told):
    assert update_problems(PODS, new, old) == told


def stored(**status):
    made = created(PODS, pod())
    made["metadata"]["uid"] = "u"
    made["status"].update(status)
    return made


def container(state, code=0):
    details = {"exitCode": code} if state == "terminated" else {}
    return {"name": "web", "state": {state: details}}


def test_a_container_that_has_ended_for_good_does_not_run_again():
    old = stored(containerStatuses=[container("terminated")])
    old["spec"]["restartPolicy"] = "Never"
    again = {**old["status"], "containerStatuses": [container("running")]}
    told = ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    assert status_problems(PODS, again, old) == told
    old["spec"]["restartPolicy"] = "OnFailure"
    assert status_problems(PODS, again, old) == told
    old["status"]["containerStatuses"] = [container("terminated", 1)]
    assert status_problems(PODS, again, old) == []


def test_the_quality_of_service_stays():
    assert status_problems(PODS, {"phase": "Running", "qosClass": "Guaranteed"}, stored()) == [
        'status.qosClass: Invalid value: "Guaranteed": field is immutable'
    ]
    obj = {**copy.deepcopy(stored()), "status": {"phase": "Running"}}
    strategy(PODS).prepare_status(obj, stored())
    assert obj["status"] == {"phase": "Running", "qosClass": "BestEffort"}


def test_an_update_of_the_status_leaves_the_spec_alone_but_may_annotate():
    old = stored()
    obj = copy.deepcopy(old)
    obj["spec"]["nodeName"] = "n9"
    obj["metadata"]["annotations"] = {"cni.example/ip": "10.0.0.1"}
    obj["metadata"]["ownerReferences"] = [{"kind": "Node"}]
    strategy(PODS).prepare_status(obj, old)
    assert obj["spec"] == old["spec"]
    assert obj["metadata"]["annotations"] == {"cni.example/ip": "10.0.0.1"}
    assert "ownerReferences" not in obj["metadata"]


@pytest.mark.parametrize(
    ("spec", "status", "requested", "seconds"),
    [
        ({}, {}, None, 0),
        ({}, {}, 10, 0),
        ({"nodeName": "n1"}, {"phase": "Running"}, None, 30),
        ({"nodeName": "n1"}, {"phase": "Pending"}, 10, 10),
        ({"nodeName": "n1"}, {"phase": "Running"}, 0, 0),
        ({"nodeName": "n1", "terminationGracePeriodSeconds": 0}, {}, None, 0),
        ({"nodeName": "n1", "terminationGracePeriodSeconds": -1}, {}, None, 1),
        ({"nodeName": "n1"}, {"phase": "Succeeded"}, None, 0),
        ({"nodeName": "n1"}, {"phase": "Failed"}, 10, 0),
    ],
)
def test_a_pod_has_time_to_end_only_where_it_runs(spec, status, requested, seconds):
    made = created(PODS, pod(**spec))
    made["status"].update(status)
    assert strategy(PODS).grace_period_seconds(made, requested) == seconds
