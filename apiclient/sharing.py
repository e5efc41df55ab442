"""Parts that many cached objects have in common, kept once.

Pods of one owner have the same labels and containers, and those that start in the same second the same conditions.
Nobody changes what comes from a cache, so equal parts may be one.
"""

from __future__ import annotations

from typing import TypeVar

import orjson

# Then all are forgotten, but by the objects that have them: those that came together have been seen together.
SHARED_MAX = 4_096

T = TypeVar("T")


class Sharing:
    """Remembers parts by what they are in JSON."""

    def __init__(self) -> None:
        self._known: dict[bytes, object] = {}

    def __len__(self) -> int:
        """How many parts it remembers."""
        return len(self._known)

    def one(self, value: T) -> T:
        """The value, or an equal one that is kept already."""
        key = orjson.dumps(value)
        known = self._known.get(key)
        if known is not None:
            return known  # type: ignore[return-value]  # what is the same in JSON is of the same type
        if len(self._known) >= SHARED_MAX:
            self._known.clear()
        self._known[key] = value
        return value
