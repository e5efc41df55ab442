"""Placements: never more on a node than it has, and of equal pods the same as if each had been looked at alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from scheduler.evaluation import Evaluation
from scheduler.framework import feasible
from scheduler.plugins import default_profile
from scheduler.pods import usage_of
from scheduler.queue import UNSCHEDULABLE_MAX_SECONDS, Part
from scheduler.snapshot import Snapshot
from tests.unit.scheduler.factories import (
    add_node,
    add_pod,
    bind,
    container,
    delete_pod,
    make_cluster,
    make_node,
    make_pod,
    place,
    place_next,
)

MUST, RATHER = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
SSD = [{"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]


@st.composite
def random_nodes(draw: st.DrawFn, node: str) -> Object:
    taints = [
        {"key": "taint", "effect": effect}
        for effect in draw(st.lists(st.sampled_from(["NoSchedule", "PreferNoSchedule"]), max_size=1))
    ]
    places = {"disk": draw(st.sampled_from(["ssd", "hdd"])), "kubernetes.io/hostname": node}
    if zone := draw(st.sampled_from(["", "x", "y", "z"])):
        places["topology.kubernetes.io/zone"] = zone
    made = make_node(
        node,
        cpu=draw(st.integers(1, 8)),
        memory=draw(st.sampled_from(["1Gi", "4Gi", "16Gi"])),
        pods=draw(st.integers(1, 6)),
        labels=places,
        taints=taints,
        unschedulable=draw(st.integers(0, 9)) == 0,
    )
    if draw(st.booleans()):
        made["status"]["images"] = [{"names": ["large:1"], "sizeBytes": 900 * 2**20}]
    return made


def spread(key: str, skew_max: int = 1, app: str = "web", **fields: Any) -> Object:
    selector = {"matchLabels": {"app": app}}
    told = {"topologyKey": key, "maxSkew": skew_max, "labelSelector": selector}
    return {"whenUnsatisfiable": "DoNotSchedule", **told, **fields}


def near(key: str, app: str) -> Object:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}


TEMPLATES: list[dict[str, Any]] = [
    {},
    {"cpu": "500m"},
    {"containers": [container(requests={"cpu": "500m"}, image="large:1")]},
    {"cpu": "1", "memory": "512Mi"},
    {"cpu": "2", "memory": "2Gi", "nodeSelector": {"disk": "ssd"}},
    {"cpu": "250m", "ports": [80]},
    {"cpu": "1", "tolerations": [{"key": "taint", "operator": "Exists"}]},
    {
        "memory": "1Gi",
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": SSD}},
    },
    {"labels": {"app": "web"}, "topologySpreadConstraints": [spread("topology.kubernetes.io/zone")]},
    {"labels": {"app": "db"}, "affinity": {"podAntiAffinity": {MUST: [near("kubernetes.io/hostname", "db")]}}},
    {
        "labels": {"app": "web"},
        "affinity": {
            "podAffinity": {RATHER: [{"weight": 5, "podAffinityTerm": near("topology.kubernetes.io/zone", "db")}]},
            "podAntiAffinity": {RATHER: [{"weight": 3, "podAffinityTerm": near("kubernetes.io/hostname", "web")}]},
        },
    },
    {"labels": {"app": "web"}, "affinity": {"podAffinity": {MUST: [near("topology.kubernetes.io/zone", "web")]}}},
    {
        "labels": {"app": "web"},
        "cpu": "250m",
        "topologySpreadConstraints": [
            spread("topology.kubernetes.io/zone", 2, whenUnsatisfiable="ScheduleAnyway", nodeTaintsPolicy="Honor"),
            spread("kubernetes.io/hostname"),
        ],
    },
]

actions = st.one_of(
    st.tuples(st.just("pod"), st.sampled_from(range(len(TEMPLATES)))),
    st.tuples(st.just("pod"), st.sampled_from(range(len(TEMPLATES)))),
    st.tuples(st.just("node"), st.sampled_from("abcdef").flatmap(random_nodes)),
    st.tuples(st.just("node gone"), st.sampled_from("abcdef")),
    st.tuples(st.just("pod gone"), st.integers(0, 30)),
    st.tuples(st.just("forget"), st.integers(0, 30)),
    st.tuples(st.just("confirm"), st.integers(0, 30)),
)


class World:
    """A cluster, and beside it what is true of it: which nodes exist, and which pods are where."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.nodes: dict[str, Object] = {}
        self.placed: list[Placement] = []
        self.pods = 0
        self.now = 0.0

    def do(self, kind: str, subject: Any) -> str | None:
        """Carry out an action; tells where a pod was placed."""
        self.now += 20
        match kind:
            case "pod":
                self.pods += 1
                add_pod(self.cluster, make_pod(f"p{self.pods}", **TEMPLATES[subject]), now=self.now)
                return self.place_all()
            case "node":
                self.nodes[name(subject)] = subject
                add_node(self.cluster, subject)
            case "node gone" if subject in self.nodes:
                self.cluster.node_changed("DELETED", self.nodes.pop(subject), None)
            case "pod gone" if subject < len(self.placed):
                delete_pod(self.cluster, self.placed.pop(subject).queued.pod, now=self.now)
            case "forget" if subject < len(self.placed) and self.placed[subject].queued.uid in self.cluster.queue:
                placement = self.placed.pop(subject)
                self.cluster.queue.fail_by_error(placement.queued, self.now)
                self.cluster.forget(placement)
            case "confirm" if subject < len(self.placed):
                bind(self.cluster, self.placed[subject])
        return self.place_all()

    def place_all(self) -> str:
        found = []
        while (queued := self.cluster.next_pod(self.now)) is not None:
            placement = self.cluster.place(queued, self.now)
            if isinstance(placement, Placement):
                self.placed.append(placement)
                found.append(f"{queued.key}={placement.node}")
            else:
                found.append(f"{queued.key}: {placement.message}")
        return "; ".join(found)

    def check_that_nothing_is_overcommitted(self, added_to: set[str]) -> None:
        for node in added_to & self.nodes.keys():
            has = self.nodes[node]["status"]["allocatable"]
            here = [usage_of(p.queued.pod) for p in self.placed if p.node == node]
            assert len(here) <= int(has["pods"])
            assert sum(usage.request("cpu") for usage in here) <= int(has["cpu"]) * 1000
            assert sum(usage.request("memory") for usage in here) <= int(has["memory"].removesuffix("Gi")) * 2**30
            ports = [port for usage in here for port in usage.ports]
            assert len(ports) == len(set(ports))


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, min_size=5, max_size=60))
def test_no_node_is_ever_overcommitted(todo: list[tuple[str, Any]]) -> None:
    world = World(make_cluster())
    for kind, subject in todo:
        if kind == "node" and name(subject) in world.nodes.keys() | {p.node for p in world.placed}:
            continue  # one that shrinks below its pods, or comes back so, is overcommitted by nobody's placement
        world.do(kind, subject)
        world.check_that_nothing_is_overcommitted({p.node for p in world.placed})


