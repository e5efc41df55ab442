"""Which FlowSchema a request matches. Pure.

Source: k8s.io/apiserver/pkg/util/flowcontrol/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apimachinery.meta import Object
from apiserver.request_info import RequestInfo, User

_ALL = "*"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_OF_RESOURCES = ("verbs", "apiGroups", "resources", "namespaces")
BY_USER, BY_NAMESPACE = "ByUser", "ByNamespace"


def rules_about(schema: Object, user: User) -> list[Object]:
    """A schema's rules with a subject that this user is."""
    rules = (schema.get("spec") or {}).get("rules") or ()
    return [rule for rule in rules if any(_is(user, subject) for subject in rule.get("subjects") or ())]


def ask_for(rules: Iterable[Object], info: RequestInfo) -> bool:
    """Whether one of these rules is about what a request asks for."""
    return any(_asks_for(rule, info) for rule in rules)


def is_about_all(rule: Object) -> bool:
    """Whether a rule is about all that can be asked for."""
    resources, urls = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    return any(one.get("clusterScope") and _open(one, *_OF_RESOURCES) for one in resources) and any(
        _open(one, "verbs", "nonResourceURLs") for one in urls
    )


def _open(rule: Object, *fields: str) -> bool:
    return all((rule.get(field) or [""])[0] == _ALL for field in fields)


def _is(user: User, subject: Object) -> bool:
    match subject:
        case {"kind": "User", "user": {"name": name}}:
            return name in (_ALL, user.name)
        case {"kind": "Group", "group": {"name": name}}:
            return name == _ALL or name in user.groups
        case {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}:
            prefix = f"{_SERVICE_ACCOUNT}{namespace}:"
            return user.name.startswith(prefix) if name == _ALL else user.name == prefix + name
    return False


def _asks_for(rule: Object, info: RequestInfo) -> bool:
    if info.resource:
        return any(_is_resource(one, info) for one in rule.get("resourceRules") or ())
    return any(_is_url(one, info) for one in rule.get("nonResourceRules") or ())


def _is_resource(rule: Object, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("apiGroups"), info.group)
    ):
        return False
    return _has(rule.get("namespaces"), info.namespace) if info.namespace else bool(rule.get("clusterScope"))


def _is_url(rule: Object, info: RequestInfo) -> bool:
    return _has(rule.get("verbs"), info.verb) and _covers(rule.get("nonResourceURLs") or (), info.path)


def _covers(urls: Iterable[str], path: str) -> bool:
    """Whether the path is one of these or lies below one; a star stands for whatever follows."""
    return any(url in (_ALL, path) or path.startswith(url.removesuffix(_ALL).rstrip("/") + "/") for url in urls)


def _has(words: Sequence[str] | None, word: str) -> bool:
    return words is not None and (word in words or _ALL in words)


def precedence(schema: Object) -> tuple[int, str]:
    """What schemas are sorted by: the first that matches counts."""
    found: int = (schema.get("spec") or {}).get("matchingPrecedence") or 0
    return found, schema["metadata"]["name"]


def level_of(schema: Object) -> str:
    """The name of the priority level that a schema's requests are of."""
    reference: dict[str, Any] = (schema.get("spec") or {}).get("priorityLevelConfiguration") or {}
    return reference.get("name") or ""


def distinguisher(schema: Object) -> str:
    """`ByUser`, `ByNamespace`, or "" if all requests of a schema are one flow."""
    method: dict[str, Any] = (schema.get("spec") or {}).get("distinguisherMethod") or {}
    return method.get("type") or ""
