"""Roles and who has them."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES
from tests.unit.apiserver.registry.factories import created, problems, shown, update_problems

GROUP = "rbac.authorization.k8s.io"
PODS = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
BINDINGS = (ROLEBINDINGS, CLUSTERROLEBINDINGS)


def plural(resource: Any) -> str:
    return resource.plural


def role(*rules: Object, **fields: Any) -> Object:
    return {"metadata": {"name": "system:reader", "namespace": "default"}, "rules": list(rules), **fields}


def cluster_role(*rules: Object, **fields: Any) -> Object:
    return {**role(*rules, **fields), "metadata": {"name": "system:reader"}}


def binding(resource: Any, *subjects: Object, name: str = "reader", **fields: Any) -> Object:
    scope = {"namespace": "default"} if resource.namespaced else {}
    reference = {"kind": "ClusterRole", "name": name}
    return {"metadata": {"name": "a:b", **scope}, "roleRef": reference, "subjects": list(subjects), **fields}


def test_roles_may_have_names_that_nothing_else_may_have():
    assert problems(ROLES, role(PODS)) == []
    assert problems(CLUSTERROLES, {"metadata": {"name": "a/b"}}) == [
        "metadata.name: Invalid value: \"a/b\": may not contain '/'"
    ]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({**PODS, "verbs": []}, ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        (
            {"verbs": ["get"]},
            [
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            {**PODS, "nonResourceURLs": ["/x"]},
            [
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and '
                "non-resource URLs",
            ],
        ),
    ],
)
def test_a_rule_says_what_may_be_done_with_what(rule, told):
    assert problems(ROLES, role(rule)) == told


def test_paths_are_granted_in_the_whole_cluster_only():
    assert problems(CLUSTERROLES, cluster_role({"verbs": ["get"], "nonResourceURLs": ["/healthz"]})) == []


def test_a_role_that_gathers_others_says_which():
    assert problems(CLUSTERROLES, cluster_role(aggregationRule={})) == [
        "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
        "aggregationRule is non-nil"
    ]


@pytest.mark.parametrize("resource", BINDINGS, ids=plural)
def test_users_and_groups_are_those_of_the_group_of_roles(resource):
    subjects = ({"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "x", "namespace": "y"})
    stored = created(resource, binding(resource, *subjects))
    assert stored["roleRef"]["apiGroup"] == GROUP
    assert stored["subjects"] == [{**subjects[0], "apiGroup": GROUP}, subjects[1]]
    assert problems(resource, binding(resource, *subjects)) == []


@pytest.mark.parametrize("resource", BINDINGS, ids=plural)
def test_the_role_of_a_binding_stays(resource):
    (told,) = update_problems(resource, binding(resource, name="writer"), binding(resource))
    assert told.startswith("roleRef: Invalid value: {") and told.endswith("}: cannot change roleRef")


def test_only_in_a_namespace_can_a_role_of_it_be_granted():
    reference = {"kind": "Role", "name": "reader"}
    assert problems(ROLEBINDINGS, binding(ROLEBINDINGS, roleRef=reference)) == []
    assert problems(CLUSTERROLEBINDINGS, binding(CLUSTERROLEBINDINGS, roleRef=reference)) == [
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'
    ]


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ({"kind": "User"}, ["subjects[0].name: Required value"]),
        (
            {"kind": "Robot", "name": "x"},
            ['subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"'],
        ),
        ({"kind": "ServiceAccount", "name": "x"}, ["subjects[0].namespace: Required value"]),
        (
            {"kind": "Group", "name": "x", "apiGroup": "y"},
            [f'subjects[0].apiGroup: Unsupported value: "y": supported values: "{GROUP}"'],
        ),
    ],
)
def test_what_is_wrong_with_a_subject_is_told(subject, told):
    assert problems(CLUSTERROLEBINDINGS, binding(CLUSTERROLEBINDINGS, subject)) == told


def test_the_columns_of_roles_and_bindings():
    assert shown(ROLES, {**role(), "metadata": {"name": "r", "creationTimestamp": "2026-01-02T03:04:05Z"}}) == {
        "Name": "r",
        "Created At": "2026-01-02T03:04:05Z",
    }
    subjects = (
        {"kind": "User", "name": "ann"},
        {"kind": "User", "name": "bob"},
        {"kind": "ServiceAccount", "name": "x", "namespace": "y"},
    )
    assert shown(ROLEBINDINGS, binding(ROLEBINDINGS, *subjects)) == {
        "Name": "a:b",
        "Role": "ClusterRole/reader",
        "Age": "<unknown>",
        "Users": "ann, bob",
        "Groups": "",
        "ServiceAccounts": "y/x",
    }
