"""Runs a command in a container, or shows its own streams, for a client at the other end of a WebSocket.

Three things go on at once: what the client sends is passed on, what the process writes is sent back, and its end
is waited for. The first end of either side ends it all: the client hears how the command ended, or the process of
a client that has gone is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from apiclient.logs import kv
from apimachinery.errors import bad_request
from kubelet.runtime import ExecHandle, ExecIO, RuntimeFailure
from kubelet.server import channels, websockets
from kubelet.server.pipes import InputPipe, OutputPipe

logger = logging.getLogger(__name__)

Start = Callable[[ExecIO], Awaitable[ExecHandle]]


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams a client wants, and whether through a terminal (which has one output)."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def parse_streams(request: web.Request) -> Streams:
    """Read the parameters `input`, `output`, `error` and `tty`. Raises ApiError 400."""
    given = {name: request.query.get(name, "") in ("1", "true") for name in ("input", "output", "error", "tty")}
    streams = Streams(given["input"], given["output"], given["error"] and not given["tty"], given["tty"])
    if not (streams.stdin or streams.stdout or streams.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return streams


async def serve(request: web.Request, streams: Streams, start: Start, *, tells_exit_code: bool) -> web.StreamResponse:
    """Upgrade the request and converse. `start` starts the process on the descriptors that it is given."""
    socket = await websockets.accept(request)
    await _Conversation(socket, streams).run(start, tells_exit_code=tells_exit_code)
    return socket


class _Conversation:
    def __init__(self, socket: web.WebSocketResponse, streams: Streams) -> None:
        self._socket = socket
        self._idleness = websockets.Idleness()
        self._input = InputPipe() if streams.stdin else None
        self._outputs = {
            channel: OutputPipe()
            for channel, wanted in ((channels.STDOUT, streams.stdout), (channels.STDERR, streams.stderr))
            if wanted
        }

    async def run(self, start: Start, *, tells_exit_code: bool) -> None:
        try:
            # Clients take the first message for the sign that the connection stands.
            await self._send(next(iter(self._outputs), channels.ERROR))
            try:
                handle = await start(self._io())
            except RuntimeFailure as error:
                await self._send(channels.ERROR, channels.failure(error.message))
                return
            finally:
                for pipe in self._pipes():
                    pipe.close_far_end()
            exit_code = await self._converse(handle)
            if exit_code is not None:
                await self._send(channels.ERROR, channels.outcome(exit_code if tells_exit_code else 0))
        except ConnectionError as error:
            logger.debug(kv("client of a command went away", error=str(error)))
        finally:
            for pipe in self._pipes():
                pipe.close()
            await self._socket.close()

    async def _converse(self, handle: ExecHandle) -> int | None:
        """The exit code, once all output is sent; None if the client goes first, or nobody says a word for hours."""
        ended = asyncio.ensure_future(handle.wait())
        sending = [asyncio.ensure_future(self._send_output(channel)) for channel in self._outputs]
        receiving = asyncio.ensure_future(self._receive(handle))
        idle = asyncio.ensure_future(self._idleness.too_long())
        tasks: list[asyncio.Future[Any]] = [ended, *sending, receiving, idle]
        try:
            await asyncio.wait({ended, receiving, idle}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return None
            for pipe in self._outputs.values():
                pipe.finish()
            # The client may be slow, but must not have gone.
            unsent = set(sending)
            while unsent and not receiving.done():
                done, _ = await asyncio.wait({*unsent, receiving}, return_when=asyncio.FIRST_COMPLETED)
                for sent in done & unsent:
                    sent.result()
                unsent -= done
            return ended.result()
        finally:
            if not ended.done():
                handle.kill()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_output(self, channel: int) -> None:
        while data := await self._outputs[channel].read():
            await self._send(channel, data)

    async def _receive(self, handle: ExecHandle) -> None:
        """Pass on what the client sends, until it goes."""
        async for received in self._socket:
            if received.type is not WSMsgType.BINARY or not received.data:
                continue
            self._idleness.over()
            channel, data = received.data[0], received.data[1:]
            if channel == channels.STDIN and self._input is not None:
                await self._input.write(data)
            elif channel == channels.CLOSE and data[:1] == bytes((channels.STDIN,)) and self._input is not None:
                self._input.end()
            elif channel == channels.RESIZE and (size := channels.terminal_size(data)):
                handle.resize(*size)

    async def _send(self, channel: int, data: bytes = b"") -> None:
        self._idleness.over()
        await self._socket.send_bytes(channels.message(channel, data))

    def _io(self) -> ExecIO:
        return ExecIO(
            stdin_fd=self._input.read_fd if self._input else None,
            stdout_fd=self._far_end(channels.STDOUT),
            stderr_fd=self._far_end(channels.STDERR),
        )

    def _far_end(self, channel: int) -> int | None:
        pipe = self._outputs.get(channel)
        return pipe.write_fd if pipe else None

    def _pipes(self) -> Sequence[InputPipe | OutputPipe]:
        return [*([self._input] if self._input else []), *self._outputs.values()]
