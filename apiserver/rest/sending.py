"""Sends a body that is in pieces: a small one at once, a large one bit by bit, so that it is never there as a whole.

A large body is compressed where that pays: for a client that wants it so and is not on this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import zlib
from collections.abc import Iterator, Sequence

from aiohttp import web

from apiserver import forms
from apiserver.responses import JSON, AnswerHeaders, ReadyResponse, headers_of, set_headers
from apiserver.rest.call import Call

Piece = bytes | memoryview

# Compression costs more than it saves below this, and for a client on the same machine always.
GZIP_BYTES_MIN = 128 << 10
GZIP_LEVEL = 1
STREAMED_BYTES_MIN, CHUNK_BYTES = 1 << 20, 256 << 10
# More than so much text is not told a client at once: then all warnings are cut short.
WARNINGS_LENGTH_MAX, CUT_WARNING_LENGTH = 4096, 256
# Python's clients take no answer that has more than a hundred headers.
WARNINGS_MAX = 64
# Above this, putting a document into another form is noticed by others.
RENDERED_IN_LOOP_BYTES_MAX = 16 << 10


async def send(call: Call, pieces: Sequence[Piece], status: int = 200) -> web.StreamResponse:
    """Send a JSON document in the form that the client wants. Raises ConnectionResetError if it goes away."""
    form, content_type = forms.wanted(call.http), JSON
    if form != forms.PLAIN:
        body = b"".join(pieces)
        apart = len(body) > RENDERED_IN_LOOP_BYTES_MAX
        body, content_type = await asyncio.to_thread(forms.render, body, form) if apart else forms.render(body, form)
        pieces = [body]
    headers = warning_headers(call)
    size = sum(map(len, pieces))
    compress = size >= GZIP_BYTES_MIN and wants_gzip(call.http)
    if compress:
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    if size >= STREAMED_BYTES_MIN:
        headers.append(("Content-Type", content_type))
        return await _stream(call, pieces, status, headers, size=None if compress else size)
    body = b"".join(pieces)
    if compress:
        body = await asyncio.to_thread(_gzip, body)
    return ReadyResponse(body, status=status, content_type=content_type, headers=headers)


async def _stream(
    call: Call, pieces: Sequence[Piece], status: int, headers: list[tuple[str, str]], size: int | None
) -> web.StreamResponse:
    """Send in chunks, each when the client has taken most of the one before; compressed if the size is unknown."""
    headers = [("Cache-Control", "no-cache, private"), *headers_of(call.http), *headers]
    response = web.StreamResponse(status=status, headers=headers)
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16) if size is None else None
    response.content_length = size
    if size is None:
        response.enable_chunked_encoding()
    await response.prepare(call.http)
    for chunk in chunks(pieces):
        if compressor is None:
            await response.write(chunk)
        elif packed := await asyncio.to_thread(compressor.compress, chunk):
            await response.write(packed)
    await response.write_eof(compressor.flush() if compressor is not None else b"")
    return response


def chunks(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """The same bytes in pieces of a size that is worth a write."""
    gathered: list[Piece] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return compressor.compress(body) + compressor.flush()


def wants_gzip(http: web.BaseRequest) -> bool:
    """Whether the client accepts compression and is far enough away for it to pay."""
    if "gzip" not in http.headers.get("Accept-Encoding", ""):
        return False
    return http.remote is None or not ipaddress.ip_address(http.remote).is_loopback


def warning_headers(call: Call) -> list[tuple[str, str]]:
    """What the client of a request is told beside the answer."""
    if not call.warnings and not call.deprecation:
        return []
    told = [call.deprecation, *call.warnings] if call.deprecation else call.warnings
    return [("Warning", warning) for warning in warnings(told)]


def warn_beside_refusal(call: Call) -> None:
    """Have the client of a request that is refused told what it would be told beside an answer."""
    if headers := warning_headers(call):
        set_headers(call.http, AnswerHeaders([*headers_of(call.http), *headers]))


def warnings(texts: Sequence[str]) -> Iterator[str]:
    """The values of Warning headers (RFC 7234), each once, and all cut short if that is too much for clients."""
    told = list(dict.fromkeys(text for text in texts if text))
    cut = sum(map(len, told)) > WARNINGS_LENGTH_MAX
    length = 0
    for text in told[:WARNINGS_MAX]:
        if length >= WARNINGS_LENGTH_MAX:
            return
        shown = text[:CUT_WARNING_LENGTH] if cut else text
        length += len(shown)
        escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
        yield f'299 - "{escaped}"'
