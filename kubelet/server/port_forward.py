"""Connections to ports of a pod, for a client at the other end of a WebSocket.

Of each port that is asked for there are two channels: the bytes of the connection on an even one, and on the odd one
after it what has gone wrong. Each begins with a message that holds the number of the port in two bytes, the lower one
first. With the fifth version of the protocol a client can say that it sends no more while it goes on reading.

Source: k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import WSMsgType, web

from apiclient.logs import kv
from apimachinery.errors import bad_request
from kubelet.server import channels, websockets

logger = logging.getLogger(__name__)

PORTS_MAX = 64
READ_BYTES = 32 * 1024

Connect = Callable[[int], Awaitable[socket.socket]]


def parse_ports(request: web.Request) -> list[int]:
    """The ports that are asked for. Raises ApiError 400."""
    words = [word for value in request.query.getall("port", []) for word in value.split(",")]
    if not words:
        raise bad_request('query parameter "port" is required')
    if len(words) > PORTS_MAX:
        raise bad_request(f"at most {PORTS_MAX} ports can be forwarded at once")
    for word in words:
        if not word.isascii() or not word.isdigit() or not 0 < int(word) < 1 << 16:
            raise bad_request(f'unable to parse "{word}" as a port')
    return list(map(int, words))


async def serve(request: web.Request, ports: Sequence[int], pod: str, connect: Connect) -> web.StreamResponse:
    """Upgrade the request and forward. `pod` says in messages which pod it is; `connect` raises OSError."""
    upgraded = await websockets.accept(request)
    idleness = websockets.Idleness()
    forwards = [_Forward(upgraded, number * 2, port, pod, idleness) for number, port in enumerate(ports)]
    running: asyncio.Future[Any] = asyncio.gather(*(forward.run(connect) for forward in forwards))
    receiving: asyncio.Future[Any] = asyncio.create_task(_receive(upgraded, forwards))
    idle: asyncio.Future[Any] = asyncio.create_task(idleness.too_long())
    tasks = (running, receiving, idle)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await upgraded.close()
    return upgraded


async def _receive(upgraded: web.WebSocketResponse, forwards: Sequence[_Forward]) -> None:
    """Pass on what the client sends, until it goes."""
    async for message in upgraded:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == channels.CLOSE and len(data) == 1:
            if data[0] % 2 == 0 and data[0] // 2 < len(forwards):
                await forwards[data[0] // 2].finish()
        elif channel % 2 == 0 and channel // 2 < len(forwards):
            await forwards[channel // 2].write(data)


class _Forward:
    """One connection."""

    def __init__(
        self, upgraded: web.WebSocketResponse, channel: int, port: int, pod: str, idleness: websockets.Idleness
    ) -> None:
        self._socket = upgraded
        self._idleness = idleness
        self._channel = channel
        self._port = port
        self._pod = pod
        self._writer: asyncio.StreamWriter | None = None
        self._decided = asyncio.Event()

    async def run(self, connect: Connect) -> None:
        """Connect, and pass on what the pod sends until it ends the connection."""
        try:
            for channel in (self._channel, self._channel + 1):
                await self._socket.send_bytes(channels.message(channel, struct.pack("<H", self._port)))
            await self._converse(connect)
        except OSError as error:
            problem = error.strerror or str(error)
            logger.debug(kv("port not forwarded", pod=self._pod, port=self._port, error=problem))
            await self._tell(f"error forwarding port {self._port} to pod {self._pod}: {problem}")
        finally:
            self._decided.set()
            if self._writer is not None:
                self._writer.close()

    async def _converse(self, connect: Connect) -> None:
        reader, self._writer = await asyncio.open_connection(sock=await connect(self._port), limit=READ_BYTES)
        self._decided.set()
        while data := await reader.read(READ_BYTES):
            self._idleness.over()
            await self._socket.send_bytes(channels.message(self._channel, data))

    async def _tell(self, problem: str) -> None:
        try:
            await self._socket.send_bytes(channels.message(self._channel + 1, problem.encode()))
        except ConnectionError:
            pass  # there is nobody left to tell

    async def write(self, data: bytes) -> None:
        """Pass on what the client sends; what comes after the end of the connection is dropped."""
        self._idleness.over()
        await self._decided.wait()
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)
            try:
                await self._writer.drain()
            except ConnectionError:
                pass  # `run` finds the end of the connection

    async def finish(self) -> None:
        """The client sends no more."""
        await self._decided.wait()
        if self._writer is not None and not self._writer.is_closing() and self._writer.can_write_eof():
            self._writer.write_eof()
