"""NamespaceLifecycle: objects live in namespaces that exist, and nothing new comes into one that is going.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#namespacelifecycle
"""

from __future__ import annotations

from apimachinery.errors import not_found
from apimachinery.meta import get_path
from apimachinery.resources import LOCALSUBJECTACCESSREVIEWS, NAMESPACES
from apiserver.admission.plugin import ANY_SUBRESOURCE, CREATE, DELETE, Attributes, Cluster, Plugin, refused

IMMORTAL = ("default", "kube-system", "kube-public")


async def _admit(attributes: Attributes, cluster: Cluster) -> None:
    if attributes.resource.key == NAMESPACES.key:
        if attributes.operation == DELETE and attributes.name in IMMORTAL:
            raise refused(attributes, "this namespace may not be deleted")
        return
    name = attributes.namespace
    if not name or attributes.operation == DELETE or attributes.resource.key == LOCALSUBJECTACCESSREVIEWS.key:
        return  # what one may do in a namespace can be asked before there is one
    namespace = cluster.get(NAMESPACES, "", name)
    if namespace is None:
        raise not_found(NAMESPACES.plural, name)
    if get_path(namespace, "status", "phase") == "Terminating":
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
        why = f"unable to create new content in namespace {name} because it is being terminated"
        raise refused(attributes, why, [cause])


# What is updated is there, and so is its namespace. Tokens, bindings and evictions are new content too.
PLUGIN = Plugin("NamespaceLifecycle", (CREATE, DELETE), mutate=_admit, subresources=ANY_SUBRESOURCE)
