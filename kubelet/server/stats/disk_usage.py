"""What pods take of the node's disks: logs, what containers have written over their images, and volumes.

To know that means to look at every file, so it is found out in a thread, at most once a minute and only when somebody
asks; who asks meanwhile gets what was found last.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from apiclient.clock import Clock
from apimachinery.meta import Object
from kubelet import paths

MAX_AGE_SECONDS = 60.0
# Who asks first waits so long for the answer before getting one without it.
WAIT_SECONDS_MAX = 2.0
BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes and inodes. `whole` is (bytes, free bytes, inodes, free inodes) of what has a file system of its own."""

    bytes: int = 0
    inodes: int = 0
    whole: tuple[int, int, int, int] | None = None

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.bytes + other.bytes, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class PodDisks:
    """One pod: logs by container name, written layers by container id, volumes by name."""

    logs: Mapping[str, Taken] = field(default_factory=dict)
    layers: Mapping[str, Taken] = field(default_factory=dict)
    volumes: Mapping[str, Taken] = field(default_factory=dict)
    files: Taken = Taken()

    @property
    def ephemeral(self) -> Taken:
        """All of it that is on the node's own disk and goes with the pod."""
        kept = [one for some in (self.logs, self.layers, self.volumes) for one in some.values() if one.whole is None]
        return sum(kept, self.files)


class DiskUsage:
    """What was found last, by pod UID, and when."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._found: dict[str, PodDisks] = {}
        self._found_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    async def by_pod(self, pods: Iterable[Object]) -> Mapping[str, PodDisks]:
        """What these pods take, no older than a minute or so; nothing yet for pods that are newer than that."""
        at = self._found_at
        if self._looking is None and (at is None or self._clock.monotonic() - at >= MAX_AGE_SECONDS):
            self._looking = asyncio.create_task(self._look(list(pods)))
        if at is None and self._looking is not None:
            await asyncio.wait({self._looking}, timeout=WAIT_SECONDS_MAX)
        return self._found

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self, pods: list[Object]) -> None:
        try:
            self._found = await asyncio.to_thread(_all, self._root, pods)
            self._found_at = self._clock.monotonic()
        finally:
            self._looking = None


def _all(root: Path, pods: Iterable[Object]) -> dict[str, PodDisks]:
    return {pod["metadata"]["uid"]: pod_disks(root, pod) for pod in pods}


def pod_disks(root: Path, pod: Object) -> PodDisks:
    """What one pod takes; whatever goes away meanwhile counts nothing."""
    uid = pod["metadata"]["uid"]
    volumes = {
        path.name: volume(path) for path in _folders(paths.pod_volumes_dir(root, uid)) if path.name != "_subpaths"
    }
    return PodDisks(
        logs={path.name: tree(path) for path in _folders(paths.pod_logs_dir(root, pod))},
        layers={path.name: tree(path / "upper") for path in _folders(root / "pods" / uid / "containers")},
        volumes=volumes,
        files=tree(paths.pod_files_dir(root, uid)),
    )


def volume(path: Path) -> Taken:
    """A volume: all of its file system if it has one of its own, else its files."""
    try:
        if os.stat(path).st_dev == os.stat(path.parent).st_dev:
            return tree(path)
        found = os.statvfs(path)
    except OSError:
        return Taken()
    used, unit = found.f_blocks - found.f_bfree, found.f_frsize
    whole = (found.f_blocks * unit, found.f_bavail * unit, found.f_files, found.f_ffree)
    return Taken(used * unit, found.f_files - found.f_ffree, whole)


def tree(path: Path) -> Taken:
    """All files below a folder that are on the same file system, each once however many names it has."""
    try:
        top = os.lstat(path)
    except OSError:
        return Taken()
    size, count = top.st_blocks * BLOCK_BYTES, 1
    seen, waiting = set[int](), [os.fspath(path)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if info.st_dev != top.st_dev or info.st_ino in seen:
                continue
            if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                seen.add(info.st_ino)
            size, count = size + info.st_blocks * BLOCK_BYTES, count + 1
            if stat.S_ISDIR(info.st_mode):
                waiting.append(entry.path)
    return Taken(size, count)


def _folders(path: Path) -> Iterator[Path]:
    try:
        with os.scandir(path) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    yield from sorted(found)
