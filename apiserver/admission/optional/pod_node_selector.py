"""PodNodeSelector: the pods of a namespace run on those nodes that an annotation of it names.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podnodeselector
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.errors import internal, not_found
from apimachinery.resources import NAMESPACES, PODS
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("PodNodeSelector", (CREATE,), mutate=_add, validate=_check, resources=(PODS.key,))


async def _add(attributes: Attributes, cluster: Cluster) -> None:
    pod, wanted = attributes.obj, _selector(attributes, cluster)
    assert pod is not None
    if wanted:
        _refuse_conflict(attributes, wanted)
        pod["spec"]["nodeSelector"] = {**wanted, **(pod["spec"].get("nodeSelector") or {})}


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    _refuse_conflict(attributes, _selector(attributes, cluster))


def _refuse_conflict(attributes: Attributes, wanted: dict[str, str]) -> None:
    said = meta.get_path(attributes.obj, "spec", "nodeSelector", default={})
    if any(said.get(label, value) != value for label, value in wanted.items()):
        raise refused(attributes, "pod node label selector conflicts with its namespace node label selector")


def _selector(attributes: Attributes, cluster: Cluster) -> dict[str, str]:
    namespace = cluster.get(NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise not_found(NAMESPACES.plural, attributes.namespace)
    text = meta.annotations(namespace).get(ANNOTATION, "")
    pairs = [part.partition("=") for part in text.split(",") if text]
    if any(not equals for _, equals, _ in pairs):
        raise internal(f"invalid selector: [{text}]")
    return {label.strip(): value.strip() for label, _, value in pairs}
