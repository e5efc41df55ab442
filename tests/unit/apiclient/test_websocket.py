"""The WebSocket: frames however they arrive, refusals with their reason, and an end for both sides."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiclient import websocket
from apiclient.http1 import ProtocolError
from apiclient.kubeconfig import Config
from apiclient.rest import ApiUnavailable, Client
from apiclient.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameReader, WebSocket, frame
from apimachinery.errors import ApiError
from tests.support.raw_server import Peer, RawServer, answer, raw_server

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def sent(kind: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A server's frame."""
    size = len(payload)
    head = bytes([(0x80 if final else 0) | kind])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + bytes([126]) + size.to_bytes(2, "big") + payload
    return head + bytes([127]) + size.to_bytes(8, "big") + payload


def unmasked(data: bytes) -> bytes:
    """What a client's frame carries."""
    size, begin = data[1] & 0x7F, 2
    if size >= 126:
        begin = 4 if size == 126 else 10
        size = int.from_bytes(data[2:begin], "big")
    mask, payload = data[begin : begin + 4], data[begin + 4 :]
    assert data[1] & 0x80 and len(payload) == size
    return bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


@given(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]), st.integers(0, 255))
def test_a_message_of_any_size_is_masked_so_that_it_can_be_read(size: int, byte: int) -> None:
    payload = bytes((byte + n) % 256 for n in range(size))
    assert unmasked(frame(BINARY, payload)) == payload


@given(
    parts=st.lists(st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=10),
    fragment=st.booleans(),
)
def test_messages_are_put_together_however_they_arrive(
    parts: list[bytes], cuts: list[int], *, fragment: bool
) -> None:
    frames = []
    for part in parts:
        if fragment:
            middle = len(part) // 2
            frames += [sent(TEXT, part[:middle], final=False), sent(PING, b"?"), sent(CONTINUATION, part[middle:])]
        else:
            frames.append(sent(BINARY, part))
    data = b"".join(frames)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()
    messages = [message for a, b in pairwise(edges) for message in reader.feed(data[a:b])]
    assert [payload for kind, payload in messages if kind != PING] == parts


@pytest.mark.parametrize(
    "data",
    [
        b"\xc2\x00",
        b"\x83\x00",
        b"\x82\x80\x00\x00\x00\x00",
        sent(PING, final=False),
        b"\x89\x7e\x00\x80" + b"x" * 128,
        sent(CONTINUATION, b"x"),
        sent(TEXT, b"x", final=False) + sent(TEXT, b"y"),
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_frames_that_break_the_rules_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader().feed(data))


@given(st.binary(max_size=100))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes) -> None:
    try:
        list(FrameReader().feed(data))
    except ProtocolError:
        pass


async def agree(peer: Peer) -> None:
    """The server's half of a handshake."""
    request = await peer.request()
    key = request.headers["sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept}", "Sec-WebSocket-Protocol: v5.channel.k8s.io", "", ""]
    peer.writer.write("\r\n".join(lines).encode())


