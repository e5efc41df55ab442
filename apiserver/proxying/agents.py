"""Requests to the agents of nodes.

The server shows its client certificate of `kube-apiserver-kubelet-client`, and trusts an agent only with a
certificate of the cluster's authority for the address that its Node names.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import aiohttp
from yarl import URL

from apimachinery.errors import ApiError, bad_request, internal, not_found
from apimachinery.meta import Object, get_path
from apimachinery.names import dns1123_subdomain
from apimachinery.resources import NODES
from apiserver.admission.plugin import Cluster
from apiserver.pod_streams import Location

KUBELET_PORT = 10250
CONNECT_SECONDS = 10.0
# How long an agent may be silent before it has answered.
ANSWER_SECONDS = 60.0
HEARTBEAT_SECONDS = 30.0
MESSAGE_BYTES_MAX = 16 << 20
ERROR_BYTES_MAX = 50_000
_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


class Agents:
    """The agents of all nodes."""

    def __init__(self, cluster: Cluster, tls: ssl.SSLContext) -> None:
        """`tls` trusts the cluster's authority and shows this server's client certificate."""
        self._cluster = cluster
        self.tls = tls

    async def close(self) -> None:
        """Close all connections, which ends what runs over them."""
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        # As many as there are logs followed and commands running: each has a connection of its own.
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    def address(self, node_name: str) -> tuple[str, int]:
        """Where a node's agent is reached. Raises ApiError 404 and 500."""
        node = self._cluster.get(NODES, "", node_name)
        if node is None:
            raise not_found(NODES.plural, node_name)
        address = agent_address(node)
        if address is None:
            raise internal(f"no preferred addresses found; known addresses: [] (node {node_name})")
        port = get_path(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", default=KUBELET_PORT)
        if not is_host(address) or not 0 < port < 1 << 16:
            # A node says so of itself. Anything else could lead to another path of another agent.
            raise internal(f"no agent listens at {address!r}, port {port} (node {node_name})")
        return address, port

    def url(self, location: Location) -> URL:
        """Where an agent is asked. Raises ApiError 404 and 500."""
        host, port = self.address(location.node)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return URL.build(scheme="https", authority=authority, path=location.path, encoded=True).with_query(
            location.params
        )

    @asynccontextmanager
    async def get(self, location: Location, *, endless: bool = False) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a GET that succeeded; `endless`: it may be silent as long as it likes. Raises ApiError."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=None if endless else ANSWER_SECONDS)
        try:
            async with self._session.get(self.url(location), timeout=timeout) as answer:
                await _refuse(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error

    async def websocket(self, location: Location, protocols: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket. Raises ApiError with what the agent says instead."""
        try:
            return await self._session.ws_connect(
                self.url(location), protocols=protocols, max_msg_size=MESSAGE_BYTES_MAX, heartbeat=HEARTBEAT_SECONDS
            )
        except aiohttp.WSServerHandshakeError as error:
            await self.complain(location)
            raise internal(f"the node's agent answered {error.status} to the upgrade") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error

    async def complain(self, location: Location) -> None:
        """Ask the agent without an upgrade, since only then can its reason be read. Raises ApiError with it."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.get(self.url(location), timeout=timeout) as answer:
                if answer.status != 400 or "upgrade" not in (await answer.text()).lower():
                    await _refuse(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error


def agent_address(node: Object) -> str | None:
    """Where a node's agent is reached: the first address of the best type."""
    addresses: list[dict[str, Any]] = get_path(node, "status", "addresses", default=[])
    for kind in _ADDRESS_TYPES:
        for address in addresses:
            if address.get("type") == kind and address.get("address"):
                return str(address["address"])
    return None


def is_host(address: str) -> bool:
    """Whether it is an IP address or a DNS name, and nothing besides."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return not dns1123_subdomain(address.lower())
    return getattr(found, "scope_id", None) is None


def unreachable(error: BaseException) -> ApiError:
    """500: the node can't be reached now."""
    told = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        told = f"dial tcp {error.host}:{error.port}: connect: {os.strerror(error.os_error.errno or 0).lower()}"
    return internal(f"error dialing backend: {told}")


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    """Turn an agent's error into one of ours, in the agent's words. Raises ApiError."""
    if answer.status < 300:
        return
    text = (await answer.content.read(ERROR_BYTES_MAX)).decode(errors="replace").strip()
    if answer.status == 400:
        raise bad_request(text)
    if answer.status == 404:
        raise ApiError(404, "NotFound", text or "the server could not find the requested resource")
    raise internal(text if answer.status == 500 else f"the node's agent answered {answer.status}: {text}")
