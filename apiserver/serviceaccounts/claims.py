"""What a service account's token says: for whom it is, for which audiences, until when, and what it is bound to.

    iss, sub, aud, exp, iat, nbf, jti
    kubernetes.io: {namespace, serviceaccount: {name, uid}, pod|secret|node: {name, uid}, warnafter}

A token that a Secret holds says it in an older form and never expires: it ends with its Secret.
Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from apimachinery.meta import Object, get_path
from apiserver.request_info import AUTHENTICATED, User

LEGACY_ISSUER = "kubernetes/serviceaccount"
SERVICE_ACCOUNTS = "system:serviceaccounts"
_LEGACY = "kubernetes.io/serviceaccount/"
_EXTRA = "authentication.kubernetes.io/"
_BOUND_TO = ("pod", "secret", "node")

Claims = Mapping[str, Any]


class Reference(NamedTuple):
    """One object, and no other of its name."""

    name: str
    uid: str


class Identity(NamedTuple):
    """Whom a token stands for. With a pod, `node` only tells where that runs; `legacy`: a Secret holds the token."""

    namespace: str
    account: Reference
    pod: Reference | None = None
    secret: Reference | None = None
    node: Reference | None = None
    token_id: str = ""
    legacy: bool = False


class Lifetime(NamedTuple):
    """When a token was made, how long it is to live, and after which time its use is a mistake (0: never)."""

    now: int
    seconds: int
    warn_after_seconds: int = 0


def user_name(namespace: str, name: str) -> str:
    """`system:serviceaccount:NAMESPACE:NAME`."""
    return f"system:serviceaccount:{namespace}:{name}"


def reference(obj: Object) -> Reference:
    """The reference to an object."""
    return Reference(obj["metadata"]["name"], obj["metadata"].get("uid") or "")


def bound(identity: Identity, lifetime: Lifetime, *, issuer: str, audiences: Sequence[str]) -> dict[str, Any]:
    """The claims of a token that expires."""
    private: dict[str, Any] = {"namespace": identity.namespace, "serviceaccount": _wire(identity.account)}
    for what in _BOUND_TO:
        found: Reference | None = getattr(identity, what)
        if found is not None:
            private[what] = _wire(found)
    if lifetime.warn_after_seconds:
        private["warnafter"] = lifetime.now + lifetime.warn_after_seconds
    return {
        "aud": list(audiences),
        "exp": lifetime.now + lifetime.seconds,
        "iat": lifetime.now,
        "iss": issuer,
        "jti": identity.token_id,
        "kubernetes.io": private,
        "nbf": lifetime.now,
        "sub": user_name(identity.namespace, identity.account.name),
    }


def legacy(account: Object, secret_name: str) -> dict[str, Any]:
    """The claims of a token that a Secret holds."""
    metadata = account["metadata"]
    return {
        "iss": LEGACY_ISSUER,
        f"{_LEGACY}namespace": metadata["namespace"],
        f"{_LEGACY}secret.name": secret_name,
        f"{_LEGACY}service-account.name": metadata["name"],
        f"{_LEGACY}service-account.uid": metadata["uid"],
        "sub": user_name(metadata["namespace"], metadata["name"]),
    }


def read(claims: Claims) -> Identity:
    """Whom the claims of a verified token stand for. Raises ValueError for what we would not have signed."""
    if claims.get("iss") == LEGACY_ISSUER:
        found = {key.removeprefix(_LEGACY): value for key, value in claims.items() if key.startswith(_LEGACY)}
        namespace, secret = found.get("namespace"), found.get("secret.name")
        account = Reference(found.get("service-account.name") or "", found.get("service-account.uid") or "")
        identity = Identity(namespace or "", account, secret=Reference(secret or "", ""), legacy=True)
    else:
        private = claims.get("kubernetes.io") or {}
        pod, secret, node = (_read(private[what]) if private.get(what) else None for what in _BOUND_TO)
        account, token_id = _read(private.get("serviceaccount")), claims.get("jti") or ""
        identity = Identity(private.get("namespace") or "", account, pod, secret, node, token_id)
    if not (identity.namespace and identity.account.name and identity.account.uid):
        raise ValueError("the token names no service account")
    return identity


def audiences(claims: Claims) -> tuple[str, ...]:
    """For whom a token is; none says for whoever its issuer serves."""
    found = claims.get("aud") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def user(identity: Identity) -> User:
    """The user that a token's holder is."""
    namespace, account = identity.namespace, identity.account
    extra = []
    if identity.token_id:
        extra.append(("credential-id", f"JTI={identity.token_id}"))
    for what in ("node", "pod"):
        found: Reference | None = getattr(identity, what)
        if found is not None:
            extra += [(f"{what}-name", found.name), (f"{what}-uid", found.uid)]
    return User(
        user_name(namespace, account.name),
        account.uid,
        (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}", AUTHENTICATED),
        tuple((f"{_EXTRA}{key}", (value,)) for key, value in extra if value),
    )


def _wire(found: Reference) -> dict[str, str]:
    return {"name": found.name, **({"uid": found.uid} if found.uid else {})}


def _read(found: Any) -> Reference:
    return Reference(get_path(found, "name", default=""), get_path(found, "uid", default=""))
