"""Turns a request into a WebSocket with channels, and ends one that nothing goes through any more."""

from __future__ import annotations

import asyncio

from aiohttp import web

from apimachinery.errors import bad_request
from kubelet.server import channels

MESSAGE_BYTES_MAX = 16 << 20
HEARTBEAT_SECONDS = 30.0
CLOSE_SECONDS = 5.0
# Kubernetes' streamingConnectionIdleTimeout: signs of life of the connection itself do not count.
IDLE_SECONDS_MAX = 4 * 3600.0


class Idleness:
    """Notices when nothing has gone through a connection for too long."""

    def __init__(self, seconds_max: float | None = None) -> None:
        self._seconds_max = IDLE_SECONDS_MAX if seconds_max is None else seconds_max
        self._last = asyncio.get_running_loop().time()

    def over(self) -> None:
        """Something goes through."""
        self._last = asyncio.get_running_loop().time()

    async def too_long(self) -> None:
        """Wait for that."""
        # The end moves away while it is waited for; an event for each message would cost each message.
        while (left := self._last + self._seconds_max - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)


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
