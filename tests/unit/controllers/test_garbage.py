"""What the absence of owners means for an object, what keeps a namespace, and which finished pods go."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, name
from apimachinery.resources import CONFIGMAPS, EVENTS, PODS, REPLICASETS, SECRETS
from apimachinery.time import rfc3339
from controllers.namespace import conditions, plan_deletions
from controllers.ownership_graph import FOREGROUND, ORPHAN, Item, OwnerState, Plan, plan_item
from controllers.pod_gc import choose_finished, is_out_of_service
from controllers.taints import OUT_OF_SERVICE
from tests.support.workloads import EPOCH, metadata, node, owned_by, pod, replica_set

SOLID, WAITING, ABSENT = OwnerState.SOLID, OwnerState.WAITING, OwnerState.ABSENT


def owner(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name)}


def planned(obj: Object, *dependents: Object, **states: OwnerState) -> Plan:
    by_uid = {r["uid"]: states[r["name"]] for r in obj["metadata"]["ownerReferences"]}
    return plan_item(Item(PODS, obj), by_uid, [Item(PODS, one) for one in dependents])


def meta(obj: Object, **fields: Any) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **fields}}


def test_an_object_lives_as_long_as_one_owner_does() -> None:
    both = owned_by(owned_by(pod(), owner("a")), owner("b"), controller=False)
    assert planned(both, a=SOLID, b=SOLID) == Plan()
    left = planned(both, a=ABSENT, b=SOLID)
    assert [r["name"] for r in left.references or []] == ["b"] and left.policy is None
    assert planned(both, a=ABSENT, b=ABSENT) == Plan(policy="Background")


def test_an_owner_that_waits_for_the_object_takes_it_along_with_what_it_owns_first() -> None:
    middle = owned_by(replica_set(), owner("a"))
    assert planned(middle, a=WAITING) == Plan(policy="Background")
    assert planned(middle, owned_by(pod(), middle), a=WAITING) == Plan(policy="Foreground")
    assert planned(middle, owned_by(pod(), middle), a=ABSENT) == Plan(policy="Background")


def test_a_circle_of_owners_is_cut() -> None:
    one, other = replica_set("one"), replica_set("other")
    one = owned_by(one, {**other, "metadata": {**other["metadata"], "name": "a"}})
    waiting = meta(owned_by(other, one), finalizers=[FOREGROUND], deletionTimestamp=rfc3339(EPOCH))
    cut = planned(one, waiting, a=WAITING)
    assert cut.policy is None and cut.references is not None
    assert [r["blockOwnerDeletion"] for r in cut.references] == [False]
    assert planned(meta(one, ownerReferences=cut.references), waiting, a=WAITING) == Plan(policy="Foreground")


def test_an_object_with_finalizers_of_a_policy_is_deleted_by_that_policy() -> None:
    lost = owned_by(replica_set(), owner("a"))
    assert planned(meta(lost, finalizers=[ORPHAN]), a=ABSENT) == Plan(policy="Orphan")
    assert planned(meta(lost, finalizers=[FOREGROUND]), a=ABSENT) == Plan(policy="Foreground")


def test_keys_name_the_very_object() -> None:
    item = Item(REPLICASETS, replica_set("web", uid="u"))
    assert item.key == "replicasets.apps/default/web/u"


def leaving(obj: Object) -> Object:
    return meta(obj, deletionTimestamp=rfc3339(EPOCH))


def test_pods_leave_a_namespace_before_anything_else() -> None:
    everything = {SECRETS: [owner("s")], PODS: [pod()], EVENTS: [owner("e")]}
    assert plan_deletions(everything) == [PODS]
    assert plan_deletions({**everything, PODS: [leaving(pod())]}) == []
    assert plan_deletions({SECRETS: [owner("s")], CONFIGMAPS: [leaving(owner("c"))]}) == [SECRETS]
    assert plan_deletions({}) == []


def test_a_namespace_says_what_it_still_waits_for() -> None:
    held = meta(leaving(pod()), finalizers=["example.com/hold"])
    told = {c["type"]: c for c in conditions([], {PODS: [held, leaving(pod())]}, ["no secrets today"], EPOCH)}
    assert set(told) == {
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceContentRemaining",
        "NamespaceFinalizersRemaining",
    }
    remaining = told["NamespaceContentRemaining"]
    assert remaining["status"] == "True" and remaining["reason"] == "SomeResourcesRemain"
    assert remaining["message"] == "Some resources are remaining: pods. has 2 resource instances"
    finalizers = told["NamespaceFinalizersRemaining"]
    assert finalizers["message"] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )
    failure = told["NamespaceDeletionContentFailure"]
    assert failure["message"] == "Failed to delete all resource types, 1 remaining: no secrets today"
    assert told["NamespaceDeletionDiscoveryFailure"]["status"] == "False"


def test_a_namespace_says_whose_servers_can_not_be_asked_what_is_left() -> None:
    told = {c["type"]: c for c in conditions([], {}, [], EPOCH, {"b.example.com/v1", "a.example.com/v2"})}
    failure = told["NamespaceDeletionDiscoveryFailure"]
    assert (failure["status"], failure["reason"]) == ("True", "DiscoveryFailed")
    assert failure["message"] == (
        "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: "
        "a.example.com/v2: stale GroupVersion discovery: a.example.com/v2, "
        "b.example.com/v1: stale GroupVersion discovery: b.example.com/v1"
    )
    assert told["NamespaceDeletionContentFailure"]["status"] == "False"


def test_conditions_that_say_the_same_stay_the_same() -> None:
    first = conditions([], {PODS: [pod()]}, [], EPOCH)
    assert conditions(first, {PODS: [pod()]}, [], EPOCH + 60) == first


def test_the_oldest_finished_pods_go_first_and_evicted_ones_before_them() -> None:
    old = pod("old", phase="Succeeded", creationTimestamp=rfc3339(EPOCH))
    young = pod("young", phase="Failed", creationTimestamp=rfc3339(EPOCH + 60))
    evicted = pod("evicted", phase="Failed", creationTimestamp=rfc3339(EPOCH + 90))
    evicted["status"]["reason"] = "Evicted"
    pods = [young, pod("running", phase="Running"), old, evicted]
    assert [name(one) for one in choose_finished(pods, 1)] == ["evicted", "old"]
    assert choose_finished(pods, 3) == [] and choose_finished(pods, 0) == []


def test_a_node_out_of_service_gives_up_the_pods_that_are_leaving() -> None:
    down = node(ready="Unknown", taints=[{"key": OUT_OF_SERVICE, "effect": "NoExecute"}])
    assert is_out_of_service(leaving(pod()), down)
    assert not is_out_of_service(pod(), down)
    assert not is_out_of_service(leaving(pod()), node(ready="Unknown"))
    assert not is_out_of_service(leaving(pod()), {**down, "status": node()["status"]})
