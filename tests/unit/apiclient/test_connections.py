"""The client against servers that hang up, lie, trickle and stall: no answer is mistaken, no connection is lost."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from apiclient import connections, rest
from apiclient.kubeconfig import Config
from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError
from apimachinery.resources import PODS
from tests.support.certificates import Authority
from tests.support.raw_server import Peer, RawServer, Script, answer, chunk_of, chunked, raw_server

POD = {"kind": "Pod", "metadata": {"name": "web"}}


@asynccontextmanager
async def client_of(*scripts: Script) -> AsyncIterator[tuple[Client, RawServer]]:
    """A client of such a server; in the end every connection must have been closed."""
    async with raw_server(*scripts) as server:
        async with asyncio.timeout(30), await Client.connect(Config(server=server.url)) as client:
            yield client, server
        await server.all_closed()


def short(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Shorter limits, so that a test sees them reached."""
    for name, value in seconds.items():
        module = connections if hasattr(connections, name) else rest
        monkeypatch.setattr(module, name, value)


async def serve(peer: Peer) -> None:
    """Proper answers for as long as the client asks; each tells how many there were on this connection."""
    count = 0
    while True:
        request = await peer.request()
        count += 1
        told = {"connection": peer.number, "request": count, "method": request.method, "body": request.body.decode()}
        await peer.answer(orjson.dumps(told))


async def ask(client: Client, method: str = "GET", body: bytes | None = None) -> dict[str, int]:
    _, _, data = await client.request(method, "/x", body=body)
    told: dict[str, int] = orjson.loads(data)
    return told


async def test_one_connection_carries_one_request_after_the_other() -> None:
    async with client_of(serve) as (client, server):
        told = [await ask(client, method, b"{}") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
        assert [one["request"] for one in told] == [1, 2, 3, 4, 5]
        assert server.connections == 1


async def test_requests_at_once_have_connections_of_their_own_which_are_kept() -> None:
    async with client_of(serve) as (client, server):
        await asyncio.gather(*(ask(client) for _ in range(10)))
        assert server.connections == 10
        await asyncio.gather(*(ask(client) for _ in range(10)))
        assert server.connections == 10


async def test_surplus_connections_are_closed_soon_and_the_last_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, SURPLUS_IDLE_SECONDS_MAX=0.05, IDLE_SECONDS_MAX=0.4)
    closed = asyncio.Queue[int]()

    async def noting(peer: Peer) -> None:
        try:
            await serve(peer)
        finally:
            closed.put_nowait(peer.number)

    async with client_of(noting) as (client, _):
        await asyncio.gather(*(ask(client) for _ in range(3)))
        first = {await closed.get(), await closed.get()}
        last = await closed.get()
        assert first | {last} == {1, 2, 3}


@pytest.mark.parametrize("whole", [answer(b'{"a": "b"}'), chunked(b'{"a": ', b'"b"}')])
async def test_a_server_that_hangs_up_anywhere_in_its_answer_is_found_out(whole: bytes) -> None:
    async def broken(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole[: peer.number - 1])

    async with client_of(*[broken] * len(whole), serve) as (client, server):
        for _ in range(len(whole)):
            with pytest.raises(ApiUnavailable):
                await client.request("GET", "/x")
        assert (await ask(client))["connection"] == len(whole) + 1
        assert server.connections == len(whole) + 1


async def test_an_idle_connection_that_the_server_has_closed_is_not_used_for_anything() -> None:
    closing = asyncio.Event()

    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await closing.wait()

    async with client_of(once, serve) as (client, server):
        await client.request("GET", "/x")
        closing.set()
        await server.all_closed()
        assert (await ask(client, "POST", b"{}"))["connection"] == 2


