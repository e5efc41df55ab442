"""Pods are spread over domains: the cases of Kubernetes' own tests, and what the scheduler makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apimachinery.meta import Object
from scheduler.cluster import Cluster, Placement
from scheduler.plugins.pod_topology_spread import (
    HOSTNAME,
    REASON,
    REASON_LABEL,
    ZONE,
    demand,
    filter_nodes,
    score_nodes,
)
from tests.unit.scheduler.factories import (
    add_node,
    add_pod,
    delete_pod,
    make_cluster,
    make_node,
    make_pod,
    place,
    place_next,
)

ANYWAY = {"whenUnsatisfiable": "ScheduleAnyway"}


def spread(key: str, skew_max: int = 1, label: str | None = "foo", **fields: Any) -> Object:
    """A constraint on the pods that have a label; None leaves the selector out."""
    told: Object = {"topologyKey": key, "maxSkew": skew_max, "whenUnsatisfiable": "DoNotSchedule"}
    if label is not None:
        told["labelSelector"] = {"matchExpressions": [{"key": label, "operator": "Exists"}]}
    return {**told, **fields}


def spread_pod(*constraints: Object, labels: str = "foo", **spec: Any) -> Object:
    own = dict.fromkeys(labels.split(), "")
    return make_pod("incoming", labels=own, topologySpreadConstraints=list(constraints), **spec)


def four_nodes(*, without: tuple[str, ...] = (), key: str = "zone", **tainted: list[dict[str, str]]) -> Cluster:
    """Nodes a and b in zone 1, x and y in zone 2; those in `without` lack the label of the zone."""
    cluster = make_cluster()
    for name, zone in (("a", "zone1"), ("b", "zone1"), ("x", "zone2"), ("y", "zone2")):
        labels = {"node": name, HOSTNAME: name} | ({} if name in without else {key: zone})
        add_node(cluster, make_node(name, labels=labels, taints=tainted.get(name)))
    return cluster


def populate(cluster: Cluster, where: str) -> None:
    """`a:foo b:foo,bar`: pods with these labels on these nodes."""
    for number, entry in enumerate(where.split()):
        node, _, labels = entry.partition(":")
        add_pod(cluster, make_pod(f"p{number}", node=node, labels=dict.fromkeys(labels.split(","), "")))


def verdict(cluster: Cluster, pod: Object) -> dict[str, str]:
    """The reason of each node that is turned down."""
    snapshot = cluster.snapshot
    asked = demand(pod, snapshot)
    assert asked is not None
    found = {}
    for rejection in filter_nodes(asked, snapshot, slice(0, snapshot.height)):
        for row in np.flatnonzero(rejection.nodes):
            found[snapshot.node_name(int(row))] = rejection.reason
    return found


def scores(cluster: Cluster, pod: Object, *, candidates: str = "abxy") -> dict[str, int]:
    snapshot = cluster.snapshot
    asked = demand(pod, snapshot)
    assert asked is not None
    rows = slice(0, snapshot.height)
    passed = np.array([snapshot.node_name(row) in candidates for row in range(snapshot.height)])
    found = score_nodes(asked, snapshot, rows, passed)
    return {snapshot.node_name(row): int(found[row]) for row in range(snapshot.height) if passed[row]}


ONE_CONSTRAINT = [
    ("nobody is there yet", "", spread("zone"), "foo", ""),
    ("the pod is not one of those that count", "", spread("zone", label="bar"), "foo", ""),
    ("no selector means no pods", "x:foo y:foo", spread("zone", label=None), "foo", ""),
    ("3/3 over zones", "a:foo a:foo b:foo y:foo y:foo y:foo", spread("zone"), "foo", ""),
    ("2/1/0/3 over nodes", "a:foo a:foo b:foo y:foo y:foo y:foo", spread("node"), "foo", "a b y"),
    ("2/1/0/3 with a skew of two", "a:foo a:foo b:foo y:foo y:foo y:foo", spread("node", 2), "foo", "a y"),
    ("2/1/0/3 for a pod that does not count", "a:foo a:foo b:foo y:foo y:foo y:foo", spread("node"), "bar", "a y"),
    ("two domains are there, two are wanted", "a:foo x:foo x:foo", spread("zone", minDomains=2), "foo", "x y"),
    ("fewer domains than wanted: the least is none", "a:foo x:foo", spread("zone", minDomains=3), "foo", "a b x y"),
    ("enough domains: the least is what it is", "a:foo b:foo x:foo y:foo", spread("zone", minDomains=2), "foo", ""),
    ("an empty selector counts nobody", "a:foo a:foo", spread("zone", labelSelector={}), "foo", ""),
]


@pytest.mark.parametrize(("told", "there", "constraint", "labels", "rejected"), ONE_CONSTRAINT)
def test_one_constraint(told: str, there: str, constraint: Object, labels: str, rejected: str) -> None:
    cluster = four_nodes()
    populate(cluster, there)
    found = verdict(cluster, spread_pod(constraint, labels=labels))
    assert found == dict.fromkeys(rejected.split(), REASON), told


def test_pods_of_other_namespaces_do_not_count() -> None:
    cluster = four_nodes()
    populate(cluster, "x:foo y:foo")
    for number in range(2):
        add_pod(cluster, make_pod(f"other{number}", namespace=f"ns{number}", node="a", labels={"foo": ""}))
    assert verdict(cluster, spread_pod(spread("zone"))) == {"x": REASON, "y": REASON}


def test_pods_that_are_about_to_end_do_not_count() -> None:
    cluster = four_nodes()
    going = make_pod("going", node="a", labels={"foo": ""})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add_pod(cluster, going)
    assert verdict(cluster, spread_pod(spread("node"))) == {}


def test_a_node_without_the_label_is_out_and_its_pods_do_not_count() -> None:
    cluster = four_nodes(without=("b",))
    populate(cluster, "a:foo b:foo x:foo y:foo")
    assert verdict(cluster, spread_pod(spread("zone"))) == {"b": REASON_LABEL, "x": REASON, "y": REASON}
    assert set(verdict(cluster, spread_pod(spread("rack"))).values()) == {REASON_LABEL}


TWO_CONSTRAINTS = [
    ("3/3 and 2/1/0/3", "a:foo a:foo b:foo y:foo y:foo y:foo", "foo", "foo", "foo", "a b y"),
    ("3/4 and 2/1/0/4", "a:foo a:foo b:foo y:foo y:foo y:foo y:foo", "foo", "foo", "foo", "a b x y"),
    ("1/0 of one, 0/0/1/1 of another", "a:foo x:bar y:bar", "foo", "bar", "foo bar", "a b x y"),
    ("1/0 of one, 0/1/1/1 of another", "a:foo b:bar x:bar y:bar", "foo", "bar", "foo bar", "a b x y"),
    ("1/1 and 1/0/0/1", "a:foo y:foo y:bar a:bar", "foo", "bar", "foo bar", "a y"),
]


@pytest.mark.parametrize(("told", "there", "by_zone", "by_node", "labels", "rejected"), TWO_CONSTRAINTS)
def test_two_constraints_must_both_hold(
    told: str, there: str, by_zone: str, by_node: str, labels: str, rejected: str
) -> None:
    cluster = four_nodes()
    populate(cluster, there)
    found = verdict(cluster, spread_pod(spread("zone", label=by_zone), spread("node", label=by_node), labels=labels))
    assert found == dict.fromkeys(rejected.split(), REASON), told


def test_nodes_that_the_pod_can_not_use_by_its_selector_are_no_domains_unless_told_otherwise() -> None:
    cluster = four_nodes()
    populate(cluster, "a:foo")
    selector = {"nodeSelector": {"node": "a"}}
    assert verdict(cluster, spread_pod(spread("node"), **selector)) == {}
    assert verdict(cluster, spread_pod(spread("node", nodeAffinityPolicy="Ignore"), **selector)) == {"a": REASON}


def test_tainted_nodes_are_domains_unless_told_otherwise() -> None:
    cluster = four_nodes(y=[{"key": "k", "value": "", "effect": "NoSchedule"}])
    populate(cluster, "a:foo b:foo x:foo")
    assert verdict(cluster, spread_pod(spread("node"))).keys() == {"a", "b", "x"}
    honoring = spread("node", nodeTaintsPolicy="Honor")
    assert verdict(cluster, spread_pod(honoring)) == {}
    tolerant = spread_pod(honoring, tolerations=[{"operator": "Exists"}])
    assert verdict(cluster, tolerant).keys() == {"a", "b", "x"}


def test_keys_of_labels_stand_for_the_values_of_the_pod_itself() -> None:
    cluster = four_nodes()
    for number, hash in enumerate(("old", "old", "new")):
        labels = {"foo": "", "hash": hash}
        add_pod(cluster, make_pod(f"p{number}", node="abx"[number], labels=labels))
    pod = spread_pod(spread("zone", matchLabelKeys=["hash", "missing"]))
    pod["metadata"]["labels"]["hash"] = "new"
    assert verdict(cluster, pod) == {"x": REASON, "y": REASON}


def many(**numbers: int) -> str:
    return " ".join(f"{node}:foo" for node, number in numbers.items() for _ in range(number))


FOO_ZONE, FOO_NODE = spread("zone", **ANYWAY), spread(HOSTNAME, **ANYWAY)
BAR_ZONE, BAR_NODE = spread("zone", label="bar", **ANYWAY), spread(HOSTNAME, label="bar", **ANYWAY)
DIFFERENT = "a:foo b:foo,bar y:foo y:bar"
SCORES: list[tuple[list[Object], str, str, str]] = [
    ([FOO_NODE], "", "abxy", "100 100 100 100"),
    ([FOO_NODE], many(a=2, b=1), "a", "100"),
    ([FOO_NODE], many(a=1, b=1, x=1, y=1), "abxy", "100 100 100 100"),
    ([FOO_NODE], many(a=2, b=1, x=0, y=3), "abxy", "20 60 100 0"),
    ([spread(HOSTNAME, label=None, **ANYWAY)], many(a=2, b=1, y=3), "abxy", "100 100 100 100"),
    ([FOO_NODE], many(a=4, b=2, x=1, y=3), "abx", "33 83 100"),
    ([FOO_ZONE], many(a=4, b=2, x=1, y=3), "abx", "75 75 100"),
    ([FOO_ZONE, FOO_NODE], many(a=2, b=1, x=2, y=4), "ax", "100 63"),
    ([FOO_ZONE, BAR_ZONE], "a:foo,bar a:foo b:foo,bar y:foo y:foo,bar y:foo", "ax", "85 100"),
    ([FOO_ZONE, BAR_NODE], DIFFERENT, "abxy", "60 20 100 60"),
    ([FOO_ZONE, BAR_NODE], "b:bar x:foo y:foo,bar", "abxy", "100 60 40 0"),
    ([FOO_ZONE, BAR_NODE], DIFFERENT, "abx", "50 25 100"),
    ([spread("node", 2, minDomains=10, **ANYWAY)], many(a=2, b=2, x=1), "abx", "75 75 100"),
]


@pytest.mark.parametrize(("constraints", "there", "candidates", "expected"), SCORES)
def test_scores_are_kubernetes_own(constraints: list[Object], there: str, candidates: str, expected: str) -> None:
    cluster = four_nodes()
    populate(cluster, there)
    found = scores(cluster, spread_pod(*constraints, labels="foo bar"), candidates=candidates)
    assert " ".join(str(found[node]) for node in candidates) == expected


def test_a_candidate_without_the_label_scores_nothing() -> None:
    cluster = four_nodes(without=("b",))
    populate(cluster, many(a=4, b=2, x=1))
    found = scores(cluster, spread_pod(FOO_ZONE))
    assert found == {"a": 16, "b": 0, "x": 100, "y": 100}


def service(**selector: str) -> Object:
    metadata = {"name": "service", "namespace": "default"}
    return {"kind": "Service", "metadata": metadata, "spec": {"selector": selector}}


def replica_set(**labels: str) -> Object:
    metadata = {"name": "set", "namespace": "default"}
    return {"kind": "ReplicaSet", "metadata": metadata, "spec": {"selector": {"matchLabels": labels}}}


OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set", "controller": True}]}


@pytest.mark.parametrize("group", [service(foo=""), replica_set(foo="")])
def test_pods_of_a_service_or_a_controller_are_spread_though_they_do_not_ask(group: Object) -> None:
    cluster = four_nodes(key=ZONE)
    pod = make_pod(labels={"foo": ""})
    pod["metadata"] |= OWNED
    assert demand(pod, cluster.snapshot) is None
    cluster.group_changed(None, group)
    populate(cluster, many(a=2, b=1, x=1))
    found = scores(cluster, pod)
    assert found["y"] == 100 > found["x"] > found["b"] > found["a"]
    cluster.group_changed(group, None)
    assert demand(pod, cluster.snapshot) is None


def test_nodes_without_a_zone_are_still_told_apart_by_the_systems_defaults() -> None:
    cluster = four_nodes(without=("a", "b", "x", "y"))
    cluster.group_changed(None, service(foo=""))
    populate(cluster, many(a=1))
    found = scores(cluster, make_pod(labels={"foo": ""}))
    assert found["b"] == 100 > found["a"]


def test_a_pod_with_constraints_of_its_own_has_no_others() -> None:
    cluster = four_nodes()
    cluster.group_changed(None, service(foo=""))
    asked = demand(spread_pod(spread("zone")), cluster.snapshot)
    assert asked is not None
    assert not asked.preferred


def test_equal_pods_are_spread_one_after_the_other() -> None:
    cluster = four_nodes()
    nodes = []
    for number in range(8):
        pod = spread_pod(spread("node"))
        pod["metadata"] |= {"name": f"p{number}", "uid": f"uid-{number}"}
        nodes.append(place(cluster, pod))
    assert sorted(nodes[:4]) == sorted(nodes[4:]) == ["a", "b", "x", "y"]


def test_a_pod_that_waited_while_a_service_came_is_placed_as_one_of_its_pods() -> None:
    cluster = four_nodes(key=ZONE)
    populate(cluster, many(a=1, b=1, x=1))
    add_pod(cluster, make_pod("waiting", labels={"foo": ""}))
    cluster.group_changed(None, service(foo=""))
    placed = place_next(cluster)
    assert isinstance(placed, Placement)
    assert placed.node == "y"


# What brings a pod back that was turned down.


def one_zone_full() -> Cluster:
    """The pod fits node x by its room, and its zone has one pod more than the other."""
    cluster = make_cluster(
        make_node("a", labels={"zone": "zone1"}, unschedulable=True), make_node("x", labels={"zone": "zone2"})
    )
    add_pod(cluster, make_pod("there", node="x", labels={"foo": ""}))
    message = place(cluster, spread_pod(spread("zone")))
    assert message == f"0/2 nodes are available: 1 {REASON}, 1 node(s) were unschedulable."
    return cluster


def is_tried_again(cluster: Cluster) -> bool:
    return cluster.next_pod(100.0) is not None


def test_a_pod_that_comes_elsewhere_helps_if_it_counts() -> None:
    cluster = one_zone_full()
    add_pod(cluster, make_pod("uncounted", node="a", labels={"bar": ""}))
    assert not is_tried_again(cluster)
    add_pod(cluster, make_pod("counted", node="a", labels={"foo": ""}))
    assert is_tried_again(cluster)


def test_a_pod_that_goes_helps_if_it_counted() -> None:
    cluster = one_zone_full()
    delete_pod(cluster, make_pod("there", node="x", labels={"foo": ""}))
    assert is_tried_again(cluster)


def test_a_pod_that_loses_its_label_or_is_about_to_end_helps() -> None:
    cluster = one_zone_full()
    add_pod(cluster, make_pod("there", node="x", labels={"bar": ""}))
    assert is_tried_again(cluster)
    cluster = one_zone_full()
    going = make_pod("there", node="x", labels={"foo": ""})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add_pod(cluster, going)
    assert is_tried_again(cluster)


def test_a_node_that_goes_or_changes_its_label_helps_pods_on_other_nodes() -> None:
    cluster = one_zone_full()
    cluster.node_changed("DELETED", make_node("a"), None)
    assert is_tried_again(cluster)
    cluster = one_zone_full()
    add_node(cluster, make_node("a", labels={"zone": "zone2"}, unschedulable=True))
    assert is_tried_again(cluster)


def test_a_pod_that_gets_a_label_when_it_is_bound_stays_where_it_counts_for_its_node() -> None:
    cluster = four_nodes()
    position = cluster.snapshot.journal.position
    populate(cluster, "a:bar")
    counted = cluster.snapshot.journal.position
    add_pod(cluster, make_pod("p0", node="a", labels={"foo": ""}))
    assert position < counted == cluster.snapshot.journal.position
    assert verdict(cluster, spread_pod(spread("node"))) == {"a": REASON}
