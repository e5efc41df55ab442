"""What a request for a deletion does to an object, decided without any store."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.resources import PODS
from apiserver.registry.strategy import Strategy
from apiserver.rest.deletion import DeleteOptions, check_preconditions, plan, read_options

NOW = 1_700_000_000.0


def graceful(obj: Any, asked: int | None) -> int:
    found: int = asked if asked is not None else obj["spec"]["grace"]
    return found


PLAIN = Strategy(PODS)
GRACEFUL = Strategy(PODS, grace_period_seconds=graceful)
HELD = Strategy(PODS, kept=lambda obj: True, begin_deletion=lambda obj: obj.update(phase="Terminating"))


def obj(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", **metadata}, "spec": {"grace": 30}}


def test_what_nothing_keeps_goes_unmarked() -> None:
    found = plan(PLAIN, obj(), DeleteOptions(), NOW)
    assert found.removed and "deletionTimestamp" not in found.obj["metadata"]


def test_a_finalizer_keeps_it_marked() -> None:
    found = plan(PLAIN, obj(finalizers=["x/y"], generation=3), DeleteOptions(), NOW)
    assert not found.removed and found.changed
    assert found.obj["metadata"] == obj(finalizers=["x/y"], generation=4)["metadata"] | {
        "deletionTimestamp": "2023-11-14T22:13:20Z",
        "deletionGracePeriodSeconds": 0,
    }


def test_the_grace_period_is_the_objects_own_unless_another_is_asked_for() -> None:
    own = plan(GRACEFUL, obj(), DeleteOptions(), NOW).obj["metadata"]
    assert (own["deletionGracePeriodSeconds"], own["deletionTimestamp"]) == (30, "2023-11-14T22:13:50Z")
    asked = plan(GRACEFUL, obj(), DeleteOptions(grace_period_seconds=5), NOW).obj["metadata"]
    assert (asked["deletionGracePeriodSeconds"], asked["deletionTimestamp"]) == (5, "2023-11-14T22:13:25Z")
    assert plan(GRACEFUL, obj(), DeleteOptions(grace_period_seconds=0), NOW).removed


def test_no_grace_period_lasts_longer_than_the_calendar() -> None:
    marked = plan(GRACEFUL, obj(), DeleteOptions(grace_period_seconds=10**18), NOW).obj
    assert marked["metadata"]["deletionTimestamp"] == "9999-12-31T23:59:59Z"
    shortened = plan(GRACEFUL, marked, DeleteOptions(grace_period_seconds=7), NOW).obj["metadata"]
    assert shortened["deletionTimestamp"] == "2023-11-14T22:13:27Z"


@pytest.mark.parametrize(
    "document",
    [
        *({"dryRun": 101}, {"dryRun": [1]}, {"preconditions": []}, {"preconditions": {"uid": 5}}),
        *({"gracePeriodSeconds": value} for value in ("5", 1.5, True, 1 << 63, [])),
        *({"propagationPolicy": []}, {"orphanDependents": "yes"}, {"apiVersion": False}),
    ],
)
def test_options_that_are_none_are_refused(document: Any) -> None:
    with pytest.raises(ApiError) as refused:
        read_options(document, {})
    assert refused.value.code == 400


@pytest.mark.parametrize(("asked", "left"), [(None, 30), (60, 30), (30, 30), (7, 7)])
def test_a_second_request_can_only_shorten_the_time(asked: int | None, left: int) -> None:
    marked = plan(GRACEFUL, obj(), DeleteOptions(), NOW).obj
    again = plan(GRACEFUL, marked, DeleteOptions(grace_period_seconds=asked), NOW + 3)
    metadata = again.obj["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == left
    assert again.changed == (left != 30)
    assert metadata["deletionTimestamp"] == {30: "2023-11-14T22:13:50Z", 7: "2023-11-14T22:13:27Z"}[left]


def test_nothing_is_left_after_a_forced_second_request_but_what_finalizers_keep() -> None:
    marked = plan(GRACEFUL, obj(), DeleteOptions(), NOW).obj
    assert plan(GRACEFUL, marked, DeleteOptions(grace_period_seconds=0), NOW).removed
    marked = plan(GRACEFUL, obj(finalizers=["x/y"]), DeleteOptions(), NOW).obj
    forced = plan(GRACEFUL, marked, DeleteOptions(grace_period_seconds=0), NOW)
    assert not forced.removed and forced.obj["metadata"]["deletionGracePeriodSeconds"] == 0


@pytest.mark.parametrize(
    ("have", "policy", "finalizers"),
    [
        ([], "Orphan", ["orphan"]),
        ([], "Foreground", ["foregroundDeletion"]),
        (["orphan", "x/y"], "Background", ["x/y"]),
        (["foregroundDeletion"], "Orphan", ["orphan"]),
        (["foregroundDeletion"], "", ["foregroundDeletion"]),
    ],
)
def test_the_policy_decides_on_the_garbage_collectors_finalizers(
    have: list[str], policy: str, finalizers: list[str]
) -> None:
    found = plan(PLAIN, obj(finalizers=have), DeleteOptions(propagation_policy=policy), NOW)
    assert found.obj["metadata"].get("finalizers", []) == finalizers
    assert found.removed == (not finalizers)


def test_what_the_strategy_keeps_stays_and_shows_it() -> None:
    found = plan(HELD, obj(), DeleteOptions(), NOW)
    assert not found.removed and found.obj["phase"] == "Terminating"
    again = plan(HELD, found.obj, DeleteOptions(), NOW)
    assert not again.removed and not again.changed


def test_a_negative_grace_period_is_the_shortest() -> None:
    assert read_options({"gracePeriodSeconds": -4}, {}).grace_period_seconds == 1


def test_a_time_that_is_over_is_shortened_to_the_shortest_graceful_one() -> None:
    marked = plan(GRACEFUL, obj(), DeleteOptions(), NOW).obj
    again = plan(GRACEFUL, marked, DeleteOptions(grace_period_seconds=5), NOW + 20).obj["metadata"]
    assert (again["deletionGracePeriodSeconds"], again["deletionTimestamp"]) == (1, "2023-11-14T22:13:40Z")


def test_some_kinds_leave_their_dependents_alone_unless_told_otherwise() -> None:
    orphaning = Strategy(PODS, orphans_dependents=True)
    assert plan(orphaning, obj(), DeleteOptions(), NOW).obj["metadata"]["finalizers"] == ["orphan"]
    assert plan(orphaning, obj(), DeleteOptions(propagation_policy="Background"), NOW).removed
    foreground = plan(orphaning, obj(finalizers=["foregroundDeletion"]), DeleteOptions(), NOW)
    assert foreground.obj["metadata"]["finalizers"] == ["foregroundDeletion"]


def test_options_stand_in_the_query_if_there_is_no_body() -> None:
    query = {"gracePeriodSeconds": "7", "propagationPolicy": "Orphan", "dryRun": "All"}
    assert read_options(None, query) == DeleteOptions(7, "Orphan", dry_run=True)
    assert read_options({}, query) == DeleteOptions()
    assert read_options(None, {"orphanDependents": "true"}).propagation_policy == "Orphan"


def test_preconditions_name_what_differs() -> None:
    check_preconditions(PODS, obj(), DeleteOptions(uid="1", resource_version="5"))
    with pytest.raises(ApiError, match=r"the UID in the precondition \(2\) does not match the UID in record \(1\)"):
        check_preconditions(PODS, obj(), DeleteOptions(uid="2"))
    with pytest.raises(ApiError, match=r"the ResourceVersion in the precondition \(4\)"):
        check_preconditions(PODS, obj(), DeleteOptions(resource_version="4"))
