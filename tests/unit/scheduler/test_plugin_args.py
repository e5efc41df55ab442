"""What arguments make of the plugins: strategies, ignored resources, added affinity, default constraints."""

from __future__ import annotations

import random
from typing import Any

import pytest

from apimachinery.meta import Object
from scheduler.cluster import Cluster
from scheduler.framework import Plugin, Profile
from scheduler.plugins import (
    balanced_allocation,
    inter_pod_affinity,
    node_affinity,
    node_resources_fit,
    pod_topology_spread,
)
from scheduler.plugins.resource_scoring import (
    Point,
    Strategy,
    Weighted,
    least_allocated,
    most_allocated,
    requested_to_capacity_ratio,
)
from tests.unit.scheduler.factories import add_node, add_pod, container, make_node, make_pod, place

MUST, RATHER = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
UPWARDS, DOWNWARDS = (Point(0, 0), Point(100, 10)), (Point(0, 10), Point(100, 0))


def cluster_with(*plugins: Plugin, nodes: list[Object], others: list[Object] | None = None) -> Cluster:
    cluster = Cluster(Profile(tuple((plugin, 1) for plugin in plugins)), rng=random.Random(1))
    for node in nodes:
        add_node(cluster, node)
    for other in others or []:
        add_pod(cluster, other)
    return cluster


def rates(plugin: Plugin, pod: Object, nodes: list[Object], others: list[Object] | None = None) -> list[int]:
    cluster = cluster_with(plugin, nodes=nodes, others=others)
    assert plugin.demand is not None and plugin.score is not None
    asked = plugin.demand(pod)
    assert asked is not None, "the pod asks nothing of the plugin"
    return [int(rate) for rate in plugin.score(asked, cluster.snapshot, slice(0, cluster.snapshot.height))]


def fit(strategy: Strategy, **ignored: frozenset[str]) -> Plugin:
    return node_resources_fit.plugin(node_resources_fit.Args(strategy, **ignored))


def asking(**requests: str) -> Object:
    named = {key.replace("__", "/").replace("_dot_", "."): value for key, value in requests.items()}
    return make_pod(containers=[container(requests=named)])


# Of 4000m and 10000Mi.
STRATEGIES: list[tuple[Strategy, Object, int]] = [
    (most_allocated(), make_pod(cpu="3", memory="5000Mi"), (75 + 50) // 2),
    (most_allocated(), make_pod(cpu="6", memory="5000Mi"), (100 + 50) // 2),
    (most_allocated([Weighted("cpu", 3), Weighted("memory", 1)]), make_pod(cpu="3", memory="5000Mi"), 275 // 4),
    (least_allocated([Weighted("cpu", 3), Weighted("memory", 1)]), make_pod(cpu="3", memory="5000Mi"), 125 // 4),
    (requested_to_capacity_ratio(UPWARDS), make_pod(cpu="3", memory="5000Mi"), round((75 + 50) / 2 + 0.01)),
    (requested_to_capacity_ratio(DOWNWARDS), make_pod(cpu="3", memory="5000Mi"), round((25 + 50) / 2 + 0.01)),
    # What is worth nothing is left out of the mean.
    (requested_to_capacity_ratio(DOWNWARDS), make_pod(cpu="5", memory="5000Mi"), 50),
    (requested_to_capacity_ratio(DOWNWARDS), make_pod(cpu="5", memory="20000Mi"), 0),
    # Outside of the shape its ends hold; in between, whole numbers.
    (
        requested_to_capacity_ratio([Point(60, 3), Point(90, 10)]),
        make_pod(cpu="2", memory="7500Mi"),
        (30 + 65) // 2 + 1,
    ),
    (
        requested_to_capacity_ratio([Point(0, 10), Point(50, 7)]),
        make_pod(cpu="4", memory="2500Mi"),
        (70 + 85) // 2 + 1,
    ),
]


@pytest.mark.parametrize(("strategy", "pod", "rate"), STRATEGIES)
def test_a_strategy_rates_a_node_by_the_use_of_its_resources(strategy: Strategy, pod: Object, rate: int) -> None:
    assert rates(fit(strategy), pod, [make_node("a", cpu="4", memory="10000Mi")]) == [rate]


def test_the_example_of_bin_packing_with_extended_resources() -> None:
    # https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
    nodes = [
        make_node("one", cpu=8, memory="1Gi", **{"intel.com/foo": "4"}),
        make_node("two", cpu=8, memory="1Gi", **{"intel.com/foo": "8"}),
    ]
    others = [
        {**asking(cpu="1", memory="256Mi", intel_dot_com__foo="1")},
        {**asking(cpu="6", memory="512Mi", intel_dot_com__foo="2")},
    ]
    for other, node in zip(others, ("one", "two"), strict=True):
        other["spec"]["nodeName"] = node
        other["metadata"]["uid"] = node
    resources = [Weighted("intel.com/foo", 5), Weighted("memory", 1), Weighted("cpu", 3)]
    plugin = fit(requested_to_capacity_ratio(UPWARDS, resources))
    pod = asking(cpu="2", memory="256Mi", intel_dot_com__foo="2")
    expected = [(75 * 5 + 50 + 37 * 3) / 9, (50 * 5 + 75 + 100 * 3) / 9]
    assert rates(plugin, pod, nodes, others) == [round(rate) for rate in expected]


def test_an_extended_resource_counts_only_for_pods_that_ask_for_it() -> None:
    node = make_node("a", cpu="4", memory="10000Mi", **{"x.io/gpu": "4"})
    plugin = fit(most_allocated([Weighted("x.io/gpu", 2), Weighted("cpu", 1)]))
    assert rates(plugin, asking(cpu="2"), [node]) == [50]
    assert rates(plugin, asking(cpu="2", x_dot_io__gpu="4"), [node]) == [(200 + 50) // 3]
    assert rates(fit(most_allocated([Weighted("x.io/gpu")])), asking(cpu="2"), [node]) == [0]


@pytest.mark.parametrize(
    ("ignored", "resource", "message"),
    [
        ({"ignored": frozenset({"x.io/gpu"})}, "x_dot_io__gpu", "a"),
        ({"ignored_groups": frozenset({"x.io"})}, "x_dot_io__gpu", "a"),
        ({"ignored_groups": frozenset({"x"})}, "x_dot_io__gpu", "0/1 nodes are available: 1 Insufficient x.io/gpu."),
        # Only extended resources can be ignored.
        ({"ignored": frozenset({"memory"})}, "memory", "0/1 nodes are available: 1 Insufficient memory."),
    ],
)
def test_extended_resources_can_be_left_to_somebody_else(ignored: Any, resource: str, message: str) -> None:
    cluster = cluster_with(fit(least_allocated(), **ignored), nodes=[make_node("a", memory="1")])
    assert place(cluster, asking(**{resource: "2"})) == message


BALANCES = [
    # Shares of a half, a half and all: the deviation of three.
    (asking(cpu="2", memory="500Mi", x_dot_io__gpu="4"), 76),
    (asking(cpu="2", memory="500Mi", x_dot_io__gpu="2"), 100),
    # Who asks for no such resource is rated by the other two.
    (asking(cpu="4", memory="500Mi"), 75),
    (asking(x_dot_io__gpu="2"), 76),
]


@pytest.mark.parametrize(("pod", "rate"), BALANCES)
def test_balance_takes_the_resources_that_it_is_told(pod: Object, rate: int) -> None:
    node = make_node("a", cpu="4", memory="1000Mi", **{"x.io/gpu": "4"})
    assert rates(balanced_allocation.plugin(("cpu", "memory", "x.io/gpu")), pod, [node]) == [rate]


def test_an_added_affinity_holds_for_pods_that_have_none_and_beside_their_own() -> None:
    required, preferred = node_affinity.parse_affinity(
        {
            MUST: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["x"]}]}]},
            RATHER: [{"weight": 5, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}],
        }
    )
    plugin = node_affinity.plugin(node_affinity.Demand((), required, preferred))
    nodes = [make_node("other"), make_node("slow", labels={"pool": "x"}), make_node("fast", labels={"pool": "x"})]
    nodes[2]["metadata"]["labels"]["fast"] = ""
    cluster = cluster_with(plugin, nodes=nodes)
    assert place(cluster, make_pod("plain")) == "fast"
    told = place(cluster, make_pod("picky", nodeSelector={"disk": "ssd"}))
    enforced, own = node_affinity.REASON_ENFORCED, node_affinity.REASON
    assert told == f"0/3 nodes are available: 1 {enforced}, 2 {own}."


