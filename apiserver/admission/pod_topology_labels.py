"""PodTopologyLabels: a pod bears the zone and region of its node, which it can look up in itself.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podtopologylabels
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import get_path
from apimachinery.resources import NODES, PODS
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


async def _copy_labels(attributes: Attributes, cluster: Cluster) -> None:
    """The labels of a Binding become those of the pod that is bound."""
    obj = attributes.obj
    assert obj is not None
    if not attributes.subresource:
        name = get_path(obj, "spec", "nodeName", default="")
    elif get_path(obj, "target", "kind") == "Node":
        name = get_path(obj, "target", "name", default="")
    else:
        return
    node = cluster.get(NODES, "", name) if name else None
    if node is None:
        return
    labels = meta.labels(node)
    found = {label: labels[label] for label in LABELS if label in labels}
    if found:
        metadata = obj["metadata"] = obj.get("metadata") or {}
        metadata["labels"] = {**(metadata.get("labels") or {}), **found}


PLUGIN = Plugin("PodTopologyLabels", (CREATE,), mutate=_copy_labels, resources=(PODS.key,), subresources=("binding",))
