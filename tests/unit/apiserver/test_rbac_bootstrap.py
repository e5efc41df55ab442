"""The roles that a cluster is born with."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import by_kind
from apimachinery.selectors import selector_from_object
from apiserver.rbac import defaults
from tests.unit.apiserver.registry.factories import problems

OBJECTS = list(defaults.objects())
ROLES = {obj["metadata"]["name"]: obj for obj in OBJECTS if obj["kind"] == "ClusterRole"}


def gathered(name: str) -> list[Object]:
    """The rules of a role, with those of all that it gathers, as a controller puts them together."""
    rules = list(ROLES[name].get("rules") or ())
    for selector in (ROLES[name].get("aggregationRule") or {}).get("clusterRoleSelectors", ()):
        parsed = selector_from_object(selector)
        for other, role in ROLES.items():
            if other != name and parsed.matches(role["metadata"]["labels"]):
                rules += gathered(other)
    return rules


def allows(name: str, verb: str, group: str, resource: str) -> bool:
    def has(rule: Any, field: str, value: str) -> bool:
        return value in rule.get(field, ()) or "*" in rule.get(field, ())

    return any(
        has(rule, "verbs", verb) and has(rule, "apiGroups", group) and has(rule, "resources", resource)
        for rule in gathered(name)
    )


def test_all_of_them_are_right() -> None:
    for obj in OBJECTS:
        resource = by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        assert problems(resource, obj) == [], obj["metadata"]["name"]


def test_each_is_there_once() -> None:
    names = [(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in OBJECTS]
    assert len(names) == len(set(names))


def test_who_may_edit_may_view_and_an_administrator_both() -> None:
    for name in ("view", "edit", "admin"):
        assert allows(name, "list", "", "pods")
    assert not allows("view", "create", "apps", "deployments")
    assert allows("edit", "create", "apps", "deployments") and allows("admin", "create", "apps", "deployments")
    assert not allows("edit", "create", "rbac.authorization.k8s.io", "rolebindings")
    assert allows("admin", "create", "rbac.authorization.k8s.io", "rolebindings")


def test_who_may_view_sees_no_secrets_and_gets_into_no_pod() -> None:
    assert not allows("view", "get", "", "secrets")
    assert not allows("view", "get", "", "pods/exec") and allows("edit", "get", "", "pods/exec")


def test_the_cluster_itself_is_not_for_administrators_of_namespaces() -> None:
    assert not allows("admin", "list", "", "nodes")
    assert not allows("admin", "update", "", "namespaces") and not allows("admin", "update", "", "resourcequotas")


def test_everybody_may_ask_what_they_may() -> None:
    bindings = [obj for obj in OBJECTS if obj["kind"] == "ClusterRoleBinding"]
    (found,) = [one for one in bindings if one["roleRef"]["name"] == "system:basic-user"]
    assert [subject["name"] for subject in found["subjects"]] == ["system:authenticated"]
    assert allows("system:basic-user", "create", "authorization.k8s.io", "selfsubjectaccessreviews")


def test_a_role_without_anybody_is_bound_to_nobody() -> None:
    bound = {obj["roleRef"]["name"] for obj in OBJECTS if "roleRef" in obj}
    assert "system:node-bootstrapper" in ROLES and "system:node-bootstrapper" not in bound
