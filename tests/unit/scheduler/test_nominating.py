"""Pods for which room is being made: it is kept for them, they come back when it is there, and nobody goes twice."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from tests.unit.scheduler.factories import (
    add_node,
    add_pod,
    bind,
    delete_pod,
    make_cluster,
    make_node,
    make_pod,
    place_next,
)

UNDER_WAY = "preemption: not eligible due to a terminating pod on the nominated node."


def low(pod: str, node: str = "a", cpu: str = "4", **fields: Any) -> Object:
    return make_pod(pod, node=node, cpu=cpu, priority=1, **fields)


def high(pod: str = "high", cpu: str = "4", priority: int = 10, *, nominated: str = "", **fields: Any) -> Object:
    made = make_pod(pod, cpu=cpu, priority=priority, **fields)
    if nominated:
        made["status"]["nominatedNodeName"] = nominated
    return made


def going(pod: Object, *, preempted: bool = True) -> Object:
    """A pod that terminates, because it was sent away for another one or for reasons of its own."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    return {
        **pod,
        "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {**pod["status"], "conditions": [condition] if preempted else []},
    }


def full(*nodes: str) -> Cluster:
    """A cluster of these nodes, each with one pod on it that takes all of it."""
    cluster = make_cluster(*map(make_node, nodes))
    for node in nodes:
        add_pod(cluster, low(f"on-{node}", node))
    return cluster


def told(cluster: Cluster, pod: Object | None = None, *, now: float = 0.0) -> str:
    """What becomes of the pod whose turn it is: `pod → node`, `pod ⇒ node` if room is made there, or the message."""
    if pod is not None:
        add_pod(cluster, pod, now=now)
    queued = cluster.next_pod(now)
    if queued is None:
        return "nothing"
    found = cluster.place(queued, now)
    if isinstance(found, Placement):
        return f"{name(queued.pod)} → {found.node}"
    assert isinstance(found, Diagnosis)
    if found.remedy is not None and found.remedy.node:
        return f"{name(queued.pod)} ⇒ {found.remedy.node}"
    return found.message


def tail(message: str) -> str:
    return message[message.index("preemption:") :]


def test_a_pod_comes_back_at_once_when_its_victim_is_gone() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    assert told(cluster) == "nothing"
    delete_pod(cluster, low("on-a"))
    assert told(cluster, now=0.01) == "high → a"


def test_with_several_victims_it_comes_back_when_the_last_one_is_gone() -> None:
    cluster = make_cluster(make_node("a"))
    victims = [low(f"x{number}", cpu="2") for number in range(2)]
    for victim in victims:
        add_pod(cluster, victim)
    assert told(cluster, high()) == "high ⇒ a"
    delete_pod(cluster, victims[0])
    assert told(cluster, now=100.0) == "nothing"
    delete_pod(cluster, victims[1])
    assert told(cluster, now=100.0) == "high → a"


def test_less_and_equally_important_pods_leave_its_room_alone_and_more_important_ones_take_it() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    delete_pod(cluster, low("on-a"))
    assert cluster.next_pod(100.0) is not None, "it is out, about to be placed"
    for pod in (make_pod("lower", cpu="1", priority=9), high("equal", cpu="1")):
        assert told(cluster, pod).startswith("0/1 nodes are available: 1 Insufficient cpu. preemption: ")
    assert told(cluster, high("higher", cpu="1", priority=11)) == "higher → a"


def test_room_is_left_beside_it() -> None:
    cluster = full("a")
    assert told(cluster, high(cpu="3")) == "high ⇒ a"
    delete_pod(cluster, low("on-a"))
    assert cluster.next_pod(100.0) is not None
    assert told(cluster, high("small", cpu="1")) == "small → a"


def test_the_room_on_other_nodes_is_used_at_once() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    add_node(cluster, make_node("b"))
    assert told(cluster, now=0.01) == "high → b"
    delete_pod(cluster, low("on-a"))
    assert told(cluster, make_pod("low-again", cpu="4")) == "low-again → a", "nothing is kept any more"


