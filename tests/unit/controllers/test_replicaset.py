"""How many pods a ReplicaSet creates or deletes, which ones, and what it tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apimachinery.meta import Object, name
from apimachinery.resources import REPLICATIONCONTROLLERS
from apimachinery.selectors import selector_from_object
from apimachinery.time import rfc3339
from controllers.deletion_ranking import DELETION_COST, choose_pods_to_delete, deletion_cost
from controllers.ownership import plan_claims
from controllers.pod_trimming import PodTrimmer
from controllers.replicaset import (
    BURST_PODS,
    Failure,
    plan_scale,
    plan_status,
    pod_from_template,
    replica_facts,
    seconds_to_next_availability,
)
from tests.support.workloads import EPOCH, metadata, owned_by, pod, replica_set

NOW = EPOCH + 100_000


def running(which: str, **more: Any) -> Object:
    return pod(which, **{"node": "n1", "phase": "Running", "ready_since": EPOCH, **more})


def deleting(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}


@pytest.mark.parametrize(
    ("wanted", "have", "create", "delete"), [(3, 0, 3, 0), (3, 3, 0, 0), (3, 5, 0, 2), (0, 2, 0, 2)]
)
def test_the_number_of_pods_becomes_what_the_spec_says(wanted: int, have: int, create: int, delete: int) -> None:
    plan = plan_scale(replica_set(replicas=wanted), [pod(f"p{n}") for n in range(have)], (), NOW)
    assert (plan.create, len(plan.delete)) == (create, delete)


def test_a_pass_creates_a_burst_at_most() -> None:
    assert plan_scale(replica_set(replicas=10_000), [], (), NOW).create == BURST_PODS


def test_a_replica_set_that_is_being_deleted_creates_and_deletes_nothing() -> None:
    plan = plan_scale(deleting(replica_set(replicas=3)), [], (), NOW)
    assert (plan.create, plan.delete) == (0, ())


RANKED = [
    pod("unscheduled"),
    pod("pending", node="n1"),
    running("not-ready", ready_since=None),
    running("cheap", annotations={DELETION_COST: "-5"}),
    running("crowded", node="n2"),
    running("lately-ready", ready_since=NOW - 10),
    running("restarted", restarts=3),
    running("young", creationTimestamp=rfc3339(NOW - 20)),
    running("steady"),
    running("dear", annotations={DELETION_COST: "100"}),
]
NEIGHBOURS = [running("other-1", node="n2"), *(running(f"same-{n}", node="n1") for n in range(0))]


@pytest.mark.parametrize("count", range(1, len(RANKED)))
def test_the_pods_least_worth_keeping_go_first(count: int) -> None:
    crowd = [running(f"crowd-{n}", node="n2") for n in range(20)]
    chosen = choose_pods_to_delete(list(reversed(RANKED)), [*RANKED, *crowd], count, NOW)
    assert [name(one) for one in chosen] == [name(one) for one in RANKED[:count]]


def test_pods_of_about_the_same_age_are_not_chosen_by_age() -> None:
    older = running("older", ready_since=NOW - 1000, uid="a")
    younger = running("younger", ready_since=NOW - 600, uid="b")
    assert choose_pods_to_delete([older, younger], (), 1, NOW) == [older]


def test_restarts_of_sidecars_count_where_those_of_containers_are_the_same() -> None:
    def restarted(which: str, containers: int, sidecars: int) -> Object:
        found = running(which, restarts=containers)
        found["spec"]["initContainers"] = [{"name": "setup"}, {"name": "side", "restartPolicy": "Always"}]
        counts = [{"name": "setup", "restartCount": 9}, {"name": "side", "restartCount": sidecars}]
        found["status"]["initContainerStatuses"] = counts
        return PodTrimmer().trim(found)

    pods = [restarted("few", 1, 0), restarted("some", 1, 2), restarted("many", 2, 0)]
    assert [name(one) for one in choose_pods_to_delete(pods, (), 2, NOW)] == ["many", "some"]


@pytest.mark.parametrize(
    ("text", "cost"),
    [("", 0), ("7", 7), ("-7", -7), ("+7", 0), ("07", 0), ("1.5", 0), ("2147483648", 0), ("2147483647", 2147483647)],
)
def test_a_deletion_cost_that_is_no_number_counts_as_none(text: str, cost: int) -> None:
    assert deletion_cost(pod(annotations={DELETION_COST: text})) == cost


@given(st.permutations(RANKED), st.integers(0, len(RANKED)))
def test_the_choice_does_not_depend_on_the_order_of_the_cache(pods: list[Object], count: int) -> None:
    chosen = choose_pods_to_delete(pods, RANKED, count, NOW)
    assert {name(one) for one in chosen} == {name(one) for one in choose_pods_to_delete(RANKED, RANKED, count, NOW)}


def test_the_status_counts_pods_by_how_far_they_are() -> None:
    owner = replica_set(replicas=5)
    owner["spec"]["minReadySeconds"] = 30
    pods = [
        running("available"),
        running("ready", ready_since=NOW - 10),
        running("running", ready_since=None),
        pod("finished", phase="Succeeded"),
        deleting(running("leaving")),
        running("other-labels", labels={"app": "api"}),
    ]
    status = plan_status(owner, pods, None, NOW)
    assert status == {
        "replicas": 4,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 2,
        "terminatingReplicas": 1,
        "observedGeneration": 1,
    }
    assert seconds_to_next_availability(owner, pods, NOW) == 20


def test_a_failure_is_told_until_a_pass_succeeds() -> None:
    owner = replica_set()
    quota = Failure("FailedCreate", ApiError(403, "Forbidden", "exceeded quota"))
    failed = plan_status(owner, [], quota, NOW)
    [told] = failed["conditions"]
    assert (told["type"], told["status"], told["reason"], told["message"]) == (
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "exceeded quota",
    )
    later = Failure("FailedCreate", ApiError(403, "Forbidden", "something else"))
    assert plan_status({**owner, "status": failed}, [], later, NOW + 60)["conditions"] == [told]
    assert "conditions" not in plan_status({**owner, "status": failed}, [], None, NOW + 60)


def test_a_pod_is_made_of_the_template_and_owned_by_the_replica_set() -> None:
    owner = replica_set()
    owner["spec"]["template"]["metadata"] |= {"annotations": {"a": "b"}, "finalizers": ["f"], "name": "ignored"}
    made = pod_from_template(owner)
    assert made["metadata"]["generateName"] == "web-1-" and "name" not in made["metadata"]
    assert made["metadata"]["annotations"] == {"a": "b"} and made["metadata"]["finalizers"] == ["f"]
    [reference] = made["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web-1",
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_changes_that_decide_nothing_are_ignored() -> None:
    before = running("a", ready_since=None)
    bound = {**before, "spec": {**before["spec"], "nodeName": "n9"}}
    assert replica_facts(before) == replica_facts(bound)
    assert replica_facts(before) != replica_facts(running("a"))


SELECTOR = selector_from_object({"matchLabels": {"app": "web"}})


def test_orphans_that_match_are_adopted_and_owned_pods_that_do_not_are_released() -> None:
    owner = replica_set()
    namesake = replica_set()
    mine, strange = owned_by(pod("mine"), owner), owned_by(pod("strange", labels={"app": "api"}), owner)
    orphan, other = pod("orphan"), pod("other", labels={"app": "api"})
    claims = plan_claims(
        owner, SELECTOR, [mine, strange, orphan, other, deleting(pod("going")), owned_by(pod("its"), namesake)]
    )
    assert (claims.owned, claims.adopt, claims.release) == ([mine], [orphan], [strange])


def test_an_owner_that_is_being_deleted_neither_adopts_nor_releases() -> None:
    owner = deleting(replica_set())
    mine, strange = owned_by(pod("mine"), owner), owned_by(pod("strange", labels={}), owner)
    claims = plan_claims(owner, SELECTOR, [mine, strange, pod("orphan")])
    assert (claims.owned, claims.adopt, claims.release) == ([mine], [], [])


def test_an_owner_of_the_same_name_but_another_uid_owns_nothing() -> None:
    first, second = replica_set(), replica_set()
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert plan_claims(second, SELECTOR, [owned_by(pod(), first)]).owned == []
    assert metadata("a")["uid"] != metadata("a")["uid"]


def test_a_replication_controllers_pods_are_owned_by_it_and_its_status_tells_of_none_that_leave() -> None:
    web = replica_set(replicas=1)
    owner = pod_from_template(web, REPLICATIONCONTROLLERS)["metadata"]["ownerReferences"][0]
    assert (owner["apiVersion"], owner["kind"]) == ("v1", "ReplicationController")
    pods = [running("one"), deleting(running("two"))]
    assert plan_status(web, pods, None, NOW)["terminatingReplicas"] == 1
    assert "terminatingReplicas" not in plan_status(web, pods, None, NOW, REPLICATIONCONTROLLERS)
