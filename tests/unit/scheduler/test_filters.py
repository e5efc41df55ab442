"""Which nodes each plugin turns down, and in which words: Kubernetes' own."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from tests.unit.scheduler.factories import add_node, add_pod, container, make_cluster, make_node, make_pod, place


def verdict(node: Object, pod: Object, *others: Object) -> str:
    """The node's name, or the message."""
    cluster = make_cluster(node)
    for other in others:
        add_pod(cluster, other)
    return place(cluster, pod)


def rejected(reason: str) -> str:
    return f"0/1 nodes are available: 1 {reason}."


CORDONED = [
    ([], rejected("node(s) were unschedulable")),
    ([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}], "a"),
    ([{"operator": "Exists"}], "a"),
    ([{"key": "other", "operator": "Exists"}], rejected("node(s) were unschedulable")),
]


@pytest.mark.parametrize(("tolerations", "expected"), CORDONED)
def test_a_cordoned_node_takes_only_pods_that_tolerate_it(tolerations: list[Object], expected: str) -> None:
    assert verdict(make_node("a", unschedulable=True), make_pod(tolerations=tolerations)) == expected


UNTOLERATED = rejected("node(s) had untolerated taint(s)")
TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
TAINTED = [
    ([], TAINT, UNTOLERATED),
    ([{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}], TAINT, "a"),
    ([{"key": "dedicated", "operator": "Equal", "value": "gpu"}], TAINT, "a"),
    ([{"key": "dedicated", "operator": "Equal", "value": "cpu"}], TAINT, UNTOLERATED),
    ([{"key": "dedicated", "operator": "Exists"}], TAINT, "a"),
    ([{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}], TAINT, UNTOLERATED),
    ([{"operator": "Exists"}], TAINT, "a"),
    ([{"key": "dedicated"}], {"key": "dedicated", "effect": "NoSchedule"}, "a"),
    ([], {**TAINT, "effect": "NoExecute"}, UNTOLERATED),
    ([], {**TAINT, "effect": "PreferNoSchedule"}, "a"),
]


@pytest.mark.parametrize(("tolerations", "taint", "expected"), TAINTED)
def test_a_tainted_node_takes_only_pods_that_tolerate_it(
    tolerations: list[Object], taint: dict[str, str], expected: str
) -> None:
    assert verdict(make_node("a", taints=[taint]), make_pod(tolerations=tolerations)) == expected


def required(*terms: Object) -> Object:
    selector = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}


def expressions(*entries: tuple[str, str, list[str]]) -> Object:
    return {"matchExpressions": [{"key": k, "operator": o, "values": v} for k, o, v in entries]}


MISMATCH = rejected("node(s) didn't match Pod's node affinity/selector")
LABELS = {"disk": "ssd", "zone": "b", "cores": "16", "gen": "-3", "odd": "1e3"}
AFFINITY: list[tuple[dict[str, Any], str]] = [
    ({"nodeSelector": {"disk": "ssd"}}, "a"),
    ({"nodeSelector": {"disk": "ssd", "zone": "c"}}, MISMATCH),
    ({"nodeSelector": {"absent": "x"}}, MISMATCH),
    ({"affinity": required(expressions(("zone", "In", ["a", "b"])))}, "a"),
    ({"affinity": required(expressions(("zone", "In", ["a", "c"])))}, MISMATCH),
    ({"affinity": required(expressions(("zone", "NotIn", ["b"])))}, MISMATCH),
    ({"affinity": required(expressions(("absent", "NotIn", ["b"])))}, "a"),
    ({"affinity": required(expressions(("disk", "Exists", [])))}, "a"),
    ({"affinity": required(expressions(("disk", "DoesNotExist", [])))}, MISMATCH),
    ({"affinity": required(expressions(("absent", "DoesNotExist", [])))}, "a"),
    ({"affinity": required(expressions(("cores", "Gt", ["15"])))}, "a"),
    ({"affinity": required(expressions(("cores", "Gt", ["16"])))}, MISMATCH),
    ({"affinity": required(expressions(("cores", "Lt", ["17"])))}, "a"),
    ({"affinity": required(expressions(("gen", "Lt", ["-2"])))}, "a"),
    ({"affinity": required(expressions(("odd", "Gt", ["1"])))}, MISMATCH),
    ({"affinity": required(expressions(("absent", "Lt", ["17"])))}, MISMATCH),
    ({"affinity": required(expressions(("disk", "In", ["hdd"])), expressions(("zone", "In", ["b"])))}, "a"),
    ({"affinity": required(expressions(("disk", "In", ["ssd"]), ("zone", "In", ["c"])))}, MISMATCH),
    ({"affinity": required({}, {"matchExpressions": []})}, MISMATCH),
    ({"nodeSelector": {"zone": "c"}, "affinity": required(expressions(("disk", "In", ["ssd"])))}, MISMATCH),
    ({"affinity": required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]})}, "a"),
    (
        {"affinity": required({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]})},
        MISMATCH,
    ),
    (
        {"affinity": required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})},
        rejected("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
    ),
    (
        {
            "affinity": required(
                {
                    "matchFields": [
                        {"key": "metadata.name", "operator": "In", "values": ["a"]},
                        {"key": "metadata.name", "operator": "In", "values": ["b"]},
                    ]
                }
            )
        },
        "0/1 nodes are available: pod affinity terms conflict.",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), AFFINITY)
