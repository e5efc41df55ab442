"""The parameters of a policy: objects of whatever kind it names, which its bindings choose.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#parameter-resources
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apimachinery.meta import Object, labels
from apimachinery.resources import Resource
from apimachinery.selectors import selector_from_object
from apiserver.admission.plugin import Cluster
from apiserver.admission.served import Served

_NO_NAMESPACE = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
_NAMESPACE = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
_NONE_FOUND = "no params found for policy binding with `Deny` parameterNotFoundAction"


class Misconfigured(Exception):
    """A policy or binding that can't be applied as it is; the message says why."""


def param_resource(kind: Mapping[str, str] | None, served: Served) -> Resource | None:
    """The resource of a policy's parameters; None if it has none. Raises Misconfigured."""
    if kind is None:
        return None
    api_version, called = kind.get("apiVersion") or "", kind.get("kind") or ""
    found = served.by_kind(api_version, called)
    if found is None:
        group, _, version = api_version.rpartition("/")
        told = f"'{group}/{version}, Kind={called}'"
        raise Misconfigured(f"failed to find resource referenced by paramKind: {told}")
    return found


async def collect(
    resource: Resource | None,
    reference: Mapping[str, Any] | None,
    namespace: str,
    cluster: Cluster,
    served: Served,
) -> list[Object | None]:
    """The parameters with which a binding applies its policy: once for each, [None] for none at all.

    `namespace` is that of the request. Raises Misconfigured.
    """
    if resource is None or reference is None:
        return [None]
    found = list(_chosen(resource, reference, _namespace(resource, reference, namespace), cluster))
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise Misconfigured(_NONE_FOUND)
    return [await served.converted(one, resource) for one in found]


def _namespace(resource: Resource, reference: Mapping[str, Any], namespace: str) -> str:
    said = reference.get("namespace") or ""
    if not resource.namespaced:
        if said:
            raise Misconfigured(_NAMESPACE)
        return ""
    if not said and not namespace:
        raise Misconfigured(_NO_NAMESPACE)
    return said or namespace


def _chosen(resource: Resource, reference: Mapping[str, Any], namespace: str, cluster: Cluster) -> Iterable[Object]:
    if reference.get("name"):
        found = cluster.get(resource, namespace, reference["name"])
        return [] if found is None else [found]
    selector = selector_from_object(reference.get("selector") or {})
    return [one for one in cluster.list(resource, namespace) if selector.matches(labels(one))]
