"""The list of a store's images, in one file that is replaced in one step: readers need no lock.

    DIR/index.json   {"version": 2, "images": {ID: record}}
    DIR/lock         held (flock(2)) by whoever changes it

An image's id is the digest of its configuration; the configuration itself, and the manifest if one is known, are
files below DIR/blobs/sha256/.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import orjson

from kubelet.images.durability import boot_id

VERSION = 2


class PulledWith(TypedDict, total=False):
    """Who may use an image that a node agent has pulled under one name: everybody, or whoever has one of the secrets.

    Each secret is [uid, namespace, name, hash of its credential for this image].
    """

    node: bool
    secrets: list[list[str]]


class Record(TypedDict, total=False):
    """One image. `layers` are diff ids, lowest first; `on_host`: below them come the node's own files.

    `pulled` maps a repository to whom the registry has let have the image; an image that was imported or built here
    has none, and is everybody's. `manifest` is a digest, "" if none is known. Times are unix seconds. `boot` names
    the start of the machine since which the image is being written to disk, "" once it is there for good.
    """

    names: list[str]
    digests: list[str]
    layers: list[str]
    config: dict[str, Any]
    created: str
    size_bytes: int
    manifest: str
    added: float
    on_host: bool
    pulled: dict[str, PulledWith]
    boot: str


Records = Mapping[str, Record]


class DamagedIndex(Exception):
    """The file is there, but can't be understood."""


class Index:
    """The records, read again whenever the file has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "index.json"
        # Looked at for every container's start: a Path would take longer than the look.
        self._path_text = os.fspath(self._path)
        self._seen: tuple[int, int, int] | None = None
        self._records: Records = {}
        # Counts the changes seen; who keeps something that was made from the records compares it.
        self.version = 0

    def records(self) -> Records:
        """What is in the store now. Raises DamagedIndex."""
        try:
            found = os.stat(self._path_text)
        except FileNotFoundError:
            if self._seen is not None:
                self._seen, self._records = None, {}
                self.version += 1
            return self._records
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._records = self._read()
            self._seen = seen
            self.version += 1
        return self._records

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one to change the store; to be held for moments."""
        with (self._root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write(self, records: Records) -> None:
        """Replace the file; the caller holds the lock. A crash of the machine leaves the old file or the new."""
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(orjson.dumps({"version": VERSION, "images": records}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> Records:
        try:
            document = orjson.loads(self._path.read_bytes())
            # The first version of the file was the records alone.
            images: Records = document["images"] if "version" in document else document
            images = {key: record for key, record in images.items() if record.get("boot", "") in ("", boot_id())}
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedIndex(f"{self._path} is damaged: {error}") from error
        return images
