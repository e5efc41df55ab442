"""PodTolerationRestriction: annotations of a namespace say what its pods tolerate at least, and at most.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podtolerationrestriction
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery import meta
from apimachinery.errors import ApiError, internal, not_found
from apimachinery.resources import NAMESPACES, PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin
from apiserver.admission.runtime_class import includes, merge_tolerations
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer
from apiserver.registry.pod_qos import qos_class

DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_MEMORY_PRESSURE = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("PodTolerationRestriction", (CREATE, UPDATE), mutate=_add, validate=_check, resources=(PODS.key,))


async def _add(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    more = _listed(attributes, cluster, DEFAULTS) if attributes.operation == CREATE else []
    # Who has been promised memory gets it on nodes that are short of it too.
    if qos_class(pod["spec"]) != "BestEffort":
        more = [*more, _MEMORY_PRESSURE]
    if more:
        pod["spec"]["tolerations"] = merge_tolerations(pod["spec"].get("tolerations") or (), more)


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    allowed = _listed(attributes, cluster, ALLOWED)
    tolerations = meta.get_path(attributes.obj, "spec", "tolerations", default=())
    if allowed and not all(any(includes(wider, one) for wider in allowed) for one in tolerations):
        told = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace"
        raise ApiError(500, "", f"{told} whitelist")


def _listed(attributes: Attributes, cluster: Cluster, annotation: str) -> list[Any]:
    namespace = cluster.get(NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise not_found(NAMESPACES.plural, attributes.namespace)
    text = meta.annotations(namespace).get(annotation)
    try:
        found = orjson.loads(text) if text else []
    except ValueError as error:
        raise internal(f"the annotation {annotation} of the namespace is no JSON: {error}") from error
    return found if isinstance(found, list) else []