def test_a_pod_waits_for_all_that_stands_in_its_way_also_if_it_came_later() -> None:
    cluster = make_cluster(make_node("small", cpu=1))
    place(cluster, make_pod("large", cpu="2"))
    add_node(cluster, make_node("cordoned", cpu=8, unschedulable=True))
    assert cluster.next_pod(100.0) is None
    add_node(cluster, make_node("cordoned", cpu=8))
    assert cluster.next_pod(200.0) is not None


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, min_size=5, max_size=60))
def test_no_pod_is_left_waiting_that_fits_somewhere(todo: list[tuple[str, Any]]) -> None:
    world = World(make_cluster())
    for kind, subject in todo:
        world.do(kind, subject)
        snapshot = world.cluster.snapshot
        for queued in world.cluster.queue:
            if queued.part is Part.UNSCHEDULABLE:
                rows = slice(0, snapshot.height)
                assert not feasible(default_profile(), queued.pod_class, snapshot, rows).any()


class OneByOne:
    """Evaluations that are made anew for every pod."""

    def __init__(self) -> None:
        self._profile = default_profile()

    def of(self, pod_class: Any) -> Evaluation:
        return Evaluation(self._profile, pod_class)


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, min_size=5, max_size=80), st.integers(0, 5))
def test_placing_equal_pods_as_a_class_gives_what_placing_them_one_by_one_gives(
    todo: list[tuple[str, Any]], seed: int
) -> None:
    as_classes, one_by_one = World(make_cluster(seed=seed)), World(make_cluster(seed=seed))
    one_by_one.cluster._evaluations = OneByOne()  # type: ignore[assignment]
    for kind, subject in todo:
        assert as_classes.do(kind, subject) == one_by_one.do(kind, subject)


# Few kinds of nodes, so that many have the same score, and full ones that others were measured against.
SHAPES: list[dict[str, Any]] = [
    {"cpu": 4},
    {"cpu": 4, "pods": 1},
    {"cpu": 2, "memory": "16Gi", "labels": {"disk": "ssd"}},
    {"cpu": 2, "memory": "16Gi", "pods": 2, "labels": {"disk": "ssd"}},
    {"cpu": 4, "pods": 2, "taints": [{"key": "taint", "effect": "PreferNoSchedule"}]},
    {"cpu": 64, "memory": "256Gi", "labels": {"disk": "ssd"}},
]
runs = st.tuples(st.sampled_from(range(len(TEMPLATES))), st.integers(1, 60))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(range(len(SHAPES))), min_size=10, max_size=60), st.lists(runs, max_size=6))
def test_runs_of_equal_pods_go_where_they_would_go_one_by_one(shapes: list[int], todo: list[tuple[int, int]]) -> None:
    as_classes, one_by_one = World(make_cluster()), World(make_cluster())
    one_by_one.cluster._evaluations = OneByOne()  # type: ignore[assignment]
    for world in (as_classes, one_by_one):
        for number, shape in enumerate(shapes):
            add_node(world.cluster, make_node(f"n{number}", **SHAPES[shape]))
    for template, count in todo:
        for _ in range(count):
            assert as_classes.do("pod", template) == one_by_one.do("pod", template)


