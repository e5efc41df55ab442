"""Joins a client's WebSocket with one of a node's agent: messages pass both ways until either side ends."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import WSMsgType, web

from apiserver.proxying import channels
from apiserver.proxying.agents import HEARTBEAT_SECONDS, MESSAGE_BYTES_MAX
from apiserver.proxying.channels import Protocol

CLOSE_SECONDS = 5.0


def wants_websocket(http: web.BaseRequest) -> bool:
    """Whether a client asks for a WebSocket."""
    return http.headers.get("Upgrade", "").lower() == "websocket"


def offered(http: web.BaseRequest) -> list[str]:
    """The protocols that a client offers."""
    return [word for header in http.headers.getall("Sec-WebSocket-Protocol", ()) for word in channels.words(header)]


async def accept(http: web.BaseRequest, protocol: str) -> web.WebSocketResponse:
    """Open a client's WebSocket; `protocol` is "" if it named none."""
    client = web.WebSocketResponse(
        protocols=[protocol] if protocol else (),
        max_msg_size=MESSAGE_BYTES_MAX,
        heartbeat=HEARTBEAT_SECONDS,
        timeout=CLOSE_SECONDS,
        compress=False,
    )
    await client.prepare(http)
    return client


async def join(
    http: web.BaseRequest, protocol: Protocol, node: aiohttp.ClientWebSocketResponse
) -> web.WebSocketResponse:
    """Accept the client, and pass messages on until either side ends."""
    client = await accept(http, protocol.name)
    ways = [asyncio.create_task(_up(client, protocol, node)), asyncio.create_task(_down(node, protocol, client))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await client.close()
    return client


async def _up(client: web.WebSocketResponse, protocol: Protocol, node: aiohttp.ClientWebSocketResponse) -> None:
    """Pass on what the client sends until it ends, or the node does."""
    async for message in client:
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
            continue
        found = protocol.decode(message.data)
        if found is None or (found[0] == channels.CLOSE and node.protocol != channels.V5):
            continue
        try:
            await node.send_bytes(bytes((found[0],)) + found[1])
        except ConnectionError:
            return


async def _down(node: aiohttp.ClientWebSocketResponse, protocol: Protocol, client: web.WebSocketResponse) -> None:
    """Pass on what the node sends until it ends, or the client does."""
    async for message in node:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == channels.CLOSE and protocol.name != channels.V5:
            continue
        if channel == channels.ERROR and not protocol.statuses:
            data = channels.outcome_in_words(data)
            if not data:
                continue
        encoded = protocol.encode(channel, data)
        try:
            if isinstance(encoded, str):
                await client.send_str(encoded)
            else:
                await client.send_bytes(encoded)
        except ConnectionError:
            return
