"""Takes samples when somebody asks, and keeps the last few: a share of a CPU takes two of them.

Nothing is read while nobody asks. Who asks again within a minute and a half gets the share since then; who asks for
the first time waits half a second, between two samples that are taken for them.
"""

from __future__ import annotations

import asyncio

from apiclient.clock import Clock
from kubelet.runtime import Runtime, cgroups
from kubelet.server.stats import usage
from kubelet.server.stats.groups import Groups
from kubelet.server.stats.usage import Rates, Sample

# A sample as young as this is as good as a new one.
FRESH_SECONDS = 1.0
WINDOW_SECONDS_MIN, WINDOW_SECONDS_MAX = 10.0, 90.0
FIRST_WINDOW_SECONDS = 0.5


class Sampler:
    """The samples of one node."""

    def __init__(self, runtime: Runtime, cgroup_root: str, clock: Clock) -> None:
        self.groups = Groups(cgroups.present())
        self._runtime = runtime
        self._cgroup_root = cgroup_root
        self._clock = clock
        # Those that rates may begin at, oldest first, and the last one that was taken.
        self._kept: list[Sample] = []
        self._last: Sample | None = None
        self._rates = Rates()
        # Whoever asks at the same time gets the same answer.
        self._lock = asyncio.Lock()

    async def sample(self) -> Sample:
        """What everything uses now."""
        async with self._lock:
            return await self._fresh()

    async def with_rates(self) -> tuple[Sample, Rates]:
        """The same, with the shares of the CPUs since a while ago."""
        async with self._lock:
            last = await self._fresh()
            if not self._rates.nanocores:
                await self._clock.sleep(FIRST_WINDOW_SECONDS)
                last = await self._take()
            return last, self._rates

    async def _fresh(self) -> Sample:
        if self._last is not None and self._clock.monotonic() - self._last.moment < FRESH_SECONDS:
            return self._last
        return await self._take()

    async def _take(self) -> Sample:
        wanted = usage.targets(await self._runtime.sandboxes(), self._cgroup_root)
        now, moment = self._clock.now(), self._clock.monotonic()
        # Hundreds of small files: the rest of the agent goes on meanwhile.
        taken = await asyncio.to_thread(usage.sample, self.groups, wanted, now=now, moment=moment)
        self._kept = [kept for kept in self._kept if moment - kept.moment <= WINDOW_SECONDS_MAX]
        begin = usage.newest_at_least(self._kept, WINDOW_SECONDS_MIN, moment)
        self._rates = usage.rates(begin, taken) if begin is not None else Rates()
        if not self._kept or moment - self._kept[-1].moment >= WINDOW_SECONDS_MIN:
            self._kept = [kept for kept in self._kept if begin is None or kept.moment >= begin.moment]
            self._kept.append(taken)
        self._last = taken
        return taken
