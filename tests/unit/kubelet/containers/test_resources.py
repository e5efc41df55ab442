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
    assert container_resources(pod(), sized(requests={"cpu": "250m"}, limits=BOTH)) == {
        "cpu": {"shares": 256, "quota": 50_000, "period": 100_000},
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
    }
    assert container_resources(pod(), sized()) == {"cpu": {"shares": 2}}
    assert container_resources(pod(), sized(limits={"cpu": "1"}))["cpu"]["shares"] == 1024
    pages = sized(limits={"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi", "memory": "1Gi"})
    assert container_resources(pod(), pages)["hugepageLimits"] == [
        {"pageSize": "2MB", "limit": 4 << 20},
        {"pageSize": "1GB", "limit": 1 << 30},
    ]


def test_a_pod_is_bounded_only_where_all_its_containers_are() -> None:
    assert pod_limits(pod(sized("a", limits=BOTH), sized("b", limits={"cpu": "1"}))) == {"cpu": 1500}
    asking = pod(sized("a", requests=BOTH, limits=BOTH), sized("b"), overhead={"cpu": "500m"})
    asking["status"]["qosClass"] = "Burstable"
    assert pod_resources(asking, pids_max=100) == {"cpu": {"shares": 1024}, "pids": {"limit": 100}}


def test_the_overhead_of_its_runtime_comes_on_top_of_a_pods_requests_and_of_limits_that_it_has() -> None:
    guaranteed = pod(sized(requests=BOTH, limits=BOTH), overhead={"cpu": "500m", "memory": "64Mi"})
    guaranteed["status"]["qosClass"] = "Guaranteed"
    assert pod_resources(guaranteed, pids_max=0) == {
        "cpu": {"shares": 1024, "quota": 100_000, "period": 100_000},
        "memory": {"limit": 128 << 20, "swap": 128 << 20},
    }
    asking_nothing = pod(sized(), overhead={"cpu": "500m"})
    assert pod_resources(asking_nothing, pids_max=0) == {"cpu": {"shares": 2}}


WHOLE = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "4Mi"}}


def test_what_a_pod_says_as_a_whole_bounds_its_containers_together() -> None:
    bounded = pod(sized("a", requests={"cpu": "100m"}), sized("b", limits={"cpu": "500m"}), resources=WHOLE)
    bounded["status"]["qosClass"] = qos.computed_class(bounded)
    assert bounded["status"]["qosClass"] == "Burstable"
    assert pod_resources(bounded, pids_max=0) == {
        "cpu": {"shares": 1024, "quota": 200_000, "period": 100_000},
        "memory": {"limit": 1 << 30, "swap": 1 << 30},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
    }
    first, second = (container_resources(bounded, one) for one in bounded["spec"]["containers"])
    assert first["cpu"] == {"shares": 102, "quota": 200_000, "period": 100_000}
    assert second["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert first["memory"] == second["memory"] == {"limit": 1 << 30, "swap": 1 << 30}


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ({"limits": BOTH, "requests": BOTH}, "Guaranteed"),
        ({"limits": BOTH, "requests": {"cpu": "100m"}}, "Burstable"),
        ({"requests": {"memory": "1Gi"}}, "Burstable"),
    ],
)
def test_a_pod_that_speaks_for_its_containers_has_the_class_of_what_it_says(whole: Any, expected: str) -> None:
    assert qos.computed_class(pod(sized(), sized("b", limits=BOTH), resources=whole)) == expected


def test_what_only_the_pod_asks_for_protects_each_of_its_containers_as_much() -> None:
    memory = {"memory": "1Gi"}
    shared = pod(sized("a", requests=memory), sized("b"), resources={"requests": {"memory": "2Gi"}})
    shared["status"]["qosClass"] = "Burstable"
    scores = [qos.oom_score_adj(shared, one, node_memory_bytes=10 << 30) for one in shared["spec"]["containers"]]
    assert scores == [850, 950]


def test_a_sidecar_is_not_killed_before_the_containers_that_it_serves() -> None:
    sidecar = {**sized("proxy", requests={"memory": "1Mi"}), "restartPolicy": "Always"}
    mains = [sized("a", requests={"memory": "2Gi"}), sized("b", requests={"memory": "1Gi"})]
    served = pod(*mains, initContainers=[sidecar])
    served["status"]["qosClass"] = "Burstable"
    assert qos.oom_score_adj(served, sidecar, node_memory_bytes=10 << 30) == 900
    assert qos.oom_score_adj(served, mains[0], node_memory_bytes=10 << 30) == 800


def test_nothing_of_a_pod_that_the_node_needs_is_killed_for_memory() -> None:
    critical = pod(sized(), priorityClassName="system-node-critical")
    assert qos.oom_score_adj(critical, critical["spec"]["containers"][0], node_memory_bytes=1 << 30) == -997


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
