"""Which pods of a StatefulSet are created, replaced, deleted and updated, in which order; what its status says."""

from __future__ import annotations

import random

import pytest

from apimachinery.meta import Object, deletion_requested, name
from controllers.stateful_set_identity import in_range, ordinal, revision_of
from controllers.stateful_set_plan import (
    Stages,
    is_available,
    max_unavailable,
    plan_pods,
    plan_status,
    seconds_to_next_availability,
    versioned_pod,
)
from tests.support.stateful_sets import NEW, NOW, OLD, does, leaving, member, members, stateful_set, view

PARALLEL = {"podManagementPolicy": "Parallel"}
# Turns in which anything may happen to a pod; then as many as it takes to arrive.
HAPPENINGS, SETTLING = 12, 45


def test_pods_are_created_upwards_each_when_those_before_it_are_ready() -> None:
    web = stateful_set(3)
    assert does(web, []) == [("create", "web-0")]
    assert does(web, members(web, [0])) == [("create", "web-1")]
    assert does(web, [*members(web, [0]), member(web, 1, ready=False)]) == []
    assert does(web, [*members(web, [0]), member(web, 1, phase="Pending")]) == []
    assert does(web, members(web, range(3))) == []


def test_a_missing_pod_is_created_before_anything_is_done_to_those_after_it() -> None:
    web = stateful_set(3)
    assert does(web, members(web, [0, 2])) == [("create", "web-1")]
    assert does(web, members(web, [0, 2, 3, 4])) == [("create", "web-1")]


def test_a_pod_counts_once_it_has_been_ready_for_long_enough() -> None:
    web = stateful_set(2, minReadySeconds=30)
    young = member(web, 0, since=NOW - 10)
    assert does(web, [young]) == []
    assert does(web, [young], now=NOW + 20) == [("create", "web-1")]
    assert seconds_to_next_availability(web, [young], NOW) == 20
    assert seconds_to_next_availability(web, [member(web, 0)], NOW) is None


def test_a_parallel_set_creates_all_at_once() -> None:
    web = stateful_set(3, **PARALLEL)
    assert does(web, []) == [("create", f"web-{number}") for number in range(3)]
    assert does(web, [member(web, 1, ready=False)]) == [("create", "web-0"), ("create", "web-2")]


def test_ordinals_begin_where_the_spec_says() -> None:
    web = stateful_set(2, ordinals={"start": 5})
    assert does(web, []) == [("create", "web-5")]
    assert does(web, members(web, [5, 6])) == []
    assert does(web, members(web, [0, 5, 6])) == [("delete", "web-0")]
    assert does(web, members(web, [5, 6, 7])) == [("delete", "web-7")]


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_an_ended_pod_is_deleted_and_only_then_created_again(phase: str, policy: str) -> None:
    web = stateful_set(2, podManagementPolicy=policy)
    ended = member(web, 0, phase=phase)
    assert does(web, [ended, member(web, 1)]) == [("recreate", "web-0")]
    assert does(web, [leaving(ended), member(web, 1)]) == []
    assert does(web, [member(web, 1)]) == [("create", "web-0")]


def test_an_ended_pod_of_an_old_revision_is_deleted_once() -> None:
    web = stateful_set(1, **PARALLEL)
    assert does(web, [member(web, 0, revision=OLD, phase="Failed")], updating=True) == [("recreate", "web-0")]


def test_nobody_takes_the_name_of_a_pod_that_is_still_there() -> None:
    for policy in ("OrderedReady", "Parallel"):
        web = stateful_set(1, podManagementPolicy=policy)
        assert does(web, [member(web, 0, leaving=True)]) == []
        assert does(web, [member(web, 0, phase="Failed", leaving=True)]) == []


def test_surplus_pods_go_downwards_one_at_a_time() -> None:
    web = stateful_set(1)
    assert does(web, members(web, range(4))) == [("delete", "web-3")]
    assert does(web, [*members(web, range(3)), member(web, 3, leaving=True)]) == []


def test_surplus_pods_stay_while_a_wanted_one_is_not_well() -> None:
    web = stateful_set(2)
    assert does(web, [member(web, 0), member(web, 1, ready=False), member(web, 2)]) == []


def test_a_surplus_pod_that_is_not_well_waits_for_lower_ones_that_are_not() -> None:
    web = stateful_set(0)
    assert does(web, [member(web, 0, ready=False), member(web, 1)]) == [("delete", "web-1")]
    assert does(web, [member(web, 0), member(web, 1, ready=False)]) == [("delete", "web-1")]
    assert does(web, [member(web, 0, ready=False), member(web, 1, ready=False)]) == []


def test_a_parallel_set_deletes_all_surplus_pods_at_once() -> None:
    web = stateful_set(1, **PARALLEL)
    pods = [member(web, 0, ready=False), member(web, 1, ready=False), member(web, 2, leaving=True), member(web, 3)]
    assert does(web, pods) == [("delete", "web-3"), ("delete", "web-1")]


def test_a_set_that_is_being_deleted_does_nothing() -> None:
    web = leaving(stateful_set(3))
    assert does(web, members(web, [0, 5])) == []


