"""A machine, and the agent that runs pods on it by pretending to: what a node is to the API, without containers.

The machine remembers what runs on it, so that its containers go on when the agent is killed, and when it is cut off
from the rest of the cluster. The agent has the shape of a controller: it looks at a pod, does the next thing that is
due, and comes back when another is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.informer import Informer
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, deletion_requested, get_path, name, namespace, namespaced_key, uid
from apimachinery.resources import NODES, PODS
from apimachinery.time import rfc3339
from kubelet.node.node_lease import NodeLease

LEASE_SECONDS = 20
ENDED = ("Succeeded", "Failed")


@dataclass(slots=True)
class Running:
    """The containers of a pod that run on a machine."""

    key: str
    ready_at: float
    # When they end by themselves and whether well, or (`stops_at`) because they were told to.
    ends_at: float | None
    fails: bool
    stops_at: float | None = None
    # Not ready for now: a probe fails.
    unwell_until: float = 0.0


@dataclass(slots=True)
class Machine:
    """A machine, by what the agent would find on it after a restart."""

    name: str
    cpu: int
    pods_max: int = 30
    labels: dict[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    # What has ended here: never started again.
    over: dict[str, str] = field(default_factory=dict)
    # Whom to tell that something has happened to a pod.
    changed: Callable[[str], None] = lambda key: None
    # Called with a pod when its containers start.
    begins: Callable[[Object], None] = lambda pod: None

    def node(self) -> Object:
        """The Node that its agent registers."""
        amounts = {"cpu": str(self.cpu), "memory": "8Gi", "pods": str(self.pods_max)}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name, **self.labels}},
            "status": {"capacity": amounts, "allocatable": amounts},
        }


async def run_agent(machine: Machine, client: Client, clock: Clock, rng: random.Random) -> None:
    """Be a machine's agent until cancelled."""
    agent = _Agent(machine, client, clock, rng)
    lease = NodeLease(client, clock, machine.name, node=agent.registered, duration_seconds=LEASE_SECONDS, rng=rng)
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.register())
        group.create_task(lease.run())
        group.create_task(agent.pods.run())
        await agent.pods.wait_synced()
        await agent.forget_removed()
        group.create_task(run_workers(agent.queue, agent.reconcile, name=machine.name, workers=4))


