"""Which rules a role gathers."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from controllers.cluster_role_aggregation import gathered_rules


def rule(*verbs: str) -> Object:
    return {"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}


def role(name: str, *rules: Object, gathers: Any = (), **labels: str) -> Object:
    found: Object = {"metadata": {"name": name, "labels": labels}, "rules": list(rules)}
    if gathers:
        found["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": labels} for labels in gathers]}
    return found


VIEW = role("view", gathers=[{"to": "view"}], to="edit")


def test_rules_of_chosen_roles_are_gathered_in_the_order_of_their_names() -> None:
    roles = [VIEW, role("b", rule("list"), to="view"), role("a", rule("get"), to="view"), role("c", rule("*"))]
    assert gathered_rules(VIEW, roles) == [rule("get"), rule("list")]


def test_a_rule_that_several_roles_have_is_gathered_once() -> None:
    roles = [role("a", rule("get"), rule("list"), to="view"), role("b", rule("get"), to="view")]
    assert gathered_rules(VIEW, roles) == [rule("get"), rule("list")]


def test_roles_that_gather_are_gathered_themselves() -> None:
    edit = role("edit", gathers=[{"to": "edit"}])
    assert gathered_rules(edit, [edit, role("view", rule("get"), to="edit")]) == [rule("get")]


def test_no_role_gathers_its_own_rules() -> None:
    everything = {**role("all", rule("get")), "aggregationRule": {"clusterRoleSelectors": [{}]}}
    assert gathered_rules(everything, [everything, role("a", rule("list"))]) == [rule("list")]


def test_any_of_several_selectors_chooses() -> None:
    both = role("both", gathers=[{"to": "x"}, {"to": "y"}])
    roles = [role("a", rule("get"), to="y"), role("b", rule("list"), to="x")]
    assert gathered_rules(both, roles) == [rule("list"), rule("get")]