def test_an_update_deletes_the_highest_old_pod_and_waits_for_the_new_one() -> None:
    web = stateful_set(3)
    old = members(web, range(3), revision=OLD)
    assert does(web, old, updating=True) == [("delete", "web-2")]
    assert does(web, [*old[:2], member(web, 2, revision=OLD, leaving=True)], updating=True) == []
    assert does(web, old[:2], updating=True) == [("create", "web-2")]
    assert does(web, [*old[:2], member(web, 2, ready=False)], updating=True) == []
    assert does(web, [*old[:2], member(web, 2)], updating=True) == [("delete", "web-1")]


def test_an_update_stops_at_the_partition() -> None:
    web = stateful_set(3, rolling={"partition": 2})
    old = members(web, range(3), revision=OLD)
    assert does(web, old, updating=True) == [("delete", "web-2")]
    assert does(web, [*old[:2], member(web, 2)], updating=True) == []
    many = stateful_set(3, rolling={"partition": 7})
    assert does(many, old, updating=True) == []


def test_a_partition_counts_from_the_first_ordinal() -> None:
    web = stateful_set(3, ordinals={"start": 10}, rolling={"partition": 1})
    pods = [member(web, 10, revision=OLD), member(web, 11, revision=OLD), member(web, 12)]
    assert does(web, pods, updating=True) == [("delete", "web-11")]
    assert revision_of(versioned_pod(view(web, updating=True), 10)) == OLD
    assert revision_of(versioned_pod(view(web, updating=True), 11)) == NEW


def test_below_the_partition_a_pod_comes_back_by_the_old_template() -> None:
    web = stateful_set(2, rolling={"partition": 1})
    before = versioned_pod(view(web, updating=True), 0)
    after = versioned_pod(view(web, updating=True), 1)
    assert before["spec"]["containers"][0]["image"] == "nginx:0" and revision_of(before) == OLD
    assert after["spec"]["containers"][0]["image"] == "nginx:1" and revision_of(after) == NEW


def test_without_a_partition_as_many_come_back_by_the_old_template_as_are_still_of_it() -> None:
    web = stateful_set(3, updateStrategy={"type": "RollingUpdate"})
    web["status"] = {"currentReplicas": 2}
    revisions = [revision_of(versioned_pod(view(web, updating=True), number)) for number in range(3)]
    assert revisions == [OLD, OLD, NEW]


def test_on_delete_updates_nothing_by_itself_and_brings_pods_back_by_the_new_template() -> None:
    web = stateful_set(2, updateStrategy={"type": "OnDelete"})
    assert does(web, members(web, range(2), revision=OLD), updating=True) == []
    assert revision_of(versioned_pod(view(web, updating=True), 0)) == NEW


@pytest.mark.parametrize(
    ("value", "replicas", "pods"), [(1, 3, 1), (2, 3, 2), ("50%", 5, 2), ("10%", 5, 1), ("100%", 4, 4)]
)
def test_max_unavailable_is_rounded_down_but_one_at_least(value: int | str, replicas: int, pods: int) -> None:
    assert max_unavailable(stateful_set(replicas, rolling={"maxUnavailable": value})) == pods


def test_an_update_deletes_as_many_as_may_be_unavailable() -> None:
    web = stateful_set(5, rolling={"maxUnavailable": 2})
    assert does(web, members(web, range(5), revision=OLD), updating=True) == [
        ("delete", "web-4"),
        ("delete", "web-3"),
    ]


def test_pods_that_are_unavailable_already_count_against_the_limit() -> None:
    web = stateful_set(5, rolling={"maxUnavailable": 2}, **PARALLEL)
    pods = [*members(web, range(4), revision=OLD), member(web, 4, ready=False)]
    assert does(web, pods, updating=True) == [("delete", "web-3")]
    pods[3] = member(web, 3, phase="Pending")
    assert does(web, pods, updating=True) == []


def test_an_update_of_a_parallel_set_does_not_wait_for_old_pods_that_may_never_be_well() -> None:
    web = stateful_set(4, **PARALLEL)
    pods = [*members(web, [0, 1], revision=OLD, ready=False), *members(web, [2, 3], revision=OLD)]
    assert does(web, pods, updating=True) == [("delete", "web-1"), ("delete", "web-0")]


def test_an_ordered_set_waits_for_an_old_pod_that_is_not_well() -> None:
    web = stateful_set(2)
    pods = [member(web, 0, revision=OLD), member(web, 1, revision=OLD, ready=False)]
    assert does(web, pods, updating=True) == []


def test_an_adopted_pod_is_given_its_labels_once_it_is_well() -> None:
    web = stateful_set(1)
    stranger = member(web, 0)
    stranger["metadata"]["labels"] = {"app": "web", "controller-revision-hash": NEW}
    assert does(web, [stranger]) == [("update", "web-0")]
    stranger["status"] = {"phase": "Pending"}
    assert does(web, [stranger]) == []


def status(
    owner: Object, pods: list[Object], *, updating: bool = False, deleted: list[Object] | None = None
) -> Object:
    return plan_status(view(owner, updating=updating), pods, updating=deleted or [], collision_count=0)