async def hang_up_at_second(peer: Peer) -> None:
    """What looks to the client as if the idle connection had been closed while its request was on the way."""
    await peer.request()
    await peer.answer()
    await peer.request()


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_what_only_reads_is_sent_again_when_an_idle_connection_breaks_under_it(method: str) -> None:
    async with client_of(hang_up_at_second, serve) as (client, server):
        await client.request("GET", "/x")
        assert (await ask(client, method))["connection"] == 2
        assert server.connections == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_may_have_been_done_already_is_never_sent_twice(method: str) -> None:
    async with client_of(hang_up_at_second, serve) as (client, server):
        await client.request("GET", "/x")
        with pytest.raises(ApiUnavailable, match="closed the connection"):
            await client.request(method, "/x", body=b"{}")
        assert server.connections == 1


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.request()

    async with client_of(hang_up) as (client, server):
        with pytest.raises(ApiUnavailable):
            await client.request("GET", "/x")
        assert server.connections == 1


async def test_an_answer_that_has_begun_is_never_asked_for_again() -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.send(answer(b'{"kind": "Pod"}')[:30])

    async with client_of(half, serve) as (client, server):
        await client.request("GET", "/x")
        with pytest.raises(ApiUnavailable):
            await client.request("GET", "/x")
        assert server.connections == 1


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n", b"HTTP/1.1 408 Request Timeout\r\n\r\n"],
)
async def test_what_a_server_sends_unasked_is_never_taken_for_an_answer(extra: bytes) -> None:
    sent = asyncio.Event()

    async def talks(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await sent.wait()
        await peer.send(extra)
        await peer.gone()

    async with client_of(talks, serve) as (client, server):
        await client.request("GET", "/x")
        sent.set()
        await server.all_closed()
        assert (await ask(client, "POST", b"{}"))["connection"] == 2


async def test_more_than_the_answer_in_one_piece_ends_the_connection() -> None:
    async def two(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'{"first": 1}') + answer(b'{"second": 2}'))
        await peer.gone()

    async with client_of(two, serve) as (client, _):
        assert (await client.request("GET", "/x"))[2] == b'{"first": 1}'
        assert (await ask(client))["connection"] == 2


async def test_a_server_that_wants_the_connection_closed_has_its_wish() -> None:
    async def closing(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"{}", "Connection: close")
        await peer.gone()

    async with client_of(closing, serve) as (client, _):
        await client.request("GET", "/x")
        assert (await ask(client, "POST", b"{}"))["connection"] == 2


