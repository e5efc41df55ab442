"""Registers hollow nodes, and keeps their Leases and statuses as node agents do.

One watch tells of all of them, and one queue has the names of those about which something is to be done. A node
whose Node somebody deletes is gone, as one whose agent runs on is: it is not made again. One that is to be silent
(annotation `hollow.wherry.io/silent`) renews and tells nothing, of its pods neither, until it is not any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, name, uid
from apimachinery.resources import NODES
from kubelet.hollow import node_plan
from kubelet.hollow.addresses import PodAddresses
from kubelet.hollow.settings import NODE_LABEL, Settings
from kubelet.node import node_object
from kubelet.node.node_lease import RENEWALS_PER_DURATION, NodeLease
from kubelet.node.node_settings import NodeSettings
from kubelet.node.node_status import HEARTBEAT_JITTER, HEARTBEAT_SECONDS, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS

logger = logging.getLogger(__name__)

WORKERS = 16


@dataclass(slots=True)
class HollowNode:
    """One node. It is `alive` while it has a Node and is not to be silent; then its Lease is renewed."""

    number: int
    settings: NodeSettings
    uid: str = ""
    addresses: PodAddresses | None = None
    alive: bool = False
    deleted: bool = False
    heartbeat_due: float = 0.0
    lease: asyncio.Task[None] | None = None


def kept(node: Object) -> Object:
    """What is kept in mind of a Node."""
    metadata = node["metadata"]
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion")},
        "silent": node_plan.is_silent(node),
        "ready": node_plan.says_ready(node),
        "pod_cidr": get_path(node, "spec", "podCIDR", default=""),
    }


class HollowNodes:
    """All nodes of this process; `changed` is told of each that begins to live."""

    def __init__(
        self,
        client: Client,
        lease_client: Client,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        changed: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`lease_client` is for the Leases alone, so that nothing else may hold them up."""
        self._client = client
        self._lease_client = lease_client
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._group: asyncio.TaskGroup | None = None
        self._nodes: dict[str, HollowNode] = {}
        for number in range(settings.count):
            own = node_plan.node_settings(settings, number)
            self._nodes[own.name] = HollowNode(number, own)
        self._ready = 0
        self.queue = WorkQueue(clock, base_delay_seconds=RETRY_FIRST_SECONDS, max_delay_seconds=RETRY_MAX_SECONDS)
        self._informer = Informer(
            client, NODES, label_selector=f"{NODE_LABEL}=true", transform=kept, clock=clock, rng=rng
        )
        self._informer.add_handler(self._seen)

    def get(self, node: str) -> HollowNode | None:
        """The node of this name, if it is one of ours."""
        return self._nodes.get(node)

    def names(self) -> Iterable[str]:
        """The names of all nodes."""
        return self._nodes.keys()

    async def run(self) -> None:
        """Register the nodes, and tell what there is to tell of them, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            for node in self._nodes:
                self.queue.add(node)
            await run_workers(self.queue, self._reconcile, name="hollow-nodes", workers=WORKERS)

    def _seen(self, _kind: str, old: Object | None, new: Object | None) -> None:
        node = self._nodes.get(name(new or old or {}))
        if node is None:
            return
        if new is None and node.uid and old is not None and uid(old) == node.uid:
            logger.warning(kv("the node was deleted", node=node.settings.name))
            node.deleted = True
        # Before all of them are known none is registered.
        if self._informer.has_synced:
            self.queue.add(node.settings.name)

    async def _reconcile(self, key: str) -> None:
        node = self._nodes[key]
        if node.deleted:
            self._end(node)
            return
        seen = self._informer.get(key)
        if not node.uid:
            self._take(node, await self._register(node))
            return
        if seen is None or uid(seen) != node.uid:
            return  # it was registered a moment ago, and is not seen yet
        if seen["silent"]:
            if node.alive:
                logger.info(kv("the node falls silent", node=key))
            self._end(node)
            return
        if node.addresses is None and seen["pod_cidr"]:
            node.addresses = PodAddresses(seen["pod_cidr"])
            self._changed(key)
        if not node.alive:
            logger.info(kv("the node is heard again", node=key))
            self._begin(node)
        now = self._clock.monotonic()
        if not seen["ready"] or now >= node.heartbeat_due:
            await self._tell(node)
        self.queue.add_after(key, node.heartbeat_due - now)

    async def _register(self, node: HollowNode) -> Object:
        """Create the Node, or take on the one that an earlier process has left."""
        key = node.settings.name
        try:
            return await self._client.create(
                NODES, node_plan.new_node(self._settings, node.number, self._clock.now())
            )
        except ApiError as error:
            if not errors.is_already_exists(error):
                raise
        known = await self._client.get(NODES, key)
        if differing := node_plan.differing_labels(self._settings, node.number, known):
            known = await self._client.patch(NODES, key, {"metadata": {"labels": differing}})
        if not node_plan.is_silent(known):
            known = await self._write_status(node, known)
        return known

    def _take(self, node: HollowNode, known: Object) -> None:
        """The Node is there: from now on it lives, unless it is not to."""
        node.uid = uid(known)
        if cidr := get_path(known, "spec", "podCIDR"):
            node.addresses = PodAddresses(cidr)
        self._ready += 1
        if self._ready == len(self._nodes):
            logger.info(kv("all nodes registered", count=self._ready))
        if not node_plan.is_silent(known):
            self._begin(node)
            self.queue.add_after(node.settings.name, node.heartbeat_due - self._clock.monotonic())

    def _begin(self, node: HollowNode) -> None:
        assert self._group is not None, "nodes live while `run` does"
        node.alive = True
        node.heartbeat_due = self._next_heartbeat()
        node.lease = self._group.create_task(self._renew(node))
        self._changed(node.settings.name)

    def _end(self, node: HollowNode) -> None:
        node.alive = False
        if node.lease is not None:
            node.lease.cancel()
            node.lease = None

    async def _renew(self, node: HollowNode) -> None:
        """Keep the Lease of one node, from its own turn in the interval on: all at once would be too many."""
        duration = self._settings.lease_duration_seconds
        await self._clock.sleep(node_plan.phase_of(node.number) * duration / RENEWALS_PER_DURATION)

        async def registered() -> Object:
            return {"metadata": {"name": node.settings.name, "uid": node.uid}}

        lease = NodeLease(
            self._lease_client,
            self._clock,
            node.settings.name,
            node=registered,
            duration_seconds=duration,
            rng=self._rng,
        )
        await lease.run()

    def _next_heartbeat(self) -> float:
        return self._clock.monotonic() + HEARTBEAT_SECONDS * (1 + HEARTBEAT_JITTER * self._rng.uniform(-1, 1))

    async def _tell(self, node: HollowNode) -> None:
        """Tell the whole status, whoever has said something else meanwhile."""
        try:
            await self._write_status(node, await self._client.get(NODES, node.settings.name))
        except ApiError as error:
            if not errors.is_not_found(error):
                raise
        else:
            node.heartbeat_due = self._next_heartbeat()

    async def _write_status(self, node: HollowNode, known: Object) -> Object:
        status = node_plan.status(self._settings, node.settings, known, self._clock.now())
        patch = node_object.status_patch(known, status, heartbeat=True)
        assert patch is not None, "a heartbeat always has something to tell"
        body = {"metadata": {"uid": uid(known)}, **patch}
        return await self._client.patch(NODES, name(known), body, kind="strategic", subresource="status")
