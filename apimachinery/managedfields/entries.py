"""The entries of `metadata.managedFields`: who, by which operation, in which version, when, and which fields.

Objects of one kind mostly have the same few entries but for their times. Entries are therefore kept apart from the
objects, as tuples with the fields as bytes, and equal ones are shared. Where the fields hold addresses or uids, as
those of pods do, these are kept apart from what is around them, which is shared again.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal (managedfields.go, capmanagers.go)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from apimachinery.managedfields import sets
from apimachinery.managedfields.sets import Fields
from apimachinery.time import canonical_time

APPLY, UPDATE = "Apply", "Update"
FIELDS_V1 = "FieldsV1"
UPDATERS_MAX = 10
ANCIENT_CHANGES = "ancient-changes"


class Identity(NamedTuple):
    """What tells managers apart. One that applies stays the same in another version (`api_version` is empty then)."""

    manager: str
    operation: str
    api_version: str
    subresource: str


class Entry(NamedTuple):
    """One manager's entry; made by `make`. `time` is RFC 3339 or empty; `pieces` are the pieces of the fields."""

    operation: str
    time: str
    manager: str
    api_version: str
    subresource: str
    pieces: tuple[bytes, ...]

    @property
    def fields(self) -> bytes:
        """The fields, as `sets.dumps` makes them."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    @property
    def identity(self) -> Identity:
        """Who that is."""
        return identity(self.manager, self.operation, self.api_version, self.subresource)

    def with_fields(self, fields: Fields) -> Entry:
        """The same manager with other fields."""
        return _shared(self._replace(pieces=_pieces_of(sets.dumps(fields))))

    def at(self, time: str) -> Entry:
        """The same entry of another time."""
        return _shared(self._replace(time=time))

    def in_version(self, api_version: str) -> Entry:
        """The same entry in another version."""
        return _shared(self._replace(api_version=api_version))


Managed = tuple[Entry, ...]


def identity(manager: str, operation: str, api_version: str, subresource: str) -> Identity:
    """Who a manager is."""
    return Identity(manager, operation, "" if operation == APPLY else api_version, subresource)


def make(operation: str, time: str, manager: str, api_version: str, subresource: str, fields: bytes) -> Entry:
    """An entry."""
    return _shared(Entry(operation, time, manager, api_version, subresource, _pieces_of(fields)))


# A text in a key or a value of a list's item that has a digit in it: so addresses and uids look.
_VARYING = re.compile(rb'(\\"[^"\\]*[0-9][^"\\]*\\")')


def _pieces_of(fields: bytes) -> tuple[bytes, ...]:
    return _shared_pieces(_VARYING.split(fields))


def _shared_pieces(pieces: list[bytes]) -> tuple[bytes, ...]:
    """Every second piece is what varies."""
    if len(pieces) == 1:
        return (_shared_piece(pieces[0]),)
    return tuple([piece if number % 2 else _shared_piece(piece) for number, piece in enumerate(pieces)])


@lru_cache(maxsize=1024)
def _shared_piece(piece: bytes) -> bytes:
    return piece


@lru_cache(maxsize=4096)
def _shared(entry: Entry) -> Entry:
    """The one copy of equal entries."""
    return entry


@lru_cache(maxsize=4096)
def _shared_tuple(managed: Managed) -> Managed:
    return managed


@lru_cache(maxsize=1024)
def alone(operation: str, time: str, manager: str, api_version: str, subresource: str, fields: bytes) -> Managed:
    """The entries of an object that has but one manager."""
    return _shared_tuple((make(operation, time, manager, api_version, subresource, fields),))


def collected(entries: Iterable[Entry]) -> Managed:
    """Entries in their order: who applies first, then the oldest. The one copy of equal tuples."""
    # The fields of an entry stand in the order in which entries are compared.
    return _shared_tuple(tuple(sorted(entries)))


def decode(documents: Any, known: Managed = ()) -> Managed:
    """The entries of `metadata.managedFields`; most often they are those that are `known`. Raises ValueError."""
    if not isinstance(documents, list):
        raise ValueError("managedFields must be a list")
    pieces = {entry.fields: entry.pieces for entry in known}
    found: dict[Identity, Entry] = {}
    for number, document in enumerate(documents):
        entry = _decoded(number, document, pieces)
        found[entry.identity] = entry
    return collected(found.values())


def _decoded(number: int, document: Any, known: Mapping[bytes, tuple[bytes, ...]]) -> Entry:
    if not isinstance(document, dict):
        raise ValueError(f"managed fields entry {number} must be an object")
    operation, kind = document.get("operation"), document.get("fieldsType")
    if operation not in (APPLY, UPDATE):
        raise ValueError("operation must be `Apply` or `Update`")
    if not document.get("apiVersion"):
        raise ValueError("apiVersion must not be empty")
    if not kind:
        raise ValueError(f"missing fieldsType in managed fields entry {number}")
    if kind != FIELDS_V1:
        raise ValueError(f'invalid fieldsType "{kind}" in managed fields entry {number}')
    texts = {key: document.get(key) or "" for key in ("manager", "apiVersion", "subresource", "time")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"managed fields entry {number} holds something else than texts")
    time = canonical_time(texts["time"]) if texts["time"] else ""
    fields = sets.dumps(document.get("fieldsV1") or {})
    pieces = known.get(fields) or _pieces_of(sets.dumps(sets.parse(document.get("fieldsV1") or {})))
    return _shared(Entry(operation, time, texts["manager"], texts["apiVersion"], texts["subresource"], pieces))


def is_reset(documents: Any) -> bool:
    """Whether a client asks for all managers to be forgotten: an empty list, or a list of one empty entry."""
    return isinstance(documents, list) and documents in ([], [{}])


def encoded(managed: Managed) -> list[dict[str, Any]]:
    """`metadata.managedFields` as a document, private."""
    documents: list[dict[str, Any]] = orjson.loads(b"".join((b"[", *pieces(managed), b"]")))
    return documents


def pieces(managed: Managed) -> Iterator[bytes]:
    """The bytes of the entries as they stand within the list of `metadata.managedFields`."""
    between = b""
    for operation, time, manager, api_version, subresource, fields in managed:
        yield between + _head(manager, operation, api_version, time)
        yield from fields
        yield _tail(subresource)
        between = b","


@lru_cache(maxsize=1024)
def _head(manager: str, operation: str, api_version: str, time: str) -> bytes:
    head = {"manager": manager, "operation": operation, "apiVersion": api_version}
    head |= {"time": time} if time else {}
    return orjson.dumps(head | {"fieldsType": FIELDS_V1})[:-1] + b',"fieldsV1":'


@lru_cache(maxsize=256)
def _tail(subresource: str) -> bytes:
    return b',"subresource":' + orjson.dumps(subresource) + b"}" if subresource else b"}"


def lines(managed: Managed) -> list[bytes]:
    """The entries as they are stored: two lines each, of which the second are the fields, tabs between the pieces."""
    found: list[bytes] = []
    for entry in managed:
        found += (_line(entry[:-1]), b"\t".join(entry.pieces))
    return found


@lru_cache(maxsize=1024)
def _line(head: tuple[str, ...]) -> bytes:
    return orjson.dumps(head)


def from_lines(stored: Sequence[bytes]) -> Managed:
    """The entries that `lines` has made."""
    entries = [
        _shared(Entry(*_head_of(head), _shared_pieces(fields.split(b"\t"))))
        for head, fields in zip(stored[::2], stored[1::2], strict=True)
    ]
    return _shared_tuple(tuple(entries))


@lru_cache(maxsize=1024)
def _head_of(line: bytes) -> tuple[str, str, str, str, str]:
    operation, time, manager, api_version, subresource = orjson.loads(line)
    return operation, time, manager, api_version, subresource


def same_managers(some: Managed, others: Managed) -> bool:
    """Whether the same manage the same; that only a time has moved is no change."""
    return some is others or _without_times(some) == _without_times(others)


def _without_times(managed: Managed) -> list[tuple[object, ...]]:
    return sorted((entry.operation, *entry[2:]) for entry in managed)


def capped(managed: Managed) -> Managed:
    """At most so many managers by updates: the oldest of each version become one."""
    updates = [entry for entry in managed if entry.operation == UPDATE]
    surplus = len(updates) - UPDATERS_MAX
    if surplus <= 0:
        return managed
    kept = dict.fromkeys(managed)
    first: dict[str, Entry] = {}
    for entry in updates:  # the oldest come first
        bucket = first.get(entry.api_version)
        if bucket is None:
            first[entry.api_version] = entry
            continue
        del kept[entry]
        del kept[bucket]
        both = sets.union(sets.loads(bucket.fields), sets.loads(entry.fields))
        first[entry.api_version] = make(UPDATE, entry.time, ANCIENT_CHANGES, entry.api_version, "", sets.dumps(both))
        kept[first[entry.api_version]] = None
        surplus -= 1
        if not surplus:
            break
    return collected(kept)
