"""What a pod takes up, in the cases of Kubernetes' documentation on requests, sidecars, overhead and resizing."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from scheduler.pods import AMOUNT_MAX, HostPort, usage_of
from tests.unit.scheduler.factories import container, make_pod


def requests_of(**spec: Any) -> dict[str, int]:
    return dict(usage_of(make_pod(**spec)).requests)


def asking(cpu: str, memory: str = "0", **fields: Any) -> Object:
    return container(requests={"cpu": cpu, "memory": memory}, **fields)


def test_containers_add_up() -> None:
    found = requests_of(containers=[asking("250m", "64Mi"), asking("250m", "64Mi")])
    assert found == {"cpu": 500, "memory": 128 * 2**20}


def test_fractions_add_up_before_they_are_rounded() -> None:
    assert requests_of(containers=[asking("0.4m"), asking("0.4m")]) == {"cpu": 1}


def test_the_largest_init_container_counts_if_it_is_larger_than_all_containers_together() -> None:
    found = requests_of(
        containers=[asking("2", "1G"), asking("1", "1G")], initContainers=[asking("2", "1G"), asking("2", "3G")]
    )
    assert found == {"cpu": 3000, "memory": 3 * 10**9}


def test_a_sidecar_counts_beside_the_containers_and_beside_later_init_containers() -> None:
    sidecar = asking("500m", restartPolicy="Always")
    assert requests_of(containers=[asking("1")], initContainers=[sidecar, asking("2")]) == {"cpu": 2500}
    assert requests_of(containers=[asking("1")], initContainers=[asking("1200m"), sidecar]) == {"cpu": 1500}
    assert requests_of(containers=[asking("1")], initContainers=[asking("2"), sidecar]) == {"cpu": 2000}


def test_overhead_comes_on_top() -> None:
    found = requests_of(
        containers=[asking("1")], initContainers=[asking("2")], overhead={"cpu": "250m", "memory": "120Mi"}
    )
    assert found == {"cpu": 2250, "memory": 120 * 2**20}


def test_requests_of_the_pod_itself_replace_those_of_its_containers() -> None:
    found = requests_of(
        containers=[container(requests={"cpu": "1", "memory": "1Gi", "example.com/gpu": "1"})],
        resources={"requests": {"cpu": "3"}},
        overhead={"cpu": "100m"},
    )
    assert found == {"cpu": 3100, "memory": 2**30, "example.com/gpu": 1}


def test_extended_resources_and_huge_pages_count_and_unknown_words_do_not() -> None:
    asked = {"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi", "nonsense": "7", "pods": "3"}
    found = requests_of(containers=[container(requests=asked)])
    assert found == {"ephemeral-storage": 2**30, "example.com/gpu": 2, "hugepages-2Mi": 4 * 2**20}


def test_a_container_without_requests_is_scored_as_if_it_had_some() -> None:
    usage = usage_of(make_pod(containers=[container(), asking("1", "1Gi")]))
    assert (usage.scored_cpu, usage.scored_memory) == (1100, 2**30 + 200 * 2**20)
    assert dict(usage.requests) == {"cpu": 1000, "memory": 2**30}


def test_a_request_of_zero_is_a_request() -> None:
    usage = usage_of(make_pod(containers=[asking("0", "0")]))
    assert (usage.scored_cpu, usage.scored_memory, usage.requests) == (0, 0, ())


def test_an_amount_beyond_all_machines_does_not_overflow() -> None:
    assert requests_of(containers=[asking("1", "16Ei")]) == {"cpu": 1000, "memory": AMOUNT_MAX}


RESIZED = [
    ({"resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "2"}}, None, 2000),
    ({"resources": {"requests": {"cpu": "500m"}}, "allocatedResources": {"cpu": "500m"}}, None, 1000),
    ({"resources": {"requests": {"cpu": "500m"}}, "allocatedResources": {"cpu": "500m"}}, "Infeasible", 500),
    ({"resources": {"requests": {"cpu": "500m"}}, "allocatedResources": {"cpu": "700m"}}, "Deferred", 1000),
    ({"allocatedResources": {"cpu": "9"}}, None, 1000),
]


@pytest.mark.parametrize(("told", "resize_reason", "cpu"), RESIZED)
def test_while_a_container_is_resized_the_most_that_it_has_or_wants_counts(
    told: Object, resize_reason: str | None, cpu: int
) -> None:
    pod = make_pod(containers=[asking("1")])
    pod["status"]["containerStatuses"] = [{"name": "app", **told}]
    if resize_reason:
        pod["status"]["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": resize_reason}]
    assert dict(usage_of(pod).requests) == {"cpu": cpu}


def test_host_ports_are_those_of_containers_and_sidecars() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    side = [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"}]
    pod = make_pod(
        containers=[container(ports=ports)],
        initContainers=[
            container("side", restartPolicy="Always", ports=side),
            container("init", ports=[{"containerPort": 9, "hostPort": 9}]),
        ],
    )
    assert usage_of(pod).ports == (HostPort("0.0.0.0", "TCP", 8080), HostPort("10.0.0.1", "UDP", 53))