class _Agent:
    def __init__(self, machine: Machine, client: Client, clock: Clock, rng: random.Random) -> None:
        self._machine = machine
        self._client = client
        self._clock = clock
        self._rng = rng
        self._node: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        self.queue = WorkQueue(clock)
        self.pods = Informer(client, PODS, field_selector=f"spec.nodeName={machine.name}", clock=clock, rng=rng)
        self.pods.add_handler(self._changed)
        machine.changed = self.queue.add

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None, "something has changed"
        self.queue.add(namespaced_key(pod))

    async def registered(self) -> Object:
        """The Node, once it is there."""
        return await asyncio.shield(self._node)

    async def register(self) -> None:
        """Create the Node, and say that it is ready."""
        while not self._node.done():
            try:
                self._node.set_result(await self._post_ready())
            except ApiError:
                await self._clock.sleep(self._rng.uniform(0.5, 1.5))
        while True:
            await self._clock.sleep(10.0 * self._rng.uniform(1.0, 1.2))
            try:
                node = await self._client.get(NODES, self._machine.name)
                if any(one["type"] == "Ready" and one["status"] != "True" for one in node["status"]["conditions"]):
                    await self._post_ready()
            except ApiError:
                pass  # tried again in ten seconds, as by any agent

    async def _post_ready(self) -> Object:
        try:
            await self._client.get(NODES, self._machine.name)
        except ApiError as error:
            if not is_not_found(error):
                raise
            await self._client.create(NODES, self._machine.node())
        stamp = rfc3339(self._clock.now())
        kinds = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
        told = {"reason": "KubeletReady", "message": "", "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
        conditions = [{"type": kind, "status": status, **told} for kind, status in kinds.items()]
        patch = {"status": {"conditions": conditions}}
        return await self._client.patch(NODES, self._machine.name, patch, kind="strategic", subresource="status")

    async def forget_removed(self) -> None:
        """End what runs here of pods that are gone."""
        for running in self._machine.running.values():
            self.queue.add(running.key)

    async def reconcile(self, key: str) -> None:
        """Do for a pod what is due."""
        pod, now = self.pods.get(key), self._clock.monotonic()
        machine = self._machine
        mine = uid(pod) if pod is not None else ""
        for identity, running in list(machine.running.items()):
            if running.key == key and identity != mine:
                await self._stop(identity, running, now)
        if pod is None or any(one.key == key and identity != mine for identity, one in machine.running.items()):
            return  # never two of a name: the new one waits for the end of the old one
        running = machine.running.get(mine)
        if running is None and mine not in machine.over:
            if deletion_requested(pod) or get_path(pod, "status", "phase") in ENDED:
                machine.over[mine] = "Failed"
            else:
                running = machine.running[mine] = self._started(pod, now)
        if running is not None and deletion_requested(pod):
            await self._stop(mine, running, now, grace=pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            running = machine.running.get(mine)
        if running is not None and running.ends_at is not None and running.ends_at <= now:
            machine.over[mine] = "Failed" if running.fails else "Succeeded"
            del machine.running[mine]
            running = None
        await self._tell(pod, running, now)
        if running is None:
            if deletion_requested(pod):
                await self._remove(pod)
            return
        due = [one for one in (running.ready_at, running.ends_at, running.stops_at, running.unwell_until) if one]
        for moment in due:
            if moment > now:
                self.queue.add_after(key, moment - now)

    def _started(self, pod: Object, now: float) -> Running:
        """Containers take a moment to start and be ready; those of Jobs end by themselves."""
        rng = self._rng
        self._machine.begins(pod)
        ends = get_path(pod, "spec", "restartPolicy") != "Always"
        return Running(
            key=namespaced_key(pod),
            ready_at=now + rng.uniform(0.3, 4.0),
            ends_at=now + rng.uniform(1.0, 15.0) if ends else None,
            fails=ends and rng.random() < float(get_path(pod, "metadata", "annotations", "fails", default="0")),
        )

    async def _stop(self, identity: str, running: Running, now: float, *, grace: float = 5.0) -> None:
        """Have containers end, within their grace period."""
        if running.stops_at is None:
            running.stops_at = now + self._rng.uniform(0.0, min(grace, 5.0))
        if running.stops_at <= now:
            self._machine.over[identity] = "Failed"
            del self._machine.running[identity]
        else:
            self.queue.add_after(running.key, running.stops_at - now)

    async def _tell(self, pod: Object, running: Running | None, now: float) -> None:
        status = self._status(pod, running, now)
        current = pod.get("status") or {}
        ready = {one["type"]: one["status"] for one in current.get("conditions") or ()}
        told = {one["type"]: one["status"] for one in status["conditions"]}
        if current.get("phase") == status["phase"] and told.items() <= ready.items():
            return
        if current.get("phase") in ENDED:
            return
        patch = {"metadata": {"uid": uid(pod)}, "status": status}
        try:
            await self._client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise  # (else it is gone, or another by now: its next event comes)

    def _status(self, pod: Object, running: Running | None, now: float) -> Object:
        stamp = rfc3339(self._clock.now())
        phase = "Running" if running is not None else self._machine.over[uid(pod)]
        is_ready = running is not None and running.ready_at <= now and running.unwell_until <= now
        before = {one["type"]: one for one in get_path(pod, "status", "conditions", default=())}

        def condition(kind: str, value: bool) -> Object:
            status = "True" if value else "False"
            known = before.get(kind)
            since = known["lastTransitionTime"] if known is not None and known["status"] == status else stamp
            return {"type": kind, "status": status, "lastTransitionTime": since}

        made = [condition(kind, is_ready) for kind in ("Ready", "ContainersReady")]
        status: dict[str, Any] = {"phase": phase, "conditions": [*made, condition("Initialized", True)]}
        status["podIP"] = address = f"10.244.{self._machine.name[-1]}.{int(uid(pod)[:2], 16)}"
        status["podIPs"] = [{"ip": address}]
        if not get_path(pod, "status", "startTime"):
            status["startTime"] = stamp
        return status

    async def _remove(self, pod: Object) -> None:
        try:
            await self._client.delete(PODS, name(pod), namespace(pod), grace_period_seconds=0, uid=uid(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise
