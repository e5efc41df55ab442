"""The gRPC probe against a server that speaks HTTP/2 by another implementation, and against servers that do not."""

from __future__ import annotations

import asyncio
import string
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from kubelet.probes import grpc_health, hpack
from kubelet.probes.grpc_health import Unhealthy

SECONDS = 5.0
OK = [(":status", "200"), ("content-type", "application/grpc")]
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def message(*body: int) -> bytes:
    """A gRPC message."""
    return bytes((0, 0, 0, 0, len(body), *body))


class HealthServer:
    """Answers one call with what a test wants, through h2."""

    def __init__(
        self, body: bytes = message(8, 1), status: str = "0", text: str = "", first: list[Any] | None = None
    ) -> None:
        self.body = body
        self.first = OK if first is None else first
        self.trailers = [("grpc-status", status), *([("grpc-message", text)] if text else [])] if status else []
        self.headers: dict[str, str] = {}
        self.asked = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        peer = h2.connection.H2Connection(config)
        peer.initiate_connection()
        peer.ping(b"12345678")
        writer.write(peer.data_to_send())
        while data := await reader.read(65536):
            for event in peer.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.headers = dict(event.headers)  # type: ignore[arg-type]
                elif isinstance(event, h2.events.DataReceived):
                    self.asked += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    self._answer(peer)
            writer.write(peer.data_to_send())

    def _answer(self, peer: h2.connection.H2Connection) -> None:
        if not self.body:
            peer.send_headers(1, [*self.first, *self.trailers], end_stream=True)
            return
        peer.send_headers(1, self.first)
        peer.send_data(1, self.body)
        peer.send_headers(1, self.trailers, end_stream=True)


@asynccontextmanager
async def served(handle: Handle) -> AsyncIterator[int]:
    """The port at which a server answers."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def check(handle: Handle, service: str = "", seconds: float = SECONDS) -> None:
    async with served(handle) as port:
        await grpc_health.check("127.0.0.1", port, service, timeout_seconds=seconds, user_agent="kube-probe/1.35")


async def refusal(handle: Handle, seconds: float = SECONDS) -> str:
    """What is said of a server that is not healthy."""
    with pytest.raises(Unhealthy) as raised:
        await check(handle, seconds=seconds)
    return str(raised.value)


async def test_a_server_that_serves_is_healthy() -> None:
    server = HealthServer()
    await check(server, "liveness")
    assert server.headers[":path"] == "/grpc.health.v1.Health/Check" and server.headers[":method"] == "POST"
    assert server.headers["user-agent"] == "kube-probe/1.35" and server.headers["te"] == "trailers"
    assert server.headers["grpc-timeout"] == "5000m"
    assert server.asked == b"\0\0\0\0\x0a\x0a\x08liveness"


async def test_the_whole_server_is_asked_for_by_no_name() -> None:
    server = HealthServer()
    await check(server)
    assert server.asked == message()


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (HealthServer(message(8, 2)), 'service unhealthy (responded with "NOT_SERVING")'),
        (HealthServer(message()), 'service unhealthy (responded with "UNKNOWN")'),
        (HealthServer(b"\0\0\0\0\x09x"), 'service unhealthy (responded with "an answer that can\'t be read")'),
        (
            HealthServer(b"", "5", "unknown%20service"),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            HealthServer(b"", "12", "unknown method"),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown method",
        ),
        (
            HealthServer(b"", "", first=[(":status", "404")]),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
            "unexpected HTTP status code received from server: 404",
        ),
    ],
)
async def test_a_server_that_does_not_serve_says_why(server: HealthServer, said: str) -> None:
    assert await refusal(server) == said


async def test_a_server_of_another_protocol_is_not_healthy() -> None:
    async def http_1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert (await refusal(http_1)).endswith("the server does not speak HTTP/2")


async def test_a_server_that_hangs_up_or_says_nothing_is_not_healthy() -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert (await refusal(hangs_up)).startswith("error: failed to connect service at")
    assert await refusal(says_nothing, seconds=0.05) == "timeout: health rpc did not complete within 0.05s"


async def test_a_connection_that_is_refused_is_told_with_its_address() -> None:
    async with served(HealthServer()) as port:
        pass
    with pytest.raises(Unhealthy) as raised:
        await grpc_health.check("127.0.0.1", port, "", timeout_seconds=SECONDS, user_agent="")
    address = f"127.0.0.1:{port}"
    reason = f"dial tcp {address}: connect: connection refused"
    assert str(raised.value) == f'error: failed to connect service at "{address}": {reason}'


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
NAME = st.sampled_from(["grpc-message", "content-type", "x-own", "via", ":status"]) | st.text(
    string.ascii_lowercase, min_size=1, max_size=20
)


@given(st.lists(st.tuples(NAME, TEXT), max_size=8), st.booleans())
def test_headers_of_another_implementation_are_understood(headers: list[tuple[str, str]], huffman: bool) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    assert hpack.decode(encoder.encode(headers, huffman=huffman)) == headers


@given(st.lists(st.tuples(NAME, TEXT), max_size=8))
def test_headers_are_understood_as_they_were_written(headers: list[tuple[str, str]]) -> None:
    assert hpack.decode(hpack.encode(headers)) == headers


@given(st.binary(max_size=60))
def test_what_is_no_header_block_is_refused_and_nothing_else(block: bytes) -> None:
    try:
        hpack.decode(block)
    except hpack.HeaderError:
        pass
