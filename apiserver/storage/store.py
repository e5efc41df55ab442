"""The store: writes go to the log in groups, reads and watches are served from memory.

The log outlives the process: every version since the last compaction can be read back, so a list or a watch may ask
for a revision of before a restart. What is asked for most, the newest versions and the recent changes, is in memory.

All methods run on the event loop. The log's blocking calls run on two threads: one that writes, one that reads.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from apimachinery.errors import expired
from apimachinery.managedfields.entries import Managed
from apimachinery.meta import Object
from apiserver.logs import kv
from apiserver.storage.collection import Collection, Key, Listener
from apiserver.storage.encryption import Encryption, is_sealed
from apiserver.storage.entry import Entry, from_stored
from apiserver.storage.group_commit import Also, Conflict, Encode, GroupCommit
from apiserver.storage.log import Log, Row, StorageError, place
from apiserver.storage.watch import ADDED, DELETED, MODIFIED, Ended, Event, Selection, Watcher

__all__ = ["Conflict", "Found", "StorageError", "Store"]

logger = logging.getLogger(__name__)

# How many of the newest changes are read back at a start, so that watches resume from memory.
HISTORY_LOADED, HISTORY_BYTES_LOADED = 4096, 64 << 20
# A watch of the past reads so much of it at a time: all that happened to large objects may be more than the memory.
READ_EVENTS_MAX, READ_BYTES_MAX = 2048, 16 << 20
# A list that filters looks at so many objects before it lets others run.
FILTER_SLICE = 512

T = TypeVar("T")


class Found(NamedTuple):
    """What a list found, and the revision that it is of.

    `more`: the limit has cut it off; `remaining` is then how many are left, None if nobody has counted them.
    """

    entries: list[Entry]
    revision: int
    more: bool = False
    remaining: int | None = None


class Store:
    """The objects of a cluster."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        self._log = Log(path)
        self._encryption = Encryption(path.parent / "secrets.key")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-write")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-read")
        self._commits = GroupCommit(self._log, self._encryption, self._writer, self, now=now)
        self._collections: dict[str, Collection] = {}
        self._waiting: asyncio.Future[None] | None = None
        self._loaded_since = 0
        self._compacted_on_disk = 0
        self.revision = 0
        self.compacted = 0

    async def open(self) -> None:
        """Open the log and load every object. Raises StorageError."""
        rows, changes = await self._on(self._writer, self._load)
        for row, entry in rows:
            collection = self._collection(row.resource)
            key = (row.namespace, row.name)
            if row.deleted:
                collection.tombstones[key] = row.revision
            else:
                collection.entries[key] = entry
        for collection in self._collections.values():
            collection.order = sorted(collection.entries)
        for resource, event in changes:
            self._collection(resource).remember(event)

    def _load(self) -> tuple[list[tuple[Row, Entry]], list[tuple[str, Event]]]:
        self.revision, self.compacted = self._log.open()
        self._compacted_on_disk = self.compacted
        newest = self._log.before_the_newest(HISTORY_LOADED, HISTORY_BYTES_LOADED)
        self._loaded_since = max(self.compacted, newest)
        rows = [(row, self._entry(row)) for row in self._log.live()]
        # Shared with the history, so that it costs no second copy of what is kept anyway.
        known = {row.revision: entry for row, entry in rows}
        return rows, list(self._events(self._loaded_since, self.revision, None, known))

    def _events(
        self, since: int, until: int, resource: str | None, known: dict[int, Entry]
    ) -> Iterator[tuple[str, Event]]:
        """The changes after a revision up to another, out of the log; each version is read once."""

        def entry(row: Row) -> Entry:
            found = known.get(row.revision)
            if found is None:
                found = known[row.revision] = self._entry(row)
            return found

        for row, old in self._log.since(since, until, resource):
            previous = entry(old) if old is not None and not old.deleted else None
            kind = DELETED if row.deleted else MODIFIED if previous is not None else ADDED
            yield row.resource, Event(kind, entry(row), previous)

    def _some_events(self, since: int, until: int, resource: str) -> tuple[list[Event], int]:
        """(the first changes after a revision, as many as are worth a trip to the disk; up to which revision)."""
        some: list[Event] = []
        size = 0
        for _, event in self._events(since, until, resource, {}):
            some.append(event)
            size += len(event.entry.raw)
            if len(some) >= READ_EVENTS_MAX or size >= READ_BYTES_MAX:
                return some, event.entry.revision
        return some, until

    async def close(self) -> None:
        """Finish the writes that wait, and let go of the file."""
        await self._commits.close()
        self._reader.shutdown()
        await self._on(self._writer, self._log.close)
        self._writer.shutdown()

    @property
    def failure(self) -> str | None:
        """What the disk said to the last commit; None if it was well."""
        return self._commits.failure

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The newest version of an object."""
        return self._collection(resource).entries.get((namespace, name))

    def objects(self, resource: str, namespace: str = "") -> list[Entry]:
        """Everything in a namespace (or in all), in the order of namespace and name."""
        return self._collection(resource).all_of(namespace)

    def count(self, resource: str, namespace: str = "") -> int:
        """How many objects there are in a namespace (or in all)."""
        return self._collection(resource).count(namespace)

    async def select(
        self,
        resource: str,
        selection: Selection,
        *,
        revision: int | None = None,
        after: Key | None = None,
        limit: int = 0,
    ) -> Found:
        """What is selected, in the order of namespace and name; of an earlier revision if one is given.

        `after` leaves out everything up to a key; `limit` cuts off (0 does not). Raises ApiError 410 for a revision
        that is no longer kept.
        """
        of = self.revision if revision is None else revision
        collection = self._collection(resource)
        if of < collection.since:
            candidates = await self._read_at(resource, of)
            candidates = [entry for entry in candidates if after is None or (entry.namespace, entry.name) > after]
        elif selection.filters:
            candidates = list(collection.candidates(selection, of, after))
        else:
            source = filter(selection.selects, collection.candidates(selection, of, after))
            found = _cut([*itertools.islice(source, limit + 1 if limit else None)], of, limit)
            if not found.more:
                return found
            last = found.entries[-1]
            left = collection.count_after(selection.namespace, (last.namespace, last.name))
            return found._replace(remaining=left)
        selected: list[Entry] = []
        for start in range(0, len(candidates), FILTER_SLICE):
            if start:
                await asyncio.sleep(0)  # others run in between: the candidates are ours, and never change
            selected += filter(selection.selects, candidates[start : start + FILTER_SLICE])
            if limit and len(selected) > limit:
                break
        return _cut(selected, of, limit)

    async def _read_at(self, resource: str, revision: int) -> list[Entry]:
        rows = await self._on(self._reader, lambda: [self._entry(row) for row in self._log.at(resource, revision)])
        # Looked at afterwards: a compaction may have run while the log was read.
        self._refuse_compacted(revision)
        return sorted(rows, key=lambda entry: (entry.namespace, entry.name))

    def _refuse_compacted(self, revision: int) -> None:
        if revision < self.compacted:
            raise expired(f"too old resource version: {revision} ({self.compacted})")

    async def commit(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        expected: int,
        encode: Encode,
        managed: Managed = (),
        deleted: bool = False,
        also: Also | None = None,
        obj: Object | None = None,
    ) -> Entry:
        """Write a version in place of revision `expected` (0: there must be none); durable when this returns.

        `encode` gets the new revision and returns the bytes of the version (of `obj`, if that is said); `managed` are
        the managers of its fields; `also` says what changes along with it, or refuses it. Raises Conflict once what
        was in the way is visible, or ApiError when `also` or the disk refuses. A caller that is cancelled takes
        nothing back.
        """
        return await self._commits.write(
            resource,
            namespace,
            name,
            expected=expected,
            encode=encode,
            managed=managed,
            deleted=deleted,
            also=also,
            obj=obj,
        )

    def current(self, resource: str, namespace: str, name: str) -> tuple[int, int]:
        """(the revision of the object, 0 if there is none; the revision of the row that a new one replaces)."""
        collection, key = self._collection(resource), (namespace, name)
        entry = collection.entries.get(key)
        return (entry.revision, entry.revision) if entry is not None else (0, collection.tombstones.get(key, 0))

    def apply(self, resource: str, entry: Entry, *, deleted: bool) -> None:
        """Make a committed version visible, and its revision the newest."""
        self.revision = entry.revision
        self._collection(resource).apply(entry, deleted=deleted)

    def advanced(self) -> None:
        """Wake those who wait for a revision."""
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    async def wait_for_revision(self, revision: int) -> None:
        """Wait until everything up to a revision is visible."""
        while self.revision < revision:
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            # Shielded: others may wait for the same, and one that gives up must not wake them.
            await asyncio.shield(self._waiting)

    async def watch(self, resource: str, selection: Selection, since: int, version: str = "") -> Watcher:
        """A watcher of every change after a revision; `unwatch` must follow. Raises ApiError 410.

        Changes that are no longer in memory are read from the log. `version` is the one in which it is served.
        """
        collection = self._collection(resource)
        watcher = Watcher(selection, version)
        while since < collection.since and not watcher.is_cut_off:
            self._refuse_compacted(since)
            until = self.revision
            changes, reached = await self._on(self._reader, partial(self._some_events, since, until, resource))
            # Looked at again: a compaction may have run while the log was read, and then changes are missing.
            self._refuse_compacted(since)
            for event in changes:
                watcher.offer(event)
            since = reached
        # What was committed while the log was being read is in memory; nothing comes in between from here on.
        for event in collection.changes(since):
            watcher.offer(event)
        collection.watchers.add(watcher)
        return watcher

    def unwatch(self, resource: str, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._collection(resource).watchers.remove(watcher)

    def listen(self, resource: str, listener: Listener) -> None:
        """Have every change told within this process, before its writer is answered.

        What is derived from objects (who may do what, say) so holds for the very next request. A listener must be
        quick, and must not fail.
        """
        self._collection(resource).listeners.append(listener)

    def watcher_count(self) -> int:
        """How many watchers there are."""
        return sum(len(collection.watchers.all()) for collection in self._collections.values())

    def end_watches_of(self, resource: str, version: str | None = None) -> None:
        """End the watches of a resource, or of one of its versions: it is served no more."""
        for watcher in self._collection(resource).watchers.all():
            if version in (None, watcher.version):
                watcher.end(Ended())

    def end_watches(self) -> None:
        """End every watch: the server stops."""
        for collection in self._collections.values():
            for watcher in collection.watchers.all():
                watcher.end(Ended())

    async def compact_forever(self, interval_seconds: float) -> None:
        """At each interval, forget what had been replaced before the last one; it may be asked for until then. Of 0:
        never.
        """
        while interval_seconds:
            reached = self.revision
            await asyncio.sleep(interval_seconds)
            try:
                await self.compact(reached)
            except StorageError as error:
                logger.error(kv("compaction failed, it will be tried again", error=error))

    async def compact(self, revision: int) -> None:
        """Forget all replaced versions up to a revision; who asks for one before it gets 410. Raises StorageError."""
        # Said before it is done: nobody may begin to read what is about to go.
        self.compacted = max(self.compacted, min(revision, self.revision))
        for collection in self._collections.values():
            collection.forget_history(self.compacted)
        while self._compacted_on_disk < self.compacted:
            compact = partial(self._log.compact, self._compacted_on_disk, self.compacted)
            self._compacted_on_disk = await self._on(self._writer, compact)

    def _collection(self, resource: str) -> Collection:
        found = self._collections.get(resource)
        if found is None:
            found = self._collections[resource] = Collection(max(self._loaded_since, self.compacted))
        return found

    def _entry(self, row: Row) -> Entry:
        value = row.value
        if is_sealed(value):
            value = self._encryption.open(place(row.resource, row.namespace, row.name, row.revision), value)
        return from_stored(row.namespace, row.name, row.revision, value)

    async def _on(self, thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, call)


def _cut(entries: list[Entry], revision: int, limit: int) -> Found:
    if limit and len(entries) > limit:
        return Found(entries[:limit], revision, more=True)
    return Found(entries, revision)
