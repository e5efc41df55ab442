"""Pulls for a node agent: each in a process of its own, and one for all who want the same image at the same time.

A pull goes on as long as somebody waits for it; when the last one is cancelled, its process is ended, and what it has
unpacked so far goes with it. What was found to be there for good is told at once: the process lives on a little, to
see all data onto the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from kubelet.images.keyring import Key
from kubelet.images.store import ImageError

PARALLEL_MAX = 4
# Silence, slowness and retries are bounded by the process itself: this bounds a process that hangs.
PULL_SECONDS_MAX = 3600.0
MESSAGE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class PullResult:
    """What came of a pull: the image's id, how long it took without waiting for its turn, and with which key."""

    image_id: str
    seconds: float
    key: Key | None


class ImagePulls:
    """The pulls into one store."""

    def __init__(self, root: Path, *, parallel_max: int = PARALLEL_MAX) -> None:
        self._root = root
        self._turns = asyncio.Semaphore(parallel_max)
        self._running: dict[tuple[str, tuple[str, ...]], _Pull] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def pull(self, reference: str, keys: Sequence[Key]) -> PullResult:
        """Pull an image; its keys are tried in order, none at all is to ask as nobody. Raises ImageError."""
        identity = (reference, tuple(key.hash for key in keys))
        pull = self._running.get(identity)
        if pull is None:
            pull = self._running[identity] = _Pull(asyncio.ensure_future(self._pull(reference, keys)))
            pull.task.add_done_callback(lambda _: self._running.pop(identity, None))
        pull.waiting += 1
        try:
            return await asyncio.shield(pull.task)
        except asyncio.CancelledError:
            if pull.waiting == 1 and not pull.task.done():
                pull.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ImageError):
                    await pull.task
            raise
        finally:
            pull.waiting -= 1

    async def close(self) -> None:
        """Let go: processes end with the one that began them, and what they leave open the next one settles."""
        for task in list(self._ending):
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _pull(self, reference: str, keys: Sequence[Key]) -> PullResult:
        loop = asyncio.get_running_loop()
        async with self._turns:
            began = loop.time()
            try:
                async with asyncio.timeout(PULL_SECONDS_MAX):
                    answer = await self._ask(reference, keys)
            except TimeoutError as error:
                message = (
                    f'failed to pull and unpack image "{reference}": it took longer than {PULL_SECONDS_MAX:.0f} s'
                )
                raise ImageError("ErrImagePull", message) from error
        if "error" in answer:
            raise ImageError(str(answer["reason"]), str(answer["error"])[:MESSAGE_BYTES_MAX])
        position = int(answer["offer"])
        key = keys[position] if keys else None
        return PullResult(str(answer["id"]), loop.time() - began, key)

    async def _ask(self, reference: str, keys: Sequence[Key]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kubelet.images", "--image-dir", str(self._root.absolute()), "fetch"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            process.stdin.write(orjson.dumps({"reference": reference, "keys": [asdict(key) for key in keys]}))
            process.stdin.close()
            line = await process.stdout.readline()
            if not line:
                words = (await process.stderr.read(MESSAGE_BYTES_MAX)).decode(errors="replace").strip()
                last = words.splitlines()[-1] if words else f"it ended with status {await process.wait()}"
                message = f'failed to pull and unpack image "{reference}": {last}'
                return {"reason": "ErrImagePull", "error": message}
            answer: dict[str, Any] = orjson.loads(line)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
            raise
        self._let_end(process)
        return answer

    def _let_end(self, process: asyncio.subprocess.Process) -> None:
        async def end() -> None:
            # Its standard error is a pipe that has to be read to its end, or it might never get there.
            await process.communicate()

        task = asyncio.ensure_future(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


@dataclass(slots=True)
class _Pull:
    task: asyncio.Task[PullResult]
    waiting: int = 0
