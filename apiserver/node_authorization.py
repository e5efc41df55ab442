"""What a node may do depends on which node it is: its own Node and Lease, the pods that are bound to it, and what
those pods refer to. A node that has been taken over can harm no other. All else is granted to every node alike.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/ and the admission plugin NodeRestriction
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from apimachinery.meta import Object, get_path, labels
from apimachinery.persistent_volumes import LOCAL_PATH_NODE_LABEL, is_local_path
from apimachinery.resources import (
    CONFIGMAPS,
    CSINODES,
    LEASES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    RESOURCECLAIMS,
    RESOURCESLICES,
    SECRETS,
    SERVICEACCOUNTS,
    VOLUMEATTACHMENTS,
    Resource,
)
from apiserver.decision import ALLOWED, NO_OPINION, Decision
from apiserver.node_graph import NodeGraph, storage_secrets
from apiserver.rbac.rules import Rule, RuleIndex
from apiserver.request_info import RequestInfo, User

NODES_GROUP, NODE_USER_PREFIX = "system:nodes", "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
_OF_ITS_OWN = ("get", "create", "update", "patch", "delete")
_OF_OWN_PODS = (
    ("get", ""),
    ("delete", ""),
    ("update", "status"),
    ("patch", "status"),
    ("create", "eviction"),
)


class Cluster(Protocol):
    """Where objects are read, which must cost no I/O."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""

    def list(self, resource: Resource, namespace: str) -> Iterable[Object]:
        """All objects of a namespace, or of all."""


def identify(user: User) -> str | None:
    """The node that a user is."""
    if NODES_GROUP not in user.groups or not user.name.startswith(NODE_USER_PREFIX):
        return None
    return user.name.removeprefix(NODE_USER_PREFIX)