def test_a_pod_goes_only_where_its_selector_and_required_affinity_match(spec: Object, expected: str) -> None:
    assert verdict(make_node("a", labels=LABELS), make_pod(**spec)) == expected


def test_labels_that_were_asked_for_before_a_node_came_are_known_of_that_node_too() -> None:
    cluster = make_cluster(make_node("a"))
    assert place(cluster, make_pod("first", nodeSelector={"disk": "ssd"})).startswith("0/1")
    add_node(cluster, make_node("b", labels={"disk": "ssd"}))
    assert place(cluster, make_pod("second", nodeSelector={"disk": "ssd"})) in ("b",)


PORTS = [
    ({"hostPort": 80}, {"hostPort": 80}, False),
    ({"hostPort": 80}, {"hostPort": 81}, True),
    ({"hostPort": 80, "protocol": "UDP"}, {"hostPort": 80}, True),
    ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
    ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.1"}, False),
    ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, False),
    ({"hostPort": 80}, {"hostPort": 80, "hostIP": "10.0.0.1"}, False),
    ({"hostPort": 80}, {"containerPort": 80}, True),
]


@pytest.mark.parametrize(("taken", "wanted", "fits"), PORTS)
def test_two_pods_never_share_a_port_of_the_host(taken: Object, wanted: Object, fits: bool) -> None:
    there = make_pod("there", node="a", containers=[container(ports=[{"containerPort": 1, **taken}])])
    pod = make_pod(containers=[container(ports=[{"containerPort": 1, **wanted}])])
    expected = "a" if fits else rejected("node(s) didn't have free ports for the requested pod ports")
    assert verdict(make_node("a"), pod, there) == expected


FIT = [
    ({"cpu": "1"}, "a"),
    ({"cpu": "1001m"}, rejected("Insufficient cpu")),
    ({"memory": "2Gi"}, rejected("Insufficient memory")),
    ({"cpu": "2", "memory": "2Gi"}, "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
    ({"ephemeral-storage": "200Gi"}, rejected("Insufficient ephemeral-storage")),
    ({"example.com/gpu": "1"}, "a"),
    ({"example.com/gpu": "2"}, rejected("Insufficient example.com/gpu")),
    ({"example.com/fpga": "1"}, rejected("Insufficient example.com/fpga")),
    ({"example.com/fpga": "0"}, "a"),
]


@pytest.mark.parametrize(("requests", "expected"), FIT)
def test_a_node_takes_a_pod_only_if_enough_of_every_resource_is_left(requests: dict[str, str], expected: str) -> None:
    node = make_node("a", cpu="2", memory="2Gi", example_com__gpu="1")
    node["status"]["allocatable"]["example.com/gpu"] = "1"
    there = make_pod("there", node="a", cpu="1", memory="1Gi")
    assert verdict(node, make_pod(containers=[container(requests=requests)]), there) == expected


def test_a_node_that_is_full_of_pods_takes_none_whatever_it_asks() -> None:
    node = make_node("a", pods=1)
    assert verdict(node, make_pod(), make_pod("there", node="a")) == rejected("Too many pods")


def test_a_pod_that_asks_nothing_of_a_resource_goes_where_it_is_overcommitted() -> None:
    there = make_pod("there", node="a", cpu="9")
    assert verdict(make_node("a", cpu="4"), make_pod(memory="1Gi"), there) == "a"


def test_a_pod_that_names_its_node_fits_no_other() -> None:
    from scheduler.diagnosis import diagnose
    from scheduler.framework import feasible
    from scheduler.nominations import Applicant
    from scheduler.plugins import default_profile

    profile = default_profile()
    cluster = make_cluster(make_node("a"), make_node("b"))
    pod_class = profile.describe(make_pod(node="b"), cluster.snapshot)
    assert list(feasible(profile, pod_class, cluster.snapshot, slice(0, 2))) == [False, True]
    elsewhere = profile.describe(make_pod(node="c"), cluster.snapshot)
    told = diagnose(profile, elsewhere, cluster.snapshot, Applicant(0, "")).message
    assert told == "0/2 nodes are available: 2 node(s) didn't match the requested node name."


def test_the_message_counts_each_node_by_the_first_plugin_that_turned_it_down() -> None:
    cluster = make_cluster(
        make_node("cordoned", unschedulable=True, cpu="0"),
        make_node("tainted", taints=[TAINT], cpu="0"),
        make_node("small-1", cpu="1", memory="1Gi"),
        make_node("small-2", cpu="1", memory="1Gi"),
        make_node("full", pods=0),
    )
    assert place(cluster, make_pod(cpu="2", memory="2Gi")) == (
        "0/5 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient cpu, 2 Insufficient memory."
    )


def test_nodes_that_a_pod_does_not_name_are_counted_apart() -> None:
    cluster = make_cluster(make_node("a", cpu="1"), make_node("b"), make_node("c", unschedulable=True))
    names = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    assert place(cluster, make_pod(cpu="2", affinity=required(names))) == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


def test_without_any_node_the_message_says_so() -> None:
    assert place(make_cluster(), make_pod()) == "no nodes available to schedule pods"
