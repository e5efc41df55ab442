"""Names, labels and claims of a StatefulSet's pods, and who takes the claims along."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, name
from controllers.stateful_set_claims import owners_of_claim, plan_claims_of
from controllers.stateful_set_identity import (
    identity_matches,
    new_pod,
    parent_and_ordinal,
    storage_matches,
)
from controllers.stateful_set_plan import plan_pods
from tests.support.stateful_sets import NEW, does, leaving, member, members, stateful_set, view
from tests.support.workloads import metadata, template


def retaining(deleted: str, scaled: str, replicas: int = 2) -> Object:
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    return stateful_set(replicas, claims=["data"], persistentVolumeClaimRetentionPolicy=policy)


def claim(number: int, *owners: Object) -> Object:
    return {"metadata": metadata(f"data-web-{number}", ownerReferences=list(owners))}


def reference(kind: str, which: str, uid: str, *, controller: bool = True) -> Object:
    group = {"StatefulSet": "apps/v1", "Pod": "v1"}.get(kind, "example.com/v1")
    return {"apiVersion": group, "kind": kind, "name": which, "uid": uid, "controller": controller}


THE_SET = reference("StatefulSet", "web", "set-uid")
EARLIER_SET = reference("StatefulSet", "web", "another-uid")
OTHER = reference("Keeper", "other", "other-uid")


def the_pod(number: int) -> Object:
    return reference("Pod", f"web-{number}", f"uid-{number}-{NEW}")


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ("web-3", ("web", 3)),
        ("my-web-10", ("my-web", 10)),
        ("web", ("", -1)),
        ("web-", ("", -1)),
        ("web-x", ("", -1)),
        ("web-99999999999", ("web", -1)),
    ],
)
def test_a_pods_name_says_its_set_and_its_ordinal(pod: str, expected: tuple[str, int]) -> None:
    assert parent_and_ordinal(pod) == expected


def test_a_new_pod_is_called_and_labelled_by_its_ordinal() -> None:
    web = stateful_set(ordinals={"start": 2})
    pod = new_pod(web, 2, NEW)
    assert pod["metadata"]["labels"] == {
        "app": "web",
        "statefulset.kubernetes.io/pod-name": "web-2",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": NEW,
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-2", "peers")
    assert identity_matches(web, pod) and pod["metadata"]["ownerReferences"][0]["uid"] == "set-uid"
    assert "labels" in web["spec"]["template"]["metadata"]  # the set itself is as it was
    assert web["spec"]["template"] == template()


def test_a_pods_claims_are_its_volumes_in_the_place_of_others_of_their_name() -> None:
    web = stateful_set(claims=["data", "logs"])
    web["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    pod = new_pod(web, 1, NEW)
    assert pod["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}},
        {"name": "logs", "persistentVolumeClaim": {"claimName": "logs-web-1"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert storage_matches(web, pod)
    assert not storage_matches(web, new_pod(stateful_set(), 1, NEW))


def test_a_claim_is_labelled_by_what_the_set_selects() -> None:
    web = stateful_set(claims=["data"])
    web["spec"]["volumeClaimTemplates"][0]["metadata"] |= {"labels": {"tier": "db"}, "annotations": {"a": "b"}}
    [made] = plan_claims_of(web, member(web, 0), {}).create
    assert name(made) == "data-web-0" and made["metadata"]["annotations"] == {"a": "b"}
    assert made["metadata"]["labels"] == {"tier": "db", "app": "web"}
    assert "ownerReferences" not in made["metadata"]


def test_a_claim_that_is_to_go_with_the_set_is_owned_by_it_from_the_beginning() -> None:
    web = retaining("Delete", "Retain")
    [made] = plan_claims_of(web, member(web, 0), {}).create
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == ["set-uid"]


@pytest.mark.parametrize(
    ("deleted", "scaled", "number", "owners"),
    [
        ("Retain", "Retain", 0, []),
        ("Retain", "Retain", 5, []),
        ("Delete", "Retain", 0, ["set-uid"]),
        ("Delete", "Retain", 5, ["set-uid"]),
        ("Retain", "Delete", 0, []),
        ("Retain", "Delete", 5, [f"uid-5-{NEW}"]),
        ("Delete", "Delete", 0, ["set-uid"]),
        ("Delete", "Delete", 5, [f"uid-5-{NEW}"]),
    ],
)
@pytest.mark.parametrize("before", ["nobody", "set", "pod", "both"])
def test_the_retention_policy_says_who_owns_a_claim(
    deleted: str, scaled: str, number: int, owners: list[str], before: str
) -> None:
    web = retaining(deleted, scaled)
    known = {"nobody": [], "set": [THE_SET], "pod": [the_pod(number)], "both": [THE_SET, the_pod(number)]}[before]
    wanted = owners_of_claim(web, member(web, number), claim(number, *known))
    if sorted(one["uid"] for one in known) == sorted(owners):
        assert wanted is None
    else:
        assert wanted is not None and [one["uid"] for one in wanted] == owners
        assert all(one["controller"] for one in wanted)


def test_owners_that_do_not_control_are_made_to() -> None:
    web = retaining("Delete", "Retain")
    wanted = owners_of_claim(web, member(web, 0), claim(0, {**THE_SET, "controller": False}))
    assert wanted is not None and [one["controller"] for one in wanted] == [True]


def test_other_owners_stay() -> None:
    web = retaining("Delete", "Retain")
    guest = reference("Keeper", "guest", "guest-uid", controller=False)
    wanted = owners_of_claim(web, member(web, 0), claim(0, guest))
    assert wanted is not None and [one["uid"] for one in wanted] == ["guest-uid", "set-uid"]


def test_a_claim_of_an_earlier_set_or_pod_is_left_to_the_garbage_collector() -> None:
    web = retaining("Delete", "Delete")
    assert owners_of_claim(web, member(web, 0), claim(0, EARLIER_SET)) is None
    assert owners_of_claim(web, member(web, 0), claim(0, {**the_pod(0), "uid": "earlier"})) is None


def test_a_claim_that_another_controls_is_not_taken_from_it() -> None:
    web = retaining("Delete", "Delete")
    pod = member(web, 0)
    assert owners_of_claim(web, pod, claim(0, OTHER)) is None
    wanted = owners_of_claim(web, pod, claim(0, OTHER, THE_SET))
    assert wanted == [OTHER]
    assert plan_claims_of(web, pod, {"data-web-0": claim(0, OTHER)}).conflicting == ("data-web-0",)
    kept = retaining("Retain", "Retain")
    assert plan_claims_of(kept, pod, {"data-web-0": claim(0, OTHER)}).conflicting == ()


def test_a_pod_waits_for_a_claim_that_goes_with_the_pod_before_it() -> None:
    web = retaining("Retain", "Delete")
    stale = claim(0, {**the_pod(0), "uid": "earlier"})
    assert does(web, [], claims=[stale]) == []
    kept = retaining("Delete", "Retain")
    assert does(kept, [], claims=[stale]) == [("create", "web-0")]


def test_a_surplus_pods_claims_are_given_to_it_before_it_is_deleted() -> None:
    web = retaining("Delete", "Delete", replicas=1)
    pods, claims = members(web, range(2)), [claim(0, THE_SET), claim(1, THE_SET)]
    assert does(web, pods, claims=claims) == [("retain", "web-1"), ("delete", "web-1")]
    assert does(web, pods, claims=[claims[0], claim(1, the_pod(1))]) == [("delete", "web-1")]


def test_the_claims_that_a_pending_pod_waits_for_are_made_again() -> None:
    web = stateful_set(1, claims=["data"])
    waiting: dict[str, Any] = {"phase": "Pending"}
    [[step]] = plan_pods(view(web), [member(web, 0, **waiting)])
    assert step.verb == "claims" and [name(one) for one in step.claims.create] == ["data-web-0"]
    assert does(web, [member(web, 0, **waiting)], claims=[claim(0)]) == []
    assert does(web, [member(web, 0)]) == []  # who runs has what it needs


def test_a_claim_that_is_going_is_given_to_no_pod() -> None:
    web = stateful_set(1, claims=["data"])
    assert plan_claims_of(web, member(web, 0), {"data-web-0": leaving(claim(0))}).leaving == ("data-web-0",)


def test_a_policy_that_changes_is_carried_over_to_the_claims_of_running_pods() -> None:
    web = retaining("Delete", "Retain")
    assert does(web, members(web, range(2)), claims=[claim(0), claim(1)]) == [
        ("update", "web-0"),
        ("update", "web-1"),
    ]
