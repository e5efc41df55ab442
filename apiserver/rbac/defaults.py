"""The default roles and bindings as objects, made from the table of `apiserver.rbac_bootstrap`."""

from __future__ import annotations

from collections.abc import Iterator

from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES, Resource
from apiserver import rbac_bootstrap
from apiserver.policy import RBAC_GROUP, Role
from apiserver.rbac.reconcile import AUTOUPDATE

_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def objects() -> Iterator[Object]:
    """All of them."""
    for role in rbac_bootstrap.ROLES:
        yield from _of(role)


def _of(role: Role) -> Iterator[Object]:
    scopes: dict[str, list[Object]] = {}
    for rule in role.rules:
        for namespace in rule.namespaces or ("",):
            scopes.setdefault(namespace, []).append(rule.wire())
    for namespace, rules in (scopes or {"": []}).items():
        of_role, of_binding = (ROLES, ROLEBINDINGS) if namespace else (CLUSTERROLES, CLUSTERROLEBINDINGS)
        labels = {f"{RBAC_GROUP}/{role.label}": "true"} if role.label else {}
        made = {**_head(of_role, role.name, namespace, labels), "rules": rules}
        if role.gathers:
            selector = {"matchLabels": {f"{RBAC_GROUP}/{role.gathers}": "true"}}
            made["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        yield made
        if subjects := _subjects(role):
            reference = {"apiGroup": RBAC_GROUP, "kind": of_role.kind, "name": role.name}
            head = _head(of_binding, role.binding or role.name, namespace)
            yield {**head, "roleRef": reference, "subjects": subjects}


def _subjects(role: Role) -> list[Object]:
    named = [
        {"kind": kind, "apiGroup": RBAC_GROUP, "name": name}
        for kind, names in (("User", role.users), ("Group", role.groups))
        for name in names
    ]
    accounts = [{"kind": "ServiceAccount", "namespace": where, "name": name} for where, name in role.service_accounts]
    return [*named, *accounts]


def _head(resource: Resource, name: str, namespace: str, labels: dict[str, str] | None = None) -> Object:
    metadata = {"name": name, "labels": {**_LABELS, **(labels or {})}, "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
