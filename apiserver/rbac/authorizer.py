"""Who has which rules: Roles and ClusterRoles, as bindings give them to users, groups and service accounts.

A decision looks at no binding. Bindings are kept under their subjects; what they give to a user is put together when
the user first asks, and forgotten when any role or binding changes, which the store tells before the writer of the
change is answered. So a right that has been taken away is gone for the next request.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#role-and-clusterrole
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from apimachinery.errors import ApiError, not_found
from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES, Resource
from apiserver.decision import NO_OPINION, Decision, quoted
from apiserver.rbac.rules import Rule, RuleIndex
from apiserver.request_info import RequestInfo, User

USERS_MAX = 4096
_BY_KIND = {"Role": ROLES, "ClusterRole": CLUSTERROLES}
_Key = tuple[str, str]


class Cluster(Protocol):
    """Where roles and bindings are read, which must cost no I/O."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""

    def list(self, resource: Resource, namespace: str) -> Iterable[Object]:
        """All objects of a namespace, or of all."""


@dataclass(slots=True)
class Held:
    """The rules that a user has somewhere, and what could not be found of them."""

    rules: list[Rule] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    index: RuleIndex = field(default_factory=RuleIndex)

    def add(self, rules: Iterable[Rule], source: str) -> None:
        """Add the rules of a role; `source` says which binding gives them."""
        decision = Decision(True, f"RBAC: allowed by {source}")
        for rule in rules:
            self.rules.append(rule)
            self.index.add(rule, decision)


class RbacAuthorizer:
    """Decides by the roles and bindings that there are."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Bindings by subject: the keys of bindings, those of the whole cluster with no namespace.
        self._bindings: dict[str, dict[_Key, None]] = {}
        # What users have: everywhere (under ""), and in namespaces beyond that.
        self._held: dict[tuple[str, tuple[str, ...]], dict[str, Held]] = {}
        for resource in (CLUSTERROLEBINDINGS, ROLEBINDINGS):
            for binding in cluster.list(resource, ""):
                self._enter(binding)

    def binding_changed(self, old: Object | None, new: Object | None) -> None:
        """A binding has been made, changed or removed."""
        self._held.clear()
        if old is not None:
            for subject in _subjects(old):
                self._bindings.get(subject, {}).pop(_key(old), None)
        if new is not None:
            self._enter(new)

    def role_changed(self) -> None:
        """A role has been made, changed or removed."""
        self._held.clear()

    def decide(self, user: User, info: RequestInfo) -> Decision:
        """Whether a role of the user allows a request."""
        held = self._of(user)
        decision = held[""].index.find(info)
        if decision is None and info.namespace in held:
            decision = held[info.namespace].index.find(info)
        if decision is not None:
            return decision
        problems = [problem for some in self.held(user, info.namespace) for problem in some.problems]
        return Decision(False, f"RBAC: {aggregate(problems)}") if problems else NO_OPINION

    def held(self, user: User, namespace: str) -> list[Held]:
        """What a user may do in a namespace ("": in the whole cluster)."""
        held = self._of(user)
        return [held[""], held[namespace]] if namespace and namespace in held else [held[""]]

    def referenced(self, reference: Rule, namespace: str) -> list[Rule]:
        """The rules of the role that a binding in a namespace refers to. Raises ApiError 404."""
        kind, name = reference.get("kind") or "", reference.get("name") or ""
        resource = _BY_KIND.get(kind)
        if resource is None:
            raise ApiError(500, "InternalError", f'unsupported role reference kind: "{kind}"')
        role = self._cluster.get(resource, namespace if resource.namespaced else "", name)
        if role is None:
            raise not_found(resource.group_resource, name)
        found: list[Rule] = role.get("rules") or []
        return found

    def _enter(self, binding: Object) -> None:
        for subject in _subjects(binding):
            self._bindings.setdefault(subject, {})[_key(binding)] = None

    def _of(self, user: User) -> dict[str, Held]:
        key = (user.name, user.groups)
        found = self._held.get(key)
        if found is None:
            if len(self._held) >= USERS_MAX:
                self._held.clear()
            found = self._held[key] = self._gather(user)
        return found

    def _gather(self, user: User) -> dict[str, Held]:
        found = {"": Held()}
        seen: set[_Key] = set()
        subjects = (f"User {user.name}", *(f"Group {group}" for group in user.groups))
        for subject in subjects:
            for namespace, name in self._bindings.get(subject, ()):
                if (namespace, name) in seen:
                    continue
                seen.add((namespace, name))
                binding = self._cluster.get(ROLEBINDINGS if namespace else CLUSTERROLEBINDINGS, namespace, name)
                if binding is not None:
                    self._give(found.setdefault(namespace, Held()), binding, namespace, subject)
        return found

    def _give(self, held: Held, binding: Object, namespace: str, subject: str) -> None:
        reference = binding.get("roleRef") or {}
        try:
            held.add(self.referenced(reference, namespace), _source(binding, namespace, subject))
        except ApiError as error:
            kind, name = (reference.get("kind") or "").lower(), reference.get("name") or ""
            told = f'{kind}.{CLUSTERROLES.group} "{name}" not found' if error.code == 404 else error.message
            held.problems.append(told)


def _key(binding: Object) -> _Key:
    metadata = binding["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _subjects(binding: Object) -> Iterator[str]:
    """Whom a binding is for; a service account is a user with a name of its own form."""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind in ("User", "Group"):
            yield f"{kind} {name}"
        elif kind == "ServiceAccount":
            # Without a namespace it is an account of the binding's own.
            namespace = subject.get("namespace") or binding["metadata"].get("namespace")
            if namespace:
                yield f"User system:serviceaccount:{namespace}:{name}"


def _source(binding: Object, namespace: str, subject: str) -> str:
    reference, name = binding["roleRef"], binding["metadata"]["name"]
    kind, _, who = subject.partition(" ")
    if kind == "User" and who.startswith("system:serviceaccount:"):
        home, _, account = who.removeprefix("system:serviceaccount:").partition(":")
        kind, who = "ServiceAccount", f"{account}/{home}"
    what = f"RoleBinding {quoted(f'{name}/{namespace}')}" if namespace else f"ClusterRoleBinding {quoted(name)}"
    return f"{what} of {reference.get('kind')} {quoted(reference.get('name') or '')} to {kind} {quoted(who)}"


def aggregate(problems: list[str]) -> str:
    """Several problems as one text, each once."""
    different = list(dict.fromkeys(problems))
    return different[0] if len(different) == 1 else f"[{', '.join(different)}]"
