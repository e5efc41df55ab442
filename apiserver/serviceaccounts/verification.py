"""Whether a service account's token holds: signed by us, of this time, for us, and what it is bound to still exists.

A signature is checked once: what a verified token says is remembered under a digest of the token. Everything that
can change is looked at with every request, which costs a look-up in memory for each object that it is bound to.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from apimachinery.time import parse_rfc3339
from apiserver.decision import quoted
from apiserver.rbac.rules import quoted_all
from apiserver.request_info import User
from apiserver.serviceaccounts import claims as said
from apiserver.serviceaccounts import signing
from apiserver.serviceaccounts.claims import LEGACY_ISSUER, Identity, Reference
from apiserver.serviceaccounts.signing import VerifyingKey
from apiserver.storage.entry import Entry

# Clocks differ, and what has just been deleted may still be ending.
LEEWAY_SECONDS = 60.0
TOKENS_MAX = 8192
_INVALIDATED = "service account token has been invalidated"

Find = Callable[[Resource, str, str], Entry | None]


class TokenError(Exception):
    """A token of ours that does not hold; the message says why."""


@dataclass(slots=True)
class _Verified:
    """A token whose signature was good, and the versions of the objects for which all else was.

    `ours` are those of its audiences that this server is.
    """

    identity: Identity
    user: User
    audiences: tuple[str, ...]
    ours: list[str]
    not_before: float
    expires: float
    good: dict[str, Entry] = field(default_factory=dict)


class TokenVerifier:
    """Authenticates service accounts."""

    def __init__(
        self,
        keys: Sequence[VerifyingKey],
        find: Find,
        *,
        issuers: Sequence[str],
        audiences: Sequence[str],
        now: Callable[[], float],
    ) -> None:
        """`find` gives an object out of memory; `audiences` are what this server is."""
        self._keys = keys
        self._find = find
        self._issuers = frozenset((*issuers, LEGACY_ISSUER))
        self._audiences = tuple(audiences)
        self._now = now
        self._verified: dict[bytes, _Verified] = {}

    def verify(self, token: str, digest: bytes, audiences: Sequence[str] = ()) -> tuple[User, list[str]] | None:
        """(whose token it is, for which of the audiences it is); None if it is no token of ours. Raises TokenError.

        `digest` is what the token is remembered under; without `audiences` it must be for this server.
        """
        found = self._verified.get(digest)
        if found is None:
            found = self._check_signature(token)
            if found is None:
                return None
            if len(self._verified) >= TOKENS_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = found
        self._check_time(found)
        meant = [audience for audience in found.audiences if audience in audiences] if audiences else found.ours
        if not meant:
            told = f"token audiences {quoted_all(found.audiences)} is invalid for the target audiences"
            raise TokenError(f"{told} {quoted_all(audiences or self._audiences)}")
        self._check_objects(found, token)
        return found.user, meant

    def _check_signature(self, token: str) -> _Verified | None:
        parts = signing.unverified(token)
        if parts is None or parts[1].get("iss") not in self._issuers:
            return None
        header, claims = parts
        if not signing.is_signed(token, header, self._keys):
            raise TokenError("invalid signature")
        try:
            identity = said.read(claims)
            not_before, expires = float(claims.get("nbf", 0)), float(claims.get("exp", "inf"))
        except (ValueError, TypeError, AttributeError) as error:
            raise TokenError(f"service account token claims could not be validated: {error}") from error
        # A token that names no audience is for whomever its issuer serves.
        audiences = said.audiences(claims) or self._audiences
        ours = [audience for audience in audiences if audience in self._audiences]
        return _Verified(identity, said.user(identity), audiences, ours, not_before, expires)

    def _check_time(self, found: _Verified) -> None:
        now = self._now()
        if now > found.expires + LEEWAY_SECONDS:
            raise TokenError("service account token has expired")
        if now < found.not_before - LEEWAY_SECONDS:
            raise TokenError("service account token is not valid yet")

    def _check_objects(self, found: _Verified, token: str) -> None:
        identity, namespace = found.identity, found.identity.namespace
        self._check(found, SERVICEACCOUNTS, namespace, identity.account)
        if identity.secret is not None:
            self._check(found, SECRETS, namespace, identity.secret, token if identity.legacy else "")
        if identity.pod is not None:
            self._check(found, PODS, namespace, identity.pod)
        elif identity.node is not None:
            self._check(found, NODES, "", identity.node)

    def _check(
        self, found: _Verified, resource: Resource, namespace: str, wanted: Reference, token: str = ""
    ) -> None:
        entry = self._find(resource, namespace, wanted.name)
        if entry is not None and found.good.get(resource.plural) is entry:
            return
        if entry is None or self._has_ended(entry.obj):
            raise TokenError(_gone(resource, namespace, wanted.name, is_there=entry is not None))
        uid = entry.obj["metadata"]["uid"]
        if wanted.uid and uid != wanted.uid:
            raise TokenError(f"{_WORDS[resource.plural]} UID ({uid}) does not match {_CLAIMS[resource.plural]}")
        if token and _data(entry.obj, "token") != token.encode():
            raise TokenError("service account token does not match server's copy")
        if not entry.obj["metadata"].get("deletionTimestamp"):
            found.good[resource.plural] = entry

    def _has_ended(self, obj: Object) -> bool:
        deleted = obj["metadata"].get("deletionTimestamp")
        return bool(deleted) and parse_rfc3339(deleted) < self._now() - LEEWAY_SECONDS


_WORDS = {"serviceaccounts": "service account", "secrets": "secret", "pods": "pod", "nodes": "node"}
_CLAIMS = {"serviceaccounts": "claim"} | {
    plural: f"service account {word} ref claim" for plural, word in _WORDS.items() if plural != "serviceaccounts"
}


def _gone(resource: Resource, namespace: str, name: str, *, is_there: bool) -> str:
    if resource is not SERVICEACCOUNTS:
        return _INVALIDATED
    if is_there:
        return f"service account {namespace}/{name} has been deleted"
    return f"serviceaccounts {quoted(name)} not found"


def _data(secret: Object, key: str) -> Any:
    return base64.b64decode((secret.get("data") or {}).get(key) or "")
