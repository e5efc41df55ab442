"""Removes images that no pod uses, when their disk is filling up: Kubernetes' image garbage collection.

Above the high threshold the images that were unused for the longest go, until the disk is down at the low threshold;
one that came less than the minimum age ago stays. It is looked at whenever an image has come, and every five minutes
for what else fills the disk. What several node agents share is in use if any of their pods uses it.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-garbage-collection
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from apiclient.clock import Clock
from apiclient.logs import kv
from kubelet.images import build_cache, usage
from kubelet.images.store import ImageError, ImageStore

logger = logging.getLogger(__name__)

# Not while the node agent, and perhaps the whole machine, is starting.
FIRST_LOOK_SECONDS = 30.0
LOOK_SECONDS = 300.0
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")

# Tells people of the node: (Normal or Warning, reason, message).
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """The thresholds, in percent of the disk, and ages; an image unused for `age_seconds_max` goes in any case."""

    high_percent: int = 85
    low_percent: int = 80
    age_seconds_min: float = 120.0
    age_seconds_max: float = 0.0

    def check(self) -> Settings:
        """These settings, if they make sense. Raises ValueError."""
        if not 0 <= self.high_percent <= 100 or not 0 <= self.low_percent <= 100:
            raise ValueError("the thresholds of image garbage collection must be from 0 to 100 percent")
        if self.low_percent >= self.high_percent:
            low, high = self.low_percent, self.high_percent
            raise ValueError(f"--image-gc-low-threshold {low} must be less than --image-gc-high-threshold {high}")
        if 0 < self.age_seconds_max <= self.age_seconds_min:
            raise ValueError("--image-maximum-gc-age must be greater than --minimum-image-ttl-duration")
        return self


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image, its layers' sizes by diff id, when it came and when it was last used."""

    id: str
    layers: Mapping[str, int]
    added: float
    last_used: float
    in_use: bool


def choose(candidates: Sequence[Candidate], settings: Settings, *, bytes_to_free: float, now: float) -> list[str]:
    """The images to remove: what is too old, and then the longest unused until enough is freed. Pure."""
    holders = Counter(diff_id for candidate in candidates for diff_id in candidate.layers)
    doomed: list[str] = []
    freed = 0
    for candidate in sorted(candidates, key=lambda image: (image.last_used, image.added)):
        if candidate.in_use or now - candidate.added < settings.age_seconds_min:
            continue
        too_old = 0 < settings.age_seconds_max < now - candidate.last_used
        if freed >= bytes_to_free and not too_old:
            continue
        doomed.append(candidate.id)
        holders.subtract(candidate.layers.keys())
        # Only what no other image has is freed with it.
        freed += sum(size for diff_id, size in candidate.layers.items() if not holders[diff_id])
    return doomed


def parse_duration(text: str) -> float:
    """A duration as Go writes it (`2m0s`), in seconds. Raises ValueError."""
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration, such as 2m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class ImageCollector:
    """Keeps one store within its thresholds."""

    def __init__(
        self,
        images: ImageStore,
        settings: Settings,
        clock: Clock,
        *,
        tell: Tell,
        known_pods: Callable[[], Iterable[str] | None],
        keep_only: Callable[[Iterable[str]], None],
    ) -> None:
        """`known_pods` are the UIDs of all pods of this node, None as long as they have not been heard of.

        `keep_only` lets go of what others have used.
        """
        self._images = images
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._known_pods, self._keep_only = known_pods, keep_only
        self._wake = asyncio.Event()

    def images_changed(self) -> None:
        """An image has come: look at the disk."""
        self._wake.set()

    async def run(self) -> None:
        """Look whenever there is reason to, until cancelled; at first for what dead processes have left."""
        await self._woken_within(FIRST_LOOK_SECONDS)
        await asyncio.to_thread(self._sweep)
        while True:
            await self._woken_within(LOOK_SECONDS)
            self._wake.clear()
            await self.collect()
            await asyncio.to_thread(self._settle)

    async def collect(self) -> None:
        """Look at the disk once, and remove what has to go."""
        try:
            if (known := self._known_pods()) is not None:
                self._keep_only(known)
            capacity, available = _disk(self._images)
            if capacity <= 0:
                self._tell("Warning", "InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
                return
            used_percent = 100 - available * 100 // capacity
            wanted = 0
            if used_percent >= self._settings.high_percent:
                wanted = capacity * (100 - self._settings.low_percent) // 100 - available
            freed = await self._free(wanted)
            if freed < wanted:
                words = f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
                message = f"Failed to garbage collect required amount of images. {words}"
                self._tell("Warning", "FreeDiskSpaceFailed", message)
        except (OSError, ImageError) as error:
            logger.warning(kv("image garbage collection failed", error=str(error)))
            self._tell("Warning", "ImageGCFailed", str(error))

    async def delete_unused(self) -> int:
        """Remove all images that no pod uses, as a node does that is short of disk; returns the bytes freed."""
        return await self._free(float("inf"))

    async def _free(self, bytes_to_free: float) -> int:
        if bytes_to_free <= 0 and not self._settings.age_seconds_max:
            return 0
        # Many small files, and the mounts of all processes: nothing for the event loop.
        return await asyncio.to_thread(self._free_now, bytes_to_free, self._clock.now())

    def _free_now(self, bytes_to_free: float, now: float) -> int:
        # A store of its own: that of the event loop belongs to its thread.
        store = ImageStore(self._images.root)
        if bytes_to_free > 0:
            build_cache.prune(store.root, unused_seconds=self._settings.age_seconds_min)
        doomed = choose(_candidates(store), self._settings, bytes_to_free=bytes_to_free, now=now)
        gone, freed = store.remove_images(doomed)
        for image_id in gone:
            logger.info(kv("image removed", image=image_id, why="garbage collection"))
        return freed

    def _sweep(self) -> None:
        try:
            ImageStore(self._images.root).sweep()
        except (OSError, ImageError) as error:
            logger.warning(kv("image store not swept", error=str(error)))

    def _settle(self) -> None:
        """What a command has pulled, and did not wait for the disk."""
        try:
            ImageStore(self._images.root).make_durable()
        except (OSError, ImageError) as error:
            logger.warning(kv("images not written to disk", error=str(error)))

    async def _woken_within(self, seconds: float) -> None:
        woken = asyncio.ensure_future(self._wake.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({woken, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            timer.cancel()
            await asyncio.gather(woken, timer, return_exceptions=True)


def _candidates(store: ImageStore) -> list[Candidate]:
    used = usage.in_use(store.root)
    sizes: dict[str, int] = {}
    found = []
    for image in store.images():
        if image.is_node:
            continue  # the node itself
        for diff_id in image.diff_ids:
            sizes.setdefault(diff_id, store.layers.size(diff_id))
        layers = {diff_id: sizes[diff_id] for diff_id in image.diff_ids}
        found.append(Candidate(image.id, layers, image.added, store.last_used(image.id), image.id in used))
    return found


def _disk(images: ImageStore) -> tuple[int, int]:
    """The bytes of the file system that the images are on, and those that are free."""
    found = os.statvfs(images.root)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
