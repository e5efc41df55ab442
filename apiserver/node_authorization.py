"""What a node may do depends on which node it is: its own Node and Lease, the pods that are bound to it, and the
Secrets and ConfigMaps that those pods refer to. A node that has been taken over can harm no other.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/ and the admission plugin NodeRestriction
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object
from apiserver.policy import NODES
from apiserver.request_info import RequestInfo, User

NODE_USER_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
_LEASE_VERBS = ("get", "create", "update", "patch", "delete")
_OF_OWN_PODS = (
    ("get", ""),
    ("delete", ""),
    ("update", "status"),
    ("patch", "status"),
    ("create", "eviction"),
)

FindPod = Callable[[str, str], Object | None]
PodsOf = Callable[[str, str], Iterable[Object]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, refused with a reason, or (None) left to the roles that all nodes have."""

    allowed: bool | None
    reason: str = ""


ALLOW, NO_OPINION = Decision(True), Decision(None)


def _refuse(reason: str) -> Decision:
    return Decision(False, reason)


class NodeAuthorizer:
    """Decides about nodes; it is told how to find a pod (namespace, name) and the pods of a (namespace, node)."""

    def __init__(self, find_pod: FindPod, pods_of: PodsOf) -> None:
        self._find_pod = find_pod
        self._pods_of = pods_of

    @staticmethod
    def identify(user: User) -> str | None:
        """The node that a user is."""
        if NODES not in user.groups or not user.name.startswith(NODE_USER_PREFIX):
            return None
        return user.name.removeprefix(NODE_USER_PREFIX)

    def decide(self, node: str, info: RequestInfo) -> Decision:
        """Whether this node may do this."""
        match info.group, info.resource:
            case "", "nodes":
                return _about_node(node, info)
            case "", "pods":
                return self._about_pod(node, info)
            case "", "secrets" | "configmaps":
                return self._about_reference(node, info)
            case "coordination.k8s.io", "leases":
                return _about_lease(node, info)
        return NO_OPINION

    def _about_pod(self, node: str, info: RequestInfo) -> Decision:
        if info.verb in ("list", "watch") and not info.subresource:
            if info.field("spec.nodeName") == node:
                return ALLOW
            return _refuse("can only list/watch pods with spec.nodeName field selector")
        if (info.verb, info.subresource) not in _OF_OWN_PODS:
            return _refuse(f"node '{node}' can only read its pods, delete and evict them and change their status")
        pod = self._find_pod(info.namespace, info.name)
        # Of a pod that is gone the node must hear that it is not found, else it would keep it.
        if pod is None or (pod.get("spec") or {}).get("nodeName") == node:
            return ALLOW
        return _refuse(f"node '{node}' can only do this with pods that are bound to it")

    def _about_reference(self, node: str, info: RequestInfo) -> Decision:
        if info.verb not in ("get", "list", "watch") or info.subresource:
            return _refuse("can only read resources of this type")
        if not info.namespace:
            return _refuse("can only read namespaced object of this type")
        if not info.selected_name:
            return _refuse("No Object name found")
        wanted = (info.resource, info.selected_name)
        if any(wanted in references(pod) for pod in self._pods_of(info.namespace, node)):
            return ALLOW
        return _refuse(f"no relationship found between node '{node}' and this object")


def _about_node(node: str, info: RequestInfo) -> Decision:
    if info.verb in ("get", "list", "watch"):
        return NO_OPINION
    if info.verb == "create" and not info.subresource:
        return ALLOW  # the name is in the body: the admission plugin NodeRestriction looks at it
    if info.verb not in ("update", "patch") or info.subresource not in ("", "status"):
        return _refuse(f"node '{node}' cannot {info.verb} this resource")
    return ALLOW if info.name == node else _refuse(f"node '{node}' is not allowed to modify node '{info.name}'")


def _about_lease(node: str, info: RequestInfo) -> Decision:
    if info.verb not in _LEASE_VERBS:
        return _refuse("can only get, create, update, patch, or delete a node lease")
    if info.namespace != LEASE_NAMESPACE:
        return _refuse(f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
    if info.verb != "create" and info.name != node:
        return _refuse("can only access node lease with the same name as the requesting node")
    return ALLOW


def references(pod: Object) -> set[tuple[str, str]]:
    """The (resource, name) of every Secret and ConfigMap that a pod refers to."""
    return set(_references(pod.get("spec") or {}))


def _references(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _of_environment(container)


def _of_volume(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if secret := volume.get("secret"):
        yield "secrets", secret.get("secretName", "")
    if config_map := volume.get("configMap"):
        yield "configmaps", config_map.get("name", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        if secret := source.get("secret"):
            yield "secrets", secret.get("name", "")
        if config_map := source.get("configMap"):
            yield "configmaps", config_map.get("name", "")
    # Volumes of storage systems name their credentials in either of these fields.
    for inner in volume.values():
        if isinstance(inner, dict):
            for key in ("secretRef", "nodePublishSecretRef"):
                if reference := inner.get(key):
                    yield "secrets", reference.get("name", "")


def _of_environment(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        if reference := source.get("secretRef"):
            yield "secrets", reference.get("name", "")
        if reference := source.get("configMapRef"):
            yield "configmaps", reference.get("name", "")
    for variable in container.get("env") or ():
        value_from = variable.get("valueFrom") or {}
        if reference := value_from.get("secretKeyRef"):
            yield "secrets", reference.get("name", "")
        if reference := value_from.get("configMapKeyRef"):
            yield "configmaps", reference.get("name", "")
