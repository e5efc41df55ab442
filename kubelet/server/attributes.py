"""Which right a request to the node agent's server takes: a subresource of the node. Pure.

    /pods, /runningpods      pods, or else proxy
    /healthz, /configz       healthz, configz, or else proxy
    /stats, /metrics, /logs  stats, metrics, log
    anything else            proxy, which lets its owner run commands in every pod

Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/#kubelet-authorization
"""

from __future__ import annotations

PROXY = "proxy"
_ALONE = {"/stats": "stats", "/metrics": "metrics", "/logs": "log"}
_OR_PROXY = {"/pods": "pods", "/runningpods": "pods", "/healthz": "healthz", "/configz": "configz"}
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def subresources(path: str) -> tuple[str, ...]:
    """Any of these is right enough."""
    first = "/" + path.split("/", 2)[1] if path.startswith("/") else path
    if first in _ALONE:
        return (_ALONE[first],)
    return (_OR_PROXY[first], PROXY) if first in _OR_PROXY else (PROXY,)


def verb(method: str) -> str:
    """The verb of a method; an unknown one is nobody's right."""
    return _VERBS.get(method, method.lower())
