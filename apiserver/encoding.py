"""Objects as bytes: each version is encoded once, and answers are spliced from those bytes.

    a version        {"kind":"Pod","apiVersion":"v1","metadata":{…},…}
    … with managers  {"kind":"Pod","apiVersion":"v1","metadata":{"managedFields":[…],…},…}
    in a list        {"metadata":{…},…}                       the kind stands once, at the list
    in a watch       {"type":"ADDED","object":VERSION}\\n
    metadata alone   {"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{…}}

Tables are made in `apiserver.tables`.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import orjson

from apimachinery.managedfields.entries import Managed
from apimachinery.managedfields.entries import pieces as managed_pieces
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.storage.entry import Entry

_FIRST = ("kind", "apiVersion", "metadata")
# It is the first field besides the kind, and never empty: what comes into it comes right behind this.
_METADATA = b'"metadata":{'
Piece = bytes | memoryview
# Of so many managers the bytes are put together once for a whole list.
SHOWN_ONCE_MAX = 64
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


def encode(resource: Resource, obj: Object, revision: int) -> bytes:
    """The bytes of a version, its kind and metadata first; what was never stored has no revision (0)."""
    fields = {"metadata": {**obj["metadata"], "resourceVersion": str(revision)} if revision else obj["metadata"]}
    fields |= {key: value for key, value in obj.items() if key not in _FIRST}
    # What orjson returns lies in a buffer of several times its size: it is copied to what is kept.
    prefix = kind_prefix(resource.kind, resource.api_version)
    return b"".join((prefix, memoryview(orjson.dumps(fields))[1:]))


@cache
def kind_prefix(kind: str, api_version: str) -> bytes:
    """How every object of a kind begins."""
    return f'{{"kind":"{kind}","apiVersion":"{api_version}",'.encode()


def version(entry: Entry, *, managers: bool = True) -> bytes:
    """The bytes of a version as they are sent, with who manages its fields or without."""
    return _whole(entry) if managers and entry.managed else entry.raw


# An event is sent to many in the same moment.
@lru_cache(maxsize=4)
def _whole(entry: Entry) -> bytes:
    return b"".join(_with_managers(entry.raw, entry.managed))


def _with_managers(raw: bytes, managed: Managed) -> Iterator[Piece]:
    """The pieces of an object with its managers in its metadata."""
    cut = raw.index(_METADATA) + len(_METADATA)
    yield raw[:cut]
    yield from _managers(managed)
    yield memoryview(raw)[cut:]


def _managers(managed: Managed) -> Iterator[bytes]:
    """The pieces of the field that tells them, as the first of several fields."""
    yield b'"managedFields":['
    yield from managed_pieces(managed)
    yield b"],"


def list_metadata(revision: int, token: str = "", remaining: int | None = None) -> dict[str, Any]:
    """The metadata of a list; `token` continues it."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if token:
        metadata["continue"] = token
    if remaining is not None:
        metadata["remainingItemCount"] = remaining
    return metadata


def object_list(
    resource: Resource, entries: Sequence[Entry], metadata: dict[str, Any], *, managers: bool = True
) -> list[Piece]:
    """The pieces of a list of objects: views of the versions' bytes, without their kind."""
    start = len(kind_prefix(resource.kind, resource.api_version)) + len(_METADATA)
    pieces: list[Piece] = []
    shown: dict[int, tuple[bytes, ...]] = {}
    for entry in entries:
        pieces.append(b',{"metadata":{')
        if managers and entry.managed:
            # Objects that were made together have the same managers.
            told = shown.get(id(entry.managed))
            if told is None:
                told = tuple(_managers(entry.managed))
                if len(shown) < SHOWN_ONCE_MAX:
                    told = shown[id(entry.managed)] = (b"".join(told),)
            pieces += told
        pieces.append(memoryview(entry.raw)[start:])
    return _list(resource.list_kind, resource.api_version, metadata, pieces)


def partial_list(
    api_version: str, entries: Sequence[Entry], metadata: dict[str, Any], *, managers: bool = True
) -> list[Piece]:
    """The pieces of a list of metadata."""
    pieces: list[Piece] = []
    for entry in entries:
        pieces += (b",", partial(entry, api_version, managers=managers))
    return _list("PartialObjectMetadataList", api_version, metadata, pieces)


def _list(kind: str, api_version: str, metadata: dict[str, Any], pieces: list[Piece]) -> list[Piece]:
    """A list of what the pieces make, each of whose items begins with a comma."""
    head = kind_prefix(kind, api_version) + b'"metadata":' + orjson.dumps(metadata) + b',"items":['
    if pieces:
        pieces[0] = pieces[0][1:]
    return [head, *pieces, b"]}"]


def partial(entry: Entry, api_version: str, *, managers: bool = True) -> bytes:
    """The metadata of a version alone, as an object of its own; made once but for the managers."""
    made: bytes = entry.encoding(api_version, lambda version: _partial(version, api_version))
    return b"".join(_with_managers(made, entry.managed)) if managers and entry.managed else made


def _partial(entry: Entry, api_version: str) -> bytes:
    prefix = kind_prefix("PartialObjectMetadata", api_version)
    return b"".join((prefix, memoryview(orjson.dumps({"metadata": entry.obj["metadata"]}))[1:]))


def watch_line(kind: str, obj: bytes) -> bytes:
    """One event of a watch."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), obj)


def bookmark(kind: str, api_version: str, revision: int, *, initial_events_end: bool = False) -> bytes:
    """The object of a bookmark: nothing but how far the watch has come."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        metadata["annotations"] = INITIAL_EVENTS_END
    return orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
