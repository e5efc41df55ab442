"""What a node refuses to run, with the reason in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.pods.admission import objection
from tests.support.pods import container, pod

NODE: dict[str, Any] = {
    "metadata": {"name": "node-1", "labels": {"disk": "ssd", "cores": "8"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/fpga": "1"}},
}


def asking(**requests: str) -> dict[str, Any]:
    return pod(container(resources={"requests": requests}))


def refused(*arguments: Any) -> tuple[str, str] | None:
    verdict = objection(*arguments)
    return (verdict.reason, verdict.message) if verdict is not None else None


def test_a_pod_that_fits_is_taken() -> None:
    assert objection(asking(cpu="1", memory="512Mi"), NODE, [asking(cpu="1")]) is None


@pytest.mark.parametrize(
    ("requests", "others", "reason", "amounts"),
    [
        ({"cpu": "1500m"}, [asking(cpu="1")], "OutOfcpu", "cpu, requested: 1500, used: 1000, capacity: 2000"),
        ({"memory": "2Gi"}, [], "OutOfmemory", "memory, requested: 2147483648, used: 0, capacity: 1073741824"),
        ({}, [pod()] * 3, "OutOfpods", "pods, requested: 1, used: 3, capacity: 3"),
        (
            {"example.com/fpga": "2"},
            [],
            "OutOfexample.com/fpga",
            "example.com/fpga, requested: 2, used: 0, capacity: 1",
        ),
        (
            {"hugepages-2Mi": "2Mi"},
            [],
            "OutOfhugepages-2Mi",
            "hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        ),
        ({"memory": "2Gi", "cpu": "3"}, [], "OutOfcpu", "cpu, requested: 3000, used: 0, capacity: 2000"),
    ],
)
def test_a_pod_that_does_not_fit_is_refused(
    requests: dict[str, str], others: list[Any], reason: str, amounts: str
) -> None:
    expected = (reason, f"Node didn't have enough resource: {amounts}")
    assert refused(asking(**requests), NODE, others) == expected


def test_extended_resources_that_the_node_does_not_know_are_left_to_others() -> None:
    assert objection(asking(**{"example.com/gpu": "1"}), NODE, []) is None


def test_pods_for_other_operating_systems_are_refused() -> None:
    assert refused(pod(os={"name": "windows"}), NODE, []) == (
        "PodOSNotSupported",
        "Failed to admit pod as the OS field doesn't match node OS",
    )
    labelled = pod()
    labelled["metadata"]["labels"] = {"kubernetes.io/os": "windows"}
    assert (refused(labelled, NODE, []) or ("",))[0] == "PodOSSelectorNodeLabelDoesNotMatch"


def affinity(key: str, operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("spec", "taken"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, True),
        ({"nodeSelector": {"disk": "hdd"}}, False),
        ({"affinity": affinity("disk", "In", "ssd", "nvme")}, True),
        ({"affinity": affinity("disk", "NotIn", "ssd")}, False),
        ({"affinity": affinity("cores", "Gt", "4")}, True),
        ({"affinity": affinity("gpu", "Exists")}, False),
    ],
)
def test_a_pod_for_other_nodes_is_refused(spec: dict[str, Any], taken: bool) -> None:
    expected = (
        "NodeAffinity",
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    )
    assert refused(pod(**spec), NODE, []) == (None if taken else expected)


def test_only_taints_that_evict_matter_to_a_node() -> None:
    taints = [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "value": "1", "effect": "NoExecute"}]
    tainted = {**NODE, "spec": {"taints": taints}}
    assert (refused(pod(), tainted, []) or ("",))[0] == "TaintToleration"
    tolerating = [{"key": "b", "value": "1", "effect": "NoExecute"}]
    assert refused(pod(tolerations=tolerating), tainted, []) is None
    assert refused(pod(tolerations=[{"operator": "Exists"}]), tainted, []) is None


def test_a_host_port_is_given_once() -> None:
    serving = pod(container(ports=[{"containerPort": 80, "hostPort": 8080}]))
    assert refused(serving, NODE, []) is None
    assert (refused(serving, NODE, [serving]) or ("",))[0] == "NodePorts"
