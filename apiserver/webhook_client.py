"""Calls webhooks: HTTPS servers of the cluster's users, to which objects are posted and which answer with objects.

A webhook is named by a URL or by a Service, which is reached at the addresses of its endpoints (service_resolver).
Its certificate must be for `NAME.NAMESPACE.svc` then, from the authority that the configuration names. Connections
are kept for the next calls. What goes wrong is told in the words that users know from Kubernetes.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook
and k8s.io/apiserver/pkg/util/webhook, k8s.io/client-go/rest/request.go.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import ssl
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import orjson
from yarl import URL

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.service_resolver import addresses

if TYPE_CHECKING:
    from apiserver.admission.plugin import Cluster

CONNECT_SECONDS = 10.0
KEEP_SECONDS = 60.0
ANSWER_BYTES_MAX = 64 << 20
ERROR_BYTES_MAX = 512
SERVICE_PORT = 443
_OK = range(200, 300)
# OpenSSL's reasons not to trust a certificate (X509_V_ERR_…), as Go tells them.
_NOT_IN_TIME = (9, 10)
_OTHER_NAME = (62, 64)


class WebhookError(Exception):
    """A webhook that could not be asked, or whose answer is none; the message says why."""


class Target(NamedTuple):
    """Where a webhook is: the URL that is asked for, and the Service behind it: namespace, name, port."""

    url: str
    service: tuple[str, str, int] | None = None


class WebhookClient:
    """Asks webhooks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # How many are asked at a time is limited by how many requests are served at a time.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def close(self) -> None:
        """Close all connections."""
        if "_session" in self.__dict__:
            await self._session.close()

    async def ask(self, config: Mapping[str, Any], document: Object, *, seconds: float) -> Any:
        """The document with which the webhook of a WebhookClientConfig answers. Raises WebhookError."""
        target = locate(config)
        url = f"{target.url}{'&' if '?' in target.url else '?'}timeout={seconds:g}s"
        try:
            async with asyncio.timeout(seconds):
                return await self._post(target, URL(url), trust(config.get("caBundle") or ""), orjson.dumps(document))
        except TimeoutError as error:
            raise WebhookError(f'Post "{url}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError, ApiError) as error:
            raise WebhookError(f'Post "{url}": {reason(error)}') from error

    async def _post(self, target: Target, url: URL, context: ssl.SSLContext, body: bytes) -> Any:
        try:
            return await self._exchange(target, url, context, body)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError):
            # A kept connection may be closed at the moment when it is used again.
            return await self._exchange(target, url, context, body)

    async def _exchange(self, target: Target, url: URL, context: ssl.SSLContext, body: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        asked = url
        if target.service is not None:
            host, port = random.choice(addresses(self._cluster, *target.service))
            asked = url.with_host(host).with_port(port)
            headers["Host"] = f"{url.host}:{url.port}"
        async with self._session.post(
            asked, data=body, headers=headers, ssl=context, server_hostname=url.host, allow_redirects=False
        ) as response:
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    raise WebhookError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            if response.status not in _OK:
                raise WebhookError(refusal(response.status, answer))
            return orjson.loads(answer)


def refusal(status: int, body: bytes | bytearray) -> str:
    """What the status of an answer says that is none."""
    match status:
        case 401:
            return "the server has asked for the client to provide credentials"
        case 404:
            return "the server could not find the requested resource"
        case 405:
            return "the server does not allow this method on the requested resource"
        case 503:
            return "the server is currently unable to handle the request"
        case 504:
            may = "but may still be processing the request"
            return f"the server was unable to return a response in the time allotted, {may}"
        case _ if status >= 500:
            told = body[:ERROR_BYTES_MAX].decode(errors="replace").strip() or "unknown"
            return f"an error on the server ({orjson.dumps(told).decode()}) has prevented the request from succeeding"
        case _:
            return f"the server responded with the status code {status} but did not return more information"


def reason(error: Exception) -> str:
    """Why nothing was answered."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as found):
            return f"tls: failed to verify certificate: x509: {_distrust(found)}"
        case aiohttp.ClientConnectorDNSError():
            return f"dial tcp: lookup {error.host}: no such host"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            told = os.strerror(number).lower() if number else str(error)
            return f"dial tcp {error.host}:{error.port}: connect: {told}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case orjson.JSONDecodeError():
            return f"the answer is no JSON: {error}"
        case ApiError():
            return error.message
        case _:
            return str(error) or type(error).__name__


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NOT_IN_TIME:
        return f"certificate has expired or is not yet valid: {error.verify_message}"
    if error.verify_code in _OTHER_NAME:
        return f"certificate is not valid for this name: {error.verify_message}"
    return "certificate signed by unknown authority"


def make_trust(bundle: str) -> ssl.SSLContext:
    """TLS that trusts the certificates of a caBundle (base64), or without one the authorities of this machine.

    Raises ValueError.
    """
    pem = base64.b64decode(bundle).decode()
    context = ssl.create_default_context(cadata=pem) if pem.strip() else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Go does: a bundle may hold the server's own certificate, and authorities need not follow every rule.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


trust = lru_cache(maxsize=256)(make_trust)


def locate(config: Mapping[str, Any]) -> Target:
    """Where the webhook of a WebhookClientConfig is."""
    service = config.get("service")
    if service is None:
        return Target(config.get("url") or "")
    namespace, name, port = service["namespace"], service["name"], service.get("port") or SERVICE_PORT
    path = (service.get("path") or "").removeprefix("/")
    return Target(f"https://{name}.{namespace}.svc:{port}/{path}", (namespace, name, port))
