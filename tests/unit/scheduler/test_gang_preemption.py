"""Whom a gang sends away: as many as it needs to be placed whole, and nobody if that would not do."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster
from tests.unit.scheduler.factories import add_pod, bind, delete_pod, make_cluster, make_node, make_pod
from tests.unit.scheduler.test_gangs import LATER, add_all, make_workload, members, nodes_of, run


def resident(pod_name: str, node: str, priority: int = 0, **fields: Any) -> Object:
    return make_pod(pod_name, node=node, priority=priority, cpu="1", phase="Running", **fields)


def full_cluster(*priorities: int) -> tuple[Cluster, list[Object]]:
    """Nodes of one cpu, each taken by a pod of this priority."""
    cluster = make_cluster(*(make_node(f"n{index}", cpu="1") for index in range(len(priorities))))
    residents = [resident(f"r{index}", f"n{index}", priority) for index, priority in enumerate(priorities)]
    add_all(cluster, *residents)
    return cluster, residents


def sent_away(cluster: Cluster, *, now: float = 0.0) -> dict[str, str]:
    """Try whoever is due: who has to go, from which node; nobody is placed."""
    found = {}
    while (queued := cluster.next_pod(now)) is not None:
        outcome = cluster.place_gang(queued, now)
        assert not outcome.placements
        for _, diagnosis in outcome.failures:
            remedy = diagnosis.remedy
            found |= {name(victim.pod): victim.node for victim in (remedy.victims if remedy is not None else ())}
    return found


def test_a_gang_that_fits_nowhere_sends_away_as_many_as_it_needs_and_comes_when_all_are_gone() -> None:
    cluster, residents = full_cluster(0, 0, 0, 0)
    cluster.workload_changed(None, make_workload(3))
    pods = members(3, priority=100)
    add_all(cluster, *pods)
    victims = sent_away(cluster)
    assert len(victims) == 3
    assert nodes_of(cluster, *residents).total() == 4, "it was supposed only, so far"
    leaving = [pod for pod in residents if name(pod) in victims]
    for pod in leaving[:2]:
        delete_pod(cluster, pod)
        assert not sent_away(cluster, now=LATER), "the others are on their way"
    delete_pod(cluster, leaving[2])
    assert set(run(cluster, now=2 * LATER)[0].values()) == set(victims.values())
    assert not cluster.snapshot.nominations


def test_nobody_goes_for_a_gang_that_would_not_be_placed_whole() -> None:
    cluster, _ = full_cluster(0, 0, 1000)
    cluster.workload_changed(None, make_workload(3))
    add_all(cluster, *members(3, priority=100))
    assert not sent_away(cluster)
    assert not cluster.snapshot.nominations


def test_nobody_goes_for_a_gang_that_may_send_nobody_away() -> None:
    cluster, _ = full_cluster(0, 0)
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, *members(2, priority=100, preemptionPolicy="Never"))
    assert not sent_away(cluster)


def test_only_those_go_without_whom_the_gang_does_not_fit_and_room_is_kept_for_all_of_it() -> None:
    cluster, (resident_pod, *_) = full_cluster(0)
    cluster.node_changed("ADDED", None, make_node("free", cpu="1"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, *members(2, priority=100))
    assert sent_away(cluster) == {"r0": "n0"}
    add_pod(cluster, make_pod("less-important", cpu="1"))
    assert not run(cluster)[0], "what is free is kept for the gang"
    delete_pod(cluster, resident_pod)
    assert sorted(run(cluster, now=LATER)[0].values()) == ["free", "n0"]


def test_of_one_gang_nobody_has_to_go_for_another() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    cluster.workload_changed(None, make_workload(2))
    low, high = members(2)
    low["spec"]["priority"], high["spec"]["priority"] = 1, 100
    add_all(cluster, low, high)
    assert not sent_away(cluster)


def test_no_room_is_kept_for_a_gang_that_is_held_back_again() -> None:
    cluster, _ = full_cluster(0, 0)
    cluster.workload_changed(None, make_workload(2))
    pods = members(2, priority=100)
    add_all(cluster, *pods)
    assert len(sent_away(cluster)) == 2
    delete_pod(cluster, pods[0])
    assert cluster.next_pod(LATER) is None
    assert not cluster.snapshot.nominations


def test_further_pods_of_a_gang_make_room_as_any_pod_does() -> None:
    cluster, _ = full_cluster(0)
    cluster.node_changed("ADDED", None, make_node("free", cpu="1"))
    cluster.workload_changed(None, make_workload(1))
    add_all(cluster, *members(2, priority=100))
    queued = cluster.next_pod(0.0)
    assert queued is not None
    outcome = cluster.place_gang(queued, 0.0)
    (placement,) = outcome.placements
    bind(cluster, placement)
    ((_, diagnosis),) = outcome.failures
    assert diagnosis.remedy is not None
    assert [name(victim.pod) for victim in diagnosis.remedy.victims] == ["r0"]