@asynccontextmanager
async def conversation(talk: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[WebSocket]:
    """A WebSocket to a server that has agreed and then talks like this."""

    async def script(peer: Peer) -> None:
        await agree(peer)
        await talk(peer)

    async with connected(script) as (client, server):
        socket = await client.websocket("/exec", [("command", "ls")], ["v5.channel.k8s.io", "v4.channel.k8s.io"])
        yield socket
        await socket.close()
        await server.all_closed()


@asynccontextmanager
async def connected(script: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[tuple[Client, RawServer]]:
    async with (
        raw_server(script) as server,
        asyncio.timeout(30),
        await Client.connect(Config(server=server.url)) as client,
    ):
        yield client, server


async def read_frame(peer: Peer) -> tuple[int, bytes]:
    head = await peer.reader.readexactly(2)
    mask_and_payload = await peer.reader.readexactly(4 + (head[1] & 0x7F))
    return head[0] & 0x0F, unmasked(head + mask_and_payload)


async def test_messages_go_both_ways_and_the_protocol_is_told() -> None:
    async def echo(peer: Peer) -> None:
        kind, payload = await read_frame(peer)
        await peer.send(sent(kind, payload.upper()))
        assert await read_frame(peer) == (CLOSE, b"\x03\xe8")

    async with conversation(echo) as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        await socket.send_bytes(b"hello")
        assert await socket.receive() == b"HELLO"


async def test_what_comes_with_the_handshake_is_not_lost() -> None:
    async def eager(peer: Peer) -> None:
        await peer.send(sent(BINARY, b"at once") + sent(CLOSE, b"\x03\xe8"))
        await peer.gone()

    async with conversation(eager) as socket:
        assert [message async for message in socket] == [b"at once"]
        assert await socket.receive() is None
        with pytest.raises(ConnectionResetError):
            await socket.send_bytes(b"too late")


async def test_a_ping_is_answered() -> None:
    async def ping(peer: Peer) -> None:
        await peer.send(sent(PING, b"are you there"))
        assert await read_frame(peer) == (PONG, b"are you there")
        await peer.send(sent(BINARY, b"good"))
        await peer.gone()

    async with conversation(ping) as socket:
        assert await socket.receive() == b"good"


async def test_a_server_that_hangs_up_without_a_goodbye_is_a_broken_connection() -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.send(sent(BINARY, b"last words") + sent(BINARY, b"cut off")[:4])

    async with conversation(hang_up) as socket:
        assert await socket.receive() == b"last words"
        with pytest.raises(OSError, match="hung up"):
            await socket.receive()


async def test_a_server_that_breaks_the_rules_is_hung_up_on() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.send(sent(BINARY, b"good") + b"\xff\xff")
        assert await read_frame(peer) == (CLOSE, b"\x03\xea")
        await peer.gone()

    async with conversation(breaks) as socket:
        assert await socket.receive() == b"good"
        with pytest.raises(ProtocolError):
            await socket.receive()


async def test_a_flood_is_held_back_until_it_is_read() -> None:
    count, chunk = 300, b"x" * 60_000

    async def floods(peer: Peer) -> None:
        for _ in range(count):
            await peer.send(sent(BINARY, chunk))
        await peer.send(sent(CLOSE, b"\x03\xe8"))
        await peer.gone()

    async with conversation(floods) as socket:
        await socket.receive()
        await asyncio.sleep(0.1)
        assert sum(map(len, socket._messages)) < websocket.BUFFER_BYTES + (1 << 20)
        assert len([message async for message in socket]) == count - 1


async def test_a_sender_waits_for_a_server_that_takes_nothing() -> None:
    reading = asyncio.Event()

    async def lazy(peer: Peer) -> None:
        await reading.wait()
        await peer.gone()

    async with conversation(lazy) as socket:
        task = asyncio.create_task(send_many(socket))
        done, _ = await asyncio.wait([task], timeout=0.3)
        assert not done
        reading.set()
        await task


async def send_many(socket: WebSocket) -> None:
    for _ in range(300):
        await socket.send_bytes(b"x" * 100_000)


async def test_a_server_that_never_says_goodbye_does_not_keep_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_SECONDS_MAX", 0.1)

    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with conversation(mute):
        pass


async def test_a_refusal_tells_why() -> None:
    status = {"kind": "Status", "code": 400, "reason": "BadRequest", "message": "container is not running"}

    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.answer(orjson.dumps(status), status="400 Bad Request")
        await peer.gone()

    async with connected(refuse) as (client, _):
        with pytest.raises(ApiError, match="container is not running"):
            await client.websocket("/exec", [], ["v5.channel.k8s.io"])


@pytest.mark.parametrize(
    "handshake",
    [
        answer(b"", "Upgrade: websocket", status="101 Switching Protocols"),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"",
    ],
)
async def test_a_handshake_that_is_none_is_refused(handshake: bytes) -> None:
    async def pretend(peer: Peer) -> None:
        await peer.request()
        await peer.send(handshake)

    async with connected(pretend) as (client, server):
        with pytest.raises(ApiUnavailable):
            await client.websocket("/exec", [], ["v5.channel.k8s.io"])
        await server.all_closed()
        assert server.connections == 1


async def test_a_command_is_never_asked_for_twice() -> None:
    async def hang_up_at_second(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()

    async with connected(hang_up_at_second) as (client, server):
        await client.request("GET", "/x")
        with pytest.raises(ApiUnavailable):
            await client.websocket("/exec", [], ["v5.channel.k8s.io"])
        assert server.connections == 1