class NodeAuthorizer:
    """Decides about nodes: by `graph` what depends on their pods, by `rules` what all of them may do."""

    def __init__(self, cluster: Cluster, graph: NodeGraph, rules: Iterable[Rule]) -> None:
        self._cluster = cluster
        self._graph = graph
        self._rules = RuleIndex(rules)

    def decide(self, node: str, info: RequestInfo) -> Decision:
        """Whether this node may do this."""
        match info.group, info.resource:
            case NODES.key:
                return self._about_node(node, info)
            case PODS.key:
                return self._about_pod(node, info)
            case SECRETS.key:
                return self._about_reference(node, SECRETS, info)
            case CONFIGMAPS.key:
                return self._about_reference(node, CONFIGMAPS, info)
            case SERVICEACCOUNTS.key:
                return self._about_token(node, info)
            case PERSISTENTVOLUMECLAIMS.key | RESOURCECLAIMS.key | PERSISTENTVOLUMES.key | VOLUMEATTACHMENTS.key:
                return self._about_storage(node, info)
            case LEASES.key:
                return _about_lease(node, info)
            case CSINODES.key:
                return _about_csi_node(node, info)
            case RESOURCESLICES.key:
                return self._about_slice(node, info)
        return self._like_all(info)

    def _like_all(self, info: RequestInfo) -> Decision:
        return self._rules.find(info) or NO_OPINION

    def _about_node(self, node: str, info: RequestInfo) -> Decision:
        if info.verb in ("get", "list", "watch"):
            return self._like_all(info)
        if info.verb == "create" and not info.subresource:
            return ALLOWED  # the name is in the body: the admission plugin NodeRestriction looks at it
        if info.verb not in ("update", "patch") or info.subresource not in ("", "status"):
            return _not(f"node '{node}' cannot {info.verb} this resource")
        return ALLOWED if info.name == node else _not(f"node '{node}' is not allowed to modify node '{info.name}'")

    def _about_pod(self, node: str, info: RequestInfo) -> Decision:
        if info.verb in ("list", "watch") and not info.subresource:
            if info.field("spec.nodeName") == node:
                return ALLOWED
            return _not("can only list/watch pods with spec.nodeName field selector")
        if info.verb == "create" and not info.subresource:
            return ALLOWED  # what it may make is in the body: the admission plugin NodeRestriction looks at it
        if (info.verb, info.subresource) not in _OF_OWN_PODS:
            return _not(f"node '{node}' can only read its pods, delete and evict them and change their status")
        pod = self._cluster.get(PODS, info.namespace, info.name)
        # Of a pod that is gone the node must hear that it is not found, else it would keep it.
        if pod is None or get_path(pod, "spec", "nodeName") == node:
            return ALLOWED
        return _not(f"node '{node}' can only do this with pods that are bound to it")

    def _about_reference(self, node: str, resource: Resource, info: RequestInfo) -> Decision:
        if info.verb not in ("get", "list", "watch"):
            return _not("can only read resources of this type")
        if info.subresource:
            return _not("cannot read subresource")
        if not info.namespace:
            return _not("can only read namespaced object of this type")
        if not info.selected_name:
            return _not("No Object name found")
        if self._graph.refers(node, resource, info.namespace, info.selected_name):
            return ALLOWED
        if resource is SECRETS and self._of_volume(node, info.namespace, info.selected_name):
            return ALLOWED
        return _unrelated(node)

    def _of_volume(self, node: str, namespace: str, secret: str) -> bool:
        """Whether a Secret holds the credentials of a volume that a pod of the node has claimed."""
        for volume in self._cluster.list(PERSISTENTVOLUMES, ""):
            claim = get_path(volume, "spec", "claimRef", default={})
            for _, name in storage_secrets(volume.get("spec") or {}):
                if name == secret and self._has_claim(node, claim):
                    return bool(claim.get("namespace") == namespace)
        return False

    def _has_claim(self, node: str, claim: Object) -> bool:
        name, namespace = claim.get("name"), claim.get("namespace")
        return bool(name and namespace) and self._graph.refers(
            node, PERSISTENTVOLUMECLAIMS, str(namespace), str(name)
        )

    def _about_token(self, node: str, info: RequestInfo) -> Decision:
        if info.verb != "create" or not info.name:
            return _not("can only create tokens for individual service accounts")
        if info.subresource != "token":
            return _not("can only create token subresource of serviceaccount")
        return self._if_referred(node, SERVICEACCOUNTS, info)

    def _about_storage(self, node: str, info: RequestInfo) -> Decision:
        if info.resource == PERSISTENTVOLUMES.plural and self._is_kept_by(node, info):
            return ALLOWED
        if info.verb != "get":
            return _not("can only get individual resources of this type")
        if info.subresource:
            return _not("cannot get subresource")
        if info.resource in (PERSISTENTVOLUMECLAIMS.plural, RESOURCECLAIMS.plural):
            claims = PERSISTENTVOLUMECLAIMS if info.resource == PERSISTENTVOLUMECLAIMS.plural else RESOURCECLAIMS
            return self._if_referred(node, claims, info)
        resource = PERSISTENTVOLUMES if info.resource == PERSISTENTVOLUMES.plural else VOLUMEATTACHMENTS
        spec = (self._cluster.get(resource, "", info.name) or {}).get("spec") or {}
        related = spec.get("nodeName") == node or self._has_claim(node, spec.get("claimRef") or {})
        return ALLOWED if related else _unrelated(node)

    def _is_kept_by(self, node: str, info: RequestInfo) -> bool:
        """Whether this is about a volume whose data is a folder of the node, which the node makes and removes.

        What it may change of it (its word that it has such a folder) the admission plugin NodeRestriction looks at.
        """
        if info.subresource:
            return False
        if info.verb in ("list", "watch"):
            return info.label(LOCAL_PATH_NODE_LABEL) == node
        if info.verb not in ("get", "patch"):
            return False
        volume = self._cluster.get(PERSISTENTVOLUMES, "", info.name)
        return volume is not None and is_local_path(volume) and labels(volume).get(LOCAL_PATH_NODE_LABEL) == node

    def _about_slice(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource:
            return _not("cannot authorize ResourceSlice subresources")
        if info.verb == "create":
            return ALLOWED  # whose it is to be is in the body: NodeRestriction looks at it
        if info.verb in ("list", "watch", "deletecollection"):
            if info.field("spec.nodeName") == node:
                return ALLOWED
            return _not("can only list/watch/deletecollection resourceslices with nodeName field selector")
        found = self._cluster.get(RESOURCESLICES, "", info.name)
        return ALLOWED if get_path(found, "spec", "nodeName") == node else _unrelated(node)

    def _if_referred(self, node: str, resource: Resource, info: RequestInfo) -> Decision:
        return ALLOWED if self._graph.refers(node, resource, info.namespace, info.name) else _unrelated(node)


def _not(reason: str) -> Decision:
    return Decision(False, reason)


def _unrelated(node: str) -> Decision:
    return _not(f"no relationship found between node '{node}' and this object")


def _about_lease(node: str, info: RequestInfo) -> Decision:
    if info.verb not in _OF_ITS_OWN:
        return _not("can only get, create, update, patch, or delete a node lease")
    if info.namespace != LEASE_NAMESPACE:
        return _not(f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
    if info.verb != "create" and info.name != node:
        return _not("can only access node lease with the same name as the requesting node")
    return ALLOWED


def _about_csi_node(node: str, info: RequestInfo) -> Decision:
    if info.verb not in _OF_ITS_OWN:
        return _not("can only get, create, update, patch, or delete a CSINode")
    if info.subresource:
        return _not("cannot authorize CSINode subresources")
    if info.verb != "create" and info.name != node:
        return _not("can only access CSINode with the same name as the requesting node")
    return ALLOWED
