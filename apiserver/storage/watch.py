"""Watchers, and which of them an event can concern.

Each watcher has a buffer of its own with a limit: one that is too slow is cut off (it comes back with the last
version it has seen) and never delays the others. An event is handed only to watchers whose namespace, name or
node can match: they are kept under those keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from apimachinery.errors import expired
from apimachinery.meta import Object
from apiserver.storage.entry import Entry, at_revision

BUFFER_EVENTS_MAX = 8192
BUFFER_BYTES_MAX = 64 << 20
ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

IndexKey = tuple[str, str]


class Ended(Exception):
    """The watch is over and nothing is wrong: its client goes on elsewhere from the last version it has seen."""


class Event:
    """A change: the new version (for a deletion the last one, at its new revision) and the one before."""

    __slots__ = ("_left", "entry", "previous", "type")

    def __init__(self, type: str, entry: Entry, previous: Entry | None) -> None:
        self.type = type
        self.entry = entry
        self.previous = previous
        self._left: Entry | None = None

    def left(self) -> Entry:
        """What a watcher is shown whose selection the object has left: as it was, at the revision of the change."""
        if self._left is None:
            assert self.previous is not None, "what was not there before can't leave"
            self._left = at_revision(self.previous, self.entry.revision)
        return self._left


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch selects. Namespace, name and node are indexed; the rest is looked at one by one.

    `bound` is what somebody asks for who wants all pods that have a node, or none: that takes no parsing.
    `view` shows a stored version as the one who selects sees it, where that is not as it is stored.
    """

    namespace: str = ""
    name: str = ""
    node: str = ""
    labels: Callable[[Mapping[str, str]], bool] | None = None
    fields: Callable[[Object], bool] | None = None
    view: Callable[[Entry], Entry] | None = None
    bound: bool | None = None

    @property
    def filters(self) -> bool:
        """Whether there are conditions beyond the namespace and the name."""
        return bool(self.node) or self.bound is not None or self.labels is not None or self.fields is not None

    def index_key(self) -> IndexKey:
        """The narrowest index that holds all that can match."""
        if self.node:
            return "node", self.node
        if self.name:
            return "name", f"{self.namespace}/{self.name}"
        return ("namespace", self.namespace) if self.namespace else ("", "")

    def selects(self, entry: Entry) -> bool:
        """Whether this version is selected."""
        return (
            (not self.namespace or entry.namespace == self.namespace)
            and (not self.name or entry.name == self.name)
            and (not self.node or entry.node == self.node)
            and (self.bound is None or bool(entry.node) == self.bound)
            and (self.labels is None or self.labels(entry.labels))
            and (self.fields is None or self.fields(self._shown(entry).obj))
        )

    def _shown(self, entry: Entry) -> Entry:
        return entry if self.view is None else self.view(entry)

    def seen_as(self, event: Event) -> str | None:
        """The type under which a watcher sees an event: what begins to match is added, what ends is deleted."""
        before = event.previous is not None and self.selects(event.previous)
        after = event.type != DELETED and self.selects(event.entry)
        if after:
            return MODIFIED if before else ADDED
        return DELETED if before else None


def index_keys(entry: Entry) -> tuple[IndexKey, ...]:
    """The indexes under which watchers of this version are found."""
    keys: tuple[IndexKey, ...] = (("", ""), ("name", f"{entry.namespace}/{entry.name}"))
    if entry.namespace:
        keys = (*keys, ("namespace", entry.namespace), ("name", f"/{entry.name}"))
    return (*keys, ("node", entry.node)) if entry.node else keys


class Watcher:
    """One client's view of the changes, read in batches; `version` is the one in which it is served."""

    __slots__ = ("_buffer", "_bytes", "_cut", "_waiting", "selection", "version")

    def __init__(self, selection: Selection, version: str = "") -> None:
        self.selection = selection
        self.version = version
        self._buffer: list[tuple[str, Entry]] = []
        self._bytes = 0
        self._waiting: asyncio.Future[None] | None = None
        self._cut: Exception | None = None

    def offer(self, event: Event) -> None:
        """Take an event if it is selected."""
        kind = self.selection.seen_as(event)
        if kind is None or self._cut is not None:
            return
        if len(self._buffer) >= BUFFER_EVENTS_MAX or self._bytes >= BUFFER_BYTES_MAX:
            self._buffer = []
            self.end(expired("the watch was too slow and has been ended; list again"))
            return
        gone = kind == DELETED and event.type != DELETED
        self._buffer.append((kind, event.left() if gone else event.entry))
        self._bytes += len(event.entry.raw)
        self.wake()

    def end(self, reason: Exception) -> None:
        """Have the next read raise this, once what was offered before has been read."""
        self._cut = reason
        self.wake()

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing that is offered from now on is taken."""
        return self._cut is not None

    @property
    def has_events(self) -> bool:
        """Whether the next read finds something."""
        return bool(self._buffer)

    def wake(self) -> None:
        """Let a read that waits return, be it with nothing."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def take(self) -> list[tuple[str, Entry]]:
        """All that has arrived. Raises ApiError once cut off, Ended at the end."""
        if not self._buffer and self._cut is not None:
            raise self._cut
        batch, self._buffer, self._bytes = self._buffer, [], 0
        return batch

    async def next_batch(self) -> list[tuple[str, Entry]]:
        """All that has arrived, waiting for the first; empty if woken before. Raises as `take` does."""
        if not self._buffer and self._cut is None:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self.take()


class Dispatch:
    """All watchers of a resource, under the keys by which events find them."""

    def __init__(self) -> None:
        # Dictionaries for sets: what happens to watchers happens in the order in which they came.
        self._watchers: dict[IndexKey, dict[Watcher, None]] = {}

    def add(self, watcher: Watcher) -> None:
        """Hand events to a watcher from now on."""
        self._watchers.setdefault(watcher.selection.index_key(), {})[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        key = watcher.selection.index_key()
        found = self._watchers.get(key, {})
        found.pop(watcher, None)
        if not found:
            self._watchers.pop(key, None)

    def publish(self, event: Event) -> None:
        """Hand an event to all that it can concern."""
        if not self._watchers:
            return
        keys: Iterable[IndexKey] = index_keys(event.entry)
        if event.previous is not None and event.previous.node != event.entry.node:
            keys = dict.fromkeys((*keys, *index_keys(event.previous)))
        for key in keys:
            for watcher in self._watchers.get(key, ()):
                watcher.offer(event)

    def all(self) -> list[Watcher]:
        """Every watcher."""
        return [watcher for some in self._watchers.values() for watcher in some]
