"""LimitPodHardAntiAffinityTopology: a pod keeps others off its node, but not off whole zones.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#limitpodhardantiaffinitytopology
"""

from __future__ import annotations

from apimachinery.meta import get_path
from apimachinery.resources import PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

_ALLOWED = "kubernetes.io/hostname"
_RULES = ("spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("LimitPodHardAntiAffinityTopology", (CREATE, UPDATE), validate=_check, resources=(PODS.key,))


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    for term in get_path(attributes.obj, *_RULES, default=()):
        key = term.get("topologyKey") or ""
        if key != _ALLOWED:
            told = f"has TopologyKey {key} but only key {_ALLOWED} is allowed"
            raise refused(attributes, f"affinity.PodAntiAffinity.RequiredDuringScheduling {told}")
