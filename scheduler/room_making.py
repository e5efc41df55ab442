"""Sends pods away to make room for others: tells why in their status, deletes them, and has an event say so.

A few workers do that beside the placing of pods, which waits for none of it. What could not be done is not tried
again here: the pod that the room was for is, and may find another way meanwhile.

Source: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError, is_conflict, is_not_found
from apimachinery.meta import Object, find_condition, name, namespace, namespaced_key, uid, with_condition
from apimachinery.resources import PODS
from apimachinery.time import rfc3339
from scheduler.framework import DEFAULT_SCHEDULER_NAME, Remedy
from scheduler.preemption import DISRUPTED, PREEMPTED
from scheduler.queue import QueuedPod
from scheduler.reporting import Reporter

logger = logging.getLogger(__name__)

WORKERS = 16
QUEUED_MAX = 8 * WORKERS


@dataclass(frozen=True, slots=True, eq=False)
class Eviction:
    """What has to be done so that a pod gets its room."""

    queued: QueuedPod
    remedy: Remedy


# Called with the victims that are still there, if any are.
Failed = Callable[[Eviction, Sequence[Object]], None]


class RoomMaker:
    """Carries out what has been decided; `failed` is called where that was not possible."""

    def __init__(self, client: Client, reporter: Reporter, failed: Failed, *, clock: Clock) -> None:
        self._client = client
        self._reporter = reporter
        self._failed = failed
        self._clock = clock
        self._waiting: asyncio.Queue[Eviction] = asyncio.Queue(QUEUED_MAX)
        self._unfinished: set[Eviction] = set()

    async def submit(self, eviction: Eviction) -> None:
        """Hand over what is to be done; waits while very much is."""
        self._unfinished.add(eviction)
        await self._waiting.put(eviction)

    async def run(self) -> None:
        """Send pods away until cancelled; whoever is not gone then may stay, unless somebody decides so again."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
        finally:
            for eviction in list(self._unfinished):
                self._finish(eviction, [victim.pod for victim in eviction.remedy.victims])

    async def _work(self) -> None:
        while True:
            eviction = await self._waiting.get()
            self._finish(eviction, await self._carry_out(eviction))

    def _finish(self, eviction: Eviction, left: Sequence[Object]) -> None:
        self._unfinished.discard(eviction)
        if left:
            self._failed(eviction, left)

    async def _carry_out(self, eviction: Eviction) -> list[Object]:
        """Have the displaced look elsewhere, and the victims go; tells which victims are still there."""
        preemptor, node = eviction.queued.pod, eviction.remedy.node
        assert node, "room is made somewhere"
        for displaced in eviction.remedy.displaced:
            try:
                await self._patch_status(displaced, {"nominatedNodeName": None})
            except ApiError as error:
                # It is kept no room any more in any case; its status says so when it is placed, or fails, next.
                logger.warning(kv("nomination not cleared", pod=namespaced_key(displaced), error=error.message))
        victims = [victim.pod for victim in eviction.remedy.victims]
        for number, victim in enumerate(victims):
            try:
                await self._send_away(victim, preemptor)
            except ApiError as error:
                if is_not_found(error) or is_conflict(error):
                    continue  # gone, and perhaps another one of that name is there
                logger.warning(kv("preemption failed", pod=namespaced_key(victim), error=error.message))
                return victims[number:]
            logger.info(kv("preempted", pod=namespaced_key(victim), preemptor=namespaced_key(preemptor), node=node))
            self._reporter.preempted(victim, preemptor, node)
        return []

    async def _send_away(self, victim: Object, preemptor: Object) -> None:
        scheduler = preemptor["spec"].get("schedulerName") or DEFAULT_SCHEDULER_NAME
        message = f"{scheduler}: preempting to accommodate a higher priority pod"
        if (condition := disruption(victim, message, self._clock.now())) is not None:
            await self._patch_status(victim, {"conditions": [condition]})
        await self._client.delete(PODS, name(victim), namespace(victim), uid=uid(victim))

    async def _patch_status(self, pod: Object, status: Object) -> None:
        patch = {"metadata": {"uid": uid(pod)}, "status": status}
        await self._client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status")


def disruption(pod: Object, message: str, now: float) -> Object | None:
    """The condition that tells why a pod is sent away; None if the pod says that already."""
    known = find_condition(pod, DISRUPTED)
    wanted = {"status": "True", "reason": PREEMPTED, "message": message}
    if known is not None and wanted.items() <= known.items():
        return None
    generation = pod["metadata"].get("generation")
    return with_condition(
        [known] if known is not None else [],
        type=DISRUPTED,
        now=rfc3339(now),
        **wanted,
        **({"observedGeneration": generation} if generation else {}),
    )[0]
