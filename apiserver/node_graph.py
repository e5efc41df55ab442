"""Which objects the pods of each node refer to, kept up to date with every change of a pod.

    node ← pod ← Secret, ConfigMap, ServiceAccount, PersistentVolumeClaim, ResourceClaim

So whether a node has anything to do with an object is one look-up, however many pods there are.
Source: kubernetes/plugin/pkg/auth/authorizer/node/graph.go
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    PERSISTENTVOLUMECLAIMS,
    RESOURCECLAIMS,
    SECRETS,
    SERVICEACCOUNTS,
    Resource,
)

# (resource, name) in the pod's namespace.
Reference = tuple[str, str]
_VARIABLES = (("configMapRef", CONFIGMAPS.plural), ("secretRef", SECRETS.plural))
_KEYS = (("configMapKeyRef", CONFIGMAPS.plural), ("secretKeyRef", SECRETS.plural))


class NodeGraph:
    """What the pods of each node refer to, and how many of them do; a namespace is read when it is first asked of."""

    def __init__(self, pods_of: Callable[[str], Iterable[Object]]) -> None:
        """`pods_of` gives all pods of a namespace."""
        self._pods_of = pods_of
        self._namespaces: dict[str, Counter[tuple[str, str, str]]] = {}

    def follows(self, namespace: str) -> bool:
        """Whether changes of pods in a namespace matter: not before somebody asks about it."""
        return namespace in self._namespaces

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod has been made, changed or removed."""
        namespace = (new or old or {})["metadata"]["namespace"]
        counts = self._namespaces.get(namespace)
        if counts is None or (old is not None and new is not None and _same(old, new)):
            return
        if old is not None:
            _count(counts, old, -1)
        if new is not None:
            _count(counts, new, 1)
        if not counts:
            del self._namespaces[namespace]

    def refers(self, node: str, resource: Resource, namespace: str, name: str) -> bool:
        """Whether a pod of the node refers to an object."""
        counts = self._namespaces.get(namespace)
        if counts is None:
            counts = Counter()
            for pod in self._pods_of(namespace):
                _count(counts, pod, 1)
            if counts:
                self._namespaces[namespace] = counts
        return (node, resource.plural, name) in counts


def _count(counts: Counter[tuple[str, str, str]], pod: Object, by: int) -> None:
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        return
    for resource, name in references(pod):
        key = (node, resource, name)
        counts[key] += by
        if counts[key] <= 0:
            del counts[key]


def _same(old: Object, new: Object) -> bool:
    """Most changes are of a status, which refers to nothing but claims that were made for the pod."""
    return bool(old.get("spec") == new.get("spec")) and _claims(old) == _claims(new)


def _claims(pod: Object) -> Any:
    return (pod.get("status") or {}).get("resourceClaimStatuses") or []


def references(pod: Object) -> set[Reference]:
    """The (resource, name) of everything that a pod refers to and that its node so may read."""
    return {(resource, name) for resource, name in _references(pod) if name}


def _references(pod: Object) -> Iterator[Reference]:
    spec = pod.get("spec") or {}
    yield SERVICEACCOUNTS.plural, spec.get("serviceAccountName") or ""
    for secret in spec.get("imagePullSecrets") or ():
        yield SECRETS.plural, secret.get("name", "")
    for claim in (*(spec.get("resourceClaims") or ()), *_claims(pod)):
        yield RESOURCECLAIMS.plural, claim.get("resourceClaimName") or ""
    for volume in spec.get("volumes") or ():
        yield from _of_volume(pod, volume)
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _of_environment(container)


def _of_volume(pod: Object, volume: dict[str, Any]) -> Iterator[Reference]:
    if secret := volume.get("secret"):
        yield SECRETS.plural, secret.get("secretName", "")
    if config_map := volume.get("configMap"):
        yield CONFIGMAPS.plural, config_map.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield PERSISTENTVOLUMECLAIMS.plural, claim.get("claimName", "")
    if volume.get("ephemeral") is not None:
        yield PERSISTENTVOLUMECLAIMS.plural, f"{pod['metadata'].get('name')}-{volume.get('name')}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        if secret := source.get("secret"):
            yield SECRETS.plural, secret.get("name", "")
        if config_map := source.get("configMap"):
            yield CONFIGMAPS.plural, config_map.get("name", "")
    yield from storage_secrets(volume)


def storage_secrets(sources: dict[str, Any]) -> Iterator[Reference]:
    """The Secrets that volumes of storage systems name for their credentials, in either of these fields."""
    for inner in sources.values():
        if isinstance(inner, dict):
            for key in ("secretRef", "nodePublishSecretRef"):
                if reference := inner.get(key):
                    yield SECRETS.plural, reference.get("name", "")


def _of_environment(container: dict[str, Any]) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        for key, resource in _VARIABLES:
            if reference := source.get(key):
                yield resource, reference.get("name", "")
    for variable in container.get("env") or ():
        value_from = variable.get("valueFrom") or {}
        for key, resource in _KEYS:
            if reference := value_from.get(key):
                yield resource, reference.get("name", "")
