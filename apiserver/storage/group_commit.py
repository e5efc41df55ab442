"""Writes go to the log in groups: every write that arrives while a commit runs shares the next transaction.

A group is checked against the committed state and against the writes before it in the group; each write gets its
revision and is encoded; all are committed in one transaction on the writer thread; then they become visible in the
order of their revisions, and the writers get their answers. A group that fails has changed nothing.

A write may change other objects along with its own (`Also`): what counts objects is so never behind or ahead of what
it counts. That is asked for while the group is put together, when nothing can come in between any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from apimachinery.errors import internal, request_entity_too_large, service_unavailable
from apimachinery.managedfields.entries import Managed
from apimachinery.meta import Object
from apiserver.logs import kv
from apiserver.storage.encryption import Encryption
from apiserver.storage.entry import Entry
from apiserver.storage.log import Log, Row, StorageError, place

logger = logging.getLogger(__name__)

GROUP_WRITES_MAX = 512
# More than any body brings: patches and defaults could otherwise let an object grow without end.
OBJECT_BYTES_MAX = 8 << 20

T = TypeVar("T")
Encode = Callable[[int], bytes]
# The newest version of (resource, namespace, name), be it one that is about to be committed.
Look = Callable[[str, str, str], Entry | None]


@dataclass(frozen=True, slots=True)
class Side:
    """A new version of an object that there is, to be written along with another."""

    resource: str
    namespace: str
    name: str
    encode: Encode


# What else a write changes. Raises ApiError to refuse the write; must be quick, and wait for nothing.
Also = Callable[[Look], Sequence[Side]]


class Conflict(Exception):
    """The object is not at the revision that the write expects."""


class State(Protocol):
    """The committed state that writes are checked against and become part of."""

    revision: int

    def current(self, resource: str, namespace: str, name: str) -> tuple[int, int]:
        """(the revision of the object, 0 if there is none; the revision of the row that a new one replaces)."""

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The newest version of an object."""

    def apply(self, resource: str, entry: Entry, *, deleted: bool) -> None:
        """Make a committed version visible, and its revision the newest."""

    def advanced(self) -> None:
        """Called when a group is visible."""


@dataclass(slots=True)
class _Write:
    resource: str
    namespace: str
    name: str
    expected: int
    deleted: bool
    encode: Encode
    managed: Managed
    also: Also | None
    obj: Object | None
    done: asyncio.Future[Entry]


@dataclass(slots=True)
class _Accepted:
    """A version of the group that is being committed, and the revision of the row that it replaces.

    `write` is None for what is changed along with others: all of a group that change it make one version together.
    """

    resource: str
    entry: Entry
    replaces: int
    deleted: bool = False
    write: _Write | None = None


