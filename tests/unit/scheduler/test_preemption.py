"""Whom a pod that fits nowhere sends away, from which node, and what it says if it may not or can't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from scheduler.preemption import Share
from tests.unit.scheduler.factories import add_node, add_pod, make_cluster, make_node, make_pod, place_next

LOW, MIDDLE, HIGH = 1, 5, 10
MUST = "requiredDuringSchedulingIgnoredDuringExecution"


def there(
    pod: str, node: str = "a", cpu: str = "1", priority: int = LOW, *, started: str = "", **fields: Any
) -> Object:
    """A pod on a node; `started` is a time of day."""
    made = make_pod(pod, node=node, cpu=cpu, priority=priority, **fields)
    if started:
        made["status"]["startTime"] = f"2026-01-01T{started}:00Z"
    return made


def budget(allowed: int, app: str = "", **status: Any) -> Object:
    selector = {"matchLabels": {"app": app}} if app else {}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": f"budget-{app}", "namespace": "default"},
        "spec": {"selector": selector},
        "status": {"disruptionsAllowed": allowed, **status},
    }


def cluster_of(*objects: Object) -> Cluster:
    """A cluster of these nodes, pods and budgets; nodes that pods name without more have 4 cores."""
    cluster = make_cluster()
    nodes = {name(obj): obj for obj in objects if obj["kind"] == "Node"}
    for pod in (obj for obj in objects if obj["kind"] == "Pod"):
        nodes.setdefault(pod["spec"]["nodeName"], make_node(pod["spec"]["nodeName"]))
    for node in sorted(nodes):
        add_node(cluster, nodes[node])
    for obj in objects:
        if obj["kind"] == "Pod":
            add_pod(cluster, obj)
        elif obj["kind"] == "PodDisruptionBudget":
            cluster.budget_changed(None, obj)
    return cluster


def failure(cluster: Cluster, pod: Object, *, now: float = 0.0) -> Diagnosis:
    add_pod(cluster, pod, now=now)
    found = place_next(cluster, now=now)
    assert isinstance(found, Diagnosis), found
    return found


def urgent(pod: str = "urgent", cpu: str = "3", priority: int = HIGH, **fields: Any) -> Object:
    return make_pod(pod, cpu=cpu, priority=priority, **fields)


def decision(cluster: Cluster, pod: Object) -> tuple[str, list[str]]:
    """The node that a pod is to come to, and who is sent away from there."""
    remedy = failure(cluster, pod).remedy
    assert remedy is not None and remedy.node, remedy
    return remedy.node, sorted(name(victim.pod) for victim in remedy.victims)


ZONE_OF_A = {"labels": {"zone": "x"}}
AWAY = {"podAntiAffinity": {MUST: [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}]}}
SPREAD = [
    {
        "topologyKey": "zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
]

VICTIMS: list[tuple[str, Sequence[Object], Object, list[str]]] = [
    (
        "all that are less important, where all of their room is needed",
        [there("x"), there("y")],
        urgent(cpu="4"),
        ["x", "y"],
    ),
    ("no more than are in the way", [there("x"), there("y"), there("z")], urgent(cpu="3"), ["y", "z"]),
    (
        "the less important ones first",
        [there("x", priority=MIDDLE), there("y"), there("z", priority=2)],
        urgent(cpu="3"),
        ["y", "z"],
    ),
    (
        "one of middling importance, where the least important is too small to matter",
        [there("x", cpu="3", priority=MIDDLE), there("y", cpu="500m")],
        urgent(cpu="3"),
        ["x"],
    ),
    ("nobody of the same priority", [there("x", priority=HIGH), there("y", cpu="3")], urgent(cpu="3"), ["y"]),
    (
        "of equally important ones those that were started last",
        [there("x", started="12:00"), there("y", started="10:00"), there("z", started="11:00")],
        urgent(cpu="2"),
        ["x"],
    ),
    (
        "of equally important ones those that have not been started yet",
        [there("x", started="12:00"), there("y"), there("z", started="11:00")],
        urgent(cpu="2"),
        ["y"],
    ),
    ("who holds a port of the host", [there("x", ports=[80]), there("y")], urgent(cpu="1", ports=[80]), ["x"]),
    (
        "who is to be kept away from",
        [make_node("a", **ZONE_OF_A), there("x", labels={"app": "db"}), there("y")],
        urgent(cpu="1", affinity=AWAY),
        ["x"],
    ),
    (
        "who does not want to have it near",
        [make_node("a", **ZONE_OF_A), there("x", affinity=AWAY), there("y")],
        urgent(cpu="1", labels={"app": "db"}),
        ["x"],
    ),
    (
        "one whose budget allows for it, though it is more important",
        [there("x", cpu="2", labels={"app": "db"}), there("y", cpu="2", priority=2), budget(0, "db")],
        urgent(cpu="2"),
        ["y"],
    ),
    (
        "as many as a budget allows for, and then others",
        [*(there(f"db-{n}", labels={"app": "db"}) for n in range(3)), there("y", priority=2), budget(1, "db")],
        urgent(cpu="2"),
        ["db-0", "y"],
    ),
    (
        "those that are on their way out against a budget already",
        [
            there("x", cpu="2", labels={"app": "db"}),
            there("y", cpu="2", priority=2),
            budget(0, "db", disruptedPods={"x": "2026-01-01T00:00:00Z"}),
        ],
        urgent(cpu="2"),
        ["x"],
    ),
    (
        "without regard to budgets that mean nobody",
        [there("x", cpu="2", labels={"app": "db"}), there("y", cpu="2", priority=2), budget(0)],
        urgent(cpu="2"),
        ["x"],
    ),
    (
        "against a budget, where there is no other way",
        [there("x", cpu="4", labels={"app": "db"}), budget(0, "db")],
        urgent(cpu="2"),
        ["x"],
    ),
]


@pytest.mark.parametrize(
    ("objects", "pod", "victims"), [case[1:] for case in VICTIMS], ids=[case[0] for case in VICTIMS]
)
def test_a_pod_sends_away(objects: Sequence[Object], pod: Object, victims: list[str]) -> None:
    assert decision(cluster_of(*objects), pod) == ("a", victims)


def test_a_pod_that_is_one_too_many_in_its_zone_sends_away_one_of_there() -> None:
    nodes = [make_node("a", labels={"zone": "x"}), make_node("b", labels={"zone": "y"}, unschedulable=True)]
    objects = [*nodes, there("x", labels={"app": "web"}), there("y")]
    pod = urgent(cpu="1", labels={"app": "web"}, topologySpreadConstraints=SPREAD)
    assert decision(cluster_of(*objects), pod) == ("a", ["x"])


def test_a_claim_for_one_pod_alone_is_taken_from_a_less_important_one() -> None:
    cluster = cluster_of(make_node("a"), make_node("b"))
    claimed = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data",
            "namespace": "default",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
        },
        "spec": {"accessModes": ["ReadWriteOncePod"], "volumeName": "volume"},
        "status": {"phase": "Bound"},
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "volume"}, "spec": {}}
    cluster.storage_changed(cluster.snapshot.storage.claim_changed, None, claim)
    cluster.storage_changed(cluster.snapshot.storage.volume_changed, None, volume)
    add_pod(cluster, there("owner", "b", **claimed))
    assert decision(cluster, urgent(cpu="1", **claimed)) == ("b", ["owner"])


NODES: list[tuple[str, Sequence[Object], str]] = [
    (
        "that costs no budget, though the victims are more important",
        [there("x", "a", "4", labels={"app": "db"}), budget(0, "db"), there("y", "b", "4", priority=MIDDLE)],
        "b",
    ),
    (
        "where the most important victim is the least",
        [there("x", "a", "4", 3), there("y", "b", "2", 2), there("z", "b", "2", 2)],
        "b",
    ),
    (
        "where the sum of priorities is the least",
        [there("x", "a", "2", 3), there("y", "a", "2", 3), there("z", "b", "2", 3), there("u", "b", "2", 2)],
        "b",
    ),
    (
        "where fewer have to go, though priorities are negative",
        [there("x", "a", "2", -3), there("y", "a", "2", -3), there("z", "b", "4", -3)],
        "b",
    ),
    (
        "where the most important victim was started last",
        [
            there("x", "a", "4", started="09:00"),
            there("y", "b", "4", started="11:00"),
            there("z", "c", "4", started="10:00"),
        ],
        "b",
    ),
    (
        "where the first of the most important victims was started last",
        [
            there("x", "a", "2", 2, started="09:00"),
            there("y", "a", "2", 2, started="12:00"),
            there("z", "b", "2", 2, started="10:00"),
            there("u", "b", "2", 2, started="11:00"),
        ],
        "b",
    ),
]


@pytest.mark.parametrize(("objects", "node"), [case[1:] for case in NODES], ids=[case[0] for case in NODES])
def test_of_several_nodes_the_one_is_taken(objects: Sequence[Object], node: str) -> None:
    assert decision(cluster_of(*objects), urgent(cpu="4"))[0] == node


def test_nodes_that_cost_the_same_take_turns_by_chance() -> None:
    chosen = set()
    for number in range(20):
        cluster = cluster_of(*(there(f"on-{node}", node, "4") for node in "abc"))
        chosen.add(decision(cluster, urgent(f"urgent-{number}"))[0])
    assert chosen == {"a", "b", "c"}


@pytest.mark.parametrize(("nodes", "compared"), [(1, 1), (50, 50), (100, 100), (900, 100), (1500, 150), (5000, 500)])
def test_a_tenth_of_the_nodes_is_compared_but_at_least_a_hundred(nodes: int, compared: int) -> None:
    assert Share().of(nodes) == compared
    assert Share(percentage=100).of(nodes) == nodes


NO_HELP: list[tuple[str, Sequence[Object], Object, str]] = [
    (
        "nobody is less important",
        [there("x", cpu="4", priority=HIGH)],
        urgent(),
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    ),
    (
        "the node is too small, whoever goes",
        [there("x", cpu="4")],
        urgent(cpu="5"),
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    ),
    (
        "too much is left, whoever goes",
        [there("x", cpu="3", priority=HIGH), there("y")],
        urgent(cpu="2"),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu.",
    ),
    (
        "each node has its own reason",
        [
            there("x", "a", "4"),
            make_node("a", taints=[{"key": "k", "effect": "NoSchedule"}]),
            there("y", "b", "4", HIGH),
            there("z", "c", "2", HIGH),
            there("u", "c", "2"),
        ],
        urgent(cpu="3"),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 1 Insufficient cpu, "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
    ),
    (
        "the pod must be near one that would have to go",
        [
            make_node("a", **ZONE_OF_A),
            there("x", cpu="4", labels={"app": "db"}),
        ],
        urgent(cpu="1", affinity={"podAffinity": AWAY["podAntiAffinity"]}),
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
    ),
    (
        "the pod may send nobody away",
        [there("x", cpu="4")],
        urgent(preemptionPolicy="Never"),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
    ),
]


@pytest.mark.parametrize(
    ("objects", "pod", "message"), [case[1:] for case in NO_HELP], ids=[case[0] for case in NO_HELP]
)
def test_nobody_is_sent_away_when(objects: Sequence[Object], pod: Object, message: str) -> None:
    found = failure(cluster_of(*objects), pod)
    assert found.message == message
    assert found.remedy is not None and not found.remedy.victims


def test_a_pod_for_which_room_is_made_is_told_only_what_is_in_its_way() -> None:
    found = failure(cluster_of(there("x", cpu="4")), urgent())
    assert found.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_without_any_node_nothing_is_said_of_others() -> None:
    assert failure(make_cluster(), urgent()).message == "no nodes available to schedule pods"


def test_after_an_attempt_everything_is_counted_as_before() -> None:
    cluster = cluster_of(make_node("a", **ZONE_OF_A), there("x", ports=[80], affinity=AWAY), there("y", cpu="3"))
    before = {resource: cluster.snapshot.requested(resource).copy() for resource in ("cpu", "pods")}
    described = cluster.snapshot.circumstances
    failure(cluster, urgent(ports=[80], labels={"app": "db"}))
    for resource, column in before.items():
        assert (cluster.snapshot.requested(resource) == column).all()
    assert cluster.snapshot.circumstances == described
    assert isinstance(place_on(cluster, make_pod("other", ports=[80])), Diagnosis)


def place_on(cluster: Cluster, pod: Object) -> Placement | Diagnosis | None:
    add_pod(cluster, pod)
    return place_next(cluster)
