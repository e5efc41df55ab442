"""Whose a token is, and what somebody may do: asked of the API server, and remembered for a while.

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
from apiclient.serving import users
from apiclient.serving.users import User
from apimachinery.errors import ApiError, internal, unauthorized
from apimachinery.meta import Object
from apimachinery.resources import SUBJECTACCESSREVIEWS, TOKENREVIEWS

logger = logging.getLogger(__name__)

# The defaults of Kubernetes' kubelet.
TOKEN_SECONDS = 120.0
ALLOWED_SECONDS, REFUSED_SECONDS = 300.0, 30.0
REMEMBERED_MAX = 4096
REVIEWS_AT_ONCE_MAX = 16
REVIEW_SECONDS_MAX = 10.0
# What of a right is named when it can't be found out.
_NAMED = ("verb", "resource", "subresource", "path")

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


class Reviews:
    """The answers. Without a `client` there are no tokens, and nobody may do anything."""

    def __init__(self, client: Client | None, clock: Clock) -> None:
        self._client = client
        self._users: Memory[User] = Memory(clock)
        self._rights: Memory[bool] = Memory(clock)
        self._reviews = asyncio.Semaphore(REVIEWS_AT_ONCE_MAX)

    async def user(self, certificate: Mapping[str, Any] | None, authorization: str) -> User:
        """Who asks. Raises ApiError 401 for nobody."""
        user = users.of_certificate(certificate)
        if user is None and (token := users.bearer_token(authorization)):
            user = await self._owner(token)
        if user is None:
            raise unauthorized()
        return user

    async def may(self, user: User, what: Mapping[str, str]) -> bool:
        """Whether somebody has a right: the attributes of a SubjectAccessReview, those of no resource with `path`.

        Raises ApiError 500 if that can't be found out.
        """
        if self._client is None:
            return False
        key = (user, tuple(what.items()))
        allowed = self._rights.get(key)
        if allowed is None:
            attributes = "nonResourceAttributes" if "path" in what else "resourceAttributes"
            spec: Object = {"user": user.name, "groups": list(user.groups), attributes: dict(what)}
            if user.uid:
                spec["uid"] = user.uid
            if user.extra:
                spec["extra"] = {name: list(values) for name, values in user.extra}
            try:
                status = await self._ask(self._client, SUBJECTACCESSREVIEWS, spec)
            except ApiError as error:
                logger.warning(kv("access not reviewed", user=user.name, error=error.message))
                named = (
                    f"{name}={what[name]}" for name in ("verb", "resource", "subresource", "path") if name in what
                )
                about = ", ".join((f"user={user.name}", *named))
                raise ApiError(500, "InternalError", f"Authorization error ({about})") from error
            allowed = bool(status.get("allowed"))
            self._rights.put(key, allowed, ALLOWED_SECONDS if allowed else REFUSED_SECONDS)
        return allowed

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
            user = users.of_review(status)
            if user is not None:
                self._users.put(key, user, TOKEN_SECONDS)
        return user

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
