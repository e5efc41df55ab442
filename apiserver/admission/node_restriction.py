"""NodeRestriction: what a node may write is looked at, beyond what authorization can tell from a request's path.

A node may register itself and report on itself, but neither choose its taints nor give itself the labels by which
others keep their pods off it. It may have tokens for its own pods, for the audiences that those name, and make pods
that mirror its static ones. Of a volume whose data is one of its folders it may say that it has that, or no more.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Mapping

from apimachinery import meta
from apimachinery.meta import Object, get_path
from apimachinery.resources import CSINODES, LEASES, NODES, PERSISTENTVOLUMES, PODS, RESOURCESLICES, SERVICEACCOUNTS
from apiserver.admission import node_pods, node_tokens, node_volumes
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.authorization import Authorizer
from apiserver.node_authorization import LEASE_NAMESPACE, identify

# Labels in Kubernetes' domains that are a node's own business.
_OWN_LABELS = frozenset(
    (
        *("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"),
        *("topology.kubernetes.io/zone", "topology.kubernetes.io/region", "node.kubernetes.io/instance-type"),
        *("failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"),
        *("beta.kubernetes.io/instance-type", "beta.kubernetes.io/os", "beta.kubernetes.io/arch"),
    )
)
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESTRICTED_DOMAIN = "node-restriction.kubernetes.io"


def plugin(authorizer: Authorizer) -> Plugin:
    """The plugin, which asks what a node has been granted besides."""

    async def restrict(attributes: Attributes, cluster: Cluster) -> None:
        node = identify(attributes.user)
        if node is None:
            return
        if attributes.resource.key == SERVICEACCOUNTS.key:
            node_tokens.restrict(attributes, cluster, authorizer, node)
        elif attributes.resource.key == PODS.key and attributes.operation == CREATE and not attributes.subresource:
            node_pods.restrict_creation(attributes, cluster, node)
        elif attributes.resource.key == PERSISTENTVOLUMES.key:
            node_volumes.restrict(attributes, node)
        else:
            _restrict(attributes, node)

    return Plugin(
        "NodeRestriction",
        (CREATE, UPDATE),
        mutate=restrict,
        resources=(
            *(NODES.key, PODS.key, LEASES.key, SERVICEACCOUNTS.key),
            *(CSINODES.key, RESOURCESLICES.key, PERSISTENTVOLUMES.key),
        ),
        subresources=("status", "token"),
    )


def _restrict(attributes: Attributes, node: str) -> None:
    obj, old = attributes.obj, attributes.old
    assert obj is not None
    key = attributes.resource.key
    if key == NODES.key:
        _restrict_node(attributes, node, obj, old)
    elif key == PODS.key and old is not None:
        _restrict_pod(attributes, node, obj, old)
    elif key == CSINODES.key:
        if obj["metadata"].get("name") != node:
            raise refused(attributes, "can only access CSINode with the same name as the requesting node")
    elif key == RESOURCESLICES.key:
        if get_path(obj, "spec", "nodeName") != node:
            raise refused(attributes, "can only create ResourceSlice with the same NodeName as the requesting node")
    elif key == LEASES.key:
        if attributes.namespace != LEASE_NAMESPACE:
            raise refused(attributes, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
        if obj["metadata"].get("name") != node:
            raise refused(attributes, "can only access node lease with the same name as the requesting node")


def _restrict_pod(attributes: Attributes, node: str, obj: Object, old: Object) -> None:
    """A node tells of a pod what becomes of it, not what it is selected by nor which devices are its."""
    if meta.labels(obj) != meta.labels(old):
        raise refused(attributes, f'node "{node}" cannot update labels through pod status')
    if get_path(obj, "status", "resourceClaimStatuses", default=[]) != get_path(
        old, "status", "resourceClaimStatuses", default=[]
    ):
        raise refused(attributes, f'node "{node}" cannot update resource claim statues')
    if get_path(obj, "status", "extendedResourceClaimStatus") != get_path(
        old, "status", "extendedResourceClaimStatus"
    ):
        raise refused(attributes, f'node "{node}" cannot update extended resource claim status')


def _restrict_node(attributes: Attributes, node: str, obj: Object, old: Object | None) -> None:
    name = obj["metadata"].get("name") or ""
    if name != node:
        raise refused(attributes, f'node "{node}" is not allowed to modify node "{name}"')
    changed = _differing(meta.labels(obj), meta.labels(old) if old is not None else {})
    forbidden = ", ".join(sorted(filter(_is_forbidden, changed)))
    if old is None:
        if get_path(obj, "spec", "configSource") is not None:
            raise refused(attributes, f'node "{node}" is not allowed to create pods with a non-nil configSource')
        if forbidden:
            raise refused(attributes, f'node "{node}" is not allowed to set the following labels: {forbidden}')
        return
    if not attributes.subresource and get_path(obj, "spec", "taints", default=[]) != get_path(
        old, "spec", "taints", default=[]
    ):
        raise refused(attributes, f'node "{node}" is not allowed to modify taints')
    if _owners(obj) != _owners(old):
        raise refused(attributes, f'node "{node}" is not allowed to modify ownerReferences')
    if forbidden:
        raise refused(attributes, f"is not allowed to modify labels: {forbidden}")


def _owners(node: Object) -> list[Object]:
    found: list[Object] = node["metadata"].get("ownerReferences") or []
    return found


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> set[str]:
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


def _is_forbidden(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if _within(domain, _RESTRICTED_DOMAIN):
        return True
    if not _within(domain, "kubernetes.io") and not _within(domain, "k8s.io"):
        return False
    return label not in _OWN_LABELS and not any(_within(domain, own) for own in _OWN_DOMAINS)


def _within(domain: str, outer: str) -> bool:
    return domain == outer or domain.endswith(f".{outer}")
