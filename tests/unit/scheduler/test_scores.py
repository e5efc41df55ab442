"""How nodes are rated: worked examples of LeastAllocated, balance, taints and preferences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apimachinery.meta import Object
from scheduler.framework import normalize_down, normalize_up
from scheduler.plugins import balanced_allocation, node_affinity, node_resources_fit, taint_toleration
from tests.unit.scheduler.factories import add_pod, make_cluster, make_node, make_pod, place


def rates(plugin: Any, pod: Object, nodes: list[Object], others: list[Object] | None = None) -> list[int]:
    cluster = make_cluster(*nodes)
    for other in others or []:
        add_pod(cluster, other)
    rows = slice(0, cluster.snapshot.height)
    return [int(rate) for rate in plugin.PLUGIN.score(plugin.PLUGIN.demand(pod), cluster.snapshot, rows)]


MI = 2**20
LEAST_ALLOCATED = [
    # Of 4000m and 10000Mi are left: (1000m, 5000Mi) of an empty node.
    (make_pod(cpu="3", memory="5000Mi"), (25 + 50) // 2),
    # Without requests 100m and 200Mi are assumed: 97.5 and 98 percent.
    (make_pod(), (97 + 98) // 2),
    (make_pod(cpu="0", memory="0"), 100),
    (make_pod(cpu="5", memory="5000Mi"), (0 + 50) // 2),
]


@pytest.mark.parametrize(("pod", "rate"), LEAST_ALLOCATED)
def test_least_allocated_is_the_mean_share_that_is_left(pod: Object, rate: int) -> None:
    assert rates(node_resources_fit, pod, [make_node("a", cpu="4", memory="10000Mi")]) == [rate]


def test_pods_without_requests_still_make_a_node_look_used() -> None:
    nodes = [make_node("a", cpu="4", memory="10000Mi"), make_node("b", cpu="4", memory="10000Mi")]
    others = [make_pod(f"p{number}", node="a") for number in range(10)]
    used, free = rates(node_resources_fit, make_pod(), nodes, others)
    assert (used, free) == ((72 + 78) // 2, (97 + 98) // 2)


def test_a_resource_that_a_node_does_not_have_is_left_out_of_its_rate() -> None:
    assert rates(node_resources_fit, make_pod(cpu="1"), [make_node("a", cpu="4", memory="0")]) == [75]
    assert rates(node_resources_fit, make_pod(cpu="1"), [make_node("a", cpu="0", memory="0")]) == [0]


BALANCED = [
    (make_pod(cpu="2", memory="5000Mi"), 100),
    (make_pod(cpu="3", memory="5000Mi"), 87),
    (make_pod(cpu="4", memory="0"), 50),
    (make_pod(cpu="9", memory="10000Mi"), 100),
]


@pytest.mark.parametrize(("pod", "rate"), BALANCED)
def test_balance_is_measured_by_the_deviation_of_the_used_shares(pod: Object, rate: int) -> None:
    assert rates(balanced_allocation, pod, [make_node("a", cpu="4", memory="10000Mi")]) == [rate]


def test_pods_that_ask_nothing_are_not_rated_by_balance() -> None:
    assert balanced_allocation.demand(make_pod()) is None


def test_each_untolerated_taint_that_would_rather_not_have_the_pod_counts() -> None:
    taints = [{"key": key, "effect": "PreferNoSchedule"} for key in ("one", "two")]
    nodes = [make_node("a", taints=taints), make_node("b", taints=taints[:1]), make_node("c")]
    assert rates(taint_toleration, make_pod(), nodes) == [2, 1, 0]
    tolerant = make_pod(tolerations=[{"key": "two", "operator": "Exists", "effect": "PreferNoSchedule"}])
    assert rates(taint_toleration, tolerant, nodes) == [1, 1, 0]
    mistaken = make_pod(tolerations=[{"key": "two", "operator": "Exists", "effect": "NoSchedule"}])
    assert rates(taint_toleration, mistaken, nodes) == [2, 1, 0]


def preferring(*preferences: tuple[int, str]) -> Object:
    listed = [
        {"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}}
        for weight, key in preferences
    ]
    return make_pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": listed}})


def test_the_weights_of_matching_preferences_add_up() -> None:
    nodes = [make_node("a", labels={"ssd": "", "fast": ""}), make_node("b", labels={"ssd": ""}), make_node("c")]
    assert rates(node_affinity, preferring((30, "ssd"), (50, "fast")), nodes) == [80, 30, 0]


def test_rates_are_brought_to_a_hundred() -> None:
    column = np.array([0, 20, 80], dtype=np.int64)
    assert list(normalize_up(column, 0, 80)) == [0, 25, 100]
    assert list(normalize_down(column, 0, 80)) == [100, 75, 0]
    none = np.zeros(2, dtype=np.int64)
    assert list(normalize_up(none, 0, 0)) == [0, 0]
    assert list(normalize_down(none, 0, 0)) == [100, 100]


def test_a_preferred_node_wins_over_one_with_more_room() -> None:
    cluster = make_cluster(make_node("empty"), make_node("busy", labels={"ssd": ""}))
    add_pod(cluster, make_pod("there", node="busy", cpu="1", memory="2Gi"))
    assert place(cluster, preferring((1, "ssd"))) == "busy"


def test_the_emptier_node_wins_and_equal_nodes_share() -> None:
    cluster = make_cluster(*(make_node(name) for name in "abcd"))
    placed = [place(cluster, make_pod(f"p{number}", cpu="100m", memory="100Mi")) for number in range(8)]
    assert sorted(placed) == sorted("abcd" * 2)


def test_the_same_seed_breaks_ties_in_the_same_way() -> None:
    def placements(seed: int) -> list[str]:
        cluster = make_cluster(*(make_node(f"n{number}") for number in range(10)), seed=seed)
        return [place(cluster, make_pod(f"p{number}")) for number in range(10)]

    assert placements(1) == placements(1)
    assert any(placements(1) != placements(seed) for seed in (2, 3, 4))
