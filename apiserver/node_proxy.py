"""The subresources that a node's agent answers: logs, commands in containers, and the agent's own pages.

    pods/NAME/log             GET  /containerLogs/NAMESPACE/POD/CONTAINER
    pods/NAME/exec, attach    WebSockets, passed on message by message until one side ends
    nodes/NAME/proxy/…        whatever the agent serves

The server shows its client certificate of `kube-apiserver-kubelet-client`, and trusts an agent only with a
certificate of the cluster's authority for the address that its Node names.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from functools import cached_property
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from apimachinery.errors import ApiError, bad_request, internal, method_not_allowed, not_found, path_not_found
from apimachinery.meta import Object, get_path
from apimachinery.resources import NODES, PODS
from apiserver.admission import Cluster
from apiserver.pod_streams import Location, log_location, stream_location
from apiserver.request_info import RequestInfo

KUBELET_PORT = 10250
CONNECT_SECONDS = 10.0
# How long an agent may be silent: for ever while a log is followed or a command runs.
ANSWER_SECONDS = 60.0
HEARTBEAT_SECONDS = 30.0
CLOSE_SECONDS = 5.0
MESSAGE_BYTES_MAX = 16 << 20
ERROR_BYTES_MAX = 50_000
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")
# Headers that are about one connection and not about what is sent through it (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "authorization"]
)


class NodeProxy:
    """Passes requests on to the agents of nodes."""

    def __init__(self, cluster: Cluster, tls: ssl.SSLContext) -> None:
        """`tls` trusts the cluster's authority and shows this server's client certificate."""
        self._cluster = cluster
        self._tls = tls

    async def close(self) -> None:
        """Close the connections to agents, which ends what runs over them."""
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(ssl=self._tls)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def serve(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """Answer a request for one of these subresources. Raises ApiError."""
        match info.resource, info.subresource:
            case "pods", "log":
                if info.verb != "get":
                    raise method_not_allowed()
                return await self._log(http, self._pod(info))
            case "pods", ("exec" | "attach") as kind:
                if info.verb not in ("get", "create"):
                    raise method_not_allowed()
                return await self._stream(http, stream_location(self._pod(info), kind, http.query))
            case "nodes", "proxy":
                return await self._pass_on(http, info)
        raise path_not_found()

    def _pod(self, info: RequestInfo) -> Object:
        pod = self._cluster.get(PODS, info.namespace, info.name)
        if pod is None:
            raise not_found(PODS.plural, info.name)
        return pod

    def _url(self, node_name: str, path: str) -> URL:
        """Where a path of a node's agent is. Raises ApiError 404 and 500."""
        node = self._cluster.get(NODES, "", node_name)
        if node is None:
            raise not_found(NODES.plural, node_name)
        address = agent_address(node)
        if address is None:
            raise internal(f"no preferred addresses found; known addresses: [] (node {node_name})")
        port = get_path(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", default=KUBELET_PORT)
        return URL.build(scheme="https", host=address, port=port, path=path, encoded=True)

    async def _log(self, http: web.BaseRequest, pod: Object) -> web.StreamResponse:
        location = log_location(pod, http.query)
        if location is None:
            return web.Response(content_type="text/plain")  # nothing has been logged yet
        url = self._url(location.node, location.path).with_query(location.params)
        silence = None if ("follow", "true") in location.params else ANSWER_SECONDS
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence)
        try:
            async with self._session.get(url, timeout=timeout) as answer:
                await _refuse(answer)
                return await _copy(http, answer, {"Content-Type": "text/plain"})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error

    async def _stream(self, http: web.BaseRequest, location: Location) -> web.StreamResponse:
        url = self._url(location.node, location.path).with_query(location.params)
        if http.headers.get("Upgrade", "").lower() != "websocket":
            # Old clients speak SPDY; those that were refused ask in plain words for the reason.
            await self._complain(url)
            raise bad_request(
                "Upgrade request required: commands run over WebSockets (kubectl 1.30 and later), SPDY is not spoken"
            )
        offered = [word.strip() for word in http.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        protocols = [protocol for protocol in offered if protocol in PROTOCOLS]
        if not protocols:
            raise bad_request(f"unable to negotiate protocol: client supports {offered}, server accepts {PROTOCOLS}")
        try:
            node = await self._session.ws_connect(
                url, protocols=protocols, max_msg_size=MESSAGE_BYTES_MAX, heartbeat=HEARTBEAT_SECONDS
            )
        except aiohttp.WSServerHandshakeError as error:
            await self._complain(url)
            raise internal(f"the node's agent answered {error.status} to the upgrade") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error
        async with node:
            return await _bridge(http, node)

    async def _complain(self, url: URL) -> None:
        """Ask the agent without an upgrade, since only then can its reason be read. Raises ApiError with it."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.get(url, timeout=timeout) as answer:
                if answer.status != 400 or "upgrade" not in (await answer.text()).lower():
                    await _refuse(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(error) from error

    async def _pass_on(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        url = self._url(info.name, f"/{info.rest}").with_query(http.query_string)
        headers = {key: value for key, value in http.headers.items() if key.lower() not in _HOP_BY_HOP}
        try:
            async with self._session.request(
                http.method, url, headers=headers, data=http.content if http.body_exists else None
            ) as answer:
                kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP}
                return await _copy(http, answer, kept)
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


async def _copy(http: web.BaseRequest, answer: aiohttp.ClientResponse, headers: dict[str, str]) -> web.StreamResponse:
    """Send on what comes, as it comes. Raises ConnectionError if it ends before its end."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(http)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        # The status line is sent: all that can be told is that this is not all, by ending the connection.
        raise ConnectionAbortedError("the node's agent went away") from error
    await response.write_eof()
    return response


async def _bridge(http: web.BaseRequest, node: aiohttp.ClientWebSocketResponse) -> web.WebSocketResponse:
    """Accept the client with the protocol that the node chose, and pass messages on until either side ends."""
    client = web.WebSocketResponse(
        protocols=[node.protocol] if node.protocol else (),
        max_msg_size=MESSAGE_BYTES_MAX,
        heartbeat=HEARTBEAT_SECONDS,
        timeout=CLOSE_SECONDS,
        compress=False,
    )
    await client.prepare(http)
    ways = [asyncio.create_task(_pass(client, node)), asyncio.create_task(_pass(node, client))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await client.close()
    return client


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pass(source: _Socket, target: _Socket) -> None:
    """Pass messages on until the source ends, or the target does."""
    async for message in source:
        try:
            if message.type == WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type == WSMsgType.TEXT:
                await target.send_str(message.data)
        except ConnectionError:
            return
