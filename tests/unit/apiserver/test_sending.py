"""Large answers leave in pieces, compressed for those who are far away, and arrive as they were."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apimachinery.resources import CONFIGMAPS
from apiserver.registry.strategy import Strategy
from apiserver.request_info import RequestInfo, User
from apiserver.rest import sending
from apiserver.rest.call import Call

Serve = Callable[[list[bytes]], Any]


@pytest.fixture
async def fetch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Sends pieces and returns (headers, the raw body) as a client gets them."""
    shown: dict[str, Any] = {}

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        info = RequestInfo("list", "/")
        call = Call(request, info, User("u"), {}, CONFIGMAPS, Strategy(CONFIGMAPS), "", "", shown["warnings"])
        return await sending.send(call, shown["pieces"])

    server = TestServer(web.Application())
    server.app.router.add_get("/", handle)
    await server.start_server()

    async def get(
        pieces: list[bytes], *, accept: str = "gzip", far: bool = True, warnings: list[str] | None = None
    ) -> Any:
        shown.update(pieces=pieces, warnings=warnings or [])
        if far:
            monkeypatch.setattr(sending.ipaddress, "ip_address", lambda _: _Far)
        session = aiohttp.ClientSession(auto_decompress=False)
        async with session, session.get(server.make_url("/"), headers={"Accept-Encoding": accept}) as response:
            return response.headers, await response.read()

    yield get
    await server.close()


class _Far:
    is_loopback = False


PIECES = [b"%08d" % number for number in range(400_000)]  # 3.2 MB


async def test_a_large_body_arrives_as_it_was(fetch: Callable[..., Any]) -> None:
    headers, body = await fetch(PIECES, far=False)
    assert headers["Content-Length"] == str(len(body)) and "Content-Encoding" not in headers
    assert body == b"".join(PIECES)


@pytest.mark.parametrize("count", [20_000, 400_000])
async def test_who_is_far_away_gets_it_compressed(fetch: Callable[..., Any], count: int) -> None:
    headers, body = await fetch(PIECES[:count])
    assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(body) == b"".join(PIECES[:count])
    assert len(body) < count * 8 / 2


async def test_nothing_is_compressed_that_is_small_or_not_wanted_so(fetch: Callable[..., Any]) -> None:
    for pieces, accept in ((PIECES[:1000], "gzip"), (PIECES, "identity")):
        headers, body = await fetch(pieces, accept=accept)
        assert "Content-Encoding" not in headers
        assert body == b"".join(pieces)


async def test_warnings_are_quoted_and_told_once(fetch: Callable[..., Any]) -> None:
    headers, _ = await fetch([b"{}"], warnings=['unknown field "a\\b"', "twice", "", "twice", "x" * 4000])
    assert headers.getall("Warning") == [
        '299 - "unknown field \\"a\\\\b\\""',
        '299 - "twice"',
        f'299 - "{"x" * 4000}"',
    ]


async def test_warnings_are_cut_short_where_they_are_more_than_clients_take_in(fetch: Callable[..., Any]) -> None:
    headers, _ = await fetch([b"{}"], warnings=["short", *(f"{number:02}" * 300 for number in range(30))])
    found = headers.getall("Warning")
    assert found[:3] == ['299 - "short"', f'299 - "{"00" * 128}"', f'299 - "{"01" * 128}"']
    assert len(found) == 1 + 4096 // 256


def test_no_answer_has_more_warnings_than_pythons_clients_take() -> None:
    assert len(list(sending.warnings([f"w{number}" for number in range(500)]))) < 100