def zoned(name: str, zone: str) -> Object:
    return make_node(name, labels={"zone": zone})


def spread_by(defaults: list[Object] | None) -> Cluster:
    plugin = pod_topology_spread.plugin(defaults)
    cluster = cluster_with(plugin, nodes=[zoned("a", "x"), zoned("b", "y")])
    service = {
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"selector": {"app": "s"}},
    }
    cluster.group_changed(None, service)
    add_pod(cluster, make_pod("there", node="a", labels={"app": "s"}))
    return cluster


def test_default_constraints_hold_for_pods_of_a_service_that_name_none() -> None:
    cluster = spread_by([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}])
    assert place(cluster, make_pod("one", labels={"app": "s"})) == "b"
    cluster.node_changed("DELETED", zoned("b", "y"), None)
    add_node(cluster, make_node("nowhere"))
    assert place(cluster, make_pod("two", labels={"app": "s"})) == "a"


def test_an_empty_list_of_default_constraints_means_none() -> None:
    pod = make_pod(labels={"app": "s"})
    assert pod_topology_spread.demand_by([], pod, spread_by([]).snapshot) is None
    assert pod_topology_spread.demand_by(None, pod, spread_by(None).snapshot) is not None


def near(app: str, weight: int | None = None) -> Object:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}}
    entry = term if weight is None else {"weight": weight, "podAffinityTerm": term}
    return {"podAffinity": {MUST if weight is None else RATHER: [entry]}}


@pytest.mark.parametrize(
    ("args", "scores"),
    [
        # On a is a pod that must be near the new one, on b one that would like to be, by 3.
        (inter_pod_affinity.Args(), [33, 100, 0]),
        (inter_pod_affinity.Args(hard_pod_affinity_weight=6), [100, 50, 0]),
        (inter_pod_affinity.Args(hard_pod_affinity_weight=0), [0, 100, 0]),
        (inter_pod_affinity.Args(ignore_preferred_terms_of_existing_pods=True), [0, 0, 0]),
    ],
)
def test_what_pods_that_are_there_want_counts_as_the_arguments_say(
    args: inter_pod_affinity.Args, scores: list[int]
) -> None:
    plugin = inter_pod_affinity.plugin(args)
    nodes = [zoned("a", "x"), zoned("b", "y"), zoned("c", "z")]
    others = [make_pod("must", node="a", affinity=near("new")), make_pod("likes", node="b", affinity=near("new", 3))]
    snapshot = cluster_with(plugin, nodes=nodes, others=others).snapshot
    asked = inter_pod_affinity.demand(make_pod(labels={"app": "new"}), snapshot)
    assert plugin.compare is not None and asked is not None
    found = plugin.compare(asked, snapshot, slice(0, 3), snapshot.present[:3])
    assert [int(score) for score in found] == scores
