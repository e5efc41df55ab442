"""Which pod ends first, and what it and others are told."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.eviction import local_storage, messages
from kubelet.eviction.local_storage import Excess
from kubelet.eviction.pressures import refusal
from kubelet.eviction.ranking import Figures, rank
from kubelet.eviction.thresholds import Observation, Rule
from kubelet.node.node_settings import Threshold
from tests.unit.kubelet.eviction.factories import GIB, MIB, PLENTY, critical, names, pod

MEMORY = Rule("memory.available", Threshold(amount=100 * MIB))
DISK = Rule("nodefs.available", Threshold(share=0.1))


def order(pods: list[Object], resource: str = "memory", **figures: Figures) -> list[str]:
    return names(rank(pods, resource, figures))


def memory(mebibytes: int) -> Figures:
    return Figures(memory_bytes=mebibytes * MIB)


def test_who_uses_more_than_it_asked_for_goes_before_all_who_do_not() -> None:
    modest = pod("modest", priority=-5, request="500Mi")
    greedy = pod("greedy", priority=1000, request="10Mi")
    assert order([modest, greedy], modest=memory(400), greedy=memory(20)) == ["greedy", "modest"]


def test_among_those_the_lower_priority_goes_first_and_then_who_uses_the_most_beyond_its_request() -> None:
    pods = [pod("high", priority=10), pod("a", request="100Mi"), pod("b"), pod("c", request="300Mi")]
    figures = {"high": memory(900), "a": memory(250), "b": memory(140), "c": memory(310)}
    assert order(pods, **figures) == ["a", "b", "c", "high"]


def test_what_nobody_knows_counts_as_too_much() -> None:
    assert order([pod("known"), pod("unknown")], known=memory(900)) == ["unknown", "known"]


def test_disk_and_inodes_are_ranked_by_what_is_used_of_them() -> None:
    asked = pod("asked", request="2Gi", resource="ephemeral-storage")
    figures = {
        "asked": Figures(storage_bytes=GIB, inodes=5),
        "small": Figures(storage_bytes=MIB, inodes=9),
        "large": Figures(storage_bytes=2 * MIB, inodes=1),
    }
    pods = [asked, pod("small"), pod("large")]
    assert order(pods, "ephemeral-storage", **figures) == ["large", "small", "asked"]
    assert order(pods, "inodes", **figures) == ["small", "asked", "large"]


def test_process_ids_go_by_priority_and_then_by_their_number() -> None:
    pods = [pod("high", priority=10), pod("few"), pod("many")]
    figures = {"high": Figures(tasks=900), "few": Figures(tasks=2), "many": Figures(tasks=50)}
    assert order(pods, "pids", **figures) == ["many", "few", "high"]


def test_an_evicted_pod_is_told_what_was_low_and_which_container_used_too_much_of_it() -> None:
    found = {**PLENTY, "memory.available": Observation(60 * MIB + 512, 8 * GIB)}
    figures = Figures(memory_bytes=300 * MIB, container_memory={"web": 300 * MIB})
    told = messages.eviction(pod("a", request="50Mi"), "memory", rules=(MEMORY,), found=found, figures=figures)
    assert told == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 62915072. "
        "Container web was using 300Mi, request is 50Mi, has larger consumption of memory. "
    )


def test_a_share_is_told_as_the_amount_that_it_is_and_who_keeps_within_its_request_is_not_blamed() -> None:
    found = {**PLENTY, "nodefs.available": Observation(9 * GIB, 100 * GIB)}
    figures = Figures(storage_bytes=MIB, container_storage={"web": MIB})
    asked = pod("a", request="2Mi", resource="ephemeral-storage")
    told = messages.eviction(asked, "ephemeral-storage", rules=(DISK,), found=found, figures=figures)
    assert told == ("The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 9Gi. ")


def limited(volume: str = "", container: str = "") -> Object:
    limits = {"resources": {"limits": {"ephemeral-storage": container}}} if container else {}
    spec: dict[str, Any] = {"containers": [{"name": "web", "image": "i", **limits}]}
    if volume:
        spec["volumes"] = [{"name": "data", "emptyDir": {"sizeLimit": volume}}]
    return {"metadata": {"name": "a", "uid": "a"}, "spec": spec}


@pytest.mark.parametrize(
    ("body", "figures", "told"),
    [
        (
            limited(volume="1Mi"),
            Figures(volumes={"data": 2 * MIB}),
            'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
        ),
        (
            limited(container="1Mi"),
            Figures(storage_bytes=2 * MIB, container_storage={"web": 2 * MIB}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (limited(volume="1Mi", container="1Mi"), Figures(volumes={"data": MIB}, storage_bytes=MIB), ""),
    ],
)
def test_a_pod_may_have_no_more_on_the_disk_than_its_limits_say(body: Object, figures: Figures, told: str) -> None:
    assert local_storage.is_limited(body)
    found = local_storage.excess(body, figures)
    assert (found.message if found is not None else "") == told


def test_a_container_may_have_no_more_than_its_own_limit_says() -> None:
    body = limited(container="1Mi")
    body["spec"]["containers"].append({"name": "other", "image": "i"})
    figures = Figures(storage_bytes=MIB // 2, container_storage={"web": 2 * MIB})
    told = 'Container web exceeded its local ephemeral storage limit "1Mi". '
    assert local_storage.excess(body, figures) == Excess("ephemeralcontainerfs.limit", told)


def test_a_pod_without_limits_is_not_looked_at() -> None:
    assert not local_storage.is_limited(pod("a", volumes=[{"name": "v", "emptyDir": {}}]))


def test_under_memory_pressure_pods_that_ask_for_nothing_stay_outside() -> None:
    pressure = frozenset({"MemoryPressure"})
    verdict = refusal(pod("a"), pressure)
    assert verdict is not None
    assert (verdict.reason, verdict.message) == ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert refusal(pod("a", request="1Mi"), pressure) is None
    tolerant = pod("a", tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}])
    assert refusal(tolerant, pressure) is None
    assert refusal(critical("a"), pressure) is None


@pytest.mark.parametrize("kind", ["DiskPressure", "PIDPressure"])
def test_under_any_other_pressure_all_stay_outside_but_those_nobody_can_do_without(kind: str) -> None:
    assert refusal(pod("a", request="1Mi"), frozenset({kind})) is not None
    assert refusal(pod("a", request="1Mi"), frozenset({"MemoryPressure", kind})) is not None
    assert refusal(critical("a"), frozenset({kind})) is None
    assert refusal(pod("a"), frozenset()) is None
