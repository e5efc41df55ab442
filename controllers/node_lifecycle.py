"""Notices lost nodes, says so in their status and taints, and tells their pods' endpoints that they are not ready.

A node shows that it lives by renewing its Lease or by updating its status. What counts is when this process sees
that change, by its own monotonic clock: clocks of nodes need not agree. Each node has one timer; a heartbeat only
moves its deadline, so that nothing scans all nodes. A node is lost when its deadline has passed while we were
listening all the time (`Informer.observing_since`, `controllers.vigil`), and its Lease, asked for once more at the
server, is still the old one.

    condition Ready   Unknown, reason NodeStatusUnknown, and so for the pressures
    taints            NoSchedule by condition; NoExecute unreachable or not-ready, which makes the pods leave
    pods              condition Ready False, at once

Nobody is made to leave when no node is ready, or when none has been heard of since this one fell silent: then it may
be us who are cut off.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from apiclient.logs import kv
from apimachinery.meta import Object, find_condition, get_path, name, namespace, resource_version, uid
from apimachinery.resources import LEASES, NODES, PODS
from apimachinery.time import rfc3339
from controllers import taints
from controllers.context import Context
from controllers.pods import BY_NODE, by_node, is_ready
from controllers.requests import settle_or_raise, unless_gone
from controllers.vigil import Vigil
from controllers.zones import Zones, zone_of

logger = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(slots=True)
class Heartbeat:
    """The last sign of life of a node: what it was, and when it was seen (monotonic)."""

    lease: Any = None
    status: Any = None
    seen: float = 0.0


def unknown_conditions(node: Object, now: float) -> list[dict[str, Any]] | None:
    """The conditions of a node that has fallen silent; None if they say so already."""
    known: list[dict[str, Any]] = get_path(node, "status", "conditions", default=[])
    stamp = rfc3339(now)
    changed = []
    for kind in _REPORTED:
        condition = find_condition(known, kind)
        if condition is None:
            never = {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            heartbeat = {"lastHeartbeatTime": node["metadata"].get("creationTimestamp", stamp)}
            changed.append({"type": kind, "status": "Unknown", **never, **heartbeat, "lastTransitionTime": stamp})
        elif condition["status"] != "Unknown":
            told = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            changed.append({**condition, "status": "Unknown", **told, "lastTransitionTime": stamp})
    if not changed:
        return None
    types = {condition["type"] for condition in changed}
    return [*(condition for condition in known if condition["type"] not in types), *changed]


def node_facts(node: Object) -> tuple[Any, ...]:
    """All of a node that decisions here rest on, heartbeats aside."""
    conditions = [(c["type"], c["status"]) for c in get_path(node, "status", "conditions", default=[])]
    spec = node.get("spec") or {}
    return conditions, spec.get("taints"), spec.get("unschedulable"), zone_of(node)


class NodeLifecycleController:
    """One control loop over all nodes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._options = context.options
        self._nodes = context.informers.of(NODES)
        self._leases = context.informers.of(LEASES)
        self._pods = context.informers.of(PODS)
        self.informers = (self._nodes, self._leases, self._pods)
        self.queue = context.queue()
        self._vigil = Vigil(context.clock, self._options.node_monitor_grace_period)
        self._zones = Zones(self._options)
        self._heartbeats: dict[str, Heartbeat] = {}
        self._last_heard = ("", 0.0)
        self._second_last_heard = 0.0
        self._due: dict[str, float] = {}
        # Nodes that are lost but must keep their pods until another node is heard of.
        self._undecided: set[str] = set()
        # Nodes that have just become not ready: their pods are to be told.
        self._fallen: set[str] = set()
        # When the next node of a zone may be emptied, and which have had their turn.
        self._next_eviction: dict[str, float] = {}
        self._given_up: set[str] = set()
        self._pods.add_index(BY_NODE, by_node)
        self._nodes.add_handler(self._node_changed)
        self._leases.add_handler(self._lease_changed)

    def _lease_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None or namespace(new) != LEASE_NAMESPACE:
            if old is not None and self._nodes.get(name(old)) is None:
                self._heartbeats.pop(name(old), None)
            return
        heartbeat = self._heartbeats.setdefault(name(new), Heartbeat(seen=self._clock.monotonic()))
        renewed = get_path(new, "spec", "renewTime")
        if renewed != heartbeat.lease:
            heartbeat.lease = renewed
            self._heard(name(new), heartbeat)

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        # Not of those that were there before us: each change of the lead would bring an event a node.
        if old is None and new is not None and self._nodes.has_synced:
            self._tell_registered(new, "RegisteredNode", f"Registered Node {name(new)} in Controller")
        if new is None:
            assert old is not None
            self._tell_registered(old, "RemovingNode", f"Removing Node {name(old)} from Controller")
            self._zones_changed(old, None)
            for memory in (self._heartbeats, self._due):
                memory.pop(name(old), None)
            for group in (self._undecided, self._fallen, self._given_up):
                group.discard(name(old))
            return
        heartbeat = self._heartbeats.setdefault(name(new), Heartbeat(seen=self._clock.monotonic()))
        ready = find_condition(new, "Ready") or {}
        posted = ready.get("lastHeartbeatTime")
        # That it is unknown is what we say ourselves: no sign of life.
        if posted != heartbeat.status and ready.get("status") != "Unknown":
            heartbeat.status = posted
            self._heard(name(new), heartbeat)
        if old is None or node_facts(old) != node_facts(new):
            if old is not None and taints.ready_status(old) == "True" and taints.ready_status(new) != "True":
                self._fallen.add(name(new))
            self._zones_changed(old, new)
            self.queue.add(name(new))

    def _zones_changed(self, old: Object | None, new: Object | None) -> None:
        """Count anew. When the last node is lost, or the first is back, all others must be thought over."""
        before = self._zones.none_ready
        if new is not None:
            self._zones.note(new)
        elif old is not None:
            self._zones.forget(name(old))
        if self._zones.none_ready != before:
            logger.info(kv("some nodes are ready" if before else "no node is ready: nobody is evicted"))
            if before:
                self._vigil.since = self._clock.monotonic()
            for node in self._nodes.list():
                self.queue.add(name(node))
        elif self._undecided:
            self._reconsider()

    def _heard(self, node: str, heartbeat: Heartbeat) -> None:
        heartbeat.seen = self._clock.monotonic()
        if node not in self._due:
            self.queue.add(node)  # it was lost: from now on its silence is timed again
        if self._last_heard[0] != node:
            self._second_last_heard = self._last_heard[1]
        self._last_heard = (node, heartbeat.seen)
        if self._undecided:
            self._reconsider()

    def _reconsider(self) -> None:
        for key in self._undecided:
            self.queue.add(key)
        self._undecided.clear()

    def _heard_of_others(self, node: str) -> float:
        """When a node other than this one was heard of last."""
        return self._last_heard[1] if self._last_heard[0] != node else self._second_last_heard

    async def reconcile(self, key: str) -> None:
        """Say what is known of the node: by its conditions, its taints and its pods."""
        node = self._nodes.get(key)
        if node is None:
            return
        lost = await self._is_lost(key, node)
        now = self._clock.now()
        if lost and (conditions := unknown_conditions(node, now)) is not None:
            metadata = {"uid": uid(node), "resourceVersion": resource_version(node)}
            patch = {"metadata": metadata, "status": {"conditions": conditions}}
            # Counted before it is written: of several that are lost at once each must know of the others.
            self._zones_changed(None, {**node, "status": {"conditions": conditions}})
            node = await self._client.patch(NODES, key, patch, subresource="status")
            logger.warning(kv("node lost", node=key))
        wanted = taints.wanted(node, evict=self._may_evict(key, node, lost=lost), now=now)
        if wanted != taints.of(node):
            metadata = {"uid": uid(node), "resourceVersion": resource_version(node)}
            await self._client.patch(NODES, key, {"metadata": metadata, "spec": {"taints": wanted}})
        if key in self._fallen or taints.ready_status(node) == "Unknown":
            await settle_or_raise(self._mark_not_ready(p) for p in self._pods.by_index(BY_NODE, key) if is_ready(p))
            if key in self._fallen:
                self._fallen.discard(key)
                self._tell_not_ready(node)

    async def _is_lost(self, key: str, node: Object) -> bool:
        """Whether the node has been silent for too long; if not yet, it is looked at again when it will have been."""
        now = self._clock.monotonic()
        deadline = self._deadline(key, node)
        if now >= deadline:
            self._vigil.woke(self._due.get(key))
            deadline = self._deadline(key, node)
        if now >= deadline:
            await self._ask_for_lease(key)
            deadline = self._deadline(key, node)
        wait = deadline - self._clock.monotonic()
        if wait > 0:
            self._due[key] = self._clock.monotonic() + wait
            self.queue.add_after(key, wait)
            return False
        self._due.pop(key, None)
        return True

    def _deadline(self, key: str, node: Object) -> float:
        """When the node counts as lost if nothing is heard of it, by what we have been able to hear."""
        told = taints.ready_status(node) is not None
        grace = self._options.node_monitor_grace_period if told else self._options.node_startup_grace_period
        listening = self._leases.observing_since
        if listening is None:
            return self._clock.monotonic() + grace
        heartbeat = self._heartbeats.get(key)
        seen = heartbeat.seen if heartbeat is not None else self._clock.monotonic()
        return max(seen, listening, self._vigil.since) + grace

    async def _ask_for_lease(self, key: str) -> None:
        """Look at the Lease at the server: our watch may be behind."""
        asked = self._clock.monotonic()
        lease = await unless_gone(self._client.get(LEASES, key, LEASE_NAMESPACE))
        # A server that was slow to answer us has kept the nodes waiting too.
        self._vigil.woke(asked)
        heartbeat = self._heartbeats.get(key)
        renewed = get_path(lease, "spec", "renewTime")
        if heartbeat is not None and lease is not None and renewed != heartbeat.lease:
            heartbeat.lease = renewed
            self._heard(key, heartbeat)

    def _may_evict(self, key: str, node: Object, *, lost: bool) -> bool | None:
        """Whether the node's pods should leave; None: whatever was decided before stays."""
        ready = taints.ready_status(node)
        if ready in ("True", None) or self._zones.none_ready:
            self._given_up.discard(key)
            return False
        if ready == "Unknown":
            if not lost:
                return None
            heartbeat = self._heartbeats.get(key, Heartbeat())
            if self._heard_of_others(key) <= heartbeat.seen + self._options.node_monitor_grace_period / 2:
                self._undecided.add(key)
                return None
        if key in self._given_up or taints.is_marked_lost(node):
            return True
        return self._within_rate(key, node)

    def _within_rate(self, key: str, node: Object) -> bool | None:
        """Take the zone's next turn to empty a node, or wait for it."""
        rate = self._zones.evictions_per_second(node)
        if rate <= 0:
            self._undecided.add(key)
            return None
        now = self._clock.monotonic()
        wait = self._next_eviction.get(zone_of(node), now) - now
        if wait > 0:
            self.queue.add_after(key, wait)
            return None
        self._next_eviction[zone_of(node)] = now + 1 / rate
        self._given_up.add(key)
        logger.warning(kv("pods have to leave", node=key, ready=taints.ready_status(node)))
        return True

    async def _mark_not_ready(self, pod: Object) -> None:
        condition = {**(find_condition(pod, "Ready") or {}), "status": "False"}
        condition["lastTransitionTime"] = rfc3339(self._clock.now())
        patch = {"metadata": {"uid": uid(pod)}, "status": {"conditions": [condition]}}
        patching = self._client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status")
        await unless_gone(patching)
        self._recorder.event(
            {**pod, "apiVersion": "v1", "kind": "Pod"}, "Warning", "NodeNotReady", "Node is not ready"
        )

    def _tell_registered(self, node: Object, reason: str, message: str) -> None:
        self._tell(node, reason, f"Node {name(node)} event: {message}")

    def _tell_not_ready(self, node: Object) -> None:
        self._tell(node, "NodeNotReady", f"Node {name(node)} status is now: NodeNotReady")

    def _tell(self, node: Object, reason: str, message: str) -> None:
        self._recorder.event({**node, "apiVersion": "v1", "kind": "Node"}, "Normal", reason, message)
