"""The loop that keeps a node from running out of things: it looks, tells, cleans up, and ends one pod at a time.

It looks every ten seconds, at once when the kernel says that tasks wait for memory, and again as soon as a pod that
had to go has given back what it had. As long as nothing is short that costs a dozen small files. What a pod has
on the disk is counted only for pods that have limits there, and for all of them when the disk is short; of the
node's own things only images can go: what ended containers have left is taken away when they end.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key, uid
from kubelet import instruments
from kubelet.eviction import local_storage, messages, stalls
from kubelet.eviction.pressures import EVICTED, Pressures
from kubelet.eviction.ranking import Figures, rank
from kubelet.eviction.thresholds import DISK, Observations, Rule, Settings, Tracker, most_urgent
from kubelet.pods.pod_status import Verdict
from kubelet.pods.preemption import is_critical
from kubelet.signals import Signal

logger = logging.getLogger(__name__)

# What a pod gets to end when there is nothing left to share.
IMMEDIATELY_SECONDS = 1.0
CLEANUP_SECONDS_MAX = 30.0
# A machine that is thrashing is not made to look more often than this.
STALL_SECONDS_MIN = 1.0
# Counting a pod's files takes a twentieth of the time at most.
COUNTING_SHARE = 20


class Node(Protocol):
    """What is free, and what pods use; figures.py."""

    def free(self) -> Observations:
        """What is free now."""

    def shares_a_disk(self) -> bool:
        """Whether images are on the file system that pods write to."""

    async def of_pods(self, pods: Sequence[Object], *, disks: bool) -> Mapping[str, Figures]:
        """What each pod uses."""


class Pods(Protocol):
    """The pods of this node; their workers."""

    def that_may_end(self) -> Sequence[Object]:
        """Those that run and that nobody has decided to end."""

    def end(self, pod_uid: str, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        """End one."""

    async def wait_ended(self, pod_uids: Sequence[str], seconds: float) -> bool:
        """Wait until some have given back what they had."""


class EvictionManager:
    """Keeps one node from running out. `tell` records an event about the Node, `tell_pod` one about a pod."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        node: Node,
        pods: Pods,
        pressures: Pressures,
        delete_images: Callable[[], Awaitable[int]],
        tell: Callable[[str, str, str], None],
        tell_pod: Callable[[Object, str, str], None],
    ) -> None:
        self._tracker = Tracker(settings)
        self._clock = clock
        self._node, self._pods = node, pods
        self._pressures = pressures
        self._delete_images = delete_images
        self._tell, self._tell_pod = tell, tell_pod
        self._stalled = Signal(clock)
        self._count_at = 0.0
        # Pods that had to go and have not given back what they had.
        self._owing: list[str] = []

    async def run(self) -> None:
        """Look, and act, until cancelled."""
        with stalls.watching(self._stalled.notify):
            while True:
                seen, began = self._stalled.version, self._clock.monotonic()
                try:
                    ended = await self.look()
                except OSError as error:
                    logger.error(kv("what the node has free can't be read", error=str(error)))
                    ended = []
                if ended:
                    self._owing = ended
                    if not await self._pods.wait_ended(ended, CLEANUP_SECONDS_MAX):
                        logger.warning(kv("evicted pods have not ended in time", pods=",".join(ended)))
                    continue
                await self._stalled.wait(seen, self._clock.monotonic() + self._tracker.next_look(began))
                await self._clock.sleep(max(0.0, began + STALL_SECONDS_MIN - self._clock.monotonic()))

    async def look(self) -> list[str]:
        """Look once; the UIDs of the pods that have to end. Raises OSError."""
        now = self._clock.monotonic()
        found = self._node.free()
        due = self._tracker.observe(found, now)
        self._pressures.set(self._tracker.conditions(now))
        if ended := await self._end_too_large():
            return ended
        if not due:
            return []
        rule = most_urgent(due)
        logger.warning(kv("node is short of something", signal=rule.signal, available=found[rule.signal].available))
        self._tell("Warning", "EvictionThresholdMet", f"Attempting to reclaim {rule.resource}")
        if await self._cleaned_up(rule):
            return []
        return await self._end_one(rule, due, found)

    async def _cleaned_up(self, rule: Rule) -> bool:
        """Whether it was enough to remove what no pod uses."""
        if rule.condition != DISK or not (rule.signal.startswith("imagefs.") or self._node.shares_a_disk()):
            return False
        freed = await self._delete_images()
        logger.info(kv("removed images that no pod uses", bytes=freed, signal=rule.signal))
        return self._tracker.is_satisfied(self._node.free())

    async def _end_one(self, rule: Rule, due: Sequence[Rule], found: Observations) -> list[str]:
        if rule.condition == DISK and not await self._pods.wait_ended(self._owing, 0.0):
            # What is on the disk goes once the API has heard of the pod's end. Without it one pod after another would
            # end, and none would make room.
            return []
        candidates = self._pods.that_may_end()
        figures = await self._node.of_pods(candidates, disks=rule.condition == DISK)
        grace = IMMEDIATELY_SECONDS if rule.is_hard else self._tracker.settings.pod_grace_seconds_max
        for pod in rank(candidates, rule.resource, figures):
            message = messages.eviction(pod, rule.resource, rules=due, found=found, figures=figures.get(uid(pod)))
            if self._end(pod, Verdict(EVICTED, message, disruption=message), grace, rule.signal):
                return [uid(pod)]
        logger.warning(kv("no pod can be evicted", signal=rule.signal))
        return []

    async def _end_too_large(self) -> list[str]:
        """End the pods that have more on the disk than they may."""
        began = self._clock.monotonic()
        limited = [pod for pod in self._pods.that_may_end() if local_storage.is_limited(pod)]
        if not limited or began < self._count_at:
            return []
        figures = await self._node.of_pods(limited, disks=True)
        ended = self._clock.monotonic()
        self._count_at = ended + COUNTING_SHARE * (ended - began)
        found = {uid(pod): local_storage.excess(pod, figures[uid(pod)]) for pod in limited}
        return [
            uid(pod)
            for pod in limited
            if (too_much := found[uid(pod)]) is not None
            and self._end(pod, Verdict(EVICTED, too_much.message), IMMEDIATELY_SECONDS, too_much.signal)
        ]

    def _end(self, pod: Object, verdict: Verdict, grace_seconds: float, signal: str) -> bool:
        """End a pod, unless the cluster or the node can't do without it."""
        if is_critical(pod):
            logger.error(kv("a critical pod is not evicted", pod=namespaced_key(pod), why=verdict.message))
            return False
        logger.warning(kv("pod evicted", pod=namespaced_key(pod), uid=uid(pod), why=verdict.message))
        instruments.EVICTIONS.add(signal)
        self._tell_pod(pod, verdict.reason, verdict.message)
        self._pods.end(uid(pod), verdict, grace_seconds)
        return True
