"""The httpGet action of probes and hooks: what is asked for, how, and how far redirects are followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubelet.containers import http_action
from kubelet.containers.handlers import Answer, NoAnswer
from kubelet.containers.http_action import NotTLS
from kubelet.probes.prober import ask
from kubelet.probes.tally import Outcome
from tests.support.certificates import Authority
from tests.support.pods import container, pod

SECONDS = 5.0
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    Authority().issue(folder, "server", "somebody else", names=("elsewhere.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


def redirect(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 6\r\n\r\nelsewh".encode()


@asynccontextmanager
async def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that gives these answers one after another, then the last for ever; its port and what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.read(65536)).decode(errors="replace"))
        writer.write(answers[min(len(asked), len(answers)) - 1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def get(action: dict[str, Any], *, seconds: float = SECONDS) -> Answer:
    return await http_action.http_get(
        action,
        container(ports=[{"name": "web", "containerPort": action.pop("named", 1)}]),
        host="127.0.0.1",
        timeout_seconds=seconds,
        user_agent=http_action.PROBE_USER_AGENT,
    )


async def test_a_request_goes_to_the_pods_address_with_the_headers_that_are_asked_for() -> None:
    async with serving(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nsick") as (port, asked):
        headers = [{"name": "Host", "value": "example.org"}]
        headers += [{"name": "X-Probe", "value": value} for value in ("1", "2")]
        answer = await get({"port": "web", "named": port, "path": "/healthz?full=1", "httpHeaders": headers})
    assert answer == Answer(503, "sick")
    lines = asked[0].split("\r\n")
    assert lines[0] == "GET /healthz?full=1 HTTP/1.1"
    wanted = {"Host: example.org", "X-Probe: 1", "X-Probe: 2", "User-Agent: kube-probe/1.35", "Accept: */*"}
    assert wanted <= set(lines)
    assert not [line for line in lines if line.startswith("Accept-Encoding")]


def test_a_containers_own_headers_replace_the_usual_ones_and_an_empty_accept_is_none() -> None:
    own = {"httpHeaders": [{"name": "user-agent", "value": "me"}, {"name": "Accept", "value": ""}]}
    assert http_action.request_headers(own, "probe") == [("Connection", "close"), ("user-agent", "me")]
    plain = http_action.request_headers({}, "probe")
    assert plain == [("User-Agent", "probe"), ("Accept", "*/*"), ("Connection", "close")]


@pytest.mark.parametrize(
    ("path", "asked_for"),
    [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a%2Fb%20c?d=e%3Df", "/a%2Fb%20c?d=e%3Df"),
        ("/with space", "/with%20space"),
    ],
)
def test_a_path_is_asked_for_as_it_is_written(path: str, asked_for: str) -> None:
    assert http_action.target({"path": path}, "10.0.0.1", 80, "http").raw_path_qs == asked_for


def test_addresses_of_both_families_and_both_schemes_can_be_asked() -> None:
    assert str(http_action.target({}, "fd00::1", 8443, "https")) == "https://[fd00::1]:8443/"


async def test_a_refused_connection_is_told_in_the_words_of_go() -> None:
    async with serving(FINE) as (port, _):
        pass
    with pytest.raises(NoAnswer) as refused:
        await get({"port": port, "path": "/x"})
    assert str(refused.value) == (
        f'Get "http://127.0.0.1:{port}/x": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        with pytest.raises(NoAnswer, match="context deadline exceeded"):
            await get({"port": server.sockets[0].getsockname()[1]}, seconds=0.05)


async def test_redirects_are_followed_on_the_same_host() -> None:
    async with serving(redirect("/there"), FINE) as (port, asked):
        assert await get({"port": port, "path": "/here"}) == Answer(200, "fine")
    assert [text.split()[1] for text in asked] == ["/here", "/there"]


async def test_a_redirect_to_another_host_is_a_success_with_a_warning() -> None:
    async with serving(redirect("http://0.0.0.0:9/")) as (port, asked):
        probe = {"httpGet": {"port": port}}
        outcome = await ask(
            None,  # type: ignore[arg-type]
            pod(),
            container(),
            "id",
            probe,
            host="127.0.0.1",
            timeout_seconds=SECONDS,
        )
    assert outcome == (Outcome.WARNING, "Probe terminated redirects, Response body: elsewh") and len(asked) == 1


async def test_redirects_without_end_are_a_failure() -> None:
    async with serving(redirect("/again")) as (port, _):
        with pytest.raises(NoAnswer, match="stopped after 10 redirects"):
            await get({"port": port})


async def test_certificates_are_not_looked_at(server_tls: ssl.SSLContext) -> None:
    async with serving(FINE, tls=server_tls) as (port, _):
        assert await get({"port": port, "scheme": "HTTPS"}) == Answer(200, "fine")


async def test_a_server_without_tls_is_known_as_such() -> None:
    async with serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        with pytest.raises(NotTLS, match="http: server gave HTTP response to HTTPS client"):
            await get({"port": port, "scheme": "HTTPS"})
