"""The answers of a resource's handlers: one object, a list, a `Status`, in the representation that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import orjson
from aiohttp import web

from apimachinery.errors import not_acceptable
from apimachinery.meta import Object
from apiserver import encoding, tables
from apiserver.registry.strategy import AGE, NAME, Column, Strategy
from apiserver.rest.call import Call
from apiserver.rest.negotiation import Representation, negotiate
from apiserver.rest.reading import Page
from apiserver.rest.sending import Piece, send
from apiserver.rest.subresources import SCALE
from apiserver.storage.entry import Entry

# A Scale is stored nowhere, but shown like what is.
SCALES = Strategy(
    SCALE,
    columns=(
        NAME,
        Column("Desired", lambda scale: scale["spec"]["replicas"], "integer"),
        Column("Available", lambda scale: scale["status"]["replicas"], "integer"),
        AGE,
    ),
)
# Representations are made of so many objects before others may run.
SLICE = 256


def representation(call: Call) -> Representation:
    """What the client accepts. Raises ApiError 406."""
    return negotiate(call.http.headers.get("Accept", ""))


async def one(
    call: Call, entry: Entry, now: float, status: int = 200, strategy: Strategy | None = None
) -> web.StreamResponse:
    """An answer with one version of an object, of the call's kind or another's `strategy`. Raises ApiError 406."""
    wanted = representation(call)
    match wanted.kind:
        case "":
            body = encoding.version(entry, managers=wanted.managers)
        case "Table":
            metadata = {"resourceVersion": str(entry.revision)} if entry.revision else {}
            body = await _table(call, strategy or call.strategy, [entry], metadata, wanted, now)
        case "PartialObjectMetadata":
            body = encoding.partial(entry, wanted.api_version, managers=wanted.managers)
        case _:
            raise not_acceptable(f"you requested {wanted.kind}, but the requested object is not a list")
    return await send(call, [body], status)


async def many(call: Call, page: Page, now: float) -> web.StreamResponse:
    """An answer with a list. Raises ApiError 406."""
    wanted = representation(call)
    metadata = encoding.list_metadata(page.revision, page.token, page.remaining)
    pieces: Sequence[Piece]
    match wanted.kind:
        case "":
            pieces = encoding.object_list(call.resource, page.entries, metadata, managers=wanted.managers)
        case "Table":
            pieces = [await _table(call, call.strategy, page.entries, metadata, wanted, now)]
        case "PartialObjectMetadataList":
            for some in _slices(page.entries):
                for entry in some:
                    encoding.partial(entry, wanted.api_version, managers=False)
                await asyncio.sleep(0)
            pieces = encoding.partial_list(wanted.api_version, page.entries, metadata, managers=wanted.managers)
        case _:
            raise not_acceptable(f"you requested {wanted.kind}, but the requested object is a list")
    return await send(call, pieces)


async def _table(
    call: Call, strategy: Strategy, entries: Sequence[Entry], metadata: Object, wanted: Representation, now: float
) -> bytes:
    """A table, made in slices so that others run in between."""
    version, managers = wanted.api_version, wanted.managers
    included = tables.include(call.query.get("includeObject", ""))
    rows: list[Object] = []
    for some in _slices(entries):
        rows += [tables.row(strategy, entry, version, included, now, managers=managers) for entry in some]
        if len(rows) < len(entries):
            await asyncio.sleep(0)
    return tables.table(strategy, rows, metadata, version)


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    return (entries[start : start + SLICE] for start in range(0, len(entries), SLICE))


async def scale(call: Call, obj: Object, now: float, status: int = 200) -> web.StreamResponse:
    """An answer with a Scale. Raises ApiError 406."""
    metadata = obj["metadata"]
    revision = int(metadata.get("resourceVersion", 0))
    entry = Entry(metadata.get("namespace", ""), metadata["name"], revision, orjson.dumps(obj))
    return await one(call, entry, now, status, SCALES)


async def document(call: Call, obj: Object, status: int = 200) -> web.StreamResponse:
    """An answer with what is no object: a Status, or what a question was answered with."""
    return await send(call, [orjson.dumps(obj)], status)
