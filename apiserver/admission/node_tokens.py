"""For which service accounts a node may ask for tokens: those of its own pods, for who it is that these ask for them.

A token is meant for an audience. It must be one that a volume of the pod is for, be it that the volume shows the
token itself, or that its CSI driver wants one; any other the node must have been granted.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction,
kubernetes/plugin/pkg/admission/noderestriction
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apimachinery import meta
from apimachinery.errors import not_found
from apimachinery.meta import Object, get_path
from apimachinery.resources import CSIDRIVERS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from apiserver.admission.plugin import Attributes, Cluster, refused
from apiserver.authorization import Authorizer
from apiserver.request_info import RequestInfo

_VERB = "request-serviceaccounts-token-audience"


def restrict(attributes: Attributes, cluster: Cluster, authorizer: Authorizer, node: str) -> None:
    """Look at a node's TokenRequest. Raises ApiError."""
    request = attributes.obj
    bound: Object = get_path(request, "spec", "boundObjectRef", default={})
    name, uid = bound.get("name"), bound.get("uid")
    if (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod") or not name:
        raise refused(attributes, "node requested token not bound to a pod")
    if not uid:
        raise refused(attributes, "node requested token with a pod binding without a uid")
    pod = cluster.get(PODS, attributes.namespace, name)
    if pod is None:
        raise not_found(PODS.plural, name)
    if meta.uid(pod) != uid:
        why = (
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise refused(attributes, why)
    if get_path(pod, "spec", "nodeName") != node:
        raise refused(attributes, "node requested token bound to a pod scheduled on a different node")
    audiences = get_path(request, "spec", "audiences", default=[])
    if len(audiences) > 1:
        raise refused(attributes, "node may only request 0 or 1 audiences")
    wanted = audiences[0] if audiences else ""
    if wanted not in _audiences(pod, cluster) and not _is_granted(attributes, authorizer, wanted):
        user = attributes.user.name
        why = f"{user} is not authorized to request tokens for this audience"
        raise refused(attributes, f'audience "{wanted}" not found in pod spec volume, {why}')


def _is_granted(attributes: Attributes, authorizer: Authorizer, audience: str) -> bool:
    asked = RequestInfo(_VERB, "", "", "v1", audience, "", attributes.namespace, attributes.name)
    return authorizer.decide(attributes.user, asked).allowed


def _audiences(pod: Object, cluster: Cluster) -> Iterator[str]:
    """The audiences that a pod's volumes are for; "" is the API server."""
    for volume in get_path(pod, "spec", "volumes", default=[]):
        for source in get_path(volume, "projected", "sources", default=[]):
            if (token := source.get("serviceAccountToken")) is not None:
                yield token.get("audience") or ""
        driver = cluster.get(CSIDRIVERS, "", name) if (name := _driver(pod, volume, cluster)) else None
        for request in get_path(driver, "spec", "tokenRequests", default=[]):
            yield request.get("audience") or ""


def _driver(pod: Object, volume: dict[str, Any], cluster: Cluster) -> str:
    """The CSI driver of a volume, be it claimed or the pod's own; empty if it is none of one."""
    if volume.get("csi") is not None:
        return str(volume["csi"].get("driver") or "")
    claimed = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    if volume.get("ephemeral") is not None:
        claimed = f"{meta.name(pod)}-{volume.get('name')}"
    claim = cluster.get(PERSISTENTVOLUMECLAIMS, meta.namespace(pod), claimed) if claimed else None
    bound = get_path(claim, "spec", "volumeName")
    found = cluster.get(PERSISTENTVOLUMES, "", bound) if bound else None
    driver: str = get_path(found, "spec", "csi", "driver", default="")
    return driver
