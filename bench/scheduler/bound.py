"""Sees pods being bound, through a watch of its own that is told of nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from apiclient.rest import Client
from apimachinery.meta import name
from apimachinery.resources import PODS

WAIT_SECONDS_MAX = 600.0


class BoundPods:
    """How many pods of each group are bound, and when the last one that was waited for was; `GROUP-NUMBER` each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    async def watch(self, client: Client, version: str) -> None:
        """Watch until cancelled."""
        async for kind, seen in client.watch(PODS, resource_version=version, field_selector="spec.nodeName!="):
            if kind == "ADDED":
                self.counts[name(seen).rpartition("-")[0]] += 1
                self._changed.set()

    async def wait_for(self, group: str, count: int) -> float:
        """Until so many are bound; the moment at which they are. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while self.counts[group] < count:
                self._changed.clear()
                await self._changed.wait()
        return time.perf_counter()
