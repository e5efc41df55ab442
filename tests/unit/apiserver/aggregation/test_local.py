"""The APIServices of what is served here: which are there, and which are left to whoever wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.resources import BUILTIN
from apiserver.aggregation import priorities
from apiserver.aggregation.local import ALWAYS, MANAGED, ON_START, api_service, built_in, plan
from apiserver.aggregation.priorities import CUSTOM, OWN_GROUP


def of_managed(managed: str, **spec: Any) -> dict[str, Any]:
    made = api_service("example.com", "v1", CUSTOM, managed)
    return {**made, "spec": {**made["spec"], **spec}}


WANTED = of_managed(ALWAYS)
OTHERS = {"metadata": {"name": "v1.example.com"}, "spec": {**WANTED["spec"], "service": {"name": "other"}}}


def test_everything_built_in_has_one_but_the_group_of_apiservices_itself() -> None:
    served = {(one.group, one.version) for one in BUILTIN}
    assert {(one["spec"].get("group", ""), one["spec"]["version"]) for one in built_in()} == {
        (group, version) for group, version in served if group != OWN_GROUP
    }
    assert {one["metadata"]["labels"][MANAGED] for one in built_in()} == {ON_START}


def test_the_core_groups_is_named_for_no_group() -> None:
    core = next(built_in())
    assert core["metadata"]["name"] == "v1."
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}


def test_the_group_of_apiservices_comes_first_and_custom_ones_come_last() -> None:
    others = [priority.group for priority in priorities.BUILT_IN.values()]
    assert priorities.default(OWN_GROUP, "v1").group > max(others)
    assert priorities.default("example.com", "v1").group < min(others)


@pytest.mark.parametrize("starting", [True, False])
def test_what_is_missing_is_made_and_what_is_right_is_left(starting: bool) -> None:
    assert plan(WANTED, None, starting=starting) == "create"
    assert plan(WANTED, WANTED, starting=starting) is None
    assert plan(None, None, starting=starting) is None


@pytest.mark.parametrize("starting", [True, False])
def test_that_of_a_definition_is_kept_at_all_times(starting: bool) -> None:
    assert plan(WANTED, of_managed(ALWAYS, versionPriority=1), starting=starting) == "update"
    assert plan(None, WANTED, starting=starting) == "delete"


def test_that_of_a_built_in_group_may_be_changed_until_the_next_start() -> None:
    changed = of_managed(ON_START, versionPriority=1)
    assert plan(WANTED, changed, starting=False) is None
    assert plan(WANTED, changed, starting=True) == "update"
    assert plan(None, changed, starting=False) is None
    assert plan(None, changed, starting=True) == "delete"


@pytest.mark.parametrize("starting", [True, False])
def test_one_without_the_label_is_somebody_elses(starting: bool) -> None:
    assert plan(WANTED, OTHERS, starting=starting) is None
    assert plan(None, OTHERS, starting=starting) is None
