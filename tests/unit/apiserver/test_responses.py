"""Answers that are ready leave as whole and correct HTTP, whoever asks and however."""

import asyncio
import socket

import pytest
from aiohttp import web

from apimachinery.errors import too_many_requests
from apiserver.responses import JOINED_BYTES_MAX, ReadyResponse, error_response, json_response

SECONDS_MAX = 10


async def ask(response: web.StreamResponse, *requests: bytes) -> bytes:
    """All that a server sends which answers every request with this response, until it closes the connection."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return response

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(b"".join(requests))
        async with asyncio.timeout(SECONDS_MAX):
            found = await reader.read()
        writer.close()
        return found
    finally:
        server.close()


def get(*headers: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([method + b" / HTTP/" + version, b"Host: x", *headers, b"", b""])


CLOSE = b"Connection: close"


def split(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in lines), body


async def test_an_answer_is_complete() -> None:
    status, headers, body = split(await ask(json_response(b'{"a":1}'), get(CLOSE)))
    assert status == b"HTTP/1.1 200 OK"
    assert headers[b"Content-Type"] == b"application/json" and headers[b"Content-Length"] == b"7"
    assert headers[b"Cache-Control"] == b"no-cache, private" and headers[b"Connection"] == b"close"
    assert headers[b"Date"].endswith(b" GMT")
    assert body == b'{"a":1}'


async def test_a_large_body_arrives_whole() -> None:
    large = b"x" * (JOINED_BYTES_MAX * 20)
    assert split(await ask(ReadyResponse(large), get(CLOSE)))[2] == large


async def test_a_client_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiserver.responses.STUCK_SECONDS_MAX", 0.05)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return ReadyResponse(b"x" * (64 << 20))

    http = web.Server(handle)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()[:2]) as client:
        client.sendall(get())
        async with asyncio.timeout(SECONDS_MAX):
            while http.requests_count == 0 or http.connections:  # noqa: ASYNC110 - there is no event for this
                await asyncio.sleep(0.01)
    server.close()


async def test_nothing_but_the_head_is_sent_to_whom_asks_for_it() -> None:
    _, headers, body = split(await ask(json_response(b'{"a":1}'), get(CLOSE, method=b"HEAD")))
    assert headers[b"Content-Length"] == b"7" and body == b""


@pytest.mark.parametrize("code", [204, 304])
async def test_what_has_no_body_has_no_length(code: int) -> None:
    _, headers, body = split(await ask(ReadyResponse(b"", status=code), get(CLOSE)))
    assert b"Content-Length" not in headers and b"Content-Type" not in headers and body == b""


async def test_an_old_client_is_told_whether_the_connection_stays() -> None:
    _, headers, _ = split(await ask(json_response(b"{}"), get(version=b"1.0")))
    assert headers[b"Connection"] == b"close"


async def test_a_connection_that_must_end_does() -> None:
    response = json_response(b"{}")
    response.force_close()
    assert split(await ask(response, get()))[1][b"Connection"] == b"close"


async def test_what_a_client_sent_cannot_add_lines_to_a_head() -> None:
    evil = 'unknown field "a\r\nSet-Cookie: b"'
    _, headers, _ = split(await ask(ReadyResponse(b"{}", headers=[("Warning", evil)]), get(CLOSE)))
    assert b"Set-Cookie" not in headers
    assert headers[b"Warning"] == b'unknown field "a  Set-Cookie: b"'


async def test_an_error_says_when_to_come_back() -> None:
    status, headers, body = split(await ask(error_response(too_many_requests("wait", 3)), get(CLOSE)))
    assert status == b"HTTP/1.1 429 Too Many Requests"
    assert headers[b"Retry-After"] == b"3" and b'"reason":"TooManyRequests"' in body