def test_many_pods_make_room_each_on_a_node_of_its_own() -> None:
    cluster = full(*"abc")
    for number in range(3):
        add_pod(cluster, high(f"high-{number}"))
    nodes = {told(cluster).rpartition(" ")[2] for _ in range(3)}
    assert nodes == {"a", "b", "c"}
    message = told(cluster, high("one-too-many"))
    assert tail(message) == "preemption: 0/3 nodes are available: 3 Insufficient cpu."
    for node in "bca":
        delete_pod(cluster, low(f"on-{node}", node))
    placed = {told(cluster, now=0.01) for _ in range(3)}
    assert {each.rpartition(" ")[2] for each in placed} == {"a", "b", "c"}
    assert told(cluster, now=0.01) == "nothing"


def test_while_victims_are_on_their_way_out_no_others_are_sent_away() -> None:
    cluster = full("a", "b")
    assert told(cluster, high()).startswith("high ⇒ ")
    node = cluster.snapshot.nominations.get("uid-default-high").node  # type: ignore[union-attr]
    add_node(cluster, make_node("small", cpu="1"))
    add_pod(cluster, high(labels={"new": "label"}))
    assert told(cluster, now=300.0).endswith(UNDER_WAY), "tried again after all, as a last resort"
    add_pod(cluster, going(low(f"on-{node}", node)))
    cluster.snapshot.nominations.victims.clear()
    add_pod(cluster, high(cpu="3"))
    assert told(cluster, now=300.0).endswith(UNDER_WAY), "as a new leader sees it"


def test_pods_that_end_for_reasons_of_their_own_are_not_waited_for() -> None:
    cluster = full("a", "b")
    add_pod(cluster, going(low("on-a"), preempted=False))
    assert told(cluster, high(nominated="a")).startswith("high ⇒ ")


def test_a_victim_that_ends_already_is_not_sent_away_again() -> None:
    for preempted in (True, False):
        cluster = full("a")
        add_pod(cluster, going(low("on-a"), preempted=preempted))
        add_pod(cluster, high())
        found = place_next(cluster)
        assert isinstance(found, Diagnosis) and found.remedy is not None
        assert (found.remedy.node, found.remedy.victims) == ("a", ())
        delete_pod(cluster, low("on-a"))
        assert told(cluster, now=0.01) == "high → a"


def test_when_a_victim_can_not_be_sent_away_the_pod_is_tried_again() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    queued = cluster.queue.get("uid-default-high")
    assert queued is not None
    cluster.room_not_made(queued, [low("on-a")], 0.0)
    assert told(cluster, now=0.9) == "nothing", "what went wrong once may do so again"
    assert told(cluster, now=1.0) == "high ⇒ a"


def test_a_new_leader_keeps_the_room_that_pods_say_is_theirs() -> None:
    cluster = make_cluster(make_node("a"))
    add_pod(cluster, high(nominated="a"))
    assert cluster.next_pod(0.0) is not None, "it is out, about to be placed"
    assert told(cluster, make_pod("other", cpu="1", priority=5)).startswith("0/1 nodes are available")


def test_a_new_leader_sends_nobody_away_where_its_predecessor_did() -> None:
    cluster = make_cluster(make_node("a"), make_node("b"))
    add_pod(cluster, going(low("on-a")))
    add_pod(cluster, low("on-b", "b"))
    assert told(cluster, high(nominated="a")).endswith(UNDER_WAY)
    delete_pod(cluster, low("on-a"))
    assert told(cluster, now=0.01) == "high → a"


def test_a_new_leader_finishes_what_its_predecessor_had_begun() -> None:
    cluster = make_cluster(make_node("a"))
    add_pod(cluster, going(low("x", cpu="2")))
    add_pod(cluster, low("y", cpu="2"))
    assert told(cluster, high(nominated="a")).endswith(UNDER_WAY)
    delete_pod(cluster, low("x", cpu="2"))
    assert told(cluster, now=0.01) == "high ⇒ a", "y had not been sent away yet"
    delete_pod(cluster, low("y", cpu="2"))
    assert told(cluster, now=0.02) == "high → a"


