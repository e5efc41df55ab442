"""Tells others how to check our tokens without asking us: the issuer's configuration and its public keys.

    /.well-known/openid-configuration
    /openid/v1/jwks

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from apiserver.responses import JSON, ReadyResponse
from apiserver.serviceaccounts.signing import VerifyingKey

KEYS_PATH = "/openid/v1/jwks"


class OpenIDDiscovery:
    """The two documents of an issuer."""

    def __init__(self, issuer: str, keys: Sequence[VerifyingKey], *, server_url: str) -> None:
        self._issuer = issuer
        self._keys = keys
        self._server_url = server_url

    async def configuration(self) -> web.StreamResponse:
        """Who signs, how, and where its keys are."""
        return await _answer(self._configuration, JSON)

    async def keys(self) -> web.StreamResponse:
        """The keys by which tokens hold."""
        return await _answer(lambda: {"keys": [key.jwk() for key in self._keys]}, "application/jwk-set+json")

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{self._server_url}{KEYS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self._keys}),
        }


async def _answer(make: Callable[[], Mapping[str, Any]], content_type: str) -> web.StreamResponse:
    # In a thread: the first look into a key imports a library.
    body = orjson.dumps(await asyncio.to_thread(make))
    return ReadyResponse(body, content_type=content_type, headers=[("Cache-Control", "public, max-age=3600")])
