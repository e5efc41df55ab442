"""ExtendedResourceToleration: pods that ask for devices go to nodes that are kept for those who do.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#extendedresourcetoleration
"""

from __future__ import annotations

from apimachinery.pod_resources import is_extended
from apimachinery.resources import PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("ExtendedResourceToleration", (CREATE, UPDATE), mutate=_tolerate, resources=(PODS.key,))


async def _tolerate(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    spec = pod.get("spec") or {}
    asked = {
        name
        for key in ("containers", "initContainers")
        for container in spec.get(key) or ()
        for name in (container.get("resources") or {}).get("requests") or ()
        if is_extended(name)
    }
    tolerations = list(spec.get("tolerations") or ())
    for name in sorted(asked):
        toleration = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
        if toleration not in tolerations:
            tolerations.append(toleration)
    if asked:
        spec["tolerations"] = tolerations
