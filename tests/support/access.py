"""Who may do what, for tests: roles and bindings as objects, and an authorizer over them."""

from __future__ import annotations

from functools import partial

from apimachinery import resources
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.authorization import Authorizer
from apiserver.node_authorization import NodeAuthorizer
from apiserver.node_graph import NodeGraph
from apiserver.policy import node_rules
from apiserver.rbac.authorizer import RbacAuthorizer

GROUP = resources.ROLES.group


class Objects:
    """A cluster in which nothing but these objects is; their `kind` must be set."""

    def __init__(self, *objects: Object) -> None:
        self.objects = list(objects)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object."""
        return next((one for one in self.list(resource, namespace) if one["metadata"]["name"] == name), None)

    def list(self, resource: Resource, namespace: str) -> list[Object]:
        """All objects of a namespace, or of all."""
        found = [one for one in self.objects if one["kind"] == resource.kind]
        return [one for one in found if namespace in ("", one["metadata"].get("namespace", ""))]


def authorizer_of(cluster: Objects) -> Authorizer:
    """All authorizers over a cluster."""
    graph = NodeGraph(partial(cluster.list, resources.PODS))
    return Authorizer(NodeAuthorizer(cluster, graph, node_rules()), RbacAuthorizer(cluster))


def rule(verbs: str, resource: str = "", group: str = "", *, names: str = "", urls: str = "") -> Object:
    """A rule, its lists with spaces between."""
    fields = {"resourceNames": names, "nonResourceURLs": urls, "resources": resource}
    found: Object = {key: text.split() for key, text in fields.items() if text}
    return {**found, **({} if urls else {"apiGroups": [group]}), "verbs": verbs.split()}


def role(name: str, *rules: Object, namespace: str = "") -> Object:
    """A ClusterRole, or a Role in a namespace."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "rules": list(rules)}


def subject(text: str) -> Object:
    """`User joe`, `Group devs`, `ServiceAccount default/web` or `ServiceAccount web`."""
    kind, _, who = text.partition(" ")
    if kind != "ServiceAccount":
        return {"kind": kind, "apiGroup": GROUP, "name": who}
    namespace, _, name = who.rpartition("/")
    return {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}


def binding(of: Object, *subjects: str, namespace: str = "", name: str = "") -> Object:
    """A binding of a role to subjects: for the whole cluster, or for a namespace."""
    metadata = {"name": name or of["metadata"]["name"], **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": of["kind"], "name": of["metadata"]["name"]},
        "subjects": [subject(one) for one in subjects],
    }


def granted(*rules: Object, to: str) -> list[Object]:
    """A ClusterRole with these rules, bound to a user."""
    found = role("granted", *rules)
    return [found, binding(found, f"User {to}")]
