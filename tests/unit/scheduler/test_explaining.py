"""What is said of one pod: what every plugin thinks of every node, and where the pod stands."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.time import rfc3339
from scheduler.explaining.details import quantity
from scheduler.explaining.standing import Stage, standing
from scheduler.explaining.trial import Outcome, attempt
from scheduler.explaining.verdict import Verdict, judge
from scheduler.plugins import default_profile
from tests.unit.scheduler.factories import add_pod, make_cluster, make_node, make_pod, place

TAINT = {"key": "kept", "value": "for-others", "effect": "NoSchedule"}


def verdict(pod: Object, *nodes: Object, others: list[Object] | None = None) -> Verdict:
    cluster = make_cluster(*nodes)
    for other in others or []:
        add_pod(cluster, other)
    return judge(default_profile(), pod, cluster.snapshot)


def rejections(found: Verdict) -> dict[str, list[tuple[str, ...]]]:
    return {node.name: [tuple(rejection) for rejection in node.rejections] for node in found.nodes}


def test_every_plugin_that_turns_a_node_down_is_told_with_what_it_goes_by() -> None:
    found = verdict(
        make_pod(cpu="2500m", memory="3Gi", nodeSelector={"disk": "ssd"}, ports=[80]),
        make_node("a", cpu=2, memory="2Gi", taints=[TAINT]),
        make_node("b", labels={"disk": "hdd"}, pods=2),
        others=[make_pod("x", node="b", cpu="2", ports=[80]), make_pod("y", node="b")],
    )
    affinity = "node(s) didn't match Pod's node affinity/selector"
    assert rejections(found) == {
        "a": [
            ("TaintToleration", "node(s) had untolerated taint(s)", "kept=for-others:NoSchedule"),
            ("NodeAffinity", affinity, "disk In [ssd], here not set"),
            ("NodeResourcesFit", "Insufficient cpu", "asks for 2500m, 2 of 2 left"),
            ("NodeResourcesFit", "Insufficient memory", "asks for 3Gi, 2Gi of 2Gi left"),
        ],
        "b": [
            ("NodeAffinity", affinity, "disk In [ssd], here 'hdd'"),
            ("NodePorts", "node(s) didn't have free ports for the requested pod ports", "80/TCP"),
            ("NodeResourcesFit", "Too many pods", "2 of 2"),
            ("NodeResourcesFit", "Insufficient cpu", "asks for 2500m, 2 of 4 left"),
        ],
    }


MUST = "requiredDuringSchedulingIgnoredDuringExecution"


def named(*names: str) -> Object:
    """A term of node affinity that each of these names must meet."""
    fields = [{"key": "metadata.name", "operator": "In", "values": [name]} for name in names]
    return {"matchFields": fields}


PODS = [
    make_pod(cpu="64"),
    make_pod(nodeSelector={"disk": "ssd"}),
    make_pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]),
    make_pod(cpu="64", tolerations=[{"operator": "Exists"}]),
    make_pod(cpu="64", affinity={"nodeAffinity": {MUST: {"nodeSelectorTerms": [named("a")]}}}),
    make_pod(affinity={"nodeAffinity": {MUST: {"nodeSelectorTerms": [named("a", "b")]}}}),
]


@pytest.mark.parametrize("pod", PODS)
def test_the_message_is_what_the_scheduler_says(pod: Object) -> None:
    nodes = [make_node("a"), make_node("b", taints=[TAINT]), make_node("c", unschedulable=True, cpu=1)]
    assert verdict(pod, *nodes).message == place(make_cluster(*nodes), pod)


def test_without_nodes_that_is_said() -> None:
    assert verdict(make_pod()).message == place(make_cluster(), make_pod()) == "no nodes available to schedule pods"


def test_nodes_are_rated_as_the_scheduler_rates_them_and_the_best_come_first() -> None:
    nodes = [
        make_node("full", cpu=1),
        make_node("soft", taints=[{"key": "rather-not", "effect": "PreferNoSchedule"}]),
        make_node("good"),
        make_node("worse", cpu=3),
        make_node("as-good"),
    ]
    pod = make_pod(cpu="2", memory="1Gi")
    found = verdict(pod, *nodes)
    assert [node.name for node in found.nodes] == ["as-good", "good", "worse", "soft", "full"]
    assert found.best == ["as-good", "good"] and found.message == ""
    by_plugin = {score.plugin: score for score in found.nodes[3].scores}
    assert by_plugin["TaintToleration"][1:] == (1, 0, 3)
    good = {score.plugin: score.weighted for score in found.nodes[0].scores}
    assert good["TaintToleration"] == 300 and found.nodes[0].total == sum(good.values())
    assert place(make_cluster(*nodes), pod) in found.best


NOW = 1_000_000.0
FAILED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


def failures(count: int, *, ago: float) -> Object:
    return {"reason": "FailedScheduling", "count": count, "lastTimestamp": rfc3339(NOW - ago)}


def stands(pod: Object, *events: Object) -> Any:
    return standing(pod, events, now=NOW, first_delay=1.0, delay_max=10.0)


def with_condition(pod: Object, **fields: Any) -> Object:
    condition = {**FAILED, "lastTransitionTime": rfc3339(NOW - 60), **fields}
    return {**pod, "status": {**pod["status"], "conditions": [condition]}}


STANDINGS = [
    (make_pod(), [], Stage.NEW),
    (make_pod(node="a", phase="Running"), [], Stage.BOUND),
    (make_pod(node="a", phase="Succeeded"), [], Stage.ENDED),
    (make_pod(schedulingGates=[{"name": "wait"}]), [], Stage.GATED),
    (with_condition(make_pod()), [failures(1, ago=30)], Stage.UNSCHEDULABLE),
    (with_condition(make_pod()), [failures(3, ago=3)], Stage.BACKOFF),
    (with_condition(make_pod()), [failures(3, ago=5)], Stage.UNSCHEDULABLE),
    (with_condition(make_pod()), [failures(30, ago=9)], Stage.BACKOFF),
    (with_condition(make_pod()), [], Stage.UNSCHEDULABLE),
    (with_condition(make_pod(), reason="SchedulerError"), [], Stage.ERROR),
]


@pytest.mark.parametrize(("pod", "events", "stage"), STANDINGS)
def test_where_a_pod_stands_is_told_from_itself_and_its_events(
    pod: Object, events: list[Object], stage: Stage
) -> None:
    assert stands(pod, *events).stage is stage


def test_attempts_are_counted_over_all_events() -> None:
    found = stands(with_condition(make_pod()), failures(2, ago=3), failures(1, ago=1), {"reason": "Other"})
    assert (found.attempts, found.last_attempt, found.due) == (3, NOW - 1, NOW + 3)
    assert (found.since, found.message) == (NOW - 60, "0/1 nodes")


@pytest.mark.parametrize(
    ("resource", "number", "text"),
    [
        ("cpu", 1500, "1500m"),
        ("cpu", 2000, "2"),
        ("memory", 3 * 2**29, "1.5Gi"),
        ("memory", -(2**30), "-1Gi"),
        ("memory", 5, "5"),
        ("x.io/gpu", 2**30, str(2**30)),
    ],
)
def test_amounts_are_told_as_people_write_them(resource: str, number: int, text: str) -> None:
    assert quantity(resource, number) == text


def tried(pod: Object, *nodes: Object, others: list[Object] | None = None) -> Any:
    cluster = make_cluster(*nodes)
    for other in others or []:
        add_pod(cluster, other)
    return attempt(cluster, pod)


def test_one_attempt_says_where_the_pod_would_go() -> None:
    assert tried(make_pod(), make_node("a")) == Outcome(node="a")


def test_one_attempt_says_why_it_would_go_nowhere() -> None:
    found = tried(make_pod(cpu="9"), make_node("a"))
    assert found.message.startswith(
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available"
    )


def test_one_attempt_says_who_would_have_to_go_for_the_pod() -> None:
    found = tried(make_pod(cpu="3", priority=9), make_node("a"), others=[make_pod("less", node="a", cpu="2")])
    assert (found.node, found.room_on, found.victims) == ("", "a", ("default/less",))


def test_room_that_is_being_made_for_others_is_left_to_them() -> None:
    other = make_pod("other", cpu="3", priority=9)
    other["status"]["nominatedNodeName"] = "a"
    assert tried(make_pod(cpu="3", priority=1), make_node("a"), others=[other]).node == ""
    assert tried(make_pod(cpu="3", priority=10), make_node("a"), others=[other]).node == "a"
