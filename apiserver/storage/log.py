"""The append-only log on disk: one table through SQLAlchemy, SQLite in WAL mode with full synchronisation.

Every version of every object is a row. A row names the revision that it replaces (0: there was nothing), and
(resource, namespace, name, previous revision) is unique: two writers can never both replace the same version.
All calls here block; the store runs them on one thread.

Sources: https://www.sqlite.org/wal.html, and kine, which carries a cluster on one such table.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 5000

_metadata = sa.MetaData()
LOG = sa.Table(
    "log",
    _metadata,
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("resource", sa.String, nullable=False),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("previous", sa.Integer, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.UniqueConstraint("resource", "namespace", "name", "previous"),
)
FACTS = sa.Table(
    "facts", _metadata, sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.Integer, nullable=False)
)
_INSERT = sa.insert(LOG)


class StorageError(Exception):
    """The database can't be opened or written; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one object. A deleted row holds the object as it was last."""

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
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.SingletonThreadPool)
        sa.event.listen(self._engine, "connect", _configure)

    def open(self) -> tuple[int, int]:
        """Make or check the tables; returns (newest revision, compacted revision). Raises StorageError."""
        lock = self._lock = (self.path.parent / f"{self.path.name}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"{self.path} is in use by another API server") from error
        try:
            with self._engine.begin() as connection:
                _metadata.create_all(connection)
                known = connection.execute(sa.select(FACTS.c.name, FACTS.c.value)).all()
                facts = {name: value for name, value in known}
                if facts.setdefault("schema", SCHEMA_VERSION) > SCHEMA_VERSION:
                    raise StorageError(f"{self.path} was written by a newer version of Wherry")
                if not known:
                    connection.execute(sa.insert(FACTS), [{"name": "schema", "value": SCHEMA_VERSION}])
                newest = connection.execute(sa.select(sa.func.max(LOG.c.revision))).scalar() or 0
                return max(newest, facts.get("compacted", 0)), facts.get("compacted", 0)
        except sa.exc.DatabaseError as error:
            raise StorageError(f"{self.path} can't be used: {error.orig}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows in one transaction; when this returns they are on disk. Raises StorageError."""
        values: list[dict[str, Any]] = [
            {
                "revision": row.revision,
                "resource": row.resource,
                "namespace": row.namespace,
                "name": row.name,
                "previous": row.previous,
                "deleted": row.deleted,
                "value": row.value,
                "created": row.created,
            }
            for row in rows
        ]
        try:
            with self._engine.begin() as connection:
                connection.execute(_INSERT, values)
        except sa.exc.DatabaseError as error:
            raise StorageError(f"the write could not be stored: {error.orig}") from error

    def live(self) -> Iterator[Row]:
        """The newest version of every object that exists, in the order of revisions."""
        newer = sa.alias(LOG)
        replaced = sa.exists().where(
            newer.c.resource == LOG.c.resource,
            newer.c.namespace == LOG.c.namespace,
            newer.c.name == LOG.c.name,
            newer.c.previous == LOG.c.revision,
        )
        query = sa.select(LOG).where(~replaced).order_by(LOG.c.revision)
        with self._engine.connect() as connection:
            for found in connection.execute(query):
                yield Row(*found)

    def since(self, resource: str, revision: int, until: int) -> list[tuple[Row, Row | None]]:
        """The changes of a resource after one revision up to another, each with the version it replaced."""
        old = sa.alias(LOG)
        join = LOG.outerjoin(old, old.c.revision == LOG.c.previous)
        query = (
            sa.select(*LOG.c, *old.c)
            .select_from(join)
            .where(LOG.c.resource == resource, LOG.c.revision > revision, LOG.c.revision <= until)
            .order_by(LOG.c.revision)
        )
        width = len(LOG.c)
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return [(Row(*r[:width]), Row(*r[width:]) if r[width] is not None else None) for r in found]

    def at(self, resource: str, revision: int) -> list[Row]:
        """All objects of a resource as they were at a revision that has not been compacted away."""
        newer = sa.alias(LOG)
        replaced = sa.exists().where(
            newer.c.resource == LOG.c.resource,
            newer.c.namespace == LOG.c.namespace,
            newer.c.name == LOG.c.name,
            newer.c.previous == LOG.c.revision,
            newer.c.revision <= revision,
        )
        query = sa.select(LOG).where(
            LOG.c.resource == resource, LOG.c.revision <= revision, ~LOG.c.deleted, ~replaced
        )
        with self._engine.connect() as connection:
            return [Row(*found) for found in connection.execute(query)]

    def revision_before(self, moment: float) -> int:
        """The newest revision that was written before a moment (seconds since 1970); 0 if there is none."""
        query = sa.select(sa.func.max(LOG.c.revision)).where(LOG.c.created < moment)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def compact(self, revision: int) -> None:
        """Forget all versions up to a revision but those that are still the newest of their object."""
        newer = sa.alias(LOG)
        replaced = sa.exists().where(
            newer.c.resource == LOG.c.resource,
            newer.c.namespace == LOG.c.namespace,
            newer.c.name == LOG.c.name,
            newer.c.previous == LOG.c.revision,
            newer.c.revision <= revision,
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.delete(LOG).where(LOG.c.revision <= revision, sa.or_(LOG.c.deleted, replaced)))
                connection.execute(sa.delete(FACTS).where(FACTS.c.name == "compacted"))
                connection.execute(sa.insert(FACTS), [{"name": "compacted", "value": revision}])
        except sa.exc.DatabaseError as error:
            raise StorageError(f"compaction failed: {error.orig}") from error


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()
