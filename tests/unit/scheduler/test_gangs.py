"""Gangs: all or none, no two of them in each other's way, and each tried again when it may fit."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster, Placement
from scheduler.configuration.document import ConfigurationError, parse
from scheduler.gang_cycle import GangOutcome, room_for
from scheduler.gangs import TOLD_AFTER_SECONDS, TOO_FEW_PODS, GangKey, gang_of
from scheduler.plugins import default_profile
from scheduler.queue import BACKOFF_MAX_SECONDS, Part
from tests.unit.scheduler.factories import (
    add_node,
    add_pod,
    bind,
    delete_pod,
    make_cluster,
    make_node,
    make_pod,
)

CONFIGURATION = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
LATER = 10 * BACKOFF_MAX_SECONDS


def make_workload(*minima: int, named: str = "train", group: str = "workers") -> Object:
    """A Workload with gangs of these sizes, `workers`, `workers1`…; 0 is a group that is no gang."""
    groups = []
    for number, minimum in enumerate(minima):
        policy: Object = {"gang": {"minCount": minimum}} if minimum else {"basic": {}}
        groups.append({"name": f"{group}{number or ''}", "policy": policy})
    metadata = {"name": named, "namespace": "default"}
    return {"kind": "Workload", "metadata": metadata, "spec": {"podGroups": groups}}


def member(
    pod_name: str, workload: str = "train", group: str = "workers", replica: str = "", **fields: Any
) -> Object:
    reference = {"name": workload, "podGroup": group, **({"podGroupReplicaKey": replica} if replica else {})}
    return make_pod(pod_name, workloadRef=reference, **{"cpu": "1", **fields})


def members(number: int, workload: str = "train", **fields: Any) -> list[Object]:
    return [member(f"{workload}-{index}", workload, **fields) for index in range(number)]


def add_all(cluster: Cluster, *pods: Object, now: float = 0.0) -> None:
    for pod in pods:
        add_pod(cluster, pod, now=now)


def run(cluster: Cluster, *, now: float = 0.0) -> tuple[dict[str, str], dict[str, str]]:
    """Place all that is due; the node of each pod that was placed, and what the others were told last."""
    placed, told = {}, {}
    while (queued := cluster.next_pod(now)) is not None:
        if queued.pod_class.gang is not None:
            outcome = cluster.place_gang(queued, now)
        else:
            found = cluster.place(queued, now)
            outcome = (
                GangOutcome([found]) if isinstance(found, Placement) else GangOutcome(failures=[(queued, found)])
            )
        for placement in outcome.placements:
            placed[name(placement.queued.pod)] = placement.node
            bind(cluster, placement)
        told |= {name(failed.pod): why.message.partition(" preemption: ")[0] for failed, why in outcome.failures}
    return placed, {pod: message for pod, message in told.items() if pod not in placed}


def nodes_of(cluster: Cluster, *pods: Object) -> Counter[str]:
    found = (cluster.snapshot.placed(pod["metadata"]["uid"]) for pod in pods)
    return Counter(placed.node for placed in found if placed is not None)


def told_held(cluster: Cluster, now: float = TOLD_AFTER_SECONDS) -> dict[str, str]:
    return {name(pod): why for pod, why in cluster.held_back(now)}


def test_pods_wait_for_their_workload() -> None:
    cluster = make_cluster(make_node("a"))
    add_all(cluster, *members(2))
    assert run(cluster) == ({}, {})
    assert cluster.queue.counts()["gated"] == 2
    assert not told_held(cluster, TOLD_AFTER_SECONDS / 2), "it may come in a moment"
    why = 'waiting for pods\'s workload "train" to appear in scheduling queue'
    assert told_held(cluster) == {"train-0": why, "train-1": why}
    assert not told_held(cluster, LATER), "once is enough"
    cluster.workload_changed(None, make_workload(2))
    assert len(run(cluster)[0]) == 2


def test_pods_wait_for_the_others_of_their_gang() -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(3))
    first, second, third = members(3)
    add_all(cluster, first, second)
    assert run(cluster) == ({}, {})
    assert cluster.next_due() == TOLD_AFTER_SECONDS
    assert told_held(cluster) == {"train-0": TOO_FEW_PODS, "train-1": TOO_FEW_PODS}
    add_pod(cluster, third)
    assert run(cluster)[0] == dict.fromkeys(("train-0", "train-1", "train-2"), "a")


def test_a_pod_of_a_group_that_its_workload_has_not_is_held_back() -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(1))
    add_pod(cluster, member("lost", group="others"))
    assert run(cluster) == ({}, {})
    assert told_held(cluster) == {"lost": 'pod group "others" doesn\'t exist for a workload "train"'}


def test_pods_of_a_group_that_is_no_gang_are_placed_one_by_one() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    cluster.workload_changed(None, make_workload(0))
    add_all(cluster, *members(2))
    placed, told = run(cluster)
    assert (len(placed), list(told.values())) == (1, ["0/1 nodes are available: 1 Insufficient cpu."])


def test_a_gang_that_does_not_fit_leaves_its_room_to_others() -> None:
    cluster = make_cluster(make_node("a", cpu="2"))
    cluster.workload_changed(None, make_workload(3))
    add_all(cluster, *members(3), make_pod("plain", cpu="2"))
    placed, told = run(cluster)
    assert placed == {"plain": "a"}
    why = (
        'pod group "workers" of workload "train" needs 3 pods placed at once, and 2 fit: 0/1 nodes are available: '
        "1 Insufficient cpu."
    )
    assert told == dict.fromkeys(("train-0", "train-1", "train-2"), why)


def test_of_two_gangs_that_fit_alone_but_not_together_one_is_placed() -> None:
    cluster = make_cluster(make_node("a", cpu="2"), make_node("b", cpu="2"))
    for named in ("one", "two"):
        cluster.workload_changed(None, make_workload(3, named=named))
    one, two = members(3, "one"), members(3, "two")
    for pair in zip(one, two, strict=True):
        add_all(cluster, *pair)
    placed, told = run(cluster)
    assert (len(placed), len(told)) == (3, 3)
    assert len({pod.partition("-")[0] for pod in placed}) == 1
    first, second = (one, two) if "one-0" in placed else (two, one)
    for pod in first:
        delete_pod(cluster, pod)
    assert set(run(cluster, now=LATER)[0]) == {name(pod) for pod in second}


def test_a_gang_that_waits_is_placed_once_there_is_room_for_all_that_it_needs() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    cluster.workload_changed(None, make_workload(3))
    add_all(cluster, *members(3))
    assert not run(cluster)[0]
    add_node(cluster, make_node("b", cpu="1"))
    assert cluster.next_pod(LATER) is None, "there is still too little room to try it"
    add_node(cluster, make_node("c", cpu="1"))
    assert sorted(run(cluster, now=LATER)[0].values()) == ["a", "b", "c"]


def test_more_pods_than_a_gang_needs_are_placed_as_far_as_they_fit_and_later_ones_join_one_by_one() -> None:
    cluster = make_cluster(make_node("a", cpu="3"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, *members(4))
    placed, told = run(cluster)
    assert (len(placed), list(told.values())) == (3, ["0/1 nodes are available: 1 Insufficient cpu."])
    add_node(cluster, make_node("b", cpu="2"))
    add_pod(cluster, member("late"))
    assert set(run(cluster, now=LATER)[0].values()) == {"b"}
    assert cluster.queue.counts() == dict.fromkeys((part.value for part in Part), 0)


def test_the_replicas_of_a_group_are_gangs_of_their_own() -> None:
    cluster = make_cluster(make_node("a", cpu="3"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, *(member(f"{key}{n}", replica=key) for n in range(2) for key in ("x", "y")))
    placed, told = run(cluster)
    assert sorted(placed) in (["x0", "x1"], ["y0", "y1"])
    assert all(f'replica "{pod[0]}" needs 2 pods placed at once, and 1 fit' in why for pod, why in told.items())


def test_pods_with_scheduling_gates_do_not_complete_a_gang() -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(2))
    free, gated = member("free"), member("gated", schedulingGates=[{"name": "example.com/wait"}])
    add_all(cluster, free, gated)
    assert run(cluster) == ({}, {})
    gated["spec"] = {key: value for key, value in gated["spec"].items() if key != "schedulingGates"}
    add_pod(cluster, gated)
    assert len(run(cluster)[0]) == 2


def test_large_pods_are_tried_first_where_small_ones_would_take_their_place() -> None:
    cluster = make_cluster(make_node("large", cpu="4"), make_node("small", cpu="1"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, member("little", cpu="1"), member("big", cpu="4"))
    assert run(cluster)[0] == {"big": "large", "little": "small"}


def test_a_pod_that_wants_to_be_near_a_later_one_of_its_gang_is_placed_after_it() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "driver"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster = make_cluster(*(make_node(each, labels={"kubernetes.io/hostname": each}) for each in "ab"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, member("worker", affinity=near), member("driver", labels={"app": "driver"}))
    placed, _ = run(cluster)
    assert placed.keys() == {"worker", "driver"}
    assert len(set(placed.values())) == 1


def test_a_pod_whose_binding_fails_is_placed_again_and_the_others_stay() -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(3))
    add_all(cluster, *members(3))
    queued = cluster.next_pod(0.0)
    assert queued is not None
    unlucky, *others = cluster.place_gang(queued, 0.0).placements
    for placement in others:
        bind(cluster, placement)
    cluster.queue.fail_by_error(unlucky.queued, 0.0)
    cluster.forget(unlucky)
    assert run(cluster, now=LATER)[0] == {name(unlucky.queued.pod): "a"}


def test_a_gang_that_lost_pods_needs_as_many_new_ones_at_once_as_it_is_short_of() -> None:
    cluster = make_cluster(make_node("a", cpu="3"))
    cluster.workload_changed(None, make_workload(3))
    first = members(3)
    add_all(cluster, *first)
    run(cluster)
    gone = [make_pod(name(pod), node="a", workloadRef=pod["spec"]["workloadRef"]) for pod in first[:2]]
    for pod in gone:
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        add_pod(cluster, pod)
    add_pod(cluster, member("new-0"))
    assert run(cluster) == ({}, {}), "pods that end do not count"
    for pod in gone:
        delete_pod(cluster, pod)
    add_pod(cluster, member("new-1"))
    assert run(cluster)[0].keys() == {"new-0", "new-1"}


def test_pods_that_others_have_placed_count() -> None:
    cluster = make_cluster(make_node("a", cpu="2"))
    cluster.workload_changed(None, make_workload(3))
    pods = members(3)
    add_all(cluster, *pods)
    assert len(run(cluster)[1]) == 3
    elsewhere = {**pods[0], "spec": {**pods[0]["spec"], "nodeName": "b"}}
    add_pod(cluster, elsewhere)
    assert set(run(cluster, now=LATER)[0]) == {"train-1", "train-2"}


def test_pods_are_held_back_again_when_their_workload_goes() -> None:
    cluster = make_cluster(make_node("a", cpu="1"))
    cluster.workload_changed(None, make_workload(2))
    add_all(cluster, *members(2))
    assert len(run(cluster)[1]) == 2
    cluster.workload_changed(make_workload(2), None)
    add_node(cluster, make_node("b", cpu="1"))
    assert run(cluster, now=LATER) == ({}, {})
    cluster.workload_changed(None, make_workload(2))
    assert len(run(cluster, now=LATER)[0]) == 2


def test_who_waits_with_a_thousand_others_is_told_once_and_one_of_them_again() -> None:
    cluster = make_cluster(make_node("a", cpu="5"))
    cluster.workload_changed(None, make_workload(10))
    pods = members(10)
    add_all(cluster, *pods)
    assert len(run(cluster)[1]) == 10
    for turn in range(1, 4):
        again = {**pods[0], "metadata": {**pods[0]["metadata"], "labels": {"turn": str(turn)}}}
        cluster.queue.wake(cluster.queue.get(pods[0]["metadata"]["uid"]), turn * LATER)  # type: ignore[arg-type]
        add_pod(cluster, again, now=turn * LATER)
        assert len(run(cluster, now=turn * LATER)[1]) == 1


def test_what_goes_wrong_with_one_pod_leaves_none_of_its_gang_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(3))
    pods = members(3)
    add_all(cluster, *pods)
    queued = cluster.next_pod(0.0)
    assert queued is not None
    assume, calls = cluster.assume, []

    def fails_once(each: Any) -> Any:
        calls.append(each)
        if len(calls) == 3:
            raise RuntimeError("a bug")
        return assume(each)

    monkeypatch.setattr(cluster, "assume", fails_once)
    with pytest.raises(RuntimeError):
        cluster.place_gang(queued, 0.0)
    cluster.queue.fail_by_error(queued, 0.0)
    assert not nodes_of(cluster, *pods)
    assert len(run(cluster, now=LATER)[0]) == 3


def test_a_profile_without_the_plugin_places_pods_one_by_one() -> None:
    plugins = {"multiPoint": {"disabled": [{"name": "GangScheduling"}]}}
    cluster = Cluster(*parse({**CONFIGURATION, "profiles": [{"plugins": plugins}]}).profiles, rng=random.Random(1))
    add_node(cluster, make_node("a"))
    add_pod(cluster, member("alone"))
    assert run(cluster)[0] == {"alone": "a"}


def test_the_plugin_is_there_whole_or_not_at_all() -> None:
    plugins = {"permit": {"disabled": [{"name": "GangScheduling"}]}}
    with pytest.raises(ConfigurationError, match="must be at all of preEnqueue, reserve and permit, or at none"):
        parse({**CONFIGURATION, "profiles": [{"plugins": plugins}]})


def test_nothing_is_kept_of_gangs_that_are_gone() -> None:
    cluster = make_cluster(make_node("a"))
    cluster.workload_changed(None, make_workload(2))
    pods = members(2)
    add_all(cluster, *pods)
    run(cluster)
    for pod in pods:
        delete_pod(cluster, pod)
    assert cluster.gangs.get(GangKey("default", "train", "workers")) is None
    assert not cluster.gangs.changed
    assert not cluster.gangs.untold


def test_room_is_never_less_than_what_fits() -> None:
    nodes = [make_node("a", cpu="3", pods=10), make_node("b", cpu="8", pods=2), make_node("c", unschedulable=True)]
    cluster = make_cluster(*nodes)
    profile = default_profile()
    pod = make_pod("x", cpu="1")
    assert room_for(profile, profile.describe(pod, cluster.snapshot), cluster.snapshot) == 3 + 2


MINIMA = {"one": 3, "two": 4}
PLANS = st.lists(
    st.tuples(
        st.sampled_from(["pods", "pods", "plain pod", "gone", "node", "lost node", "workload", "error"]),
        st.integers(0, 99),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(plan=PLANS, seed=st.integers(0, 99))
def test_never_is_a_part_of_a_gang_placed_that_is_smaller_than_the_gang_must_be(
    plan: list[tuple[str, int]], seed: int
) -> None:
    rng = random.Random(seed)
    cluster = make_cluster(make_node("n0", cpu="2"), seed=seed)
    pods: dict[str, Object] = {}
    now = 0.0
    for serial, (what, number) in enumerate(plan):
        now += 2 * BACKOFF_MAX_SECONDS
        named = sorted(MINIMA)[number % 2]
        made: list[Object] = []
        match what:
            case "pods":
                sizes = rng.choices(["500m", "1", "2"], k=rng.choice([1, 2, 4]))
                importance = rng.choice([0, 0, 10, 20])
                made = [
                    member(f"{named}-{serial}-{index}", named, cpu=cpu, priority=importance)
                    for index, cpu in enumerate(sizes)
                ]
            case "plain pod":
                made = [make_pod(f"plain-{serial}", cpu="1", priority=rng.choice([0, 10]))]
            case "gone" if pods:
                delete_pod(cluster, pods.pop(sorted(pods)[number % len(pods)]), now=now)
            case "node":
                add_node(cluster, make_node(f"n{number % 4}", cpu=str(1 + number % 3)))
            case "lost node":
                cluster.node_changed("DELETED", make_node(f"n{number % 4}"), None)
            case "workload":
                cluster.workload_changed(None, make_workload(MINIMA[named], named=named))
        pods |= {name(pod): pod for pod in made}
        add_all(cluster, *made, now=now)
        place_all(cluster, pods, now=now, unlucky=what == "error")
    for named, minimum in MINIMA.items():
        cluster.workload_changed(None, make_workload(minimum, named=named))
    add_node(cluster, make_node("enough", cpu="1000", pods=1000))
    place_all(cluster, pods, now=now + LATER)
    sizes_in_the_end = Counter(key.workload for pod in pods.values() if (key := gang_of(pod)) is not None)
    for pod in pods.values():
        key = gang_of(pod)
        if key is None or sizes_in_the_end[key.workload] >= MINIMA[key.workload]:
            assert nodes_of(cluster, pod), "what can be placed is placed"


def place_all(cluster: Cluster, pods: dict[str, Object], *, now: float, unlucky: bool = False) -> None:
    """Place all that is due, a gang only so that it has what it must have; one that is unlucky is not bound."""
    while (queued := cluster.next_pod(now)) is not None:
        key = gang_of(queued.pod)
        if key is None:
            found = cluster.place(queued, now)
            placements = [found] if isinstance(found, Placement) else []
            failures = [] if isinstance(found, Placement) else [found]
        else:
            of_gang = [pod for pod in pods.values() if gang_of(pod) == key]
            before = nodes_of(cluster, *of_gang).total()
            outcome = cluster.place_gang(queued, now)
            placements, failures = list(outcome.placements), [diagnosis for _, diagnosis in outcome.failures]
            after = nodes_of(cluster, *of_gang).total()
            assert after == before + len(placements)
            assert not placements or after >= MINIMA[key.workload]
            assert {gang_of(placement.queued.pod) for placement in placements} <= {key}
        for placement in placements:
            row = cluster.snapshot.row(placement.node)
            assert cluster.snapshot.requested("cpu")[row] <= cluster.snapshot.allocatable("cpu")[row]
        for placement in placements:
            if unlucky:
                unlucky = False
                cluster.queue.fail_by_error(placement.queued, now)
                cluster.forget(placement)
            else:
                pods[name(placement.queued.pod)] = bind(cluster, placement)
        for victim in [victim for each in failures if each.remedy is not None for victim in each.remedy.victims]:
            delete_pod(cluster, pods.pop(name(victim.pod)), now=now)
