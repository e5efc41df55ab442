"""The append-only log on disk: one table through SQLAlchemy, SQLite in WAL mode with full synchronisation.

Every version of every object is a row. A row names the revision that it replaces (0: there was nothing), and
(resource, namespace, name, previous revision) is unique: two writers can never both replace the same version.
All calls here block. Those that write belong on one thread, those that read may run beside it on another.

Sources: https://www.sqlite.org/wal.html, and kine, which carries a cluster on one such table.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import sqlalchemy as sa

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 5000
# A compaction works in slices of so many revisions, so that writes get through in between.
COMPACT_REVISIONS = 2000
# So many rows are fetched at once: one at a time takes twice as long.
FETCHED_ROWS = 256

_metadata = sa.MetaData()
_Revision = sa.BigInteger().with_variant(sa.Integer, "sqlite")
LOG = sa.Table(
    "log",
    _metadata,
    sa.Column("revision", _Revision, primary_key=True, autoincrement=False),
    sa.Column("resource", sa.String, nullable=False),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("previous", _Revision, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.UniqueConstraint("resource", "namespace", "name", "previous"),
)
FACTS = sa.Table(
    "facts", _metadata, sa.Column("name", sa.String, primary_key=True), sa.Column("value", _Revision, nullable=False)
)
_COLUMNS = len(LOG.c)


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
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        sa.event.listen(self._engine, "connect", _configure)
        # Compiled once: compiling costs more than a small commit does.
        self._insert = str(sa.insert(LOG).compile(dialect=self._engine.dialect))
        self._writer: sa.Connection | None = None
        self._file: tuple[int, int] | None = None

    def open(self) -> tuple[int, int]:
        """Make or check the tables; returns (newest revision, compacted revision). Raises StorageError."""
        self._lock = (self.path.parent / f"{self.path.name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{self.path} is in use by another API server") from error
        try:
            self._writer = self._engine.connect()
            with self._writer.begin():
                _metadata.create_all(self._writer)
                facts = {name: value for name, value in self._writer.execute(sa.select(FACTS.c.name, FACTS.c.value))}
                if facts.get("schema", SCHEMA_VERSION) > SCHEMA_VERSION:
                    raise StorageError(f"{self.path} was written by a newer version of Wherry")
                if not facts:
                    self._writer.execute(sa.insert(FACTS), [{"name": "schema", "value": SCHEMA_VERSION}])
            self._file = self._identity()
            compacted = facts.get("compacted", 0)
            return max(self.newest(), compacted), compacted
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"{self.path} can't be used: {_reason(error)}") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()

    def newest(self) -> int:
        """The newest revision that is on disk. Raises StorageError."""
        try:
            with self._engine.connect() as connection:
                return connection.execute(sa.select(sa.func.max(LOG.c.revision))).scalar() or 0
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"{self.path} can't be read: {_reason(error)}") from error

    def before_the_newest(self, count: int, size: int) -> int:
        """The revision after which there are so many changes, or fewer if those have more bytes.

        Raises StorageError.
        """
        query = sa.select(LOG.c.revision, sa.func.length(LOG.c.value)).order_by(LOG.c.revision.desc()).limit(count)
        found = self.newest()
        with self._reading() as connection:
            for revision, length in connection.execute(query):
                size -= length
                if size < 0:
                    return int(revision)
                found = revision - 1
        return found

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction; when this returns they are on disk. Raises StorageError."""
        assert self._writer is not None, "the log must be opened first"
        if self._identity() != self._file:
            # What is written into a file that has no name any more is lost with this process.
            raise StorageError(f"the write could not be stored: {self.path} was removed, or is another file by now")
        try:
            with self._writer.begin():
                self._writer.exec_driver_sql(self._insert, list(rows))
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"the write could not be stored: {_reason(error)}") from error

    def _identity(self) -> tuple[int, int] | None:
        """Which file bears the name of the log now."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def live(self) -> Iterator[Row]:
        """The newest version of every object, deletions included, in the order of revisions."""
        newer = sa.alias(LOG)
        replaced = sa.exists().where(*_is_next(newer))
        query = sa.select(LOG).where(~replaced).order_by(LOG.c.revision)
        with self._reading() as connection:
            for found in connection.execute(query):
                yield Row(*found)

    def since(self, revision: int, until: int, resource: str | None = None) -> Iterator[tuple[Row, Row | None]]:
        """The changes after one revision up to another, each with the version that it replaced if that is kept."""
        old = sa.alias(LOG)
        query = (
            sa.select(*LOG.c, *old.c)
            .select_from(LOG.outerjoin(old, old.c.revision == LOG.c.previous))
            .where(LOG.c.revision > revision, LOG.c.revision <= until)
            .order_by(LOG.c.revision)
        )
        if resource is not None:
            query = query.where(LOG.c.resource == resource)
        with self._reading() as connection:
            for found in connection.execute(query):
                yield Row(*found[:_COLUMNS]), Row(*found[_COLUMNS:]) if found[_COLUMNS] is not None else None

    def at(self, resource: str, revision: int) -> Iterator[Row]:
        """All objects of a resource as they were at a revision that has not been compacted away."""
        newer = sa.alias(LOG)
        replaced = sa.exists().where(*_is_next(newer), newer.c.revision <= revision)
        query = sa.select(LOG).where(
            LOG.c.resource == resource, LOG.c.revision <= revision, ~LOG.c.deleted, ~replaced
        )
        with self._reading() as connection:
            for found in connection.execute(query):
                yield Row(*found)

    def compact(self, after: int, revision: int) -> int:
        """Forget replaced versions, from the last compaction on towards a revision; returns how far it has come.

        Each row after the last compaction says which row it has replaced: those go, and so do deletions themselves.
        The caller comes back until all is done. Raises StorageError.
        """
        assert self._writer is not None, "the log must be opened first"
        until = min(revision, after + COMPACT_REVISIONS)
        slice_ = (LOG.c.revision > after, LOG.c.revision <= until)
        replaced = sa.select(LOG.c.previous).where(*slice_)
        try:
            with self._writer.begin():
                self._writer.execute(sa.delete(LOG).where(LOG.c.revision.in_(replaced)))
                self._writer.execute(sa.delete(LOG).where(*slice_, LOG.c.deleted))
                self._writer.execute(sa.delete(FACTS).where(FACTS.c.name == "compacted"))
                self._writer.execute(sa.insert(FACTS), [{"name": "compacted", "value": until}])
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"the log could not be compacted: {_reason(error)}") from error
        return until

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(yield_per=FETCHED_ROWS)
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"{self.path} can't be read: {_reason(error)}") from error


def place(resource: str, namespace: str, name: str, revision: int) -> str:
    """What names one row: `core/secrets/default/db/17`."""
    return f"{resource}/{namespace}/{name}/{revision}"


def _is_next(newer: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    """Whether a row of `newer` replaces a row of the log."""
    return (
        newer.c.resource == LOG.c.resource,
        newer.c.namespace == LOG.c.namespace,
        newer.c.name == LOG.c.name,
        newer.c.previous == LOG.c.revision,
    )


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    """What the database said, without SQLAlchemy's own lines (which hold the statement and its values)."""
    return str(getattr(error, "orig", None) or type(error).__name__)


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()
