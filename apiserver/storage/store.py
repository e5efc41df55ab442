"""The store: writes go to the log in groups, reads and watches are served from memory.

A write's way: it waits while a commit runs; then all that wait are checked against the committed state, get
their revisions, are encoded once and committed in one transaction on the writer thread; then they become visible
here, in the order of their revisions, watchers are told, and the writers get their answers. A write that fails
has changed nothing.

All methods run on the event loop; only the log's blocking calls run on the writer thread.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from apimachinery.errors import ApiError, expired, internal
from apiserver.storage.encryption import Encryption
from apiserver.storage.entry import Entry
from apiserver.storage.log import Log, Row, StorageError
from apiserver.storage.watch import ADDED, DELETED, MODIFIED, Event, Selection, Watcher, index_keys

GROUP_WRITES_MAX = 512
HISTORY_EVENTS_MAX = 4096
COMPACT_EVERY_SECONDS = 300.0
KEEP_HISTORY_SECONDS = 300.0

T = TypeVar("T")
Encode = Callable[[int], bytes]


class Conflict(Exception):
    """The object is not at the revision that the write expects; `current` is None if there is no object."""

    def __init__(self, current: Entry | None) -> None:
        super().__init__("the object has changed")
        self.current = current


@dataclass(slots=True)
class _Write:
    resource: str
    namespace: str
    name: str
    expected: int
    deleted: bool
    encode: Encode
    done: asyncio.Future[Entry]


class _Collection:
    """All objects of one resource, their recent changes and their watchers."""

    __slots__ = ("entries", "history", "order", "since", "tombstones", "watchers")

    def __init__(self, since: int) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self.order: list[tuple[str, str]] = []
        # Revisions of deletions, until compaction forgets them: a new object of the name replaces that row.
        self.tombstones: dict[tuple[str, str], int] = {}
        self.history: deque[Event] = deque()
        self.since = since  # every change after this revision is in `history`
        self.watchers: dict[tuple[str, str], set[Watcher]] = {}


class Store:
    """The objects of a cluster."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        self._log = Log(path)
        self._encryption = Encryption(path.parent / "secrets.key")
        self._now = now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage")
        self._collections: dict[str, _Collection] = {}
        self._pending: deque[_Write] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._advanced: asyncio.Future[None] | None = None
        self.revision = 0
        self.compacted = 0

    async def open(self) -> None:
        """Open the log and load every object. Raises StorageError."""
        rows = await self._blocking(self._load)
        for row in rows:
            collection = self._collection(row.resource)
            key = (row.namespace, row.name)
            if row.deleted:
                collection.tombstones[key] = row.revision
            else:
                collection.entries[key] = self._entry(row)
        for collection in self._collections.values():
            collection.order = sorted(collection.entries)

    def _load(self) -> list[Row]:
        self.revision, self.compacted = self._log.open()
        return list(self._log.live())

    async def close(self) -> None:
        """Finish the running commit and let go of the file."""
        if self._committer is not None:
            await self._committer
        await self._blocking(self._log.close)
        self._thread.shutdown()

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The newest version of an object."""
        return self._collection(resource).entries.get((namespace, name))

    def select(self, resource: str, selection: Selection) -> list[Entry]:
        """What is selected now, in the order of namespace and name."""
        return [entry for entry in self._candidates(resource, selection) if selection.selects(entry)]

    def _candidates(self, resource: str, selection: Selection) -> Iterator[Entry]:
        collection = self._collection(resource)
        if selection.namespace and selection.name:
            entry = collection.entries.get((selection.namespace, selection.name))
            return iter(() if entry is None else (entry,))
        order = collection.order
        if selection.namespace:
            start = bisect.bisect_left(order, (selection.namespace, ""))
            end = bisect.bisect_left(order, (selection.namespace + "\0", ""))
            return (collection.entries[key] for key in order[start:end])
        return (collection.entries[key] for key in order)

    async def select_at(self, resource: str, selection: Selection, revision: int) -> list[Entry]:
        """What was selected at an earlier revision. Raises ApiError 410 if that is no longer kept."""
        if revision < self.compacted:
            raise expired(f"The provided continue parameter is too old (revision {revision} is compacted)")
        rows = await self._blocking(lambda: self._log.at(resource, revision))
        entries = [entry for entry in map(self._entry, rows) if selection.selects(entry)]
        return sorted(entries, key=lambda entry: (entry.namespace, entry.name))

    async def commit(
        self, resource: str, namespace: str, name: str, *, expected: int, encode: Encode, deleted: bool = False
    ) -> Entry:
        """Write a version in place of revision `expected` (0: there must be none); durable when this returns.

        `encode` gets the new revision and returns the bytes of the version. Raises Conflict, or ApiError when the
        disk refuses.
        """
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._pending.append(_Write(resource, namespace, name, expected, deleted, encode, done))
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups())
        # Shielded: a client that goes away must not take back what may be on disk already.
        return await asyncio.shield(done)

    async def _commit_groups(self) -> None:
        try:
            while self._pending:
                await self._commit_group()
        finally:
            self._committer = None

    async def _commit_group(self) -> None:
        accepted: list[tuple[_Write, Row, Entry]] = []
        fresh: dict[tuple[str, str, str], tuple[int, Entry | None]] = {}
        revision = self.revision
        while self._pending and len(accepted) < GROUP_WRITES_MAX:
            write = self._pending.popleft()
            place = (write.resource, write.namespace, write.name)
            row_revision, current = fresh.get(place) or self._current(write)
            if (current.revision if current is not None else 0) != write.expected:
                write.done.set_exception(Conflict(current))
                continue
            revision += 1
            try:
                raw = write.encode(revision)
            except Exception as error:  # noqa: BLE001 - the writer is told, and the others of the group go on
                write.done.set_exception(error)
                revision -= 1
                continue
            entry = Entry(write.namespace, write.name, revision, raw)
            stored = self._encryption.seal(write.resource, _place(*place, revision), raw)
            created = self._now()
            row = Row(revision, *place, row_revision, write.deleted, stored, created)
            fresh[place] = (revision, None if write.deleted else entry)
            accepted.append((write, row, entry))
        if not accepted:
            return
        try:
            await self._blocking(lambda: self._log.append([row for _, row, _ in accepted]))
        except StorageError as error:
            for write, _, _ in accepted:
                write.done.set_exception(internal(str(error)))
            return
        for write, row, entry in accepted:
            self._publish(row, entry)
            if self._advanced is not None:
                self._advanced.set_result(None)
                self._advanced = None
            if not write.done.done():
                write.done.set_result(entry)

    def _current(self, write: _Write) -> tuple[int, Entry | None]:
        """(the revision that a new row replaces, the object if it exists)."""
        collection = self._collection(write.resource)
        key = (write.namespace, write.name)
        entry = collection.entries.get(key)
        return (entry.revision, entry) if entry is not None else (collection.tombstones.get(key, 0), None)

    def _publish(self, row: Row, entry: Entry) -> None:
        """Make a committed version visible, and tell those who watch."""
        self.revision = row.revision
        collection = self._collection(row.resource)
        key = (row.namespace, row.name)
        previous = collection.entries.get(key)
        if row.deleted:
            del collection.entries[key]
            del collection.order[bisect.bisect_left(collection.order, key)]
            collection.tombstones[key] = row.revision
            kind = DELETED
        else:
            if previous is None:
                bisect.insort(collection.order, key)
                collection.tombstones.pop(key, None)
            collection.entries[key] = entry
            kind = ADDED if previous is None else MODIFIED
        event = Event(kind, entry, previous)
        collection.history.append(event)
        if len(collection.history) > HISTORY_EVENTS_MAX:
            collection.since = collection.history.popleft().entry.revision
        keys = index_keys(entry)
        if previous is not None:
            keys = list({*keys, *index_keys(previous)})
        for index_key in keys:
            for watcher in collection.watchers.get(index_key, ()):
                watcher.offer(event)

    async def watch(self, resource: str, selection: Selection, since: int) -> Watcher:
        """A watcher of every change after a revision; `unwatch` must follow. Raises ApiError 410.

        Changes that are no longer in memory (after a restart, for one) are read from the log.
        """
        collection = self._collection(resource)
        watcher = Watcher(selection)
        if since < collection.since:
            await self._replay_from_log(watcher, resource, since)
        else:
            for event in collection.history:
                if event.entry.revision > since:
                    watcher.offer(event)
        self._register(collection, watcher)
        return watcher

    async def _replay_from_log(self, watcher: Watcher, resource: str, since: int) -> None:
        collection = self._collection(resource)
        while True:
            if since < self.compacted:
                raise expired(f"too old resource version: {since} ({self.compacted})")
            until = self.revision
            changes = await self._blocking(partial(self._log.since, resource, since, until))
            for row, old in changes:
                previous = self._entry(old) if old is not None and not old.deleted else None
                kind = DELETED if row.deleted else MODIFIED if previous is not None else ADDED
                watcher.offer(Event(kind, self._entry(row), previous))
            since = until
            # What was committed while the log was being read is in memory now, unless there was very much of it.
            if since >= collection.since:
                for event in collection.history:
                    if event.entry.revision > since:
                        watcher.offer(event)
                return

    def _register(self, collection: _Collection, watcher: Watcher) -> None:
        collection.watchers.setdefault(watcher.selection.index_key(), set()).add(watcher)

    def unwatch(self, resource: str, watcher: Watcher) -> None:
        """Forget a watcher."""
        watchers = self._collection(resource).watchers
        key = watcher.selection.index_key()
        watchers.get(key, set()).discard(watcher)
        if not watchers.get(key):
            watchers.pop(key, None)

    async def wait_for_revision(self, revision: int) -> None:
        """Wait until everything up to a revision is visible."""
        while self.revision < revision:
            self._advanced = self._advanced or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._advanced)

    def watcher_count(self) -> int:
        """How many watchers there are."""
        return sum(len(some) for c in self._collections.values() for some in c.watchers.values())

    def end_watches(self, error: ApiError) -> None:
        """End every watch: the server stops."""
        for collection in self._collections.values():
            for watchers in collection.watchers.values():
                for watcher in watchers:
                    watcher.end(error)

    async def compact_forever(self) -> None:
        """Forget what is older than five minutes, every five minutes."""
        while True:
            await asyncio.sleep(COMPACT_EVERY_SECONDS)
            horizon = self._now() - KEEP_HISTORY_SECONDS
            await self.compact(await self._blocking(partial(self._log.revision_before, horizon)))

    async def compact(self, revision: int) -> None:
        """Forget all replaced versions up to a revision; watches from before it get 410."""
        revision = min(revision, self.revision)
        if revision <= self.compacted:
            return
        self.compacted = revision
        await self._blocking(lambda: self._log.compact(revision))
        for collection in self._collections.values():
            for key in [key for key, at in collection.tombstones.items() if at <= revision]:
                del collection.tombstones[key]

    def _collection(self, resource: str) -> _Collection:
        found = self._collections.get(resource)
        if found is None:
            found = self._collections[resource] = _Collection(self.revision)
        return found

    def _entry(self, row: Row) -> Entry:
        place = _place(row.resource, row.namespace, row.name, row.revision)
        return Entry(row.namespace, row.name, row.revision, self._encryption.open(place, row.value))

    async def _blocking(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _place(resource: str, namespace: str, name: str, revision: int) -> str:
    return f"{resource}/{namespace}/{name}/{revision}"
