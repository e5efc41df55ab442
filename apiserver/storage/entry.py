"""One version of an object, as it is kept in memory: its bytes, and the little of it that is looked at often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from apimachinery.meta import Object


class Entry:
    """One version of an object: its bytes, and whatever has been made of them once.

    The parsed object is large (some eight times the bytes), so it is let go when others have been used since.
    """

    __slots__ = ("_obj", "encodings", "name", "namespace", "raw", "revision")

    def __init__(self, namespace: str, name: str, revision: int, raw: bytes, obj: Object | None = None) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.raw = raw
        self._obj = obj
        self.encodings: dict[str, Any] | None = None

    @property
    def obj(self) -> Object:
        """The object; parsed when first asked for, and never to be changed."""
        if self._obj is None:
            self._obj = orjson.loads(self.raw)
        return self._obj

    def copy(self) -> Object:
        """The object as a private copy."""
        copied: Object = orjson.loads(self.raw)
        return copied

    def encoding(self, kind: str, make: Callable[[Entry], Any]) -> Any:
        """Something made of this version once."""
        if self.encodings is None:
            self.encodings = {}
        found = self.encodings.get(kind)
        if found is None:
            found = self.encodings[kind] = make(self)
        return found
