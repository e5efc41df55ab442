"""Who asks, as far as a client's certificate tells, or what the API server says of a token. Pure.

Certificates are checked by TLS itself. Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MASTERS, AUTHENTICATED = "system:masters", "system:authenticated"
_BEARER = "bearer "


class User(NamedTuple):
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


def of_certificate(certificate: Mapping[str, Any] | None) -> User | None:
    """The user that a certificate names, None without one; it has the shape of `ssl.SSLSocket.getpeercert`."""
    if not certificate:
        return None
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for key, value in subject if key == "commonName"), "")
    groups = [value for key, value in subject if key == "organizationName"]
    return User(name, "", (*groups, AUTHENTICATED))


def bearer_token(header: str) -> str:
    """The token of an Authorization header, "" if it has none."""
    return header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""


def of_review(status: Mapping[str, Any]) -> User | None:
    """The user whom a TokenReview has found, None if the token is nobody's."""
    if not status.get("authenticated"):
        return None
    user = status.get("user") or {}
    extra = tuple(sorted((key, tuple(values or ())) for key, values in (user.get("extra") or {}).items()))
    return User(user.get("username") or "", user.get("uid") or "", tuple(user.get("groups") or ()), extra)
