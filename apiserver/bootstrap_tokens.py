"""Tokens by which machines join: each is a Secret `bootstrap-token-ID` in kube-system, and ends when that says so.

    ID.SECRET, such as abcdef.0123456789abcdef; its holder is `system:bootstrap:ID` in `system:bootstrappers`

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Protocol

from apimachinery.meta import Object
from apimachinery.resources import SECRETS, Resource
from apimachinery.time import parse_rfc3339
from apiserver.registry.base64_data import decoded
from apiserver.request_info import AUTHENTICATED, User

NAMESPACE, TYPE, GROUP = "kube-system", "bootstrap.kubernetes.io/token", "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class Cluster(Protocol):
    """Where Secrets are read."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""


class BootstrapTokens:
    """Authenticates machines that join."""

    def __init__(self, cluster: Cluster, *, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._now = now

    def find(self, token: str) -> User | None:
        """Who has this token; None if it is none of these, or does not hold."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        secret = self._cluster.get(SECRETS, NAMESPACE, f"bootstrap-token-{parts[1]}")
        if secret is None or secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
            return None
        data = {key: (decoded(value) or b"").decode(errors="replace") for key, value in _data(secret).items()}
        # In constant time: how much of a guess was right must not be measurable.
        if not hmac.compare_digest(data.get("token-secret", "").encode(), parts[2].encode()):
            return None
        if data.get("token-id") != parts[1] or data.get("usage-bootstrap-authentication") != "true":
            return None
        if self._has_expired(data.get("expiration", "")):
            return None
        groups = [group for group in data.get("auth-extra-groups", "").split(",") if group]
        if not all(map(_GROUP.fullmatch, groups)):
            return None
        return User(f"system:bootstrap:{parts[1]}", groups=(*dict.fromkeys((GROUP, *groups)), AUTHENTICATED))

    def _has_expired(self, expiration: str) -> bool:
        """A time that can't be read has passed."""
        if not expiration:
            return False
        try:
            return parse_rfc3339(expiration) <= self._now()
        except ValueError:
            return True


def _data(secret: Object) -> dict[str, str]:
    found: dict[str, str] = secret.get("data") or {}
    return found
