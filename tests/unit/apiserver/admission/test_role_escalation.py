"""Nobody gives away more than they have."""

from __future__ import annotations

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import by_kind
from apiserver.admission import CREATE, UPDATE, Attributes, role_escalation
from apiserver.request_info import AUTHENTICATED, User
from tests.support.access import GROUP, Objects, authorizer_of, binding, granted, role, rule

JOE = User("joe", groups=("developers", AUTHENTICATED))
ADMIN = User("jane", groups=("system:masters", AUTHENTICATED))
WANTED = role("wanted", rule("get list", "pods"), rule("delete", "nodes"), rule("get", urls="/metrics"))


async def admit(obj: Object, *held: Object, user: User = JOE, old: Object | None = None) -> ApiError | None:
    """What is said to `user` writing an object in a cluster of others."""
    resource = by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    cluster = Objects(*held)
    metadata = obj["metadata"]
    operation = CREATE if old is None else UPDATE
    attributes = Attributes(operation, resource, metadata.get("namespace", ""), metadata["name"], user, obj, old)
    plugin = role_escalation.plugin(authorizer_of(cluster))
    assert plugin.validate is not None and plugin.handles(attributes)
    try:
        await plugin.validate(attributes, cluster)  # type: ignore[arg-type]
    except ApiError as error:
        return error
    return None


async def test_what_one_has_one_may_grant() -> None:
    held = granted(rule("*", "pods"), rule("*", "nodes"), rule("get", urls="*"), to="joe")
    assert await admit(WANTED, *held) is None


async def test_what_one_lacks_is_told_in_kubernetes_words() -> None:
    error = await admit(WANTED, *granted(rule("get", "pods"), to="joe"))
    assert error is not None and error.code == 403
    assert error.message == (
        'clusterroles.rbac.authorization.k8s.io "wanted" is forbidden: user "joe" '
        '(groups=["developers" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["nodes"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}\n'
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}'
    )


async def test_a_rule_that_allows_millions_of_things_keeps_nobody_busy() -> None:
    words = [" ".join(f"{letter}{number}" for number in range(1000)) for letter in "vr"]
    wanted = role("wanted", {**rule(*words), "apiGroups": [f"g{number}" for number in range(1000)]})
    error = await admit(wanted, *granted(rule("get", "pods"), to="joe"))
    assert error is not None and error.code == 403 and "allow 1000000000 different things" in error.message
    everything = granted(rule("*", "*", "*"), rule("*", urls="*"), to="joe")
    assert await admit(wanted, *everything) is None


async def test_the_masters_grant_what_they_like() -> None:
    assert await admit(WANTED, user=ADMIN) is None


async def test_who_may_escalate_writes_any_role() -> None:
    assert await admit(WANTED, *granted(rule("escalate", "clusterroles", GROUP), to="joe")) is None
    named = granted(rule("escalate", "clusterroles", GROUP, names="wanted"), to="joe")
    assert await admit(WANTED, *named, old=role("wanted")) is None
    assert await admit(WANTED, *named) is not None  # of a role that is only being made, the name does not count


async def test_rights_in_a_namespace_are_enough_for_a_role_of_it() -> None:
    local = role("local", rule("get", "secrets"), namespace="a")
    wanted = {**local, "metadata": {"name": "wanted", "namespace": "a"}}
    assert await admit(wanted, local, binding(local, "User joe", namespace="a")) is None
    elsewhere = {**local, "metadata": {"name": "wanted", "namespace": "b"}}
    assert await admit(elsewhere, local, binding(local, "User joe", namespace="a")) is not None


async def test_who_binds_a_role_must_hold_it() -> None:
    bound = binding(WANTED, "User joe")
    error = await admit(bound, WANTED)
    assert error is not None and "not currently held" in error.message
    assert error.message.startswith('clusterrolebindings.rbac.authorization.k8s.io "wanted" is forbidden: user "joe"')
    held = granted(rule("*", "*", "*"), rule("*", urls="*"), to="joe")
    assert await admit(bound, WANTED, *held) is None


async def test_who_may_bind_a_role_need_not_hold_it() -> None:
    may_bind = granted(rule("bind", "clusterroles", GROUP, names="wanted"), to="joe")
    assert await admit(binding(WANTED, "User joe", namespace="a"), WANTED, *may_bind) is None
    other = role("other", rule("get", "secrets"))
    assert await admit(binding(other, "User joe"), other, *may_bind) is not None


async def test_a_role_that_is_not_there_cannot_be_bound_by_who_may_not_bind() -> None:
    error = await admit(binding(WANTED, "User joe"))
    assert error is not None and error.code == 404


@pytest.mark.parametrize("held", [rule("create get list", "*", "*"), rule("*", urls="*")])
async def test_only_who_may_do_everything_has_a_role_gather_others(held: Object) -> None:
    gathering = {**role("all"), "aggregationRule": {"clusterRoleSelectors": [{}]}}
    error = await admit(gathering, *granted(held, to="joe"))
    assert error is not None
    assert error.message.endswith("must have cluster-admin privileges to use the aggregationRule")
    assert await admit(gathering, *granted(rule("*", "*", "*"), to="joe")) is None


async def test_the_garbage_collector_may_let_go_of_a_role() -> None:
    owned = {**WANTED, "metadata": {"name": "wanted", "finalizers": ["x/y"], "ownerReferences": [{"uid": "1"}]}}
    assert await admit(WANTED, old=owned) is None
    assert await admit(WANTED, old={**owned, "rules": []}) is not None