def test_a_more_important_pod_takes_over_the_node_and_the_other_one_looks_elsewhere() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    add_pod(cluster, high("higher", priority=20))
    found = place_next(cluster)
    assert isinstance(found, Diagnosis) and found.remedy is not None
    assert [name(pod) for pod in found.remedy.displaced] == ["high"]
    assert found.remedy.victims == (), "the victim is on its way already"
    assert tail(told(cluster, now=0.01)) == "preemption: 0/1 nodes are available: 1 Insufficient cpu."
    delete_pod(cluster, low("on-a"))
    assert told(cluster, now=0.02) == "higher → a"
    assert told(cluster, now=100.0) == "nothing"


def test_where_nothing_helps_any_more_the_pod_is_nominated_nowhere() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    add_pod(cluster, high(nominated="a"))
    found = place_next(cluster)
    assert isinstance(found, Diagnosis) and found.remedy is not None and found.remedy.node == ""
    assert told(cluster, make_pod("other", cpu="1")) == "other → a"


def test_a_pod_that_may_send_nobody_away_keeps_the_room_that_others_have_given_it() -> None:
    cluster = full("a")
    message = told(cluster, high(nominated="a", preemptionPolicy="Never"))
    assert tail(message) == "preemption: not eligible due to preemptionPolicy=Never."
    delete_pod(cluster, low("on-a"))
    assert cluster.next_pod(0.01) is not None
    assert told(cluster, make_pod("other", cpu="1")).startswith("0/1 nodes are available")


def test_a_pod_is_tried_again_when_its_node_is_gone_or_changes() -> None:
    for change in ("gone", "tainted"):
        cluster = full("a", "b")
        assert told(cluster, high(nodeSelector={})).startswith("high ⇒ ")
        nominee = cluster.snapshot.nominations.get("uid-default-high")
        assert nominee is not None
        node, other = (nominee.node, "b" if nominee.node == "a" else "a")
        if change == "gone":
            cluster.node_changed("DELETED", make_node(node), None)
        else:
            add_node(cluster, make_node(node, taints=[{"key": "k", "effect": "NoSchedule"}]))
        assert told(cluster, now=0.01) == f"high ⇒ {other}"


def test_when_a_pod_that_waits_for_room_is_deleted_others_get_it() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    assert tail(told(cluster, high("equal"))).endswith("1 Insufficient cpu.")
    delete_pod(cluster, low("on-a"))
    delete_pod(cluster, high())
    assert told(cluster, now=0.01) == "equal → a"


def test_old_versions_of_a_pod_do_not_give_up_its_room_but_a_cleared_status_does() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    add_pod(cluster, high(labels={"old": "version"}))
    add_pod(cluster, high(nominated="a"))
    add_pod(cluster, high(nominated="a", labels={"new": "label"}))
    assert len(cluster.snapshot.nominations) == 1
    add_pod(cluster, high())
    assert len(cluster.snapshot.nominations) == 0


def test_a_binding_that_comes_to_nothing_leaves_the_room_to_the_pod() -> None:
    cluster = full("a")
    add_pod(cluster, high())
    assert isinstance(place_next(cluster), Diagnosis)
    add_pod(cluster, high(nominated="a"))
    delete_pod(cluster, low("on-a"))
    placement = place_next(cluster, now=0.01)
    assert isinstance(placement, Placement)
    assert len(cluster.snapshot.nominations) == 0
    cluster.queue.fail_by_error(placement.queued, 0.02)
    cluster.forget(placement)
    assert told(cluster, high("equal"), now=0.03).startswith("0/1 nodes are available")
    assert told(cluster, now=10.0) == "high → a"


def test_what_is_bound_is_no_longer_waited_for() -> None:
    cluster = full("a")
    assert told(cluster, high()) == "high ⇒ a"
    delete_pod(cluster, low("on-a"))
    placement = place_next(cluster, now=0.01)
    assert isinstance(placement, Placement)
    bind(cluster, placement)
    delete_pod(cluster, high())
    assert told(cluster, make_pod("next", cpu="4")) == "next → a"


def test_a_pod_keeps_company_only_with_those_that_are_there_or_come_to_the_same_node() -> None:
    near = {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
            ]
        }
    }
    cluster = make_cluster(make_node("a", labels={"kubernetes.io/hostname": "a"}))
    add_pod(cluster, high(nominated="a", cpu="1", labels={"app": "db"}))
    assert cluster.next_pod(0.0) is not None
    assert told(cluster, make_pod("friend", affinity=near)).startswith(
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."
    ), "it may never come"
