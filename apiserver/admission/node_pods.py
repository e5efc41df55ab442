"""Which pods a node may make: mirrors of static pods that it runs, which get nothing out of the API.

A node that has been taken over could else have pods made that read what it may not, or that run elsewhere.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction,
kubernetes/plugin/pkg/admission/noderestriction, kubernetes/pkg/api/pod/util.go
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apimachinery import meta
from apimachinery.meta import Object, get_path
from apimachinery.resources import NODES
from apiserver.admission.plugin import Attributes, Cluster, refused
from apiserver.registry.pod_spec import MIRROR


def restrict_creation(attributes: Attributes, cluster: Cluster, node: str) -> None:
    """Look at a pod that a node wants to make. Raises ApiError."""
    pod = attributes.obj
    assert pod is not None
    if MIRROR not in meta.annotations(pod):
        why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        raise refused(attributes, why)
    if get_path(pod, "spec", "nodeName") != node:
        raise refused(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    _check_owner(attributes, cluster, pod, node)
    spec = pod["spec"]
    if spec.get("serviceAccountName"):
        raise refused(attributes, f'node "{node}" can not create pods that reference a service account')
    named = next(_references(spec), "")
    if named:
        raise refused(attributes, f'node "{node}" can not create pods that reference {named}')


def _check_owner(attributes: Attributes, cluster: Cluster, pod: Object, node: str) -> None:
    owners: list[dict[str, Any]] = pod["metadata"].get("ownerReferences") or []
    if len(owners) > 1:
        raise refused(attributes, f'node "{node}" can only create pods with a single owner reference set to itself')
    mine = owners and [owners[0].get(key) for key in ("apiVersion", "kind", "name")] == ["v1", "Node", node]
    if not mine:
        raise refused(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
    owner = owners[0]
    if not owner.get("controller"):
        why = f'node "{node}" can only create pods with a controller owner reference set to itself'
        raise refused(attributes, why)
    if owner.get("blockOwnerDeletion"):
        raise refused(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    known = cluster.get(NODES, "", node)
    if known is None:
        raise refused(attributes, f'node "{node}" not found')
    if meta.uid(known) != owner.get("uid"):
        why = f"node {node} UID mismatch: expected {owner.get('uid')} got {meta.uid(known)}"
        raise refused(attributes, why)


def _references(spec: dict[str, Any]) -> Iterator[str]:
    """The kinds of objects of the API that a pod refers to."""
    if spec.get("imagePullSecrets"):
        yield "secrets"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield from _named(source, secret="secretRef", config_map="configMapRef")
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                yield from _named(source, secret="secretKeyRef", config_map="configMapKeyRef")
    for volume in spec.get("volumes") or ():
        yield from _named(volume, secret="secret", config_map="configMap")
        if volume.get("persistentVolumeClaim") or volume.get("ephemeral"):
            yield "persistentvolumeclaims"
        for source in get_path(volume, "projected", "sources", default=[]):
            yield from _named(source, secret="secret", config_map="configMap")
            if source.get("clusterTrustBundle"):
                yield "clustertrustbundles"
    if spec.get("resourceClaims"):
        yield "resourceclaims"


def _named(source: dict[str, Any], *, secret: str, config_map: str) -> Iterator[str]:
    if source.get(secret):
        yield "secrets"
    if source.get(config_map):
        yield "configmaps"
