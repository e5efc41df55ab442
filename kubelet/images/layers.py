"""The unpacked layers of a store: made once, shared by all images and containers, removed when no image has them.

    DIR/layers/sha256-…/        a layer, used as it is by overlayfs; it is there whole or not at all
    DIR/tar-split/sha256-…      what it takes to make its tar again (tar_split.py), `….kept/` included
    DIR/tar-split/sha256-….json its size
    DIR/locks/sha256-…          held (flock(2)) by whoever makes a layer, shared by whoever is about to use it
    DIR/incoming/…/             layers on their way, each folder locked by who works on it

A process that is killed leaves an unlocked folder in incoming/, or a layer that no image has; `sweep` removes both.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from apiclient.logs import kv
from kubelet.images import tar_split
from kubelet.images.durability import boot_id
from kubelet.images.unpack import LayerError, Unpacked

logger = logging.getLogger(__name__)

# The folder of a build's own runtime, in its folder in incoming/.
RUNTIME = "node"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A folder for a layer on its way; `descriptor` holds its lock."""

    path: Path
    descriptor: int


class Layers:
    """The layers in one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = {name: root / name for name in ("layers", "tar-split", "locks", "incoming")}
        for folder in self._folders.values():
            # Setuid programs of images are nobody's business but root's.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, diff_id: str) -> Path:
        """Where a layer is, or would be."""
        return self._folders["layers"] / _name(diff_id)

    def split(self, diff_id: str) -> Path:
        """Where what makes its tar again is."""
        return self._folders["tar-split"] / _name(diff_id)

    def has(self, diff_id: str) -> bool:
        """Whether the layer is there, and all of it."""
        return self.path(diff_id).exists() and self._known(diff_id).get("boot", "") in ("", boot_id())

    def size(self, diff_id: str) -> int:
        """The bytes of a layer's files."""
        size = self._known(diff_id).get("size")
        return size if isinstance(size, int) else _tree_size(self.path(diff_id))

    def tar(self, diff_id: str) -> Iterator[bytes]:
        """The layer's tar, in pieces. Raises SplitError, OSError."""
        return tar_split.assemble(self.split(diff_id), self.path(diff_id))

    def tar_bytes(self, diff_id: str) -> int:
        """How large that tar is. Raises SplitError, OSError."""
        size = self._known(diff_id).get("tar")
        return size if isinstance(size, int) else sum(len(piece) for piece in self.tar(diff_id))

    def is_durable(self, diff_id: str) -> bool:
        """Whether all of the layer has reached the disk."""
        return not self._known(diff_id).get("boot")

    def note_durable(self, diff_id: str) -> None:
        """All of the layer has reached the disk."""
        known = self._known(diff_id)
        if known.get("boot"):
            self._note(diff_id, {**known, "boot": ""})

    def _known(self, diff_id: str) -> dict[str, Any]:
        try:
            known = orjson.loads(self._about(diff_id).read_bytes())
        except (OSError, ValueError):
            return {}  # made by an earlier version, or cut off by a crash of the machine
        return known if isinstance(known, dict) else {}

    def _note(self, diff_id: str, known: dict[str, Any]) -> None:
        path = self._about(diff_id)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(orjson.dumps(known))
        temporary.rename(path)

    @contextmanager
    def held(self, diff_id: str) -> Iterator[bool]:
        """Keep a layer from being swept; False if it is not there, and then the caller is the only one to make it.

        Waits for whoever is making it now.
        """
        while True:
            descriptor = self._lock(diff_id, fcntl.LOCK_SH)
            try:
                if self.has(diff_id):
                    yield True
                    return
            finally:
                os.close(descriptor)
            descriptor = self._lock(diff_id, fcntl.LOCK_EX)
            try:
                if not self.has(diff_id):
                    yield False
                    return
            finally:
                os.close(descriptor)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A fresh, locked folder; what is left in it afterwards is removed."""
        incoming = self._make_incoming()
        try:
            yield incoming
        finally:
            discard([incoming])

    def _make_incoming(self) -> Incoming:
        while True:
            # Until it is locked, somebody who sweeps may take it for a dead process's and remove it.
            path = Path(tempfile.mkdtemp(dir=self._folders["incoming"]))
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return Incoming(path, descriptor)
            os.close(descriptor)

    def place(self, incoming: Incoming, made: Unpacked) -> None:
        """Move a finished layer (`fs`, `split` and perhaps `kept`) to its place; the caller holds its lock."""
        diff_id = made.diff_id
        split, kept = self.split(diff_id), incoming.path / "kept"
        if self.path(diff_id).exists():
            # Left over from before the machine crashed (`has` is false): nothing mounts it.
            self.path(diff_id).rename(incoming.path / "damaged")
        self._note(diff_id, {"size": made.size_bytes, "tar": made.tar_bytes, "boot": boot_id()})
        if kept.is_dir() and any(kept.iterdir()):
            shutil.rmtree(_kept(split), ignore_errors=True)
            kept.rename(_kept(split))
        (incoming.path / "split").rename(split)
        # The last step: from now on it is there.
        (incoming.path / "fs").rename(self.path(diff_id))

    def sweep(self, used: Collection[str], *, mounted: Collection[str]) -> tuple[int, list[Incoming]]:
        """Take away layers that no image has and nobody holds or has mounted, and what dead processes left.

        To be called with the store's own lock held. Returns the bytes of the layers that went, and what is to be
        given to `discard` once the lock is free: removing many files takes a while.
        """
        freed, doomed = 0, []
        names = {_name(diff_id) for diff_id in used}
        for folder in self._folders["layers"].iterdir():
            if folder.name not in names and folder.name not in mounted:
                size, incoming = self._take_away(_diff_id(folder.name))
                freed += size
                doomed += incoming
        for path in self._folders["tar-split"].iterdir():
            name = path.name.removeprefix(".").partition(".")[0]
            if not (self._folders["layers"] / name).exists():
                self._remove_orphan(path, _diff_id(name))
        for folder in self._folders["incoming"].iterdir():
            doomed += _locked_if_free(folder)
        return freed, doomed

    def _take_away(self, diff_id: str) -> tuple[int, list[Incoming]]:
        lock = self._try_lock(diff_id)
        if lock is None:
            return 0, []  # an image with this layer is about to be added
        try:
            size, split = self.size(diff_id), self.split(diff_id)
            incoming = self._make_incoming()
            # Out of its place in one step: half a layer must never look like one.
            self.path(diff_id).rename(incoming.path / "fs")
            for leftover in (split, self._about(diff_id), _kept(split), self._lock_path(diff_id)):
                _remove(leftover)
        finally:
            os.close(lock)
        return size, [incoming]

    def _remove_orphan(self, path: Path, diff_id: str) -> None:
        lock = self._try_lock(diff_id)
        if lock is None:
            return  # its layer is on its way
        try:
            _remove(path)
            self._lock_path(diff_id).unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _lock(self, diff_id: str, how: int) -> int:
        path = self._lock_path(diff_id)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, how)
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed while we waited: that lock is no longer anybody's

    def _try_lock(self, diff_id: str) -> int | None:
        try:
            return self._lock(diff_id, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def _lock_path(self, diff_id: str) -> Path:
        return self._folders["locks"] / _name(diff_id)

    def _about(self, diff_id: str) -> Path:
        return self._folders["tar-split"] / f"{_name(diff_id)}.json"


def check_digest(unpacked: Unpacked, diff_id: str) -> None:
    """Check that a layer is the one that was asked for. Raises LayerError."""
    if unpacked.diff_id != diff_id:
        raise LayerError(f"layer {diff_id}: its content has the digest {unpacked.diff_id}")


def mounted_names() -> set[str]:
    """The names of folders (their last parts) that overlay mounts of any process on this machine are made of."""
    names: set[str] = set()
    seen: set[int] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            namespace = os.stat(process / "ns/mnt").st_ino
            if namespace in seen:
                continue
            text = (process / "mountinfo").read_text(errors="replace")
        except OSError:
            continue  # the process ended meanwhile
        seen.add(namespace)
        for line in text.splitlines():
            options = line.rpartition(" - ")[2].split()
            if options[0] == "overlay":
                names.update(_lower_names(options[2]))
    return names


def _lower_names(options: str) -> Iterator[str]:
    for option in options.split(","):
        key, _, value = option.partition("=")
        if key in ("lowerdir", "lowerdir+"):
            yield from (part.rstrip("/").rpartition("/")[2] for part in value.split(":"))


def discard(folders: list[Incoming]) -> None:
    """Remove folders, each under its lock."""
    for incoming in folders:
        if (incoming.path / RUNTIME).is_dir():
            _end_containers(incoming.path)
        shutil.rmtree(incoming.path, ignore_errors=True)
        os.close(incoming.descriptor)


def build_cgroup(folder: Path) -> str:
    """The cgroup in which what is built in a folder runs."""
    return f"wherry/build-{folder.name}"


def _end_containers(folder: Path) -> None:
    """A build that was killed may have left a RUN step at work: its supervisor outlives whoever began it."""
    from kubelet.cleanup import clean_up  # only here: few folders have a runtime
    from kubelet.runtime.disk import StillThere

    try:
        clean_up(folder / RUNTIME, build_cgroup(folder))
    except (StillThere, TimeoutError, OSError) as error:
        logger.warning(kv("what a build has left running stays", folder=folder, error=str(error)))


def _locked_if_free(folder: Path) -> list[Incoming]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []  # gone, or no folder
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return []  # somebody works in it
    return [Incoming(folder, descriptor)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _tree_size(folder: Path) -> int:
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)


def _name(diff_id: str) -> str:
    return diff_id.replace(":", "-")


def _diff_id(name: str) -> str:
    return name.replace("-", ":", 1)


def _kept(split: Path) -> Path:
    return split.with_name(f"{split.name}.kept")