def test_the_status_counts_what_is_there_ready_available_and_of_which_revision() -> None:
    web = stateful_set(4, minReadySeconds=100)
    pods = [
        member(web, 0, revision=OLD),
        member(web, 1, revision=OLD, leaving=True),
        member(web, 2, since=NOW - 5),
        member(web, 3, phase="Pending"),
    ]
    assert status(web, pods, updating=True) == {
        "observedGeneration": 1,
        "replicas": 4,
        "readyReplicas": 3,
        "availableReplicas": 2,
        "currentReplicas": 1,
        "updatedReplicas": 2,
        "currentRevision": OLD,
        "updateRevision": NEW,
        "collisionCount": 0,
    }


def test_a_pod_that_is_deleted_for_its_revision_is_no_current_replica_any_more() -> None:
    web = stateful_set(2)
    pods = members(web, range(2), revision=OLD)
    assert status(web, pods, updating=True, deleted=pods[1:])["currentReplicas"] == 1


def test_an_update_is_complete_when_all_pods_are_new_and_ready() -> None:
    web = stateful_set(2)
    done = status(web, members(web, range(2)), updating=True)
    assert (done["currentRevision"], done["currentReplicas"]) == (NEW, 2)
    for pods in (
        [member(web, 0), member(web, 1, ready=False)],
        [member(web, 0), member(web, 1), member(web, 2)],
        [member(web, 0), member(web, 1, revision=OLD)],
        [member(web, 0)],
    ):
        assert status(web, pods, updating=True)["currentRevision"] == OLD
    left = stateful_set(2, updateStrategy={"type": "OnDelete"})
    assert status(left, members(left, range(2)), updating=True)["currentRevision"] == OLD


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_to_pods_a_set_keeps_its_order_and_its_limits_and_arrives(seed: int) -> None:
    chance = random.Random(seed)
    parallel, limit, first = seed % 2 == 1, chance.randint(1, 3), chance.choice([0, 4])
    web = stateful_set(
        chance.randint(0, 4),
        podManagementPolicy="Parallel" if parallel else "OrderedReady",
        ordinals={"start": first},
        rolling={"maxUnavailable": limit},
    )
    there = chance.sample(range(9), chance.randint(0, 9))
    pods = {number: member(web, number, revision=chance.choice([OLD, NEW])) for number in there}
    seen = view(web, updating=True)
    for turn in range(HAPPENINGS + SETTLING):
        stages = plan_pods(seen, list(pods.values()))
        check_order(web, pods, stages, parallel=parallel, limit=limit)
        for step in (step for stage in stages for step in stage):
            number = ordinal(step.pod)
            if step.verb == "create":
                assert number not in pods
                pods[number] = member(web, number, revision=revision_of(step.pod), phase="Pending", uid=f"{turn}")
            elif step.verb in ("delete", "recreate"):
                pods[number] = leaving(pods[number])
        if turn < HAPPENINGS:
            happen(chance, web, pods)
        else:
            for number in list(pods):
                settle(web, pods, number)
    assert sorted(pods) == list(range(first, first + web["spec"]["replicas"]))
    assert all(revision_of(pod) == NEW and is_available(web, pod, NOW) for pod in pods.values())


def check_order(web: Object, pods: dict[int, Object], stages: Stages, *, parallel: bool, limit: int) -> None:
    first = web["spec"]["ordinals"]["start"]
    wanted = range(first, first + web["spec"]["replicas"])
    well = {n for n, pod in pods.items() if is_available(web, pod, NOW) and not deletion_requested(pod)}
    doing = [step for stage in stages for step in stage]
    if not parallel:
        for step in doing:
            if step.verb == "create":
                assert set(range(first, ordinal(step.pod))) <= well
        surplus = [step for step in doing if step.verb == "delete" and ordinal(step.pod) not in wanted]
        assert len(surplus) <= 1
    healthy = [
        name(s.pod) for s in doing if s.verb == "delete" and ordinal(s.pod) in wanted and ordinal(s.pod) in well
    ]
    if healthy:  # well pods are given up for an update alone, and no more than may be missing
        missing = len(wanted) - len(well & set(wanted))
        assert missing + len(healthy) <= limit


def happen(chance: random.Random, web: Object, pods: dict[int, Object]) -> None:
    """One pod gets on, or does not."""
    if not pods:
        return
    number = chance.choice(sorted(pods))
    event = chance.choice(["settle", "unwell", "end"])
    if event == "settle" or deletion_requested(pods[number]):
        settle(web, pods, number)
    else:
        # A surplus pod that has ended is waited for, as long as a lower one is not well: as in Kubernetes.
        surplus = not in_range(web, number)
        phase = "Running" if event == "unwell" or surplus else "Failed"
        pods[number] = member(web, number, revision=revision_of(pods[number]), phase=phase, ready=False)


def settle(web: Object, pods: dict[int, Object], number: int) -> None:
    """The pod is gone if it was to go, and else it is well, unless it has ended."""
    pod = pods[number]
    if deletion_requested(pod):
        del pods[number]
    elif pod["status"]["phase"] != "Failed":
        pods[number] = member(web, number, revision=revision_of(pod))
