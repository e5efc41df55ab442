"""All objects of one resource in memory: their newest versions, their recent changes, and who watches them."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Callable, Iterator

from apiserver.storage.entry import Entry
from apiserver.storage.watch import ADDED, DELETED, MODIFIED, Dispatch, Event, Selection

# How much of the past is kept in memory; what is older is read from the log.
HISTORY_EVENTS_MAX = 4096
HISTORY_BYTES_MAX = 8 << 20

Key = tuple[str, str]
Listener = Callable[[Event], None]


class Collection:
    """The objects of one resource, kept in the order of namespace and name."""

    def __init__(self, since: int) -> None:
        self.entries: dict[Key, Entry] = {}
        self.order: list[Key] = []
        # Revisions of deletions, until compaction forgets them: a new object of the name replaces that row.
        self.tombstones: dict[Key, int] = {}
        self.history: deque[Event] = deque()
        self.since = since  # every change after this revision is in `history`
        self.watchers = Dispatch()
        self.listeners: list[Listener] = []
        self._history_bytes = 0

    def apply(self, entry: Entry, *, deleted: bool) -> None:
        """Make a committed version visible, and tell those who watch."""
        key = (entry.namespace, entry.name)
        previous = self.entries.get(key)
        if deleted:
            del self.entries[key]
            del self.order[bisect.bisect_left(self.order, key)]
            self.tombstones[key] = entry.revision
            event = Event(DELETED, entry, previous)
        else:
            if previous is None:
                bisect.insort(self.order, key)
                self.tombstones.pop(key, None)
            self.entries[key] = entry
            event = Event(ADDED if previous is None else MODIFIED, entry, previous)
        self.remember(event)
        for listener in self.listeners:
            listener(event)
        self.watchers.publish(event)

    def remember(self, event: Event) -> None:
        """Keep a change in the history, and forget the oldest if it is too much."""
        self.history.append(event)
        self._history_bytes += len(event.entry.raw)
        while len(self.history) > HISTORY_EVENTS_MAX or self._history_bytes > HISTORY_BYTES_MAX:
            self._forget_oldest()

    def forget_history(self, revision: int) -> None:
        """Let go of the changes up to a revision that nobody may ask for any more."""
        while self.history and self.history[0].entry.revision <= revision:
            self._forget_oldest()
        self.since = max(self.since, revision)
        for key in [key for key, at in self.tombstones.items() if at <= revision]:
            del self.tombstones[key]

    def _forget_oldest(self) -> None:
        oldest = self.history.popleft()
        self._history_bytes -= len(oldest.entry.raw)
        self.since = oldest.entry.revision

    def changes(self, revision: int) -> list[Event]:
        """The changes after a revision that is not before `since`, oldest first."""
        found: list[Event] = []
        for event in reversed(self.history):
            if event.entry.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def candidates(self, selection: Selection, revision: int, after: Key | None) -> Iterator[Entry]:
        """What a selection can select, in order, as it was at a revision that is not before `since`.

        `after` leaves out everything up to a key. The iterator must be used up before anything changes.
        """
        then: dict[Key, Entry | None] = {}
        for event in self.changes(revision):
            then.setdefault((event.entry.namespace, event.entry.name), event.previous)
        if selection.namespace and selection.name:
            keys = [(selection.namespace, selection.name)]
        else:
            keys = self._keys(selection.namespace)
            if gone := [key for key in then if key not in self.entries]:
                keys = sorted(keys + [key for key in gone if selection.namespace in ("", key[0])])
        start = bisect.bisect_right(keys, after) if after is not None else 0
        for key in itertools.islice(keys, start, None):
            entry = then[key] if key in then else self.entries.get(key)
            if entry is not None:
                yield entry

    def all_of(self, namespace: str) -> list[Entry]:
        """The newest versions in a namespace (or in all), in order."""
        return [self.entries[key] for key in self._keys(namespace)] if self.order else []

    def count(self, namespace: str) -> int:
        """How many objects there are in a namespace (or in all)."""
        low, high = self._range(namespace)
        return high - low

    def count_after(self, namespace: str, key: Key) -> int:
        """How many objects of a namespace (or of all) come after a key."""
        _, high = self._range(namespace)
        return max(0, high - bisect.bisect_right(self.order, key))

    def _keys(self, namespace: str) -> list[Key]:
        low, high = self._range(namespace)
        return self.order if high - low == len(self.order) else self.order[low:high]

    def _range(self, namespace: str) -> tuple[int, int]:
        if not namespace:
            return 0, len(self.order)
        low = bisect.bisect_left(self.order, (namespace, ""))
        return low, bisect.bisect_left(self.order, (namespace + "\0", ""))
