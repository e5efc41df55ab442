"""Questions about users and rights, and their answers in the API's shape."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    LOCALSUBJECTACCESSREVIEWS,
    SELFSUBJECTACCESSREVIEWS,
    SELFSUBJECTREVIEWS,
    SELFSUBJECTRULESREVIEWS,
    SUBJECTACCESSREVIEWS,
    TOKENREVIEWS,
    Resource,
)
from apiserver.request_info import AUTHENTICATED, User
from apiserver.reviews import Reviews
from apiserver.serviceaccounts.verification import TokenError
from tests.support.access import Objects, authorizer_of, binding, role, rule

JOE = User("joe", "7", ("developers", AUTHENTICATED), (("scope", ("a", "b")),))
READER = role("reader", rule("get", "pods", names="web"), rule("get", urls="/metrics"))
CLUSTER = Objects(READER, binding(READER, "User joe", namespace="a"), binding(READER, "Group testers"))


class Tokens:
    def identify(self, token: str, audiences: Any = ()) -> Any:
        if token != "good":
            raise TokenError("invalid bearer token")
        return JOE, list(audiences or ["us"])


async def ask(resource: Resource, spec: Object, *, user: User = JOE, namespace: str = "") -> Any:
    tokens: Any = Tokens()
    questions = Reviews(tokens, authorizer_of(CLUSTER), now=lambda: 1.8e9).questions()
    call: Any = SimpleNamespace(user=user, resource=resource, namespace=namespace, name="")
    sent = {"kind": resource.kind, "metadata": {}, "spec": spec}
    return (await questions[(*resource.key, "")].answer(call, sent))["status"]


async def refused(resource: Resource, spec: Object, **more: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await ask(resource, spec, **more)
    return caught.value.message


POD = {"verb": "get", "resource": "pods", "namespace": "a", "name": "web"}


async def test_whether_another_may() -> None:
    spec = {"user": "joe", "resourceAttributes": POD}
    assert await ask(SUBJECTACCESSREVIEWS, spec) == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "reader/a" of ClusterRole "reader" to User "joe"',
    }
    elsewhere = {**spec, "resourceAttributes": {**POD, "namespace": "b"}}
    assert await ask(SUBJECTACCESSREVIEWS, elsewhere) == {"allowed": False}
    assert (await ask(SUBJECTACCESSREVIEWS, {**elsewhere, "groups": ["testers"]}))["allowed"]


async def test_whether_i_may() -> None:
    assert (await ask(SELFSUBJECTACCESSREVIEWS, {"resourceAttributes": POD}))["allowed"]
    path = {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    assert not (await ask(SELFSUBJECTACCESSREVIEWS, path))["allowed"]
    assert (await ask(SELFSUBJECTACCESSREVIEWS, path, user=User("x", groups=("testers",))))["allowed"]


async def test_a_selector_of_one_name_counts_as_the_name() -> None:
    requirement = {"key": "metadata.name", "operator": "In", "values": ["web"]}
    about = {"verb": "get", "resource": "pods", "namespace": "a", "fieldSelector": {"requirements": [requirement]}}
    assert (await ask(SELFSUBJECTACCESSREVIEWS, {"resourceAttributes": about}))["allowed"]


async def test_whether_somebody_may_here() -> None:
    spec = {"user": "joe", "resourceAttributes": POD}
    assert (await ask(LOCALSUBJECTACCESSREVIEWS, spec, namespace="a"))["allowed"]
    assert "must match metadata.namespace" in await refused(LOCALSUBJECTACCESSREVIEWS, spec, namespace="b")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"user": "joe"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (
            {"user": "joe", "resourceAttributes": POD, "nonResourceAttributes": {"path": "/"}},
            "cannot be specified in combination with resourceAttributes",
        ),
        ({"resourceAttributes": POD}, "at least one of user or group must be specified"),
    ],
)
async def test_a_question_must_make_sense(spec: Object, why: str) -> None:
    assert why in await refused(SUBJECTACCESSREVIEWS, spec)


async def test_all_that_i_may() -> None:
    assert await ask(SELFSUBJECTRULESREVIEWS, {"namespace": "a"}) == {
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
        "incomplete": False,
    }
    assert await refused(SELFSUBJECTRULESREVIEWS, {}) == "no namespace on request"


async def test_what_a_node_may_is_not_told_by_roles() -> None:
    node = User("system:node:n1", groups=("system:nodes",))
    status = await ask(SELFSUBJECTRULESREVIEWS, {"namespace": "a"}, user=node)
    assert status["incomplete"] and "node authorizer" in status["evaluationError"]


async def test_who_i_am() -> None:
    assert await ask(SELFSUBJECTREVIEWS, {}) == {
        "userInfo": {"username": "joe", "uid": "7", "groups": list(JOE.groups), "extra": {"scope": ["a", "b"]}}
    }


async def test_whose_a_token_is() -> None:
    status = await ask(TOKENREVIEWS, {"token": "good"})
    assert (status["authenticated"], status["user"]["username"], status["audiences"]) == (True, "joe", ["us"])
    assert await ask(TOKENREVIEWS, {"token": "bad"}) == {"user": {}, "error": "invalid bearer token"}
    assert "token is required" in await refused(TOKENREVIEWS, {})
