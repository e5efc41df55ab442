"""Keeps the logs of containers from filling the disk: a file that has grown too large is put aside, old ones go.

    ATTEMPT.log                              what is written to
    ATTEMPT.log.20260102-030405              the one before, as it was
    ATTEMPT.log.20260102-020304.gz           older ones, packed

No event tells that a file has become large which would not come with every line that is written; so the files are
looked at every ten seconds, as the kubelet of Kubernetes does.
Source: https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path

from apiclient.clock import Clock
from apiclient.logs import kv
from kubelet.runtime import ContainerState, Runtime, RuntimeFailure

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
DEFAULT_BYTES_MAX = 10 << 20
DEFAULT_FILES_MAX = 5
COPY_BYTES = 256 * 1024
PACKED, HALF_DONE = ".gz", ".tmp"
_ASIDE = re.compile(r"\.\d{8}-\d{6}(\.\d+)?(\.gz)?(\.tmp)?")


class LogRotator:
    """Rotates the logs of this node's running containers."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        *,
        bytes_max: int = DEFAULT_BYTES_MAX,
        files_max: int = DEFAULT_FILES_MAX,
    ) -> None:
        if files_max < 2:
            raise ValueError("a container must be allowed two log files: one to write and one put aside")
        self._runtime = runtime
        self._clock = clock
        self._bytes_max = bytes_max
        self._files_max = files_max

    async def run(self) -> None:
        """Look at all logs now and then, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.rotate_all()

    async def rotate_all(self) -> None:
        """Rotate every log that is too large."""
        for sandbox in await self._runtime.sandboxes():
            for container in list(sandbox.containers):
                if container.status != "running" or not container.log_path:
                    continue
                try:
                    await self._rotate(sandbox.pod_uid, container)
                except (OSError, RuntimeFailure) as error:
                    # One log that can't be rotated must not keep the others from it; it is tried again soon.
                    logger.warning(kv("log not rotated", path=container.log_path, error=str(error)))

    async def _rotate(self, pod_uid: str, container: ContainerState) -> None:
        log = Path(container.log_path)
        try:
            if log.stat().st_size <= self._bytes_max:
                return
        except FileNotFoundError:
            # A crash came between the renaming and the opening of a new file.
            await self._runtime.reopen_log(pod_uid, container.id)
            return
        await asyncio.to_thread(tidy, log, self._files_max - 2)
        aside = _free_name(log, self._clock.now())
        log.rename(aside)
        try:
            await self._runtime.reopen_log(pod_uid, container.id)
        except RuntimeFailure:
            # Output goes on into the old file: it must have its name back.
            aside.rename(log)
            raise


def tidy(log: Path, kept: int) -> None:
    """Pack what was put aside and remove all but the newest of it; half-packed files of a crash go too."""
    found = sorted(
        (path for path in log.parent.glob(f"{log.name}.*") if _ASIDE.fullmatch(path.name.removeprefix(log.name))),
        key=lambda path: path.name,
    )
    for path in found:
        if path.suffix == HALF_DONE:
            path.unlink()
    whole = [path for path in found if path.suffix != HALF_DONE]
    removed = whole[: max(0, len(whole) - kept)]
    for path in whole:
        if path in removed:
            path.unlink()
        elif path.suffix != PACKED:
            _pack(path)


def _pack(path: Path) -> None:
    import gzip  # only rotation needs it
    import shutil

    half_done = path.with_name(path.name + PACKED + HALF_DONE)
    with path.open("rb") as source, gzip.open(half_done, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    half_done.rename(path.with_name(path.name + PACKED))
    path.unlink()


def _free_name(log: Path, now: float) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    name = log.with_name(f"{log.name}.{stamp}")
    number = 0
    while name.exists() or name.with_name(name.name + PACKED).exists():
        number += 1
        name = log.with_name(f"{log.name}.{stamp}.{number}")
    return name
