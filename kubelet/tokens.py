"""Tokens for pods: asked of the API server, each for one pod, and asked again in good time before they end.

A token is bound to its pod, so that it ends with it; none is shared between pods. Of time only what has passed since
a token was given is looked at, so that a node whose clock is wrong renews its tokens all the same.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import Any, Protocol

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, namespace, namespaced_key, uid
from apimachinery.resources import SERVICEACCOUNTS

logger = logging.getLogger(__name__)

# A token is renewed when it has lived for so much of its time, or for a day; not all at the same moment.
RENEWED_AT, RENEWED_AFTER_SECONDS_MAX = 0.8, 86400.0
SPREAD_SECONDS_MAX, SPREAD_SHARE = 10.0, 0.05
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and in how many seconds it should be asked for again."""

    text: str
    renew_in_seconds: float


class Tokens(Protocol):
    """Where tokens come from."""

    async def get(self, pod: Object, audience: str, seconds: int) -> Token:
        """A token of the pod's account for an audience ("": the API server). Raises ApiError."""

    def forget(self, pod_uid: str) -> None:
        """A pod is gone, and its tokens with it."""


@dataclass(slots=True)
class _Held:
    text: str
    renew_at: float
    ends_at: float


class TokenManager:
    """The tokens of this node's pods; times are those of the monotonic clock."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._held: dict[str, dict[tuple[str, int], _Held]] = {}

    async def get(self, pod: Object, audience: str, seconds: int) -> Token:
        """A token that is held, or a new one once that is due. Raises ApiError when there is none that holds."""
        tokens = self._held.setdefault(uid(pod), {})
        key = (audience, seconds)
        held, now = tokens.get(key), self._clock.monotonic()
        if held is not None and now < held.renew_at:
            return Token(held.text, held.renew_at - now)
        try:
            held = tokens[key] = await self._request(pod, audience, seconds)
        except ApiError as error:
            if held is None or self._clock.monotonic() >= held.ends_at:
                raise
            logger.warning(kv("token not renewed, the old one still holds", pod=namespaced_key(pod), error=error))
            return Token(held.text, RETRY_SECONDS)
        return Token(held.text, held.renew_at - self._clock.monotonic())

    def forget(self, pod_uid: str) -> None:
        """A pod is gone, and its tokens with it."""
        self._held.pop(pod_uid, None)

    def forget_all(self) -> None:
        """It is not known any more when tokens end: the wall clock, which servers judge them by, was set."""
        self._held.clear()

    async def _request(self, pod: Object, audience: str, seconds: int) -> _Held:
        account = pod["spec"].get("serviceAccountName") or "default"
        name, asked_at = pod["metadata"]["name"], self._clock.monotonic()
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid(pod)}
        spec: dict[str, Any] = {"audiences": [audience] if audience else [], "expirationSeconds": seconds}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {**spec, "boundObjectRef": bound},
        }
        answer = await self._client.create(
            SERVICEACCOUNTS, request, namespace(pod), name=account, subresource="token"
        )
        # The server may give less time than it was asked for.
        lives = float(answer["spec"].get("expirationSeconds") or seconds)
        renewed_after = min(lives * RENEWED_AT, RENEWED_AFTER_SECONDS_MAX)
        spread = self._rng.uniform(0.0, min(SPREAD_SECONDS_MAX, lives * SPREAD_SHARE))
        return _Held(answer["status"]["token"], asked_at + renewed_after - spread, asked_at + lives)