def test_a_large_cluster_is_filled_alike_by_classes_and_one_by_one() -> None:
    def fill(world: World) -> list[str]:
        shapes = random.Random(7)
        for number in range(200):
            disk = shapes.choice(["ssd", "hdd"])
            taints = [{"key": "taint", "effect": "PreferNoSchedule"}] if number % 7 == 0 else []
            places = {
                "disk": disk,
                "kubernetes.io/hostname": f"n{number}",
                "topology.kubernetes.io/zone": f"z{number % 3}",
            }
            node = make_node(f"n{number}", cpu=shapes.randint(1, 16), labels=places, taints=taints)
            add_node(world.cluster, node)
        return [world.do("pod", shapes.randrange(len(TEMPLATES))) or "" for _ in range(1500)]

    as_classes, one_by_one = World(make_cluster()), World(make_cluster())
    one_by_one.cluster._evaluations = OneByOne()  # type: ignore[assignment]
    assert fill(as_classes) == fill(one_by_one)


def test_equal_pods_are_one_class() -> None:
    profile = default_profile()
    one = make_pod("one", cpu="1", nodeSelector={"a": "b"}, volumes=[{"name": "token-x"}])
    other = make_pod("other", cpu="1000m", nodeSelector={"a": "b"}, volumes=[{"name": "token-y"}])
    assert profile.describe(one, Snapshot()) is profile.describe(other, Snapshot())
    assert profile.describe(make_pod("third", cpu="1"), Snapshot()) is not profile.describe(one, Snapshot())


# What brings an unschedulable pod back.


def unschedulable(cluster: Cluster, pod: Object) -> None:
    assert place(cluster, pod).startswith(("0/", "no nodes"))


def is_tried_again(cluster: Cluster, *, now: float = 100.0) -> bool:
    assert now < UNSCHEDULABLE_MAX_SECONDS
    return cluster.next_pod(now) is not None


def test_a_first_node_is_used_at_once() -> None:
    cluster = make_cluster()
    unschedulable(cluster, make_pod(cpu="1"))
    add_node(cluster, make_node("a"))
    placement = place_next(cluster, now=0.1)
    assert isinstance(placement, Placement) and placement.node == "a"


@pytest.mark.parametrize(("node", "again"), [(make_node("b", cpu="8"), True), (make_node("b", cpu="4"), False)])
def test_a_node_that_comes_helps_if_the_pod_fits_it(node: Object, again: bool) -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    unschedulable(cluster, make_pod(cpu="6"))
    add_node(cluster, node)
    assert is_tried_again(cluster) is again


@pytest.mark.parametrize(
    ("pod", "changed", "again"),
    [
        (make_pod(cpu="6"), make_node("a", cpu="8"), True),
        (make_pod(cpu="6"), make_node("a", cpu="5"), False),
        (make_pod(cpu="6"), make_node("a", labels={"disk": "ssd"}), False),
        (make_pod(nodeSelector={"disk": "ssd"}), make_node("a", labels={"disk": "ssd"}), True),
        (make_pod(nodeSelector={"disk": "ssd"}), make_node("a", labels={"disk": "hdd"}), False),
        (make_pod(nodeSelector={"disk": "ssd"}), make_node("a", cpu="64"), False),
    ],
)
def test_a_change_of_a_node_helps_whom_the_plugin_that_said_no_now_lets_pass(
    pod: Object, changed: Object, again: bool
) -> None:
    cluster = make_cluster(make_node("a"))
    unschedulable(cluster, pod)
    add_node(cluster, changed)
    assert is_tried_again(cluster) is again


def test_a_taint_that_is_taken_away_and_a_node_that_is_uncordoned_help() -> None:
    for node in (
        make_node("a", unschedulable=True),
        make_node("a", taints=[{"key": "taint", "effect": "NoSchedule"}]),
    ):
        cluster = make_cluster(node)
        unschedulable(cluster, make_pod())
        add_node(cluster, make_node("a"))
        assert is_tried_again(cluster)


