"""Quality of service and cgroup numbers: the rules of Kubernetes' pages on both."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.containers.resources import container_resources, pod_limits, pod_requests, pod_resources, quota, shares
from kubelet.node import qos_groups
from kubelet.pods import qos
from tests.support.pods import UID, container, pod


def sized(name: str = "web", *, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> Any:
    return container(name, resources={"requests": requests or {}, "limits": limits or {}})


BOTH = {"cpu": "500m", "memory": "64Mi"}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([sized()], "BestEffort"),
        ([sized(requests=BOTH, limits=BOTH)], "Guaranteed"),
        ([sized(limits=BOTH)], "Guaranteed"),
        ([sized(requests=BOTH)], "Burstable"),
        ([sized(requests={"cpu": "100m"}, limits=BOTH)], "Burstable"),
        ([sized(limits={"memory": "64Mi"})], "Burstable"),
        ([sized("a", limits=BOTH), sized("b")], "Burstable"),
    ],
)
def test_the_quality_of_service_class(containers: list[Any], expected: str) -> None:
    assert qos.computed_class(pod(*containers)) == expected


def test_the_classes_share_the_cpu_by_what_their_pods_ask_for() -> None:
    asking = [pod(sized(requests={"cpu": cpu})) for cpu in ("500m", "1", "2")]
    for one in asking:
        one["status"]["qosClass"] = "Burstable"
    asking[2]["status"]["phase"] = "Succeeded"
    assert qos_groups.shares(asking) == {"burstable": 1536, "besteffort": 2}
    assert qos_groups.shares([]) == {"burstable": 2, "besteffort": 2}


def test_each_class_has_its_place_in_the_cgroup_tree() -> None:
    placed = pod()
    for name, folder in (("Guaranteed", ""), ("Burstable", "burstable/"), ("BestEffort", "besteffort/")):
        placed["status"]["qosClass"] = name
        assert qos.cgroup_parent(placed) == f"{folder}pod{UID}"


@pytest.mark.parametrize(
    ("kind", "request_", "expected"),
    [
        ("Guaranteed", "1Gi", -997),
        ("BestEffort", "0", 1000),
        ("Burstable", "0", 999),
        ("Burstable", "1Gi", 750),
        ("Burstable", "4Gi", 3),
    ],
)
def test_who_is_killed_first_when_the_node_runs_out_of_memory(kind: str, request_: str, expected: int) -> None:
    judged = pod(sized(requests={"memory": request_}))
    judged["status"]["qosClass"] = kind
    score = qos.oom_score_adj(judged, judged["spec"]["containers"][0], node_memory_bytes=4 << 30)
    assert score == expected


def test_cpu_in_the_kernels_units() -> None:
    assert [shares(milli) for milli in (0, 1, 100, 1000)] == [2, 2, 102, 1024]
    assert [quota(milli) for milli in (1, 500, 2000)] == [1000, 50_000, 200_000]


def test_a_containers_limits_bound_it_and_its_request_is_its_share() -> None:
    assert container_resources(sized(requests={"cpu": "250m"}, limits=BOTH)) == {
        "cpu": {"shares": 256, "quota": 50_000, "period": 100_000},
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
    }
    assert container_resources(sized()) == {"cpu": {"shares": 2}}
    assert container_resources(sized(limits={"cpu": "1"}))["cpu"]["shares"] == 1024


def test_a_pod_is_bounded_only_where_all_its_containers_are() -> None:
    assert pod_limits(pod(sized("a", limits=BOTH), sized("b", limits={"cpu": "1"}))) == {"cpu": 1500}
    assert pod_resources(pod(sized("a", limits=BOTH), sized("b")), pids_max=100) == {
        "cpu": {"shares": 512},
        "pids": {"limit": 100},
    }


def test_a_pod_needs_the_larger_of_its_containers_and_its_largest_init_container() -> None:
    small, large = sized("a", requests={"cpu": "1"}), sized("setup", requests={"cpu": "3"})
    assert pod_requests(pod(small, initContainers=[large])) == {"cpu": 3000}
    assert pod_requests(pod(small, sized("b", requests={"cpu": "3"}), initContainers=[large])) == {"cpu": 4000}


def test_sidecars_are_needed_beside_whatever_runs() -> None:
    sidecar = {**sized("proxy", requests={"cpu": "500m"}), "restartPolicy": "Always"}
    setup = sized("setup", requests={"cpu": "2"})
    main = sized("a", requests={"cpu": "1"})
    assert pod_requests(pod(main, initContainers=[sidecar, setup])) == {"cpu": 2500}
    assert pod_requests(pod(main, initContainers=[setup, sidecar])) == {"cpu": 2000}
