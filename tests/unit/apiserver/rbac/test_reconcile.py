"""The default roles: what is missing is added, what an operator has added stays."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from apiserver.rbac.reconcile import AUTOUPDATE, plan, replaces
from tests.support.access import binding, role, rule


def marked(obj: Object, autoupdate: str = "true") -> Object:
    return {**obj, "metadata": {**obj["metadata"], "annotations": {AUTOUPDATE: autoupdate}}}


DEFAULT = marked(role("system:x", rule("get list", "pods"), rule("get", "nodes")))
BOUND = marked(binding(DEFAULT, "Group a", "User b"))


def changed(expected: Object, existing: Object) -> Any:
    found = plan(expected, existing)
    assert found is not None
    return found


def test_what_is_not_there_is_made() -> None:
    assert plan(DEFAULT, None) == DEFAULT


def test_what_is_as_it_should_be_is_not_written() -> None:
    assert plan(DEFAULT, {**DEFAULT, "rules": [rule("*", "*", "*")]}) is None
    assert plan(BOUND, BOUND) is None


def test_rules_that_are_missing_are_added_and_others_stay() -> None:
    existing = marked(role("system:x", rule("get", "pods"), rule("get", "configmaps")))
    assert changed(DEFAULT, existing)["rules"] == [
        rule("get", "pods"),
        rule("get", "configmaps"),
        rule("list", "pods"),
        rule("get", "nodes"),
    ]


def test_subjects_that_are_missing_are_added_and_others_stay() -> None:
    existing = marked(binding(DEFAULT, "User more", "Group a"))
    names = [subject["name"] for subject in changed(BOUND, existing)["subjects"]]
    assert names == ["more", "a", "b"]


def test_labels_and_annotations_are_added_and_never_changed() -> None:
    expected = {**DEFAULT, "metadata": {**DEFAULT["metadata"], "labels": {"a": "1", "b": "2"}}}
    existing = {**DEFAULT, "metadata": {**DEFAULT["metadata"], "labels": {"a": "other"}}}
    assert changed(expected, existing)["metadata"]["labels"] == {"a": "other", "b": "2"}


def test_an_operator_can_keep_a_role_as_it_is() -> None:
    assert plan(DEFAULT, marked(role("system:x"), "false")) is None


def test_a_role_that_gathers_others_keeps_the_rules_that_were_gathered() -> None:
    gathers = {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}
    expected = {**marked(role("view")), "aggregationRule": gathers}
    existing = {**marked(role("view", rule("get", "pods"))), "aggregationRule": gathers}
    assert plan(expected, existing) is None
    without = {key: value for key, value in existing.items() if key != "aggregationRule"}
    assert changed(expected, without)["aggregationRule"] == gathers


def test_a_binding_to_another_role_is_made_anew() -> None:
    assert replaces(BOUND, {**BOUND, "roleRef": {"kind": "ClusterRole", "name": "other"}})
    assert not replaces(BOUND, BOUND) and not replaces(DEFAULT, DEFAULT)
