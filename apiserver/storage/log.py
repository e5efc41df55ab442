"""The log on disk: one table of an SQLite file, in WAL mode with full synchronisation.

Every version of every object is a row. A row names the revision that it replaces (0: there was nothing), and
(resource, namespace, name, previous revision) is unique: two writers can never both replace the same version.
All calls here block. Those that write belong on one thread, those that read the past may run beside it on another.

Sources: https://www.sqlite.org/wal.html, and kine, which carries a cluster on one such table.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 5.0
# A compaction works in slices of so many revisions, so that writes get through in between.
COMPACT_REVISIONS = 2000

_TABLES = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER NOT NULL,
    resource VARCHAR NOT NULL,
    namespace VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    previous INTEGER NOT NULL,
    deleted BOOLEAN NOT NULL,
    value BLOB NOT NULL,
    created FLOAT NOT NULL,
    PRIMARY KEY (revision),
    UNIQUE (resource, namespace, name, previous)
);
CREATE TABLE IF NOT EXISTS facts (name VARCHAR NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name));
"""
_FACTS = "SELECT name, value FROM facts"
_SET_FACT = "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_NEWEST = "SELECT max(revision) FROM log"
_APPEND = """
INSERT INTO log (revision, resource, namespace, name, previous, deleted, value, created)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
# What no other row has replaced.
_LIVE = """
SELECT * FROM log WHERE NOT EXISTS (
    SELECT 1 FROM log AS newer
    WHERE newer.resource = log.resource AND newer.namespace = log.namespace AND newer.name = log.name
    AND newer.previous = log.revision
) ORDER BY revision
"""
_AT = """
SELECT * FROM log WHERE resource = :resource AND revision <= :revision AND NOT deleted AND NOT EXISTS (
    SELECT 1 FROM log AS newer
    WHERE newer.resource = log.resource AND newer.namespace = log.namespace AND newer.name = log.name
    AND newer.previous = log.revision AND newer.revision <= :revision
)
"""
_SINCE = """
SELECT log.*, old.* FROM log LEFT JOIN log AS old ON old.revision = log.previous
WHERE log.revision > :since AND log.revision <= :until AND (:resource IS NULL OR log.resource = :resource)
ORDER BY log.revision
"""
_FORGET_REPLACED = """
DELETE FROM log WHERE revision IN (SELECT previous FROM log WHERE revision > :after AND revision <= :until)
"""
_FORGET_DELETIONS = "DELETE FROM log WHERE revision > :after AND revision <= :until AND deleted"


class StorageError(Exception):
    """The database can't be opened, read or written; the message says which file and why."""


class Row(NamedTuple):
    """One version of one object, as its columns stand. A deleted row holds the object as it was last."""

    revision: int
    resource: str
    namespace: str
    name: str
    previous: int
    deleted: bool
    value: bytes
    created: float


class Log:
    """The log in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def open(self) -> tuple[int, int]:
        """Make or check the tables; returns (newest revision, compacted revision). Raises StorageError."""
        self._lock = (self.path.parent / f"{self.path.name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{self.path} is in use by another API server") from error
        try:
            self._writer = _connect(self.path)
            self._reader = _connect(self.path)
            self._writer.executescript(_TABLES)
            facts = dict(self._writer.execute(_FACTS))
            if facts.get("schema", SCHEMA_VERSION) > SCHEMA_VERSION:
                raise StorageError(f"{self.path} was written by a newer version of Wherry")
            if not facts:
                self._writer.execute(_SET_FACT, ("schema", SCHEMA_VERSION))
            compacted = facts.get("compacted", 0)
            return max(self.newest(), compacted), compacted
        except sqlite3.Error as error:
            raise StorageError(f"{self.path} can't be used: {error}") from error

    def close(self) -> None:
        """Let go of the file. Nothing may be reading any more."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        if self._lock is not None:
            self._lock.close()

    def newest(self) -> int:
        """The newest revision that is on disk. Raises StorageError."""
        assert self._writer is not None, "the log must be opened first"
        try:
            return self._writer.execute(_NEWEST).fetchone()[0] or 0
        except sqlite3.Error as error:
            raise StorageError(f"{self.path} can't be read: {error}") from error

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction; when this returns they are on disk. Raises StorageError."""
        try:
            with self._transaction() as connection:
                connection.executemany(_APPEND, rows)
        except sqlite3.Error as error:
            raise StorageError(f"the write could not be stored: {error}") from error

    def live(self) -> Iterator[Row]:
        """The newest version of every object, deletions included, in the order of revisions."""
        return (_row(found) for found in self._read(_LIVE))

    def since(self, revision: int, until: int, resource: str | None = None) -> Iterator[tuple[Row, Row | None]]:
        """The changes after one revision up to another, each with the version that it replaced if that is kept."""
        width = len(Row._fields)
        for found in self._read(_SINCE, since=revision, until=until, resource=resource):
            yield _row(found[:width]), _row(found[width:]) if found[width] is not None else None

    def at(self, resource: str, revision: int) -> Iterator[Row]:
        """All objects of a resource as they were at a revision that has not been compacted away."""
        return (_row(found) for found in self._read(_AT, resource=resource, revision=revision))

    def compact(self, after: int, revision: int) -> int:
        """Forget replaced versions, from the last compaction on towards a revision; returns how far it has come.

        Each row after the last compaction says which row it has replaced: those go, and so do deletions themselves.
        The caller comes back until all is done. Raises StorageError.
        """
        until = min(revision, after + COMPACT_REVISIONS)
        slice_ = {"after": after, "until": until}
        try:
            with self._transaction() as connection:
                connection.execute(_FORGET_REPLACED, slice_)
                connection.execute(_FORGET_DELETIONS, slice_)
                connection.execute(_SET_FACT, ("compacted", until))
        except sqlite3.Error as error:
            raise StorageError(f"the log could not be compacted: {error}") from error
        return until

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written in it is on disk at its end, or nothing of it is."""
        assert self._writer is not None, "the log must be opened first"
        with self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def _read(self, statement: str, **values: int | str | None) -> Iterator[tuple[Any, ...]]:
        assert self._reader is not None, "the log must be opened first"
        try:
            with closing(self._reader.execute(statement, values)) as found:
                yield from found
        except sqlite3.Error as error:
            raise StorageError(f"{self.path} can't be read: {error}") from error


def place(resource: str, namespace: str, name: str, revision: int) -> str:
    """What names one row: `core/secrets/default/db/17`."""
    return f"{resource}/{namespace}/{name}/{revision}"


def _row(columns: Sequence[Any]) -> Row:
    revision, resource, namespace, name, previous, deleted, value, created = columns
    return Row(revision, resource, namespace, name, previous, bool(deleted), value, created)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that begins no transaction by itself, and that threads may use one after another."""
    connection = sqlite3.connect(path, BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection
