"""Watchers, and which of them an event can concern.

Each watcher has a buffer of its own with a limit: one that is too slow is cut off (it comes back with the last
version it has seen) and never delays the others. An event is handed only to watchers whose namespace, name or
node can match: they are kept under those keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import ApiError, expired
from apimachinery.meta import Object
from apiserver.storage.entry import Entry

BUFFER_EVENTS_MAX = 8192
ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """A change: the new version (for a deletion the last one, at its new revision) and the one before."""

    type: str
    entry: Entry
    previous: Entry | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch selects. The three fields are indexed; `matches` is the whole truth."""

    namespace: str = ""
    name: str = ""
    node: str = ""
    matches: Callable[[Object], bool] | None = None

    def index_key(self) -> tuple[str, str]:
        """The narrowest index that holds all that can match."""
        if self.node:
            return "node", self.node
        if self.namespace and self.name:
            return "name", f"{self.namespace}/{self.name}"
        if self.name:
            return "name", f"/{self.name}"
        return ("namespace", self.namespace) if self.namespace else ("", "")

    def selects(self, entry: Entry) -> bool:
        """Whether this version is selected."""
        if self.namespace and entry.namespace != self.namespace:
            return False
        if self.name and entry.name != self.name:
            return False
        return self.matches is None or self.matches(entry.obj)

    def seen_as(self, event: Event) -> str | None:
        """The type under which a watcher sees an event: what begins to match is added, what ends is deleted."""
        before = event.previous is not None and self.selects(event.previous)
        after = event.type != DELETED and self.selects(event.entry)
        if after:
            return MODIFIED if before else ADDED
        return DELETED if before else None


def index_keys(entry: Entry) -> list[tuple[str, str]]:
    """The indexes under which watchers of this version are found."""
    keys = [("", ""), ("name", f"{entry.namespace}/{entry.name}"), ("name", f"/{entry.name}")]
    if entry.namespace:
        keys.append(("namespace", entry.namespace))
    spec: Any = entry.obj.get("spec")
    node = spec.get("nodeName") if isinstance(spec, dict) else None
    if node:
        keys.append(("node", node))
    return keys


class Watcher:
    """One client's view of the changes; an async iterator of (type, version)."""

    __slots__ = ("_buffer", "_cut", "_waiting", "selection")

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._buffer: deque[tuple[str, Entry]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._cut: ApiError | None = None

    def offer(self, event: Event) -> None:
        """Take an event if it is selected."""
        kind = self.selection.seen_as(event)
        if kind is None or self._cut is not None:
            return
        if len(self._buffer) >= BUFFER_EVENTS_MAX:
            self._buffer.clear()
            self.end(expired("the watch was too slow and has been ended; list again"))
            return
        self._buffer.append((kind, event.entry))
        self._wake()

    def end(self, error: ApiError) -> None:
        """Have the next read raise this error."""
        self._cut = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next_batch(self, timeout_seconds: float) -> list[tuple[str, Entry]]:
        """All that has arrived, waiting for the first; empty after the timeout. Raises ApiError once cut off."""
        if not self._buffer and self._cut is None:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._waiting
            except TimeoutError:
                return []
            finally:
                self._waiting = None
        if not self._buffer and self._cut is not None:
            raise self._cut
        batch = list(self._buffer)
        self._buffer.clear()
        return batch
