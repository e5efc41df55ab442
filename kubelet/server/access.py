"""Lets requests in: certificates of the cluster's authority and tokens, whose rights the API server knows.

Whose a token is, and what its owner may do, is asked of the API server as this node, and remembered for a while.
Masters may do everything without being asked about. Nobody gets in without a name.

Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError, forbidden, internal, unauthorized
from apimachinery.meta import Object
from apimachinery.resources import SUBJECTACCESSREVIEWS, TOKENREVIEWS
from kubelet.server import attributes, authentication
from kubelet.server.authentication import MASTERS, User

logger = logging.getLogger(__name__)

# The defaults of Kubernetes' kubelet.
TOKEN_SECONDS = 120.0
ALLOWED_SECONDS, REFUSED_SECONDS = 300.0, 30.0
REMEMBERED_MAX = 4096
REVIEWS_AT_ONCE_MAX = 16
REVIEW_SECONDS_MAX = 10.0

V = TypeVar("V")


class Memory(Generic[V]):
    """Remembers answers for a while, and of those that are asked for least not too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[Any, tuple[float, V]] = OrderedDict()

    def get(self, key: Any) -> V | None:
        """The answer, if it is still good."""
        found = self._known.get(key)
        if found is None or found[0] < self._clock.monotonic():
            return None
        self._known.move_to_end(key)
        return found[1]

    def put(self, key: Any, answer: V, seconds: float) -> None:
        """Remember an answer."""
        self._known[key] = (self._clock.monotonic() + seconds, answer)
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)


class Access:
    """Who may do what on this node's server. Without a `client` there are no tokens, and only masters get in."""

    def __init__(self, node_name: str, client: Client | None, clock: Clock) -> None:
        self._node_name = node_name
        self._client = client
        self._users: Memory[User] = Memory(clock)
        self._rights: Memory[bool] = Memory(clock)
        self._reviews = asyncio.Semaphore(REVIEWS_AT_ONCE_MAX)

    async def admit(self, certificate: Mapping[str, Any] | None, authorization: str, method: str, path: str) -> User:
        """Who asks. Raises ApiError 401 for nobody, 403 for whoever may not, 500 if that can't be found out."""
        user = authentication.of_certificate(certificate)
        if user is None and (token := authentication.bearer_token(authorization)):
            user = await self._owner(token)
        if user is None:
            raise unauthorized()
        if MASTERS in user.groups:
            return user
        verb, wanted = attributes.verb(method), attributes.subresources(path)
        for subresource in wanted:
            if await self._may(user, verb, subresource):
                return user
        refused = f"verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}]"
        raise forbidden(f"Forbidden (user={user.name}, {refused})")

    async def _owner(self, token: str) -> User | None:
        if self._client is None:
            return None
        key = hashlib.sha256(token.encode()).digest()
        user = self._users.get(key)
        if user is None:
            try:
                status = await self._ask(self._client, TOKENREVIEWS, {"token": token})
            except ApiError as error:
                logger.warning(kv("token not reviewed", error=error.message))
                return None
            user = authentication.of_review(status)
            if user is not None:
                self._users.put(key, user, TOKEN_SECONDS)
        return user

    async def _may(self, user: User, verb: str, subresource: str) -> bool:
        if self._client is None:
            return False
        key = (user, verb, subresource)
        allowed = self._rights.get(key)
        if allowed is None:
            what = {"group": "", "version": "v1", "resource": "nodes", "name": self._node_name}
            spec: Object = {
                "user": user.name,
                "groups": list(user.groups),
                "resourceAttributes": {**what, "verb": verb, "subresource": subresource},
            }
            if user.uid:
                spec["uid"] = user.uid
            if user.extra:
                spec["extra"] = {name: list(values) for name, values in user.extra}
            try:
                status = await self._ask(self._client, SUBJECTACCESSREVIEWS, spec)
            except ApiError as error:
                logger.warning(kv("access not reviewed", user=user.name, error=error.message))
                about = f"user={user.name}, verb={verb}, resource=nodes, subresource={subresource}"
                raise ApiError(500, "InternalError", f"Authorization error ({about})") from error
            allowed = bool(status.get("allowed"))
            self._rights.put(key, allowed, ALLOWED_SECONDS if allowed else REFUSED_SECONDS)
        return allowed

    async def _ask(self, client: Client, review: Any, spec: Object) -> Object:
        """The status of a review. Raises ApiError."""
        document = {"apiVersion": review.api_version, "kind": review.kind, "metadata": {}, "spec": spec}
        try:
            async with asyncio.timeout(REVIEW_SECONDS_MAX), self._reviews:
                answer = await client.create(review, document)
        except TimeoutError as error:
            raise internal(f"the API server did not answer within {REVIEW_SECONDS_MAX:g} seconds") from error
        status: Object = answer.get("status") or {}
        return status
