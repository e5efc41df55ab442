"""Calls webhooks: HTTPS servers of the cluster's users, to which objects are posted and which answer with objects.

A webhook is named by a URL or by a Service. A Service is reached at the addresses of its endpoints, as the proxying
on nodes would reach it; if nothing says what these are, at its cluster IP. Its certificate must be for
`NAME.NAMESPACE.svc` either way, from the authority that the configuration names.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook
and k8s.io/apiserver/pkg/util/webhook.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

from apimachinery.meta import Object
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES

if TYPE_CHECKING:
    from apiserver.admission import Cluster

CONNECT_SECONDS = 10.0
ANSWER_BYTES_MAX = 64 << 20
ERROR_BYTES_MAX = 512
SERVICE_PORT = 443
SERVICE_LABEL = "kubernetes.io/service-name"
# What is answered with a status of 200 and more is an answer.
_OK = (200, 299)


class WebhookError(Exception):
    """A webhook that could not be asked, or whose answer is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is: the URL that is asked for, and the address behind it if that is not what the URL says."""

    url: str
    server_name: str = ""
    addresses: tuple[tuple[str, int], ...] = ()


class WebhookClient:
    """Asks webhooks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        return aiohttp.ClientSession(timeout=timeout, json_serialize=lambda document: orjson.dumps(document).decode())

    async def close(self) -> None:
        """Close all connections."""
        if "_session" in self.__dict__:
            await self._session.close()

    async def ask(self, config: Mapping[str, Any], document: Object, *, seconds: float) -> Any:
        """The document with which the webhook of a WebhookClientConfig answers. Raises WebhookError."""
        target = locate(config, self._cluster)
        body = orjson.dumps(document)
        try:
            async with asyncio.timeout(seconds):
                return await self._post(target, trust(config.get("caBundle") or ""), body)
        except TimeoutError as error:
            raise WebhookError(f'Post "{target.url}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise WebhookError(f'Post "{target.url}": {_reason(error)}') from error

    async def _post(self, target: Target, context: ssl.SSLContext, body: bytes) -> Any:
        url, headers = URL(target.url), {"Content-Type": "application/json", "Accept": "application/json"}
        if target.addresses:
            host, port = random.choice(target.addresses)
            headers["Host"] = f"{target.server_name}:{url.port}"
            url = url.with_host(host).with_port(port)
        async with self._session.post(
            url,
            data=body,
            headers=headers,
            ssl=context,
            server_hostname=target.server_name or None,
            allow_redirects=False,
        ) as response:
            answer = await response.content.read(ANSWER_BYTES_MAX + 1)
            while len(answer) <= ANSWER_BYTES_MAX and (more := await response.content.read(ANSWER_BYTES_MAX)):
                answer += more
            if len(answer) > ANSWER_BYTES_MAX:
                raise WebhookError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            if not _OK[0] <= response.status <= _OK[1]:
                told = answer[:ERROR_BYTES_MAX].decode(errors="replace").strip() or response.reason
                raise WebhookError(f"the server answered {response.status}: {told}")
            return orjson.loads(answer)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, orjson.JSONDecodeError):
        return f"the answer is no JSON: {error}"
    return str(error) or type(error).__name__


@lru_cache(maxsize=256)
def trust(bundle: str) -> ssl.SSLContext:
    """TLS that trusts the authorities of a caBundle (base64), or without one those of this machine.

    Raises ValueError.
    """
    pem = base64.b64decode(bundle).decode()
    context = ssl.create_default_context(cadata=pem) if pem.strip() else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def locate(config: Mapping[str, Any], cluster: Cluster) -> Target:
    """Where the webhook of a WebhookClientConfig is at this moment. Raises WebhookError."""
    service = config.get("service")
    if service is None:
        return Target(config.get("url") or "")
    namespace, name, port = service["namespace"], service["name"], service.get("port") or SERVICE_PORT
    server_name = f"{name}.{namespace}.svc"
    path = (service.get("path") or "").removeprefix("/")
    addresses = tuple(_addresses(cluster, namespace, name, port))
    return Target(f"https://{server_name}:{port}/{path}", server_name, addresses)


def _addresses(cluster: Cluster, namespace: str, name: str, port: int) -> Sequence[tuple[str, int]]:
    service = cluster.get(SERVICES, namespace, name)
    if service is None:
        raise WebhookError(f'service "{name}" not found')
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return [(spec["externalName"], port)]
    found = next((one for one in spec.get("ports") or () if one["port"] == port), None)
    if found is None:
        raise WebhookError(f'no service port {port} found for service "{name}"')
    port_name = found.get("name") or ""
    ready = [*_of_slices(cluster, namespace, name, port_name), *_of_endpoints(cluster, namespace, name, port_name)]
    if ready:
        return ready
    if spec.get("clusterIP") not in (None, "", "None"):
        return [(spec["clusterIP"], port)]
    raise WebhookError(f'no endpoints available for service "{name}"')


def _of_slices(cluster: Cluster, namespace: str, name: str, port_name: str) -> Iterator[tuple[str, int]]:
    for one in cluster.list(ENDPOINTSLICES, namespace):
        if (one["metadata"].get("labels") or {}).get(SERVICE_LABEL) != name:
            continue
        port = _port(one, port_name)
        for endpoint in one.get("endpoints") or () if port else ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield endpoint["addresses"][0], port


def _of_endpoints(cluster: Cluster, namespace: str, name: str, port_name: str) -> Iterator[tuple[str, int]]:
    endpoints = cluster.get(ENDPOINTS, namespace, name) or {}
    for subset in endpoints.get("subsets") or ():
        port = _port(subset, port_name)
        for address in subset.get("addresses") or () if port else ():
            yield address["ip"], port


def _port(ports: Mapping[str, Any], name: str) -> int:
    """The number of the port of a name; 0 if there is none."""
    found = (port["port"] for port in ports.get("ports") or () if (port.get("name") or "") == name)
    return next(found, 0) or 0