def test_a_pod_that_ends_helps_if_it_leaves_room_enough() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    small, large = make_pod("small", cpu="1", node="a"), make_pod("large", cpu="3", node="a")
    add_pod(cluster, small)
    add_pod(cluster, large)
    unschedulable(cluster, make_pod(cpu="2"))
    delete_pod(cluster, small)
    assert not is_tried_again(cluster)
    add_pod(cluster, {**large, "status": {"phase": "Succeeded"}})
    assert is_tried_again(cluster)


def test_a_host_port_that_becomes_free_helps() -> None:
    cluster = make_cluster(make_node("a"))
    there = make_pod("there", node="a", ports=[80])
    add_pod(cluster, there)
    unschedulable(cluster, make_pod(ports=[80]))
    delete_pod(cluster, there)
    assert is_tried_again(cluster)


def test_a_pod_that_is_resized_to_less_helps() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    add_pod(cluster, make_pod("there", cpu="4", node="a"))
    unschedulable(cluster, make_pod(cpu="2"))
    add_pod(cluster, make_pod("there", cpu="2", node="a"))
    assert is_tried_again(cluster)


# Pods on their way.


def test_a_terminating_pod_counts_until_it_is_gone() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    there = make_pod("there", cpu="4", node="a")
    there["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add_pod(cluster, there)
    assert place(cluster, make_pod(cpu="1")) == "0/1 nodes are available: 1 Insufficient cpu."
    delete_pod(cluster, there)
    assert is_tried_again(cluster)


def test_a_pod_of_another_scheduler_counts_and_is_left_alone() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    add_pod(cluster, make_pod("theirs", cpu="4", schedulerName="other"))
    assert cluster.next_pod(0) is None
    add_pod(cluster, make_pod("theirs", cpu="4", schedulerName="other", node="a"))
    assert place(cluster, make_pod(cpu="1")).startswith("0/1")


def test_a_waiting_pod_that_is_being_deleted_is_not_placed() -> None:
    cluster = make_cluster(make_node("a"))
    pod = make_pod()
    add_pod(cluster, pod)
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add_pod(cluster, pod)
    assert cluster.next_pod(0) is None


def test_a_placed_pod_keeps_its_room_until_the_placement_comes_to_nothing() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    add_pod(cluster, make_pod("first", cpu="4"))
    placement = place_next(cluster)
    assert isinstance(placement, Placement)
    assert place(cluster, make_pod("second", cpu="1")).startswith("0/1")
    cluster.queue.fail_by_error(placement.queued, 0.0)
    cluster.forget(placement)
    second = place_next(cluster)
    assert isinstance(second, Placement) and second.queued.key == "default/second"


def test_a_late_event_from_before_the_binding_changes_nothing() -> None:
    cluster = make_cluster(make_node("a", cpu="4"))
    pod = make_pod(cpu="4")
    add_pod(cluster, pod)
    placement = place_next(cluster)
    assert isinstance(placement, Placement)
    cluster.bound(placement, 0.0)
    add_pod(cluster, {**pod, "metadata": {**pod["metadata"], "labels": {"new": "label"}}})
    assert cluster.next_pod(0) is None
    assert place(cluster, make_pod("other", cpu="1")).startswith("0/1")


def test_a_pod_that_another_scheduler_bound_meanwhile_counts_where_it_is() -> None:
    cluster = make_cluster(make_node("a", cpu="4"), make_node("b", cpu="2"))
    pod = make_pod(cpu="3")
    add_pod(cluster, pod)
    placement = place_next(cluster)
    assert isinstance(placement, Placement) and placement.node == "a"
    add_pod(cluster, {**pod, "spec": {**pod["spec"], "nodeName": "b"}})
    cluster.forget(placement)
    assert place(cluster, make_pod("big", cpu="4")) == "a"
    assert len(cluster.queue) == 1
    placed = cluster.snapshot.placed("uid-default-pod")
    assert placed is not None and placed.node == "b"


def test_a_pod_that_can_not_be_understood_stops_nobody() -> None:
    cluster = make_cluster(make_node("a"))
    add_pod(cluster, make_pod("bad", cpu="lots"))
    add_pod(cluster, make_pod("worse", node="a", containers=[container(requests={"cpu": "?"})]))
    assert place(cluster, make_pod("good")) == "a"


def test_equal_pods_that_fail_together_are_diagnosed_once() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    told = []
    for number in range(3):
        add_pod(cluster, make_pod(f"p{number}", cpu="2"))
        told.append(place_next(cluster))
    assert all(isinstance(diagnosis, Diagnosis) for diagnosis in told)
    assert told[0] is told[1] is told[2]
    add_node(cluster, make_node("b", cpu="1"))
    add_pod(cluster, make_pod("later", cpu="2"))
    last = place_next(cluster)
    assert isinstance(last, Diagnosis) and last.message.startswith("0/2 nodes are available: 2 Insufficient cpu.")
