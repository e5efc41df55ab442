"""TaintNodesByCondition: a new node takes no pods until it has said that it is ready.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#taintnodesbycondition
"""

from __future__ import annotations

from apimachinery.resources import NODES
from apiserver.admission.default_toleration_seconds import NOT_READY
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin


async def _add_taint(attributes: Attributes, cluster: Cluster) -> None:
    node = attributes.obj
    assert node is not None
    spec = node["spec"] = node.get("spec") or {}
    taints = spec.get("taints") or []
    if not any(taint.get("key") == NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


PLUGIN = Plugin("TaintNodesByCondition", (CREATE,), mutate=_add_taint, resources=(NODES.key,))
