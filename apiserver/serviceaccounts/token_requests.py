"""Makes tokens for service accounts on request: `serviceaccounts/token`.

A token may be bound to a pod, a Secret or a node, and ends with that. What node agents ask for on behalf of pods is
good for an hour and is renewed; clients that were written for tokens without an end are given a year (and told, in
the token, when they should have read it anew).

Sources: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/,
kubernetes/pkg/registry/core/serviceaccount/storage/token.go
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from apimachinery.errors import bad_request, conflict, invalid, not_found
from apimachinery.field import FieldError, invalid_value
from apimachinery.meta import Object, get_path
from apimachinery.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from apimachinery.time import rfc3339
from apiserver.rest.call import Call
from apiserver.serviceaccounts.claims import Identity, Lifetime, Reference, bound, reference
from apiserver.serviceaccounts.signing import SigningKey

TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest")
SECONDS_DEFAULT, SECONDS_MIN, SECONDS_MAX = 3600, 600, 1 << 32
# What the ServiceAccount admission plugin asks for: tokens that clients may read once and use for long, as of old.
EXTENDED_IF_SECONDS, EXTENDED_SECONDS = 3607, 365 * 86400
_BINDABLE = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}


class Cluster(Protocol):
    """Where objects are read."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""


class TokenRequests:
    """Answers requests for tokens."""

    def __init__(
        self,
        key: SigningKey,
        cluster: Cluster,
        *,
        issuer: str,
        audiences: Sequence[str],
        seconds_max: int = 0,
        extend: bool = True,
        now: Callable[[], float],
    ) -> None:
        """`audiences` are what this server is; `seconds_max` 0 is no limit of our own."""
        self._key = key
        self._key_is_loaded = False
        self._cluster = cluster
        self._issuer = issuer
        self._audiences = list(audiences)
        self._seconds_max = seconds_max
        self._extend = extend
        self._now = now

    async def answer(self, call: Call, sent: Object) -> Object:
        """The request with a token in its status. Raises ApiError."""
        account = self._cluster.get(SERVICEACCOUNTS, call.namespace, call.name)
        if account is None:
            raise not_found(SERVICEACCOUNTS.plural, call.name)
        spec = {key: value for key, value in sent["spec"].items() if value is not None}
        spec["audiences"] = spec["audiences"] or self._audiences
        spec.setdefault("expirationSeconds", SECONDS_DEFAULT)
        if problems := _problems(spec["expirationSeconds"]):
            raise invalid(TOKEN_REQUEST.group, TOKEN_REQUEST.kind, "", problems)
        identity = self._identity(account, spec.get("boundObjectRef"))
        asked = spec["expirationSeconds"]
        if 0 < self._seconds_max < asked:
            spec["expirationSeconds"] = self._seconds_max
            call.warnings.append(f"requested expiration of {asked} seconds shortened to {self._seconds_max} seconds")
        now = int(self._now())
        lifetime = self._lifetime(now, spec, identity)
        token = await self._sign(bound(identity, lifetime, issuer=self._issuer, audiences=spec["audiences"]))
        return {
            "kind": TOKEN_REQUEST.kind,
            "apiVersion": TOKEN_REQUEST.api_version,
            "metadata": {**sent["metadata"], "creationTimestamp": rfc3339(now)},
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": rfc3339(now + spec["expirationSeconds"])},
        }

    def _lifetime(self, now: int, spec: dict[str, Any], identity: Identity) -> Lifetime:
        seconds = spec["expirationSeconds"]
        is_ours = set(spec["audiences"]) <= set(self._audiences)
        if not (self._extend and identity.pod is not None and seconds == EXTENDED_IF_SECONDS and is_ours):
            return Lifetime(now, seconds)
        extended = min(EXTENDED_SECONDS, self._seconds_max) if self._seconds_max else EXTENDED_SECONDS
        return Lifetime(now, extended, warn_after_seconds=seconds)

    def _identity(self, account: Object, bound_to: Any) -> Identity:
        """Whom the token is to stand for. Raises ApiError for what it can't be bound to."""
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        found: dict[str, Reference] = {}
        if bound_to is not None:
            obj, kind = self._bound_object(namespace, bound_to)
            if kind == "Pod":
                if get_path(obj, "spec", "serviceAccountName") != name:
                    why = "to pod running with different serviceaccount name."
                    raise bad_request(f'cannot bind token for serviceaccount "{name}" {why}')
                if node_name := get_path(obj, "spec", "nodeName"):
                    node = self._cluster.get(NODES, "", node_name)
                    found["node"] = reference(node) if node is not None else Reference(node_name, "")
            found[kind.lower()] = reference(obj)
        return Identity(
            namespace,
            reference(account),
            pod=found.get("pod"),
            secret=found.get("secret"),
            node=found.get("node"),
            token_id=str(uuid.uuid4()),
        )

    def _bound_object(self, namespace: str, bound_to: dict[str, Any]) -> tuple[Object, str]:
        version, kind = bound_to.get("apiVersion") or "", bound_to.get("kind") or ""
        name, uid = bound_to.get("name") or "", bound_to.get("uid") or ""
        resource = _BINDABLE.get(kind)
        if resource is None or "/" in version:
            group, _, short = version.rpartition("/")
            raise bad_request(f"cannot bind token to object of type {group}/{short}, Kind={kind}")
        obj = self._cluster.get(resource, namespace if resource.namespaced else "", name)
        if obj is None:
            raise not_found(resource.plural, name)
        actual = obj["metadata"]["uid"]
        if uid and uid != actual:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict(kind, name, why)
        return obj, kind

    async def _sign(self, claims: dict[str, Any]) -> str:
        """A signature takes microseconds; only the first one, which imports the library, is left to a thread."""
        if self._key_is_loaded:
            return self._key.sign(claims)
        token = await asyncio.to_thread(self._key.sign, claims)
        self._key_is_loaded = True
        return token


def complete(sent: Object) -> None:
    """A request may say nothing at all: the token is then for this server, for an hour."""
    spec = sent["spec"] = sent.get("spec") or {}
    if isinstance(spec, dict):
        spec["audiences"] = spec.get("audiences") or []


def _problems(seconds: int) -> list[FieldError]:
    path = "spec.expirationSeconds"
    if seconds < SECONDS_MIN:
        return [invalid_value(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > SECONDS_MAX:
        return [invalid_value(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []
