"""The one table of built-in resources.

Discovery, routing, OpenAPI, authorization, kctl and the tests all derive from it: a resource is added by adding
a line here (and, where it needs rules of its own, a strategy in the API server).
"""

from __future__ import annotations

from dataclasses import dataclass

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object that the API serves, and its names."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS

    @property
    def api_version(self) -> str:
        """`v1`, or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, or `deployments.apps`: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        """(group, plural): what it is stored and looked up under."""
        return self.group, self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of an object, or of a subresource."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            path = f"{path}/namespaces/{namespace}"
        path = f"{path}/{self.plural}"
        if name:
            path = f"{path}/{name}"
        return f"{path}/{subresource}" if subresource else path


def _core(kind: str, plural: str, *short: str, **more: object) -> Resource:
    return Resource("", "v1", kind, plural, kind.lower(), short, **more)  # type: ignore[arg-type]


def _apps(kind: str, plural: str, *short: str, **more: object) -> Resource:
    return Resource("apps", "v1", kind, plural, kind.lower(), short, **more)  # type: ignore[arg-type]


ALL = ("all",)
STATUS = ("status",)
SCALABLE = ("status", "scale")

PODS = _core(
    "Pod", "pods", "po", categories=ALL, subresources=("status", "binding", "eviction", "log", "exec", "attach")
)
SERVICES = _core("Service", "services", "svc", categories=ALL, subresources=STATUS)
ENDPOINTS = _core("Endpoints", "endpoints", "ep")
NODES = _core("Node", "nodes", "no", namespaced=False, subresources=("status", "proxy"))
NAMESPACES = _core("Namespace", "namespaces", "ns", namespaced=False, subresources=("status", "finalize"))
CONFIGMAPS = _core("ConfigMap", "configmaps", "cm")
SECRETS = _core("Secret", "secrets")
SERVICEACCOUNTS = _core("ServiceAccount", "serviceaccounts", "sa")
REPLICATIONCONTROLLERS = _core(
    "ReplicationController", "replicationcontrollers", "rc", categories=ALL, subresources=SCALABLE
)
PERSISTENTVOLUMES = _core("PersistentVolume", "persistentvolumes", "pv", namespaced=False, subresources=STATUS)
PERSISTENTVOLUMECLAIMS = _core("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=STATUS)
EVENTS = _core("Event", "events", "ev")
LIMITRANGES = _core("LimitRange", "limitranges", "limits")
RESOURCEQUOTAS = _core("ResourceQuota", "resourcequotas", "quota", subresources=STATUS)
PODTEMPLATES = _core("PodTemplate", "podtemplates")
DEPLOYMENTS = _apps("Deployment", "deployments", "deploy", categories=ALL, subresources=SCALABLE)
REPLICASETS = _apps("ReplicaSet", "replicasets", "rs", categories=ALL, subresources=SCALABLE)
STATEFULSETS = _apps("StatefulSet", "statefulsets", "sts", categories=ALL, subresources=SCALABLE)
DAEMONSETS = _apps("DaemonSet", "daemonsets", "ds", categories=ALL, subresources=STATUS)
CONTROLLERREVISIONS = _apps("ControllerRevision", "controllerrevisions")
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases", "lease")

BUILTIN: tuple[Resource, ...] = (
    PODS,
    SERVICES,
    ENDPOINTS,
    NODES,
    NAMESPACES,
    CONFIGMAPS,
    SECRETS,
    SERVICEACCOUNTS,
    REPLICATIONCONTROLLERS,
    PERSISTENTVOLUMES,
    PERSISTENTVOLUMECLAIMS,
    EVENTS,
    LIMITRANGES,
    RESOURCEQUOTAS,
    PODTEMPLATES,
    DEPLOYMENTS,
    REPLICASETS,
    STATEFULSETS,
    DAEMONSETS,
    CONTROLLERREVISIONS,
    LEASES,
)

_BY_PLURAL = {resource.key: resource for resource in BUILTIN}
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in BUILTIN}
_BY_WORD = {
    word: resource
    for resource in reversed(BUILTIN)
    for word in (
        resource.kind.lower(),
        resource.singular,
        resource.plural,
        *resource.short_names,
        f"{resource.plural}.{resource.group}",
        f"{resource.singular}.{resource.group}",
        f"{resource.plural}.{resource.version}.{resource.group}",
    )
}


def by_plural(group: str, plural: str) -> Resource | None:
    """The resource that is served under this group and name."""
    return _BY_PLURAL.get((group, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of an object's apiVersion and kind."""
    return _BY_KIND.get((api_version, kind))


def find(word: str) -> Resource | None:
    """What a user means by `po`, `pods`, `Deployment` or `deployments.apps`."""
    return _BY_WORD.get(word.lower())