class GroupCommit:
    """The one writer of a log."""

    def __init__(
        self, log: Log, encryption: Encryption, thread: Executor, state: State, *, now: Callable[[], float]
    ) -> None:
        self._log = log
        self._encryption = encryption
        self._thread = thread
        self._state = state
        self._now = now
        self._pending: deque[_Write] = deque()
        self._committer: asyncio.Task[None] | None = None
        # The group that is being committed, or whose commit failed in a way that leaves its outcome open.
        self._in_doubt: list[_Accepted] = []
        self._closed = False
        # What the disk said to the last commit; None if it was well.
        self.failure: str | None = None

    async def write(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        expected: int,
        encode: Encode,
        managed: Managed = (),
        deleted: bool,
        also: Also | None = None,
        obj: Object | None = None,
    ) -> Entry:
        """Write a version; durable and visible when this returns. Raises Conflict or ApiError.

        `obj` is what will be encoded, where that is at hand. A caller that is cancelled takes nothing back.
        """
        if self._closed:
            raise service_unavailable("the server is shutting down")
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        write = _Write(resource, namespace, name, expected, deleted, encode, managed, also, obj, done)
        self._pending.append(write)
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups())
        return await done

    async def close(self) -> None:
        """Take no more writes, and finish those that wait."""
        self._closed = True
        if self._committer is not None:
            await self._committer

    async def _commit_groups(self) -> None:
        try:
            while self._pending:
                try:
                    await self._settle()
                except StorageError as error:
                    self._refuse(self._pending, internal(str(error)))
                    self._pending.clear()
                    return
                accepted, refused = self._next_group()
                if accepted:
                    await self._commit(accepted)
                # Only now: whoever tries again shall find what was in the way.
                for write, reason in refused:
                    self._refuse([write], reason)
        finally:
            self._committer = None

    def _next_group(self) -> tuple[list[_Accepted], list[tuple[_Write, Exception]]]:
        group = _Group(self._state)
        refused: list[tuple[_Write, Exception]] = []
        while self._pending and len(group.accepted) < GROUP_WRITES_MAX:
            write = self._pending.popleft()
            try:
                group.take(write)
            except Exception as error:  # noqa: BLE001 - its writer is told, and the others of the group go on
                refused.append((write, error))
        return group.accepted, refused

    async def _commit(self, accepted: list[_Accepted]) -> None:
        """Commit, then make visible and answer; all of it or nothing."""
        self._in_doubt = accepted
        try:
            await self._on_thread(partial(self._append, accepted, self._now()))
        except Exception as error:  # noqa: BLE001 - every writer of the group must be answered, whatever it was
            self.failure = str(error)
            logger.error(kv("commit failed", writes=len(accepted), error=error))
            try:
                await self._settle()
            except StorageError as unreadable:
                logger.error(kv("whether it was stored will be looked up before the next", error=unreadable))
            self._refuse([one.write for one in accepted if one.write is not None], internal(str(error)))
        else:
            self._publish(accepted)

    async def _settle(self) -> None:
        """Find out whether a commit that failed is on disk after all: only the disk knows. Raises StorageError."""
        if not self._in_doubt:
            return
        newest = await self._on_thread(self._log.newest)
        if newest == self._in_doubt[-1].entry.revision:
            self._publish(self._in_doubt)
        elif newest != self._state.revision:
            raise StorageError(f"the log is at revision {newest}, which this server knows nothing of: restart it")
        self._in_doubt = []

    def _publish(self, accepted: list[_Accepted]) -> None:
        """Make what is on disk visible, in order, and answer those who wrote it."""
        self._in_doubt, self.failure = [], None
        for one in accepted:
            self._state.apply(one.resource, one.entry, deleted=one.deleted)
            if one.write is not None and not one.write.done.done():
                one.write.done.set_result(one.entry)
        self._state.advanced()

    def _append(self, accepted: list[_Accepted], created: float) -> None:
        """Runs on the writer thread."""
        rows = []
        for one in accepted:
            entry = one.entry
            where = place(one.resource, entry.namespace, entry.name, entry.revision)
            value = self._encryption.seal(one.resource, where, entry.stored)
            row = (one.resource, entry.namespace, entry.name, one.replaces, one.deleted, value, created)
            rows.append(Row(entry.revision, *row))
        self._log.append(rows)

    def _refuse(self, writes: Iterable[_Write], error: Exception) -> None:
        for write in writes:
            if not write.done.done():
                write.done.set_exception(error)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class _Group:
    """The writes that will share a transaction, put together one after the other."""

    def __init__(self, state: State) -> None:
        self.accepted: list[_Accepted] = []
        self._state = state
        self._fresh: dict[tuple[str, str, str], _Accepted] = {}
        self._revision = state.revision

    def take(self, write: _Write) -> None:
        """Take a write in with all that it changes, or nothing. Raises Conflict, or what its callbacks raise."""
        before = self._fresh.get((write.resource, write.namespace, write.name))
        if before is not None:
            replaces = before.entry.revision
            exists = 0 if before.deleted else replaces
        else:
            exists, replaces = self._state.current(write.resource, write.namespace, write.name)
        if exists != write.expected:
            raise Conflict("the object has changed")
        sides = write.also(self.look) if write.also is not None else ()
        revision = self._revision + 1
        entry = Entry(write.namespace, write.name, revision, write.encode(revision), write.managed)
        if write.obj is not None:
            entry.look(write.obj)
        if len(entry.raw) > OBJECT_BYTES_MAX and not write.deleted:
            raise request_entity_too_large(
                f"Request entity is too large: an object may have {OBJECT_BYTES_MAX} bytes"
            )
        versions = [_Accepted(write.resource, entry, replaces, write.deleted, write)]
        for side in sides:
            versions.append(self._aside(side, revision + 1))
            revision = max(revision, versions[-1].entry.revision)
        for version in versions:
            self._accept(version)

    def look(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The newest version of an object, be it one of this group."""
        fresh = self._fresh.get((resource, namespace, name))
        if fresh is None:
            return self._state.get(resource, namespace, name)
        return None if fresh.deleted else fresh.entry

    def _aside(self, side: Side, revision: int) -> _Accepted:
        """The version of an object that is changed along; in place of one that others of the group have made."""
        fresh = self._fresh.get((side.resource, side.namespace, side.name))
        replaces = self._state.current(side.resource, side.namespace, side.name)[0]
        if fresh is not None:
            again = fresh.write is None
            revision, replaces = (fresh.entry.revision, fresh.replaces) if again else (revision, fresh.entry.revision)
        # Nobody becomes a manager by what is changed along.
        before = self.look(side.resource, side.namespace, side.name)
        managed = before.managed if before is not None else ()
        entry = Entry(side.namespace, side.name, revision, side.encode(revision), managed)
        return _Accepted(side.resource, entry, replaces)

    def _accept(self, version: _Accepted) -> None:
        where = (version.resource, version.entry.namespace, version.entry.name)
        if version.entry.revision > self._revision:
            self._revision = version.entry.revision
            self.accepted.append(version)
            self._fresh[where] = version
        else:
            self._fresh[where].entry = version.entry
