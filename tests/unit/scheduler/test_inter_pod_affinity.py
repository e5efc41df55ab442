"""Pods near others and away from them: the cases of Kubernetes' own tests, and what the scheduler makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apimachinery.meta import Object
from scheduler.affinity_terms import PREFERRED, REQUIRED
from scheduler.cluster import Cluster, Placement
from scheduler.plugins.inter_pod_affinity import (
    REASON_AFFINITY,
    REASON_ANTI_AFFINITY,
    REASON_EXISTING,
    Args,
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

S1, S2 = {"security": "S1"}, {"security": "S2"}


def term(
    key: str = "region", *, values: str = "S1", operator: str = "In", label: str = "security", **more: Any
) -> Object:
    """A term that means pods by one label."""
    expression = {"key": label, "operator": operator, **({"values": values.split()} if values else {})}
    return {"topologyKey": key, "labelSelector": {"matchExpressions": [expression]}, **more}


def near(*terms: Object, prefer: int = 0) -> Object:
    return {"podAffinity": _terms(terms, prefer)}


def away(*terms: Object, prefer: int = 0) -> Object:
    return {"podAntiAffinity": _terms(terms, prefer)}


def _terms(terms: tuple[Object, ...], prefer: int) -> Object:
    if not prefer:
        return {REQUIRED: list(terms)}
    return {PREFERRED: [{"weight": prefer, "podAffinityTerm": one} for one in terms]}


def regions(**places: str) -> Cluster:
    """Nodes with labels `region=china,az=az1`, written `china/az1`; each part may be left out."""
    cluster = make_cluster()
    for name, where in places.items():
        region, _, zone = where.partition("/")
        labels = ({"region": region} if region else {}) | ({"az": zone} if zone else {}) | {"hostname": name}
        add_node(cluster, make_node(name, labels=labels))
    return cluster


def there(
    cluster: Cluster, node: str, labels: dict[str, str], affinity: Object | None = None, **fields: Any
) -> Object:
    """A pod on a node."""
    number = there.__dict__["count"] = there.__dict__.get("count", 0) + 1
    spec = {"affinity": affinity} if affinity else {}
    pod = make_pod(f"there{number}", node=node, labels=labels, **spec, **fields)
    add_pod(cluster, pod)
    return pod


def incoming(labels: dict[str, str] | None = None, affinity: Object | None = None, **fields: Any) -> Object:
    return make_pod("incoming", labels=labels, **({"affinity": affinity} if affinity else {}), **fields)


def verdict(cluster: Cluster, pod: Object) -> dict[str, str]:
    """The reason of each node that is turned down."""
    snapshot, found = cluster.snapshot, {}
    asked = demand(pod, snapshot)
    if asked is not None:
        for rejection in filter_nodes(asked, snapshot, slice(0, snapshot.height)):
            for row in np.flatnonzero(rejection.nodes):
                found[snapshot.node_name(int(row))] = rejection.reason
    return found


def scores(cluster: Cluster, pod: Object) -> list[int]:
    snapshot = cluster.snapshot
    asked = demand(pod, snapshot)
    assert asked is not None
    passed = snapshot.present[: snapshot.height]
    return [int(score) for score in score_nodes(Args(), asked, snapshot, slice(0, snapshot.height), passed)]


# On one node: (told, the pod's labels, its affinity, the labels and affinity of the one there, reason).
CAR, TRUCK = {"service": "securityscan"}, {"service": "other"}
SCAN = {"label": "service", "values": "securityscan value2"}
ONE_NODE: list[tuple[str, dict[str, str], Object | None, dict[str, str], Object | None, str]] = [
    ("nothing is asked", {}, None, CAR, None, ""),
    ("In matches", {}, near(term(**SCAN)), CAR, None, ""),
    ("NotIn matches", {}, near(term(label="service", operator="NotIn", values="x")), CAR, None, ""),
    ("Exists matches", {}, near(term(label="service", operator="Exists", values="")), CAR, None, ""),
    (
        "the other has other labels",
        {},
        near(term(label="service", values="securityscan")),
        TRUCK,
        None,
        REASON_AFFINITY,
    ),
    ("another namespace", {}, near(term(**SCAN, namespaces=["ns"])), CAR, None, REASON_AFFINITY),
    ("no selector means nobody", {}, near({"topologyKey": "region"}), CAR, None, REASON_AFFINITY),
    ("an empty selector means all", {}, near({"topologyKey": "region", "labelSelector": {}}), CAR, None, ""),
    (
        "two terms that both match",
        {},
        near(
            term(label="service", operator="Exists", values=""),
            term(label="wrong", operator="DoesNotExist", values=""),
        ),
        CAR,
        None,
        "",
    ),
    (
        "of two terms one does not match",
        {},
        near(term(label="service", operator="Exists", values=""), term(label="wrong", operator="Exists", values="")),
        CAR,
        None,
        REASON_AFFINITY,
    ),
    ("anti-affinity", {}, away(term("hostname", **SCAN)), CAR, None, REASON_ANTI_AFFINITY),
    ("anti-affinity to others", {}, away(term("hostname", **SCAN)), TRUCK, None, ""),
    (
        "both, and affinity is told first",
        {},
        {**near(term(label="service", values="x")), **away(term("hostname", **SCAN))},
        CAR,
        None,
        REASON_AFFINITY,
    ),
    (
        "affinity holds, anti-affinity does not",
        {},
        {**near(term(**SCAN)), **away(term(**SCAN))},
        CAR,
        None,
        REASON_ANTI_AFFINITY,
    ),
    ("the one there will not have it", CAR, None, TRUCK, away(term(**SCAN)), REASON_EXISTING),
    ("the one there will not have others", CAR, None, TRUCK, away(term(label="service", values="x")), ""),
    (
        "of two terms of the one there one means it",
        CAR,
        None,
        {},
        away(term("az", **SCAN), term(**SCAN)),
        REASON_EXISTING,
    ),
    ("both will not have each other", CAR, away(term(**SCAN)), CAR, away(term(**SCAN)), REASON_ANTI_AFFINITY),
    ("what the one there prefers forbids nothing", CAR, None, TRUCK, away(term(**SCAN), prefer=9), ""),
]


@pytest.mark.parametrize(("told", "labels", "affinity", "others", "theirs", "reason"), ONE_NODE)
def test_on_one_node(
    told: str,
    labels: dict[str, str],
    affinity: Object | None,
    others: dict[str, str],
    theirs: Object | None,
    reason: str,
) -> None:
    cluster = regions(n="china")
    there(cluster, "n", others, theirs)
    assert verdict(cluster, incoming(labels, affinity)) == ({"n": reason} if reason else {}), told


def test_near_and_away_are_of_domains_not_of_nodes() -> None:
    cluster = regions(a="china", b="china", c="india", d="")
    there(cluster, "a", S1)
    assert verdict(cluster, incoming(affinity=near(term()))) == dict.fromkeys("cd", REASON_AFFINITY)
    assert verdict(cluster, incoming(affinity=away(term()))) == dict.fromkeys("ab", REASON_ANTI_AFFINITY)
    there(cluster, "c", {}, away(term(values="S2")))
    assert verdict(cluster, incoming(S2)) == {"c": REASON_EXISTING}


def test_all_of_affinity_must_be_met_by_the_same_pod() -> None:
    cluster = regions(a="china")
    there(cluster, "a", {"one": "x"})
    there(cluster, "a", {"two": "x"})
    both = near(*(term(label=label, operator="Exists", values="") for label in ("one", "two")))
    assert verdict(cluster, incoming(affinity=both)) == {"a": REASON_AFFINITY}
    there(cluster, "a", {"one": "x", "two": "x"})
    assert verdict(cluster, incoming(affinity=both)) == {}


def test_the_first_of_pods_that_want_each_other_may_be_anywhere_where_the_labels_are() -> None:
    cluster = regions(a="china", b="india", c="")
    pod = incoming(S1, near(term()))
    assert verdict(cluster, pod) == {"c": REASON_AFFINITY}
    there(cluster, "b", S1)
    assert verdict(cluster, pod) == dict.fromkeys("ac", REASON_AFFINITY)
    assert verdict(regions(a="china"), incoming(S2, near(term()))) == {"a": REASON_AFFINITY}
    elsewhere = incoming(S1, near(term(namespaces=["other"])))
    assert verdict(regions(a="china"), elsewhere) == {"a": REASON_AFFINITY}


def test_a_pod_on_a_node_without_the_label_is_near_to_nobody() -> None:
    cluster = regions(a="china", b="")
    there(cluster, "b", S1)
    assert verdict(cluster, incoming(affinity=near(term()))) == dict.fromkeys("ab", REASON_AFFINITY)
    assert verdict(cluster, incoming(affinity=away(term()))) == {}
    # It matches, and yet there is no pair of key and value: the first of its kind may still come.
    assert verdict(cluster, incoming(S1, near(term()))) == {"b": REASON_AFFINITY}


def namespaced(cluster: Cluster, name: str, **labels: str) -> None:
    cluster.group_changed(None, {"kind": "Namespace", "metadata": {"name": name, "labels": labels}, "spec": {}})


def test_namespaces_by_name_by_labels_or_all() -> None:
    cluster = regions(a="china")
    namespaced(cluster, "red", team="red")
    namespaced(cluster, "blue", team="blue")
    there(cluster, "a", S1, namespace="red")
    met = {
        "own": {},
        "named": {"namespaces": ["red"]},
        "labelled": {"namespaceSelector": {"matchLabels": {"team": "red"}}},
        "otherwise": {"namespaceSelector": {"matchLabels": {"team": "blue"}}},
        "either": {"namespaces": ["red"], "namespaceSelector": {"matchLabels": {"team": "blue"}}},
        "all": {"namespaceSelector": {}},
    }
    found = {told: verdict(cluster, incoming(affinity=away(term(**fields)))) for told, fields in met.items()}
    assert {told for told, rejected in found.items() if rejected} == {"named", "labelled", "either", "all"}


def test_those_who_are_there_tell_namespaces_by_their_labels_too() -> None:
    cluster = regions(a="china")
    namespaced(cluster, "red", team="red")
    namespaced(cluster, "blue", team="blue")
    there(cluster, "a", {}, away(term(namespaceSelector={"matchLabels": {"team": "red"}})))
    assert verdict(cluster, incoming(S1, namespace="red")) == {"a": REASON_EXISTING}
    assert verdict(cluster, incoming(S1, namespace="blue")) == {}
    namespaced(cluster, "blue", team="red")
    assert verdict(cluster, incoming(S1, namespace="blue")) == {"a": REASON_EXISTING}


def test_keys_of_labels_stand_for_the_values_of_the_pod_itself() -> None:
    cluster = regions(a="china", b="india")
    there(cluster, "a", {**S1, "hash": "old"})
    there(cluster, "b", {**S1, "hash": "new"})
    own = {**S1, "hash": "new"}
    same = incoming(own, near(term(matchLabelKeys=["hash", "missing"])))
    assert verdict(cluster, same) == {"a": REASON_AFFINITY}
    others = incoming(own, away(term(mismatchLabelKeys=["hash"])))
    assert verdict(cluster, others) == {"a": REASON_ANTI_AFFINITY}


def test_a_pod_that_is_about_to_end_still_counts() -> None:
    cluster = regions(a="china")
    going = make_pod("going", node="a", labels=S1)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add_pod(cluster, going)
    assert verdict(cluster, incoming(affinity=away(term()))) == {"a": REASON_ANTI_AFFINITY}


def test_who_asks_nothing_and_is_meant_by_nobody_pays_nothing() -> None:
    cluster = regions(a="china")
    there(cluster, "a", S1)
    there(cluster, "a", S1, away(term(values="S9"), prefer=1))
    assert demand(incoming(S1), cluster.snapshot) is None
    asking = there(cluster, "a", S2, away(term(values="S1"), prefer=1))
    assert demand(incoming(S1), cluster.snapshot) is not None
    delete_pod(cluster, asking)
    assert demand(incoming(S1), cluster.snapshot) is None


THREE = {"n1": "china", "n2": "india", "n3": "/az1"}
Residents = list[tuple[str, dict[str, str], Object | None]]
SCORES: list[tuple[str, dict[str, str], Residents, Object | None, list[int]]] = [
    ("near", THREE, [("n1", S1, None), ("n2", S2, None), ("n3", S1, None)], near(term(), prefer=5), [100, 0, 0]),
    (
        "a domain",
        {"n1": "china", "n2": "china/az1", "n3": "india"},
        [("n1", S1, None)],
        near(term(), prefer=5),
        [100, 100, 0],
    ),
    (
        "more of them is better",
        {"n1": "china", "n2": "india", "n3": "china", "n4": "china", "n5": "india"},
        [(node, S2, None) for node in ("n1", "n1", "n2", "n3", "n4", "n5")],
        near(term(values="S2"), prefer=6),
        [100, 0, 100, 100, 0],
    ),
    (
        "away",
        {"n1": "/az1", "n2": "china"},
        [("n1", S1, None), ("n2", S2, None)],
        away(term("az"), prefer=5),
        [0, 100],
    ),
    (
        "away without the label",
        {"n1": "/az1", "n2": "china"},
        [("n1", S1, None), ("n2", S1, None)],
        away(term("az"), prefer=5),
        [0, 100],
    ),
    (
        "those who are there would like it near",
        THREE,
        [("n1", S1, near(term(values="S2"), prefer=5)), ("n2", S2, near(term(values="S1"), prefer=5))],
        None,
        [0, 100, 0],
    ),
    (
        "those who are there require it",
        THREE,
        [("n1", S1, near(term())), ("n2", S2, near(term()))],
        None,
        [100, 100, 0],
    ),
    (
        "those who are there would rather not",
        {"n1": "/az1", "n2": "/az2"},
        [("n1", S1, away(term("az"), prefer=5)), ("n2", S2, away(term("az", values="S2"), prefer=5))],
        None,
        [0, 100],
    ),
    (
        "both ways in one pod",
        {"n1": "china", "n2": "/az1"},
        [("n1", S1, None), ("n2", S1, None)],
        {**near(term(), prefer=8), **away(term("az"), prefer=5)},
        [100, 0],
    ),
    (
        "weights add up",
        THREE,
        [("n1", S1, near(term(), prefer=3)), ("n2", S1, None)],
        near(term(), prefer=1),
        [100, 25, 0],
    ),
    (
        "nothing tells the nodes apart",
        {"n1": "china", "n2": "china"},
        [("n1", S1, None)],
        near(term(), prefer=5),
        [0, 0],
    ),
]


@pytest.mark.parametrize(("told", "places", "residents", "affinity", "expected"), SCORES)
def test_scores_are_kubernetes_own(
    told: str, places: dict[str, str], residents: Residents, affinity: Object | None, expected: list[int]
) -> None:
    cluster = regions(**places)
    for node, labels, theirs in residents:
        there(cluster, node, labels, theirs)
    assert scores(cluster, incoming(S1, affinity)) == expected, told


def test_equal_pods_that_will_not_have_each_other_go_to_different_nodes() -> None:
    cluster = regions(a="china", b="china", c="china")
    found = []
    for number in range(4):
        pod = incoming(S1, away(term("hostname")))
        pod["metadata"] |= {"name": f"p{number}", "uid": f"uid-{number}"}
        found.append(place(cluster, pod))
    assert sorted(found[:3]) == ["a", "b", "c"]
    assert found[3] == f"0/3 nodes are available: 3 {REASON_ANTI_AFFINITY}."


def test_equal_pods_that_want_each_other_all_follow_the_first() -> None:
    cluster = regions(a="china", b="india", c="china", d="india")
    found = []
    for number in range(6):
        pod = incoming(S1, near(term()))
        pod["metadata"] |= {"name": f"p{number}", "uid": f"uid-{number}"}
        found.append(place(cluster, pod))
    assert set(found) in ({"a", "c"}, {"b", "d"})


def test_a_pod_that_asks_nothing_and_waits_is_kept_from_one_that_came_meanwhile() -> None:
    cluster = regions(a="china", b="india")
    add_pod(cluster, incoming(S1))
    there(cluster, "a", {}, away(term()))
    placed = place_next(cluster)
    assert isinstance(placed, Placement)
    assert placed.node == "b"


# What brings a pod back that was turned down.


def is_tried_again(cluster: Cluster) -> bool:
    return cluster.next_pod(100.0) is not None


def test_a_pod_that_is_meant_helps_when_it_comes() -> None:
    cluster = regions(a="china", b="china")
    assert place(cluster, incoming(affinity=near(term()))).endswith(f"2 {REASON_AFFINITY}.")
    other = there(cluster, "a", S2)
    assert not is_tried_again(cluster)
    other["metadata"]["labels"] = S1
    add_pod(cluster, make_pod(other["metadata"]["name"], node="a", labels=S1))
    assert is_tried_again(cluster)


@pytest.mark.parametrize("by_those_there", [False, True])
def test_a_pod_that_is_shunned_or_shuns_helps_when_it_goes(by_those_there: bool) -> None:
    cluster = regions(a="china", b="china")
    theirs, own = (away(term()), None) if by_those_there else (None, away(term()))
    pod, bystander = there(cluster, "a", S1, theirs), there(cluster, "b", S2)
    assert place(cluster, incoming(S1, own)).startswith("0/2")
    delete_pod(cluster, bystander)
    assert not is_tried_again(cluster)
    delete_pod(cluster, pod)
    assert is_tried_again(cluster)


def test_a_node_that_moves_to_another_domain_helps() -> None:
    cluster = regions(a="china", b="china")
    there(cluster, "a", S1)
    assert place(cluster, incoming(affinity=away(term()))).startswith("0/2")
    add_node(cluster, make_node("a", labels={"region": "india", "hostname": "a"}))
    assert is_tried_again(cluster)


def test_a_namespace_that_gets_other_labels_helps() -> None:
    cluster = regions(a="china")
    namespaced(cluster, "red", team="red")
    there(cluster, "a", S1, namespace="red")
    asked = near(term(namespaceSelector={"matchLabels": {"team": "blue"}}))
    assert place(cluster, incoming(affinity=asked)).startswith("0/1")
    assert not is_tried_again(cluster)
    namespaced(cluster, "red", team="blue")
    found = place_next(cluster, now=100.0)
    assert isinstance(found, Placement) and found.node == "a"
