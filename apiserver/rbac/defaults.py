"""The default roles and bindings as objects, made from the table of `apiserver.policy`."""

from __future__ import annotations

from collections.abc import Iterator

from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES, Resource
from apiserver import policy
from apiserver.rbac.reconcile import AUTOUPDATE

_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def objects() -> Iterator[Object]:
    """All of them."""
    for role in policy.ROLES:
        scopes: dict[str, list[Object]] = {"": []}
        for rule in role.rules:
            for namespace in rule.namespaces or ("",):
                scopes.setdefault(namespace, []).append(rule.wire())
        for namespace, rules in scopes.items():
            of_role, of_binding = (ROLES, ROLEBINDINGS) if namespace else (CLUSTERROLES, CLUSTERROLEBINDINGS)
            yield {**_head(of_role, role.name, namespace), "rules": rules}
            reference = {"apiGroup": of_role.group, "kind": of_role.kind, "name": role.name}
            subjects = [
                {"kind": kind, "apiGroup": of_role.group, "name": name}
                for kind, names in (("User", role.users), ("Group", role.groups))
                for name in names
            ]
            yield {**_head(of_binding, role.name, namespace), "roleRef": reference, "subjects": subjects}


def _head(resource: Resource, name: str, namespace: str) -> Object:
    metadata = {"name": name, "labels": _LABELS, "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
