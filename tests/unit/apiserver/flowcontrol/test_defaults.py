"""The objects that a cluster is born with, and how they are kept."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from apimachinery.resources import by_kind
from apiserver import registry
from apiserver.flowcontrol import defaults
from apiserver.flowcontrol.upkeep import with_dangling

OBJECTS = {(obj["kind"], obj["metadata"]["name"]): obj for obj in defaults.objects()}
SYSTEM = OBJECTS["PriorityLevelConfiguration", "system"]


@pytest.mark.parametrize("obj", defaults.objects(), ids=lambda obj: f"{obj['kind']} {obj['metadata']['name']}")
def test_they_are_valid_and_complete(obj: Object) -> None:
    resource = by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    strategy = registry.strategy(resource)
    assert not strategy.validate(obj)
    assert defaults.plan(obj, obj) is None


def test_what_is_missing_is_made() -> None:
    assert defaults.plan(SYSTEM, None) == SYSTEM


def changed(obj: Object, *, autoupdate: str | None, **metadata: object) -> Object:
    annotations = {} if autoupdate is None else {defaults.AUTOUPDATE: autoupdate}
    spec = {**obj["spec"], "limited": {**obj["spec"]["limited"], "nominalConcurrencyShares": 7}}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations, **metadata}, "spec": spec}


def test_a_suggestion_is_kept_as_long_as_the_operator_leaves_it() -> None:
    found = defaults.plan(SYSTEM, changed(SYSTEM, autoupdate="true"))
    assert found is not None and found["spec"] == SYSTEM["spec"]
    assert defaults.plan(SYSTEM, changed(SYSTEM, autoupdate="false")) is None


def test_without_a_word_what_was_changed_belongs_to_the_operator() -> None:
    found = defaults.plan(SYSTEM, changed(SYSTEM, autoupdate=None, generation=2))
    assert found is not None
    assert found["metadata"]["annotations"] == {defaults.AUTOUPDATE: "false"}
    assert found["spec"]["limited"]["nominalConcurrencyShares"] == 7


def test_what_is_mandatory_can_not_be_changed() -> None:
    catch_all = OBJECTS["PriorityLevelConfiguration", "catch-all"]
    found = defaults.plan(catch_all, changed(catch_all, autoupdate="false"))
    assert found is not None and found["spec"] == catch_all["spec"]


def test_what_is_exempt_may_lend_of_its_own() -> None:
    exempt = OBJECTS["PriorityLevelConfiguration", "exempt"]
    lends = {"nominalConcurrencyShares": 10, "lendablePercent": 50}
    assert defaults.plan(exempt, {**exempt, "spec": {**exempt["spec"], "exempt": lends}}) is None


def test_a_schema_tells_whether_its_level_exists() -> None:
    schema = OBJECTS["FlowSchema", "probes"]
    lost = with_dangling(schema, ["other"], 0.0)
    assert lost is not None
    [condition] = lost["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Dangling", "True", "NotFound")
    assert condition["message"] == (
        'This FlowSchema references the PriorityLevelConfiguration object named "exempt" but there is no such object'
    )
    found = with_dangling(lost, ["exempt"], 1.0)
    assert found is not None and found["status"]["conditions"][0]["status"] == "False"
    assert with_dangling(found, ["exempt"], 2.0) is None
