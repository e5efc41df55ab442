"""Who may use the node agent's server: the API server, by its client certificate. Pure.

Certificates are checked by TLS itself; here is decided what their subjects may do.
Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.errors import forbidden, unauthorized

ADMINISTRATORS = "system:masters"


def require_administrator(certificate: Mapping[str, Any] | None, method: str) -> str:
    """The name of the client; ApiError 401 without a certificate, 403 for one of any other group.

    `certificate` has the shape of `ssl.SSLSocket.getpeercert`.
    """
    if not certificate:
        raise unauthorized()
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in subject if key == "commonName"), "")
    groups = [value for key, value in subject if key == "organizationName"]
    if ADMINISTRATORS not in groups:
        verb = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}.get(
            method, "patch"
        )
        raise forbidden(f"Forbidden (user={name}, verb={verb}, resource=nodes, subresource=proxy)")
    return name
