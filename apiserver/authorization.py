"""May they: whether a user may do what a request asks for.

Nodes are looked at first, since what they may do depends on the pods that are bound to them; then the roles decide.
What nobody grants is refused. Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from apimachinery.errors import ApiError, unauthorized
from apiserver.node_authorization import NO_OPINION, NodeAuthorizer
from apiserver.policy import MASTERS, ROLES, Role, Rule
from apiserver.request_info import UNAUTHENTICATED, RequestInfo, User

_OPENED_BY_GET = (("pods", "exec"), ("pods", "attach"), ("pods", "portforward"))
_Key = tuple[str, str]


class Authorizer:
    """Decides by the roles of a table, and for nodes by their pods."""

    def __init__(self, nodes: NodeAuthorizer, roles: Iterable[Role] = ROLES) -> None:
        self._nodes = nodes
        self._by_user: dict[str, list[_Index]] = {}
        self._by_group: dict[str, list[_Index]] = {}
        for role in roles:
            index = _Index(role.rules)
            for subject in role.users:
                self._by_user.setdefault(subject, []).append(index)
            for subject in role.groups:
                self._by_group.setdefault(subject, []).append(index)

    def authorize(self, user: User, info: RequestInfo) -> None:
        """Return if the request may go on. Raises ApiError 403, or 401 to somebody without credentials."""
        if MASTERS in user.groups:
            return  # the most frequent case, and what the table says too
        self._authorize(user, info)
        if info.verb == "get" and (info.resource, info.subresource) in _OPENED_BY_GET:
            # A WebSocket is opened by a GET whatever runs in it: reading rights must not be enough for that.
            self._authorize(user, replace(info, verb="create"))

    def _authorize(self, user: User, info: RequestInfo) -> None:
        node = self._nodes.identify(user) if info.resource else None
        decision = self._nodes.decide(node, info) if node is not None else NO_OPINION
        if decision.allowed:
            return
        # What was refused to this very node is not granted by a role that all nodes have.
        if decision.allowed is None and any(index.allows(info) for index in self._roles(user)):
            return
        if UNAUTHENTICATED in user.groups:
            raise unauthorized()
        raise forbidden(user, info, decision.reason)

    def _roles(self, user: User) -> Iterator[_Index]:
        yield from self._by_user.get(user.name, ())
        for group in user.groups:
            yield from self._by_group.get(group, ())


class _Index:
    """The rules of a role, found by what they are about."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[_Key, list[Rule]] = {}
        self._urls: list[Rule] = []
        for rule in rules:
            for group in rule.api_groups:
                for resource in rule.resources:
                    self._rules.setdefault((group, resource), []).append(rule)
            if rule.non_resource_urls:
                self._urls.append(rule)

    def allows(self, info: RequestInfo) -> bool:
        """Whether one of the rules grants the request."""
        if not info.resource:
            return any(_has(rule.verbs, info.verb) and _matches_url(rule, info.path) for rule in self._urls)
        resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        keys = [(group, word) for group in (info.group, "*") for word in (resource, "*")]
        if info.subresource:
            keys += [(group, f"*/{info.subresource}") for group in (info.group, "*")]
        return any(_allows(rule, info) for key in keys for rule in self._rules.get(key, ()))


def _allows(rule: Rule, info: RequestInfo) -> bool:
    return (
        _has(rule.verbs, info.verb)
        and (not rule.namespaces or info.namespace in rule.namespaces)
        and (not rule.resource_names or info.selected_name in rule.resource_names)
    )


def _has(verbs: tuple[str, ...], verb: str) -> bool:
    return verb in verbs or "*" in verbs


def _matches_url(rule: Rule, path: str) -> bool:
    return any(
        path == allowed or (allowed.endswith("*") and path.startswith(allowed[:-1]))
        for allowed in rule.non_resource_urls
    )


def forbidden(user: User, info: RequestInfo, reason: str = "") -> ApiError:
    """403, saying who may not do what."""
    who = _quoted(user.name)
    if not info.resource:
        told = f"User {who} cannot {info.verb} path {_quoted(info.path)}"
        return ApiError(403, "Forbidden", f"forbidden: {told}", {})
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f"in the namespace {_quoted(info.namespace)}" if info.namespace else "at the cluster scope"
    told = f"User {who} cannot {info.verb} resource {_quoted(resource)} in API group {_quoted(info.group)} {where}"
    subject = f"{info.resource}.{info.group}" if info.group else info.resource
    if info.name:
        subject = f"{subject} {_quoted(info.name)}"
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    message = f"{subject} is forbidden: {told}{f': {reason}' if reason else ''}"
    return ApiError(403, "Forbidden", message, {key: value for key, value in details.items() if value})


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
