"""RoleEscalation: nobody can give away more than they have.

Who writes a role must hold all that it allows, or may `escalate` roles; who binds one must hold all of it, or may
`bind` that role. Only who may do everything can have a ClusterRole gather others' rules.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.authorization import MASTERS, Authorizer
from apiserver.decision import quoted
from apiserver.rbac.rules import Rule, count, missing, quoted_all, shown
from apiserver.request_info import RequestInfo

# Each is looked for on its own, and everybody waits meanwhile.
ATOMS_MAX = 50_000
_EVERYTHING = (
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
)
_BINDABLE = {"Role": ROLES.plural, "ClusterRole": CLUSTERROLES.plural}


def plugin(authorizer: Authorizer) -> Plugin:
    """The plugin, which asks what the writer may do."""

    async def check(attributes: Attributes, cluster: Cluster) -> None:
        new, old = attributes.obj, attributes.old
        assert new is not None
        if MASTERS in attributes.user.groups or (old is not None and _only_lets_go(new, old)):
            return
        if attributes.resource.key in (ROLES.key, CLUSTERROLES.key):
            _check_role(attributes, authorizer, new, old)
        else:
            _check_binding(attributes, authorizer, new)

    resources = (ROLES.key, CLUSTERROLES.key, ROLEBINDINGS.key, CLUSTERROLEBINDINGS.key)
    return Plugin("RoleEscalation", (CREATE, UPDATE), validate=check, resources=resources)


def _check_role(attributes: Attributes, authorizer: Authorizer, new: Object, old: Object | None) -> None:
    resource = attributes.resource
    # Of a role that is only being made, the name does not count.
    name = attributes.name if old is not None else ""
    asked = RequestInfo("escalate", "", resource.group, "*", resource.plural, "", attributes.namespace, name)
    if authorizer.decide(attributes.user, asked).allowed:
        return
    _check_held(attributes, authorizer, new.get("rules") or [])
    if new.get("aggregationRule") or (old or {}).get("aggregationRule"):
        held = [some.index for some in authorizer.roles.held(attributes.user, attributes.namespace)]
        if missing(held, _EVERYTHING):
            raise refused(attributes, "must have cluster-admin privileges to use the aggregationRule")


def _check_binding(attributes: Attributes, authorizer: Authorizer, binding: Object) -> None:
    reference: dict[str, Any] = binding.get("roleRef") or {}
    kind, name = reference.get("kind") or "", reference.get("name") or ""
    if kind in _BINDABLE:
        group = reference.get("apiGroup") or ""
        asked = RequestInfo("bind", "", group, "*", _BINDABLE[kind], "", attributes.namespace, name)
        if authorizer.decide(attributes.user, asked).allowed:
            return
    _check_held(attributes, authorizer, authorizer.roles.referenced(reference, attributes.namespace))


def _check_held(attributes: Attributes, authorizer: Authorizer, rules: list[Rule]) -> None:
    user = attributes.user
    held = authorizer.roles.held(user, attributes.namespace)
    indexes = [some.index for some in held]
    if not missing(indexes, _EVERYTHING):
        return
    if (atoms := count(rules)) > ATOMS_MAX:
        why = f"the rules allow {atoms} different things, and whether {quoted(user.name)} may do all of them"
        raise refused(attributes, f"{why} is not found out for more than {ATOMS_MAX}")
    lacking = missing(indexes, rules)
    if not lacking:
        return
    told = "\n".join(sorted(set(map(shown, lacking))))
    why = (
        f"user {quoted(user.name)} (groups={quoted_all(user.groups)}) is attempting to grant RBAC permissions not "
        f"currently held:\n{told}"
    )
    if problems := [problem for some in held for problem in some.problems]:
        why = f"{why}; resolution errors: [{', '.join(problems)}]"
    raise refused(attributes, why)


def _only_lets_go(new: Object, old: Object) -> bool:
    """Whether nothing changes but what the garbage collector needs to change to delete an object."""
    return _without_collectors_fields(new) == _without_collectors_fields(old)


def _without_collectors_fields(obj: Object) -> Object:
    left_out = ("finalizers", "ownerReferences", "resourceVersion", "managedFields")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in left_out}}
