"""`pods/NAME/portforward`: connections to ports of a pod, each a WebSocket of its own towards the node's agent.

kubectl speaks SPDY for this, over the connection itself or (since 1.30) inside a WebSocket with the protocol
`SPDY/3.1+portforward.k8s.io`. For every connection it opens two streams with the same `requestid` and `port`: one of
the `streamtype` data, and one of the type error on which it is told what has gone wrong. Other clients name all ports
in the query of a WebSocket, which is passed on to the agent as it is.

Source: k8s.io/cri-streaming/pkg/streaming/portforward and k8s.io/apiserver/pkg/util/proxy/streamtunnel.go.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiohttp
from aiohttp import WSMsgType, web

from apimachinery.errors import ApiError, bad_request
from apimachinery.meta import Object
from apiserver.pod_streams import port_location, ports_location
from apiserver.proxying import channels, spdy_upgrade, websockets
from apiserver.proxying.agents import Agents
from apiserver.spdy import Session, Stream, StreamLost

VERSIONS = ("portforward.k8s.io",)
TUNNELS = tuple(f"{spdy_upgrade.SPDY}+{version}" for version in VERSIONS)
# How long the second stream of a connection may take after the first.
PAIR_SECONDS = 30.0
STREAMS = ("data", "error")
_PORT_BYTES = 2


async def serve(http: web.BaseRequest, agents: Agents, pod: Object) -> web.StreamResponse:
    """Forward ports for a client. Raises ApiError as long as the client has not been answered."""
    spdy = spdy_upgrade.wants_spdy(http)
    if not spdy and not websockets.wants_websocket(http):
        raise bad_request("Upgrade request required")
    # What is wrong with the pod or its node can only be told in words before the upgrade.
    await agents.complain(port_location(pod, 1))
    if spdy:
        version = spdy_upgrade.negotiate(http, VERSIONS)
        return await spdy_upgrade.serve(http, version, _Forwarding(agents, pod).run)
    offered = websockets.offered(http)
    if tunnel := next((protocol for protocol in offered if protocol in TUNNELS), None):
        return await _tunnelled(http, tunnel, _Forwarding(agents, pod))
    protocol = channels.of_ports(offered)
    if protocol is None:
        raise bad_request(f"unable to upgrade: none of the protocols {offered} is spoken")
    async with await agents.websocket(ports_location(pod, http.query), channels.with_agent(protocol)) as node:
        return await websockets.join(http, protocol, node)


async def _tunnelled(http: web.BaseRequest, protocol: str, forwarding: _Forwarding) -> web.StreamResponse:
    client = await websockets.accept(http, protocol)
    try:
        await spdy_upgrade.converse_over(_Tunnel(client), forwarding.run, http.path)
    finally:
        await client.close()
    return client


class _Tunnel:
    """SPDY's bytes in the binary messages of a WebSocket."""

    def __init__(self, client: web.WebSocketResponse) -> None:
        self._client = client

    async def read(self) -> bytes:
        """What comes next; b"" at the end."""
        async for message in self._client:
            if message.type is WSMsgType.BINARY and message.data:
                data: bytes = message.data
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """Send. Raises ConnectionError."""
        await self._client.send_bytes(data)


@dataclass(slots=True)
class _Pair:
    """The streams of one connection, as far as they are open."""

    streams: dict[str, Stream] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class _Forwarding:
    """The connections of one client to one pod."""

    def __init__(self, agents: Agents, pod: Object) -> None:
        self._agents = agents
        self._pod = pod
        self._pairs: dict[str, _Pair] = {}

    async def run(self, session: Session) -> None:
        """Forward until the client goes."""
        async with asyncio.TaskGroup() as connections:
            while (stream := await session.accept()) is not None:
                kind, key = stream.headers.get("streamtype", ""), _key(stream)
                pair = self._pairs.get(key) or _Pair()
                if kind not in STREAMS or kind in pair.streams or not _is_port(stream.headers.get("port", "")):
                    await stream.reset()
                    continue
                pair.streams[kind] = stream
                if len(pair.streams) == len(STREAMS):
                    pair.complete.set()
                    del self._pairs[key]
                else:
                    self._pairs[key] = pair
                    connections.create_task(self._serve(key, pair))

    async def _serve(self, key: str, pair: _Pair) -> None:
        """Serve one connection to its end."""
        try:
            async with asyncio.timeout(PAIR_SECONDS):
                await pair.complete.wait()
            await self._connect(pair.streams["data"], pair.streams["error"])
            for stream in pair.streams.values():
                stream.discard()
                await stream.finish()
        except TimeoutError:
            self._pairs.pop(key, None)
            await _reset(pair)
        except ConnectionError:
            await _reset(pair)

    async def _connect(self, data: Stream, error: Stream) -> None:
        port = data.headers["port"]
        try:
            node = await self._agents.websocket(port_location(self._pod, int(port)), channels.AGENT_PROTOCOLS)
        except ApiError as refused:
            await error.write(f"error forwarding port {port}: {refused.message}".encode())
        else:
            async with node:
                await self._pass(node, data, error)

    async def _pass(self, node: aiohttp.ClientWebSocketResponse, data: Stream, error: Stream) -> None:
        """Pass on in both directions until the pod ends the connection, or the client breaks it off."""
        up, gone = asyncio.create_task(_up(data, node)), asyncio.create_task(data.lost())
        down = asyncio.create_task(_down(node, data, error))
        tasks = (up, gone, down)
        try:
            await asyncio.wait({gone, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


def _key(stream: Stream) -> str:
    """What both streams of a connection have in common."""
    number = stream.headers.get("requestid")
    if number is not None:
        return number
    # Very old clients number nothing, and open the stream for data right after the one for errors.
    return f"stream {stream.number - 2 if stream.headers.get('streamtype') == 'data' else stream.number}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16


async def _reset(pair: _Pair) -> None:
    try:
        for stream in pair.streams.values():
            await stream.reset()
    except StreamLost:
        pass  # the client is gone, and all streams with it


async def _up(data: Stream, node: aiohttp.ClientWebSocketResponse) -> None:
    while piece := await data.read():
        await node.send_bytes(b"\0" + piece)
    if node.protocol == channels.V5:
        await node.send_bytes(bytes((channels.CLOSE, 0)))


async def _down(node: aiohttp.ClientWebSocketResponse, data: Stream, error: Stream) -> None:
    begun = set[int]()
    async for message in node:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, piece = message.data[0], message.data[1:]
        if channel not in begun:  # which begins with the number of the port
            begun.add(channel)
            piece = piece[_PORT_BYTES:]
        if piece and channel in (0, 1):
            await (error if channel else data).write(piece)