async def test_a_server_that_shuts_its_half_is_heard_to_the_end() -> None:
    async def half_closed(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(answer(b'{"last": true}'))
        peer.writer.write_eof()
        await peer.gone()

    async with client_of(half_closed, serve) as (client, _):
        assert (await client.request("GET", "/x"))[2] == b'{"last": true}'
        assert (await ask(client, "POST", b"{}"))["connection"] == 2


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async def old(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\n\r\n{")
        await peer.send(b"}")

    async with client_of(old) as (client, _):
        assert (await client.request("GET", "/x"))[2] == b"{}"


async def test_interim_answers_are_passed_over() -> None:
    async def early(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + answer(b"[]")
        )
        await peer.gone()

    async with client_of(early) as (client, _):
        assert (await client.request("GET", "/x"))[2] == b"[]"


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-x\r\n", b"\x00" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, b"HTTP/1.1 200 OK\r\nbad\r\n\r\n"],
)
async def test_garbage_is_an_unavailable_server_and_nothing_worse(garbage: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.send(garbage)
        await peer.gone()

    async with client_of(talk) as (client, _):
        with pytest.raises(ApiUnavailable):
            await client.request("GET", "/x")


async def test_an_answer_that_is_no_json_is_an_unavailable_server() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"<html>")

    async with client_of(talk) as (client, _):
        with pytest.raises(ApiUnavailable, match="no JSON"):
            await client.get(PODS, "web", "default")


async def test_an_answer_may_trickle() -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        for byte in answer(orjson.dumps(POD)):
            await peer.send(bytes([byte]))
        await peer.gone()

    async with client_of(trickle) as (client, _):
        assert await client.get(PODS, "web", "default") == POD


async def endless(peer: Peer, begin: bytes, again: bytes) -> None:
    await peer.request()
    await peer.send(begin)
    while again:
        await peer.send(again)
        await asyncio.sleep(0.005)
    await peer.gone()


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
        (chunked(end=False), chunk_of(b"x")),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_no_answer_may_take_for_ever(monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes) -> None:
    short(monkeypatch, REQUEST_TIMEOUT_SECONDS=0.2)
    async with client_of(lambda peer: endless(peer, begin, again)) as (client, _):
        with pytest.raises(ApiUnavailable):
            await client.request("POST", "/x", body=b"{}")


@pytest.mark.parametrize(("begin", "again"), [(b"", b""), (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")])
async def test_no_watch_may_take_for_ever_to_begin(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes
) -> None:
    short(monkeypatch, REQUEST_TIMEOUT_SECONDS=0.2)
    async with client_of(lambda peer: endless(peer, begin, again)) as (client, _):
        with pytest.raises(ApiUnavailable):
            await anext(client.watch(PODS, resource_version="1"))


def event(kind: str, version: int) -> bytes:
    metadata = {"name": f"pod-{version}", "resourceVersion": str(version)}
    return orjson.dumps({"type": kind, "object": {"kind": "Pod", "metadata": metadata}}) + b"\n"


async def test_a_watch_that_goes_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, WATCH_SILENCE_SECONDS=0.2)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(event("ADDED", 1), end=False))
        await peer.gone()

    async with client_of(silent) as (client, _):
        watch = client.watch(PODS, resource_version="1")
        assert (await anext(watch))[0] == "ADDED"
        with pytest.raises(ApiUnavailable, match="silent"):
            await anext(watch)


async def test_a_watch_goes_on_for_as_long_as_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, WATCH_SILENCE_SECONDS=0.3, REQUEST_TIMEOUT_SECONDS=0.3)

    async def talks(peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(end=False))
        for version in range(40):
            await peer.send(chunk_of(event("BOOKMARK", version)))
            await asyncio.sleep(0.02)
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with client_of(talks) as (client, _):
        seen = [kind async for kind, _ in client.watch(PODS, resource_version="1")]
        assert len(seen) == 40


async def test_events_are_whole_wherever_the_chunks_are_cut() -> None:
    lines = b"".join(event("ADDED", version) for version in range(3))

    async def cuts(peer: Peer) -> None:
        for cut in range(1, len(lines)):
            await peer.request()
            await peer.send(chunked(lines[:cut], end=False))
            await peer.send(chunk_of(lines[cut:]) + b"0\r\n\r\n")

    async with client_of(cuts) as (client, server):
        for _ in range(1, len(lines)):
            watch = client.watch(PODS, resource_version="1")
            versions = [obj["metadata"]["resourceVersion"] async for _, obj in watch]
            assert versions == ["0", "1", "2"]
        assert server.connections == 1


async def test_what_came_before_a_watch_broke_is_delivered_before_its_end() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(event("ADDED", 1), event("ADDED", 2), event("ADDED", 3)[:20], end=False))

    async with client_of(breaks) as (client, _):
        seen = []
        with pytest.raises(ApiUnavailable):
            async for _, obj in client.watch(PODS, resource_version="1"):
                seen.append(obj["metadata"]["name"])
        assert seen == ["pod-1", "pod-2"]


async def test_a_refused_watch_tells_why() -> None:
    status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "not for you"}

    async def refuses(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(orjson.dumps(status), status="403 Forbidden")

    async with client_of(refuses) as (client, server):
        for _ in range(2):
            with pytest.raises(ApiError, match="not for you"):
                await anext(client.watch(PODS, resource_version="1"))
        assert server.connections == 1


async def test_a_watch_that_is_left_closes_its_connection() -> None:
    async def talks(peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked(*(event("ADDED", version) for version in range(3)), end=False))
        await peer.gone()

    async with client_of(talks) as (client, server):
        async for _ in client.watch(PODS, resource_version="1"):
            break
        await server.all_closed()


async def test_a_stream_that_nobody_reads_is_held_back_and_then_arrives_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short(monkeypatch, WATCH_SILENCE_SECONDS=0.2)
    chunk, count, sent = b"x" * 65536, 500, 0

    async def floods(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(chunked(end=False))
        for _ in range(count):
            await peer.send(chunk_of(chunk))
            sent += len(chunk)
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with client_of(floods) as (client, _):
        stream = client.stream("/x", {"watch": "true"})
        received = len(await anext(stream))
        before = -1
        while sent != before:  # until nothing more can be sent
            before = sent
            await asyncio.sleep(0.3)
        assert sent < count * len(chunk)
        async for piece in stream:
            received += len(piece)
        assert received == count * len(chunk)


async def test_a_cancelled_request_takes_its_connection_with_it() -> None:
    asked = asyncio.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    async with client_of(late, serve) as (client, server):
        task = asyncio.create_task(client.request("GET", "/x"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.all_closed()
        assert (await ask(client))["connection"] == 2


async def test_cancelling_at_any_moment_never_mixes_answers_up_nor_leaks_connections() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await asyncio.sleep(0)
            await peer.answer(request.body)

    async with client_of(echo) as (client, _):
        for yields in range(60):
            task = asyncio.create_task(client.request("POST", "/x", body=b"cancelled"))
            for _ in range(yields):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            body = str(yields).encode()
            assert (await client.request("POST", "/x", body=body))[2] == body


async def test_closing_the_client_fails_what_is_under_way() -> None:
    asked = asyncio.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    async with client_of(late) as (client, _):
        task = asyncio.create_task(client.request("GET", "/x"))
        await asked.wait()
        await client.close()
        with pytest.raises(ApiUnavailable, match="closed"):
            await task
        with pytest.raises(ApiUnavailable, match="closed"):
            await client.request("GET", "/x")


async def test_an_answer_to_a_large_request_may_come_before_all_of_it_was_sent() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.send(answer(b'{"message": "too large"}', "Connection: close", status="413 Too Large"))
        await peer.gone()

    async with client_of(refuses, serve) as (client, _):
        with pytest.raises(ApiError, match="too large"):
            await client.request("POST", "/x", body=b"x" * (8 << 20))
        assert (await ask(client))["connection"] == 2


async def test_a_large_body_arrives_whole_in_both_directions() -> None:
    async def echo(peer: Peer) -> None:
        request = await peer.request()
        await peer.answer(request.body)
        await peer.gone()

    body = bytes(range(256)) * 20_000
    async with client_of(echo) as (client, _):
        assert (await client.request("PUT", "/x", body=body))[2] == body


async def test_compressed_answers_are_unpacked_and_damaged_ones_refused() -> None:
    packed = gzip.compress(orjson.dumps(POD))
    answers = [
        answer(packed, "Content-Encoding: gzip"),
        answer(packed[:-4], "Content-Encoding: gzip"),
        answer(packed, "Content-Encoding: br"),
        answer(b"", "Content-Encoding: gzip", status="400 Bad"),
    ]

    async def talk(peer: Peer) -> None:
        for one in answers:
            await peer.request()
            await peer.send(one)
        await peer.gone()

    async with client_of(talk) as (client, _):
        assert await client.get(PODS, "web", "default") == POD
        for why in ("cut off", "unknown coding", "400"):
            with pytest.raises(ApiError, match=why):
                await client.get(PODS, "web", "default")


async def test_a_stream_is_not_compressed_behind_the_clients_back() -> None:
    async def talk(peer: Peer) -> None:
        assert "accept-encoding" not in (await peer.request()).headers
        await peer.answer(gzip.compress(b"x"), "Content-Encoding: gzip")
        await peer.gone()

    async with client_of(talk) as (client, _):
        with pytest.raises(ApiUnavailable, match="without being asked"):
            await anext(client.stream("/x"))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with raw_server(serve) as server:
        url = server.url
    async with await Client.connect(Config(server=url)) as client:
        with pytest.raises(ApiUnavailable, match="can't be reached"):
            await client.request("GET", "/x")


async def test_names_and_selectors_reach_the_server_as_they_were_meant() -> None:
    async def tell(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.answer(orjson.dumps({"target": request.target}))

    async with client_of(tell) as (client, _):
        _, _, data = await client.request("GET", "/api/v1/a b/ü?x=1", params=[("q", "a=b,c in (d&e)"), ("q", "é")])
        target = "/api/v1/a%20b/%C3%BC?x=1&q=a%3Db%2Cc+in+%28d%26e%29&q=%C3%A9"
        assert orjson.loads(data)["target"] == target


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    Authority().issue(folder, "server", "server", address="127.0.0.1")
    Authority().issue(folder / "other", "server", "server", address="127.0.0.1")
    return folder


@pytest.fixture
def tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.crt", authority / "server.key")
    return context


@asynccontextmanager
async def tls_client_of(
    tls: ssl.SSLContext, ca_pem: str, *scripts: Script
) -> AsyncIterator[tuple[Client, RawServer]]:
    async with raw_server(*scripts, tls=tls) as server:
        async with asyncio.timeout(30), await Client.connect(Config(server=server.url, ca_pem=ca_pem)) as client:
            yield client, server
        await server.all_closed()


async def test_over_tls_connections_are_kept_closed_and_repeated_as_without(
    authority: Path, tls: ssl.SSLContext
) -> None:
    ca_pem = (authority / "ca.crt").read_text()
    async with tls_client_of(tls, ca_pem, hang_up_at_second, serve) as (client, server):
        await client.request("GET", "/x")
        assert (await ask(client))["connection"] == 2
        body = b"x" * 3_000_000
        _, _, data = await client.request("POST", "/x", body=body)
        assert orjson.loads(data)["body"] == body.decode()
        assert server.connections == 2


async def test_a_stranger_is_not_trusted(authority: Path, tls: ssl.SSLContext) -> None:
    ca_pem = (authority / "other" / "ca.crt").read_text()
    async with tls_client_of(tls, ca_pem, serve) as (client, _):
        with pytest.raises(ApiUnavailable, match="(?i)certificate"):
            await client.request("GET", "/x")


async def test_a_server_may_be_known_by_another_name(authority: Path, tls: ssl.SSLContext) -> None:
    ca_pem = (authority / "ca.crt").read_text()
    async with raw_server(serve, tls=tls) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        async with await Client.connect(Config(server=url, ca_pem=ca_pem)) as client:
            with pytest.raises(ApiUnavailable, match="(?i)hostname mismatch"):
                await client.request("GET", "/x")
        config = Config(server=url, ca_pem=ca_pem, tls_server_name="127.0.0.1")
        async with await Client.connect(config) as client:
            assert (await ask(client))["request"] == 1


async def test_a_handshake_that_never_ends_is_given_up(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, CONNECT_TIMEOUT_SECONDS=0.2)

    async def mute(peer: Peer) -> None:
        await peer.gone()

    async with raw_server(mute) as server:
        url = server.url.replace("http:", "https:")
        async with await Client.connect(Config(server=url, ca_pem=(authority / "ca.crt").read_text())) as client:
            with pytest.raises(ApiUnavailable):
                await client.request("GET", "/x")
            await server.all_closed()


async def test_a_handshake_that_is_cancelled_leaves_no_connection(authority: Path) -> None:
    connected = asyncio.Event()

    async def mute(peer: Peer) -> None:
        connected.set()
        await peer.gone()

    async with raw_server(mute) as server:
        url = server.url.replace("http:", "https:")
        async with await Client.connect(Config(server=url, ca_pem=(authority / "ca.crt").read_text())) as client:
            task = asyncio.create_task(client.request("GET", "/x"))
            await connected.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.all_closed()
