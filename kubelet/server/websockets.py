"""Turns a request into a WebSocket with channels."""

from __future__ import annotations

from aiohttp import web

from apimachinery.errors import bad_request
from kubelet.server import channels

MESSAGE_BYTES_MAX = 16 << 20
HEARTBEAT_SECONDS = 30.0
CLOSE_SECONDS = 5.0


async def accept(request: web.Request) -> web.WebSocketResponse:
    """The open socket, with the best protocol that the client offers. Raises ApiError 400."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise bad_request("Upgrade request required")
    protocol = channels.chosen_protocol(request.headers.get("Sec-WebSocket-Protocol", ""))
    if protocol is None:
        raise bad_request(f"unable to upgrade: one of the protocols {', '.join(channels.PROTOCOLS)} must be offered")
    socket = web.WebSocketResponse(
        protocols=[protocol],
        max_msg_size=MESSAGE_BYTES_MAX,
        heartbeat=HEARTBEAT_SECONDS,
        timeout=CLOSE_SECONDS,
        compress=False,
    )
    await socket.prepare(request)
    return socket
