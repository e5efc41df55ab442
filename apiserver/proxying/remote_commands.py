"""`pods/NAME/exec` and `attach`, in the protocols of clients of all ages, towards the node's agent over WebSockets.

Over SPDY a client opens a stream for each of its standard streams, one for what has gone wrong and one for the size
of its terminal, and tells by the header `streamtype` which is which.

Source: k8s.io/cri-streaming/pkg/streaming/remotecommand.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType, web

from apimachinery.errors import bad_request
from apiserver.pod_streams import Location
from apiserver.proxying import channels, spdy_upgrade, websockets
from apiserver.proxying.agents import Agents
from apiserver.spdy import Session, Stream, StreamLost

# The versions of the protocol over SPDY, the best one first. The fourth tells how a command ended as a Status, the
# third has a stream for the terminal's size.
VERSIONS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STATUS_VERSIONS, RESIZE_VERSIONS = VERSIONS[:1], VERSIONS[:2]
# How long a client may take to open its streams.
STREAMS_SECONDS = 30.0
# How long it may take to close its side when all is told.
CLOSE_SECONDS = 5.0


async def serve(http: web.BaseRequest, agents: Agents, location: Location) -> web.StreamResponse:
    """Run or join a command for a client. Raises ApiError as long as the client has not been answered."""
    if websockets.wants_websocket(http):
        offered = websockets.offered(http)
        protocol = channels.of_commands(offered)
        if protocol is None:
            raise bad_request(f"unable to upgrade: none of the protocols {offered} is spoken")
        async with await agents.websocket(location, channels.with_agent(protocol)) as node:
            return await websockets.join(http, protocol, node)
    if spdy_upgrade.wants_spdy(http):
        version = spdy_upgrade.negotiate(http, VERSIONS)
        async with await agents.websocket(location, channels.AGENT_PROTOCOLS) as node:
            return await spdy_upgrade.serve(http, version, _Command(location, version, node).run)
    # Clients that could not upgrade ask in plain words for the reason.
    await agents.complain(location)
    raise bad_request("Upgrade request required")


def expected(location: Location, version: str) -> frozenset[str]:
    """The streams that a client opens, by what it asks for."""
    asked = {name for name, _ in location.params}
    streams = {"error"} | {kind for kind, word in (("stdin", "input"), ("stdout", "output")) if word in asked}
    if "error" in asked and "tty" not in asked:
        streams.add("stderr")
    if "tty" in asked and version in RESIZE_VERSIONS:
        streams.add("resize")
    return frozenset(streams)


@dataclass(frozen=True, slots=True)
class _Command:
    """One command, its client's streams on one side and the agent's WebSocket on the other."""

    location: Location
    version: str
    node: aiohttp.ClientWebSocketResponse

    async def run(self, session: Session) -> None:
        """Converse until the command ends or the client goes."""
        async with asyncio.timeout(STREAMS_SECONDS):
            streams = await self._streams(session)
        sending = [asyncio.create_task(self._stdin(streams["stdin"]))] if "stdin" in streams else []
        sending += [asyncio.create_task(self._resize(streams["resize"]))] if "resize" in streams else []
        try:
            await self._output(streams)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        for stream in streams.values():
            stream.discard()
            await stream.finish()

    async def _streams(self, session: Session) -> dict[str, Stream]:
        """All streams that are expected, by their types. Raises StreamLost if the client goes."""
        wanted, found = expected(self.location, self.version), dict[str, Stream]()
        while not wanted <= found.keys():
            stream = await session.accept()
            if stream is None:
                raise StreamLost("the client went before all of its streams were open")
            kind = stream.headers.get("streamtype", "")
            if kind in wanted and kind not in found:
                found[kind] = stream
            else:
                await stream.reset()
        return found

    async def _stdin(self, stream: Stream) -> None:
        while data := await stream.read():
            await self._send(channels.STDIN, data)
        if self.node.protocol == channels.V5:
            await self._send(channels.CLOSE, bytes((channels.STDIN,)))

    async def _resize(self, stream: Stream) -> None:
        """Sizes are JSON documents, one after the other."""
        pending = b""
        while data := await stream.read():
            *documents, pending = (pending + data).split(b"}")
            for document in documents:
                await self._send(channels.RESIZE, document.strip() + b"}")

    async def _send(self, channel: int, data: bytes) -> None:
        try:
            await self.node.send_bytes(bytes((channel,)) + data)
        except ConnectionError as error:
            raise StreamLost("the node's agent is gone") from error

    async def _output(self, streams: dict[str, Stream]) -> None:
        """Pass on what comes until it is told how the command ended."""
        outputs = {channels.STDOUT: streams.get("stdout"), channels.STDERR: streams.get("stderr")}
        async for message in self.node:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            output = outputs.get(channel)
            if output is not None and data:
                await output.write(data)
            elif channel == channels.ERROR and data:
                await streams["error"].write(self._outcome(data))
                return

    def _outcome(self, status: bytes) -> bytes:
        return status if self.version in STATUS_VERSIONS else channels.outcome_in_words(status)
