"""The answers of a resource's handlers: one object, a list, a `Status`, in the representation that was asked for."""

from __future__ import annotations

import asyncio
import ipaddress
import zlib
from collections.abc import Iterator, Sequence

import orjson
from aiohttp import web

from apimachinery.errors import not_acceptable
from apimachinery.meta import Object
from apiserver import encoding, tables
from apiserver.responses import ReadyResponse
from apiserver.rest.call import Call
from apiserver.rest.negotiation import Representation, negotiate
from apiserver.rest.reading import Page
from apiserver.storage.entry import Entry

# Compression costs more than it saves below this, and for a client on the same machine always.
GZIP_BYTES_MIN = 128 << 10
GZIP_LEVEL = 1
WARNINGS_BYTES_MAX = 4096
# Representations are made of so many objects before others may run.
SLICE = 256


def representation(call: Call) -> Representation:
    """What the client accepts. Raises ApiError 406."""
    return negotiate(call.http.headers.get("Accept", ""))


async def one(call: Call, entry: Entry, now: float, status: int = 200) -> web.StreamResponse:
    """An answer with one version of an object. Raises ApiError 406."""
    wanted = representation(call)
    match wanted.kind:
        case "":
            body = entry.raw
        case "Table":
            metadata = {"resourceVersion": str(entry.revision)}
            body = await _table(call, [entry], metadata, wanted.api_version, now)
        case "PartialObjectMetadata":
            body = encoding.partial(entry, wanted.api_version)
        case _:
            raise not_acceptable(f"you requested {wanted.kind}, but the requested object is not a list")
    return await send(call, [body], status)


async def many(call: Call, page: Page, now: float) -> web.StreamResponse:
    """An answer with a list. Raises ApiError 406."""
    wanted = representation(call)
    metadata = encoding.list_metadata(page.revision, page.token, page.remaining)
    match wanted.kind:
        case "":
            pieces = encoding.object_list(call.resource, page.entries, metadata)
        case "Table":
            pieces = [await _table(call, page.entries, metadata, wanted.api_version, now)]
        case "PartialObjectMetadataList":
            for some in _slices(page.entries):
                for entry in some:
                    encoding.partial(entry, wanted.api_version)
                await asyncio.sleep(0)
            pieces = encoding.partial_list(wanted.api_version, page.entries, metadata)
        case _:
            raise not_acceptable(f"you requested {wanted.kind}, but the requested object is a list")
    return await send(call, pieces)


async def _table(call: Call, entries: Sequence[Entry], metadata: Object, api_version: str, now: float) -> bytes:
    """A table, made in slices so that others run in between."""
    included = tables.include(call.query.get("includeObject", ""))
    rows: list[Object] = []
    for some in _slices(entries):
        rows += [tables.row(call.strategy, entry, api_version, included, now) for entry in some]
        if len(rows) < len(entries):
            await asyncio.sleep(0)
    return tables.table(call.strategy, rows, metadata, api_version)


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[start : start + SLICE] for start in range(0, len(entries), SLICE))


async def document(call: Call, obj: Object, status: int = 200) -> web.StreamResponse:
    """An answer with what is no stored object: a Scale, a Status."""
    return await send(call, [orjson.dumps(obj)], status)


async def send(call: Call, pieces: Sequence[bytes], status: int = 200) -> web.StreamResponse:
    """Send a body that is in pieces; a large one is compressed if the client is elsewhere and wants it so."""
    headers = [("Warning", warning) for warning in _warnings(call.warnings)]
    size = sum(map(len, pieces))
    if size >= GZIP_BYTES_MIN and _wants_gzip(call.http):
        body = await asyncio.to_thread(_gzip, pieces)
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    else:
        body = b"".join(pieces)
    return ReadyResponse(body, status=status, headers=headers)


def _gzip(pieces: Sequence[bytes]) -> bytes:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [compressor.compress(piece) for piece in pieces]
    return b"".join([*parts, compressor.flush()])


def _wants_gzip(http: web.BaseRequest) -> bool:
    if "gzip" not in http.headers.get("Accept-Encoding", ""):
        return False
    return http.remote is None or not ipaddress.ip_address(http.remote).is_loopback


def _warnings(texts: Sequence[str]) -> Iterator[str]:
    """The values of Warning headers (RFC 7234); what would be more than clients take in is left out."""
    size = 0
    for text in texts:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        size += len(escaped)
        if size > WARNINGS_BYTES_MAX:
            return
        yield f'299 - "{escaped}"'
