"""The files that say which static pods a node runs: read when they change, and kept as they last made sense.

A file that is being edited may make no sense for a while, and one with a mistake in it must not end what runs: the
pod of its last good version stays for as long as there is a file of that name. Names that begin with a dot are passed
over.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key, uid
from kubelet.server.inotify import Inotify
from kubelet.static_pods.manifest import ManifestError, read_pod

logger = logging.getLogger(__name__)

FILE_BYTES_MAX = 10 << 20
# What is written in several steps is read once, after the last one.
SETTLE_SECONDS = 0.1
# A folder that is not there, or not there any more, can't be watched: it is looked for as Kubernetes looks at files.
RETRY_SECONDS = 20.0

Changed = Callable[[Sequence[Object]], None]


class ManifestFolder:
    """A folder of manifests, or a single one."""

    def __init__(self, path: Path, node: str, clock: Clock) -> None:
        self._path = path
        self._node = node
        self._clock = clock
        self._inotify = Inotify()
        # By path: the text that was read last, and the pod of the last text that made sense.
        self._texts: dict[Path, bytes] = {}
        self._pods: dict[Path, Object] = {}
        self._told = ""

    def scan(self) -> list[Object]:
        """The pods that the files describe now; a few small files. What is wrong with others is logged, once."""
        found = self._files()
        for gone in self._texts.keys() - set(found):
            del self._texts[gone]
            self._pods.pop(gone, None)
        for path in found:
            self._read(path)
        return self._distinct()

    async def run(self, changed: Changed) -> None:
        """Call `changed` with all pods whenever a file has changed, until cancelled."""
        while True:
            event = asyncio.Event()
            try:
                with self._inotify.watching(self._folder(), event.set):
                    # Only now is nothing missed between a look and a change.
                    changed(await asyncio.to_thread(self.scan))
                    while self._folder().is_dir():
                        await event.wait()
                        await self._clock.sleep(SETTLE_SECONDS)
                        event.clear()
                        changed(await asyncio.to_thread(self.scan))
            except OSError as error:
                self._tell(str(error))
                changed(await asyncio.to_thread(self.scan))
            await self._clock.sleep(RETRY_SECONDS)

    def _folder(self) -> Path:
        return self._path.parent if self._path.is_file() else self._path

    def _files(self) -> list[Path]:
        try:
            paths = [self._path] if self._path.is_file() else sorted(self._path.iterdir())
        except OSError as error:
            self._tell(str(error))
            return []
        self._told = ""
        return [path for path in paths if not path.name.startswith(".") and _is_file(path)]

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
            if text == self._texts.get(path):
                return
            self._texts[path] = text
            if len(text) > FILE_BYTES_MAX:
                raise ManifestError(f"it has more than {FILE_BYTES_MAX} bytes")
            self._pods[path] = read_pod(text, path=str(path), node=self._node)
        except (ManifestError, OSError) as error:
            logger.error(kv("static pod manifest can't be used", file=path, error=str(error)))

    def _distinct(self) -> list[Object]:
        """One pod a name: of two files that describe the same one the first counts."""
        found: dict[str, Object] = {}
        for path, pod in sorted(self._pods.items()):
            known = found.setdefault(namespaced_key(pod), pod)
            if uid(known) != uid(pod):
                logger.error(
                    kv("static pod manifest passed over", file=path, pod=namespaced_key(pod), why="same name")
                )
        return list(found.values())

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            logger.error(kv("static pod manifests can't be read", path=self._path, error=problem))


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
