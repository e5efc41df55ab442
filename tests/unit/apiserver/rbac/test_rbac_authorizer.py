"""Who has which rules: subjects of all kinds, namespaces, and changes that hold for the very next request."""

from __future__ import annotations

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.rbac.authorizer import RbacAuthorizer
from apiserver.request_info import AUTHENTICATED, User, parse
from tests.support.access import Objects, binding, role, rule

JOE = User("joe", groups=("developers", AUTHENTICATED))
ROBOT = User("system:serviceaccount:ci:robot", groups=("system:serviceaccounts", AUTHENTICATED))
READER = role("reader", rule("get list", "pods"))
LOCAL = role("local", rule("get", "secrets"), namespace="a")


def allows(authorizer: RbacAuthorizer, user: User, method: str, path: str) -> bool:
    return authorizer.decide(user, parse(method, path, {})).allowed


def of(*objects: Object) -> RbacAuthorizer:
    return RbacAuthorizer(Objects(*objects))


@pytest.mark.parametrize(
    ("subject", "user", "allowed"),
    [
        ("User joe", JOE, True),
        ("User jane", JOE, False),
        ("Group developers", JOE, True),
        ("Group joe", JOE, False),
        ("Group system:authenticated", ROBOT, True),
        ("ServiceAccount ci/robot", ROBOT, True),
        ("ServiceAccount cd/robot", ROBOT, False),
        ("User system:serviceaccount:ci:robot", ROBOT, True),
        ("ServiceAccount robot", ROBOT, False),
    ],
)
def test_a_binding_is_for_its_subjects(subject: str, user: User, allowed: bool) -> None:
    authorizer = of(READER, binding(READER, subject))
    assert allows(authorizer, user, "GET", "/api/v1/namespaces/a/pods") is allowed


def test_a_binding_in_a_namespace_counts_there_alone() -> None:
    authorizer = of(READER, binding(READER, "User joe", namespace="a"))
    assert allows(authorizer, JOE, "GET", "/api/v1/namespaces/a/pods")
    assert not allows(authorizer, JOE, "GET", "/api/v1/namespaces/b/pods")
    assert not allows(authorizer, JOE, "GET", "/api/v1/pods")


def test_a_service_account_without_a_namespace_is_one_of_the_bindings_own() -> None:
    authorizer = of(READER, binding(READER, "ServiceAccount robot", namespace="ci"))
    assert allows(authorizer, ROBOT, "GET", "/api/v1/namespaces/ci/pods")


def test_a_role_is_that_of_the_bindings_namespace() -> None:
    authorizer = of(LOCAL, binding(LOCAL, "User joe", namespace="b"), binding(LOCAL, "User joe", namespace="a"))
    assert allows(authorizer, JOE, "GET", "/api/v1/namespaces/a/secrets/x")
    assert not allows(authorizer, JOE, "GET", "/api/v1/namespaces/b/secrets/x")


def test_who_grants_is_told() -> None:
    authorizer = of(READER, binding(READER, "Group developers", namespace="a"), binding(READER, "User jane"))
    info = parse("GET", "/api/v1/namespaces/a/pods", {})
    assert authorizer.decide(JOE, info).reason == (
        'RBAC: allowed by RoleBinding "reader/a" of ClusterRole "reader" to Group "developers"'
    )
    assert authorizer.decide(User("jane"), info).reason == (
        'RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to User "jane"'
    )


def test_roles_that_are_missing_are_told_to_who_is_refused() -> None:
    authorizer = of(binding(READER, "User joe"), binding(LOCAL, "User joe", namespace="a"))
    reason = authorizer.decide(JOE, parse("GET", "/api/v1/namespaces/a/pods", {})).reason
    assert reason == (
        'RBAC: [clusterrole.rbac.authorization.k8s.io "reader" not found, '
        'role.rbac.authorization.k8s.io "local" not found]'
    )


def test_a_change_holds_for_the_next_request() -> None:
    cluster = Objects(READER)
    authorizer = RbacAuthorizer(cluster)
    pods, secrets = "/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/secrets"
    assert not allows(authorizer, JOE, "GET", pods)

    bound = binding(READER, "User joe")
    cluster.objects.append(bound)
    authorizer.binding_changed(None, bound)
    assert allows(authorizer, JOE, "GET", pods)

    wider = role("reader", rule("get list", "pods secrets"))
    cluster.objects[0] = wider
    authorizer.role_changed()
    assert allows(authorizer, JOE, "GET", secrets)

    moved = {**bound, "subjects": binding(READER, "User jane")["subjects"]}
    cluster.objects[1] = moved
    authorizer.binding_changed(bound, moved)
    assert not allows(authorizer, JOE, "GET", pods) and allows(authorizer, User("jane"), "GET", pods)

    cluster.objects.remove(moved)
    authorizer.binding_changed(moved, None)
    assert not allows(authorizer, User("jane"), "GET", pods)


def test_a_reference_to_no_role_is_told() -> None:
    with pytest.raises(ApiError) as caught:
        of().referenced({"kind": "ClusterRole", "name": "none"}, "")
    assert caught.value.message == 'clusterroles.rbac.authorization.k8s.io "none" not found'
