"""One version of an object, as it is kept in memory: its bytes, and the little of it that is looked at often.

A parsed object takes some five times the memory of its bytes, so only those used last are kept parsed. Labels and
the node's name are kept for good once they have been looked at, since selectors ask for them again and again;
equal labels are kept once for all objects that have them.

Who manages which field (`metadata.managedFields`) is kept apart from the bytes: most who read an object have no use
for it, and it is the same for many. It comes into the answers of those who want it (`apiserver.encoding`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from apimachinery.managedfields.entries import Managed, from_lines, lines
from apimachinery.meta import Object

# So many versions are kept parsed, and of so many bytes.
PARSED_MAX, PARSED_BYTES_MAX = 1024, 4 << 20
_NO_LABELS: Mapping[str, str] = {}


class Entry:
    """One version of an object: its bytes, and whatever has been made of them once."""

    __slots__ = (
        *("_labels", "_node", "_obj", "encodings"),
        *("managed", "name", "namespace", "raw", "revision", "settled"),
    )

    def __init__(self, namespace: str, name: str, revision: int, raw: bytes, managed: Managed = ()) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.raw = raw
        self.managed = managed
        self.encodings: dict[str, Any] | None = None
        # The version of a custom resource that was found to be just what these bytes are.
        self.settled: object = None
        self._obj: Object | None = None
        self._labels: Mapping[str, str] | None = None
        self._node: str | None = None

    @property
    def obj(self) -> Object:
        """The object, never to be changed; parsed when it is asked for."""
        obj = self._obj
        if obj is None:
            obj = self._obj = orjson.loads(self.raw)
            _parsed.remember(self)
        return obj

    @property
    def stored(self) -> bytes:
        """What is stored: the bytes, which are one line of JSON, and on lines of their own the managers."""
        return b"\n".join((self.raw, *lines(self.managed))) if self.managed else self.raw

    def copy(self) -> Object:
        """The object as a private copy."""
        copied: Object = orjson.loads(self.raw)
        return copied

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`."""
        if self._labels is None:
            self.look(self.obj)
        return self._labels or _NO_LABELS

    @property
    def node(self) -> str:
        """`spec.nodeName`, or ""."""
        if self._node is None:
            self.look(self.obj)
        return self._node or ""

    def look(self, obj: Object) -> None:
        """Learn labels and node from the object that the bytes were made of, which saves parsing them for that."""
        labels = obj["metadata"].get("labels")
        self._labels = _shared(tuple(labels.items())) if labels else _NO_LABELS
        spec = obj.get("spec")
        node = spec.get("nodeName") if isinstance(spec, dict) else None
        self._node = sys.intern(node) if isinstance(node, str) else ""

    def encoding(self, kind: str, make: Callable[[Entry], Any]) -> Any:
        """Something made of this version once."""
        if self.encodings is None:
            self.encodings = {}
        found = self.encodings.get(kind)
        if found is None:
            found = self.encodings[kind] = make(self)
        return found


def at_revision(entry: Entry, revision: int) -> Entry:
    """The same version under a later revision: what is shown of an object when it goes out of sight."""
    obj = entry.copy()
    obj["metadata"]["resourceVersion"] = str(revision)
    raw = bytes(memoryview(orjson.dumps(obj)))
    return Entry(entry.namespace, entry.name, revision, raw, entry.managed)


def from_stored(namespace: str, name: str, revision: int, stored: bytes) -> Entry:
    """The version of what was stored for it."""
    raw, _, managed = stored.partition(b"\n")
    return (
        Entry(namespace, name, revision, raw, _managed(managed)) if managed else Entry(namespace, name, revision, raw)
    )


# Many objects that are stored one after the other have the same managers.
@lru_cache(maxsize=64)
def _managed(stored: bytes) -> Managed:
    return from_lines(stored.split(b"\n"))


class _Parsed:
    """The versions that are kept parsed, the oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def remember(self, entry: Entry) -> None:
        """Keep this one, and give up others if these are too many now."""
        self._entries.append(entry)
        self._bytes += len(entry.raw)
        while len(self._entries) > PARSED_MAX or (self._bytes > PARSED_BYTES_MAX and len(self._entries) > 1):
            oldest = self._entries.popleft()
            oldest._obj = None
            self._bytes -= len(oldest.raw)


_parsed = _Parsed()


@lru_cache(maxsize=4096)
def _shared(labels: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(labels)
