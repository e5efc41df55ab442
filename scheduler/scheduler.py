"""The loop: takes the pod whose turn it is, finds its node, hands the placement to the binder, and goes on.

    informers ──events──▶ Cluster (snapshot + queue) ──pop──▶ place ──▶ Binder ──▶ POST pods/binding
                              ▲                                 ├──▶ RoomMaker ──▶ DELETE pods
                              └──── assumed / forgotten ────────┴──▶ Reporter ──▶ events, PodScheduled

Events and placements alternate in one thread; only requests to the API server run in parallel. The loop sleeps
until an event wakes it or a delay is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from apiclient.clock import Clock
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.meta import Object, name, namespaced_key
from apimachinery.persistent_volumes import claim_key
from scheduler.binding import Binder, Outcome
from scheduler.cluster import Cluster, Placement, Taker
from scheduler.diagnosis import Diagnosis
from scheduler.queue import QueuedPod
from scheduler.reporting import SCHEDULER_ERROR, UNSCHEDULABLE, Reporter
from scheduler.room_making import Eviction, RoomMaker
from scheduler.volume_binder import VolumeBinder

logger = logging.getLogger(__name__)

# Of claims, volumes and classes of storage.
StorageInformers = tuple[Informer, Informer, Informer]
# How many pods are placed before events and answers get a turn: about a millisecond.
PODS_PER_TURN = 16


class Scheduler:
    """Follows a cluster always, and places its pods while it leads."""

    def __init__(
        self,
        client: Client,
        cluster: Cluster,
        reporter: Reporter,
        *,
        nodes: Informer,
        pods: Informer,
        storage: StorageInformers,
        groups: Sequence[Informer] = (),
        workloads: Informer,
        budgets: Informer,
        clock: Clock,
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._reporter = reporter
        self._nodes = nodes
        self._pods = pods
        self._storage = storage
        self._groups = groups
        self._workloads = workloads
        self._budgets = budgets
        self._clock = clock
        self._wake = asyncio.Event()
        self._volumes = VolumeBinder(client, cluster.snapshot, clock=clock)
        nodes.add_handler(self._node_changed)
        pods.add_handler(self._pod_changed)
        known = cluster.snapshot.storage
        takers = (known.claim_changed, known.volume_changed, known.class_changed)
        for informer, take in zip(storage, takers, strict=True):
            informer.add_handler(partial(self._storage_changed, take))
        for informer in groups:
            informer.add_handler(self._group_changed)
        workloads.add_handler(self._workload_changed)
        budgets.add_handler(self._budget_changed)

    async def lead(self) -> None:
        """Place pods until cancelled."""
        for informer in (self._nodes, self._pods, *self._storage, *self._groups, self._workloads, self._budgets):
            await informer.wait_synced()
        logger.info(kv("placing pods", nodes=self._cluster.snapshot.node_count, **self._cluster.queue.counts()))
        binder = Binder(self._client, self._done, volumes=self._volumes, clock=self._clock)
        room_maker = RoomMaker(self._client, self._reporter, self._room_not_made, clock=self._clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(binder.run())
            group.create_task(room_maker.run())
            group.create_task(self._place_pods(binder, room_maker))

    async def _place_pods(self, binder: Binder, room_maker: RoomMaker) -> None:
        since_turn = 0
        while True:
            queued = self._cluster.next_pod(self._clock.monotonic())
            self._tell_who_is_held_back()
            if queued is None:
                await self._sleep()
                continue
            placements, evictions = self._place(queued)
            if placements:
                await binder.submit(*placements)
            for eviction in evictions:
                await room_maker.submit(eviction)
            since_turn += max(1, len(placements))
            if since_turn >= PODS_PER_TURN:
                since_turn = 0
                await asyncio.sleep(0)

    def _tell_who_is_held_back(self) -> None:
        if self._cluster.gangs.untold:
            for pod, why in self._cluster.held_back(self._clock.monotonic()):
                self._reporter.failed(pod, UNSCHEDULABLE, why)

    def _place(self, queued: QueuedPod) -> tuple[Sequence[Placement], Sequence[Eviction]]:
        """Place a pod, or all of its gang; or find who has to go for that."""
        try:
            if queued.pod_class.gang is not None:
                return self._place_gang(queued)
            found = self._cluster.place(queued, self._clock.monotonic())
        except Exception as error:  # whatever is wrong with one pod, the others are placed
            logger.error(kv("placing failed", pod=queued.key, error=repr(error)), exc_info=error)
            self._cluster.queue.fail_by_error(queued, self._clock.monotonic())
            self._reporter.failed(queued.pod, SCHEDULER_ERROR, repr(error))
            return (), ()
        if isinstance(found, Diagnosis):
            return (), self._not_placed(queued, found)
        return (found,), ()

    def _place_gang(self, queued: QueuedPod) -> tuple[Sequence[Placement], Sequence[Eviction]]:
        outcome = self._cluster.place_gang(queued, self._clock.monotonic())
        evictions = [each for failed, found in outcome.failures for each in self._not_placed(failed, found)]
        return outcome.placements, evictions

    def _not_placed(self, queued: QueuedPod, found: Diagnosis) -> Sequence[Eviction]:
        remedy = found.remedy
        nominated = remedy.node if remedy is not None else None
        self._reporter.failed(queued.pod, UNSCHEDULABLE, found.message, nominated=nominated)
        if remedy is not None and (remedy.victims or remedy.displaced):
            return (Eviction(queued, remedy),)
        return ()

    def _room_not_made(self, eviction: Eviction, victims: Sequence[Object]) -> None:
        self._cluster.room_not_made(eviction.queued, victims, self._clock.monotonic())
        self._wake.set()

    def _done(self, placement: Placement, outcome: Outcome, message: str) -> None:
        """The binder's answer."""
        queued, now = placement.queued, self._clock.monotonic()
        if outcome is Outcome.BOUND:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug(kv("bound", pod=queued.key, node=placement.node, failures=queued.failures))
            self._cluster.bound(placement, now)
            self._reporter.placed(placement)
            return
        if outcome is Outcome.GONE:
            self._cluster.queue.remove(queued.uid, now)
        elif outcome is Outcome.CALLED_OFF:
            self._cluster.queue.retry(queued)
        elif self._cluster.queue.get(queued.uid) is queued:
            # (Else it has been bound or deleted by others meanwhile: nothing to tell.)
            logger.warning(kv("binding failed", pod=queued.key, node=placement.node, error=message))
            self._cluster.queue.fail_by_error(queued, now)
            told = message if outcome is Outcome.CLAIMS_NOT_BOUND else f"binding rejected: {message}"
            self._reporter.failed(queued.pod, SCHEDULER_ERROR, told)
        self._cluster.forget(placement)
        self._wake.set()

    async def _sleep(self) -> None:
        """Until something happens, or the next delay is over."""
        self._wake.clear()
        due = self._cluster.next_due()
        alarm = None if due is None else asyncio.ensure_future(self._ring(due - self._clock.monotonic()))
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(max(0.0, seconds))
        self._wake.set()

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._cluster.node_changed(kind, old, new)
        if new is None:
            assert old is not None, "who is deleted has been there"
            self._volumes.changed(name(old))
        self._wake.set()

    def _storage_changed(self, take: Taker, kind: str, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None, "something has changed"
        self._cluster.storage_changed(take, old, new)
        # Whoever waits for a claim waits for the volume that is made for it, too, whatever its name will be.
        self._volumes.changed(namespaced_key(obj), claim_key(obj))
        self._wake.set()

    def _group_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._cluster.group_changed(old, new)

    def _workload_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._cluster.workload_changed(old, new)
        self._wake.set()

    def _budget_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._cluster.budget_changed(old, new)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._cluster.pod_changed(kind, old, new, now=self._clock.monotonic())
        self._wake.set()
