"""Registers this machine's Node and keeps its status true.

What changes (a problem that begins or ends, an image, the Node itself as somebody else wrote it) wakes the
reporter, which computes the whole status anew and sends what differs. What no event tells of (free memory and
disk) is looked at every ten seconds. Without any change the status is sent every five minutes all the same; that
the node lives is told by its Lease.

Source: https://kubernetes.io/docs/reference/node/node-status/
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from apiclient.clock import Clock
from apiclient.events import EventRecorder
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, get_path, labels, resource_version
from apimachinery.resources import NODES
from kubelet.images import Image
from kubelet.node import machine, node_object
from kubelet.node.machine import Machine
from kubelet.node.node_settings import NodeSettings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
HEARTBEAT_SECONDS, HEARTBEAT_JITTER = 300.0, 0.5
# A node that was ready is not said to be otherwise for as long as its agent is merely starting again.
START_SECONDS = 30.0
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.1, 7.0
RUNTIME, NETWORK = "runtime", "network"
RUNTIME_DOWN = "container runtime is down"
NETWORK_NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:the node has no pod network yet"
)
# Kubernetes tells each of these by an event when it changes: (when True, when False).
_EVENTS = {
    "MemoryPressure": ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    "DiskPressure": ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    "PIDPressure": ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
    "Ready": ("NodeReady", "NodeNotReady"),
}


class NodeReporter:
    """The Node of this agent. It is not ready before both `runtime_ready` and `network_ready` were called."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        settings: NodeSettings,
        *,
        node_dir: Path,
        image_dir: Path,
        images: Callable[[], Sequence[Image]],
        runtime_version: str,
        pressures: Callable[[], Collection[str]] = tuple,
        runtime_handlers: Callable[[], list[Object]] = list,
        recorder: EventRecorder | None = None,
        this_machine: Machine | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._settings = settings
        self._node_dir, self._image_dir = node_dir, image_dir
        self._images = images
        self._runtime_version = runtime_version
        self._pressures = pressures
        self._runtime_handlers = runtime_handlers
        self._recorder = recorder
        self._machine = this_machine or machine.inspect()
        self._rng = rng or random.Random()
        self._problems = {RUNTIME: RUNTIME_DOWN, NETWORK: NETWORK_NOT_READY}
        # Of which problems it is not known yet whether there are any.
        self._undecided = set(self._problems)
        self._started = clock.monotonic()
        self._node: Object | None = None
        self._wake = asyncio.Event()
        self._registered = asyncio.Event()
        self._has_cidr = asyncio.Event()
        self._informer = Informer(
            client, NODES, field_selector=f"metadata.name={settings.name}", clock=clock, rng=self._rng
        )
        self._informer.add_handler(self._seen)

    @property
    def node(self) -> Object | None:
        """The Node as last seen; None before it is registered and once somebody has deleted it."""
        return self._node

    @property
    def machine(self) -> Machine:
        """What the machine has."""
        return self._machine

    @property
    def local_node(self) -> Object:
        """The Node as this node knows itself, for pods that run before the API has one."""
        return node_object.new_node(self._settings, self._machine, self._status(self._node))

    async def registered(self) -> Object:
        """Wait until there is a Node; returns it."""
        while self._node is None:
            await self._registered.wait()
        return self._node

    def allocatable(self) -> dict[str, str]:
        """What pods of this node may ask for in all."""
        found: dict[str, str] = get_path(self._node, "status", "allocatable", default={})
        return found

    async def pod_cidr(self) -> str:
        """Wait until the Node has been given its range of pod addresses; returns it."""
        while not (cidr := get_path(self._node, "spec", "podCIDR", default="")):
            self._has_cidr.clear()
            await self._has_cidr.wait()
        return str(cidr)

    def runtime_ready(self) -> None:
        """The container runtime works (again)."""
        self.solved(RUNTIME)

    def network_ready(self) -> None:
        """The pod network is set up: pods can be given addresses."""
        self.solved(NETWORK)

    def problem(self, source: str, message: str) -> None:
        """Something keeps this node from running pods; `message` becomes part of its Ready condition's."""
        if self._problems.get(source) != message or source in self._undecided:
            self._undecided.discard(source)
            self._problems[source] = message
            self._wake.set()

    def solved(self, source: str) -> None:
        """A problem is over."""
        self._undecided.discard(source)
        if self._problems.pop(source, None) is not None:
            self._wake.set()

    def handlers_changed(self) -> None:
        """Have the runtime handlers told now."""
        self._wake.set()

    def pressures_changed(self) -> None:
        """The node has become short of something, or is not any more."""
        self._wake.set()

    def images_changed(self) -> None:
        """Have the list of images looked at now and not only with the next look at the machine."""
        self._wake.set()

    async def run(self) -> None:
        """Register the Node, then report its status whenever it changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._register()
            await self._report()

    async def _register(self) -> None:
        delay = RETRY_FIRST_SECONDS
        while True:
            try:
                await self._create_or_adopt()
                return
            except ApiError as error:
                logger.warning(kv("node not registered", node=self._settings.name, error=error.message))
            await self._clock.sleep(delay)
            delay = min(2 * delay, RETRY_MAX_SECONDS)

    async def _create_or_adopt(self) -> None:
        wanted = node_object.new_node(self._settings, self._machine, self._status(None))
        try:
            self._take(await self._client.create(NODES, wanted))
            logger.info(kv("node registered", node=self._settings.name))
        except ApiError as error:
            if not errors.is_already_exists(error):
                raise
            node = await self._client.get(NODES, self._settings.name)
            ours = node_object.default_labels(self._settings, self._machine)
            if differing := {key: value for key, value in ours.items() if labels(node).get(key) != value}:
                node = await self._client.patch(NODES, self._settings.name, {"metadata": {"labels": differing}})
            self._take(node)
        if self._recorder is not None and self._node is not None:
            self._recorder.event(self._subject(), "Normal", "Starting", "Starting kubelet.")

    async def _report(self) -> None:
        due, delay = self._next_heartbeat(), RETRY_FIRST_SECONDS
        while True:
            self._wake.clear()
            wait = LOOK_SECONDS
            try:
                if self._may_tell() and await self._send(heartbeat=self._clock.monotonic() >= due):
                    due = self._next_heartbeat()
                delay = RETRY_FIRST_SECONDS
            except ApiError as error:
                logger.warning(kv("node status not sent", node=self._settings.name, error=error.message))
                wait, delay = delay, min(2 * delay, RETRY_MAX_SECONDS)
            await self._woken_within(wait)

    def _next_heartbeat(self) -> float:
        return self._clock.monotonic() + HEARTBEAT_SECONDS * (1 + HEARTBEAT_JITTER * self._rng.uniform(-1, 1))

    def _may_tell(self) -> bool:
        """Not without a Node; nor that a ready one is not, by an agent that has only just started again."""
        if self._node is None:
            return False
        ready = find_condition(self._node, "Ready") or {}
        starting = bool(self._undecided) and self._clock.monotonic() < self._started + START_SECONDS
        return not (starting and ready.get("status") == "True")

    async def _send(self, *, heartbeat: bool) -> bool:
        """Send what differs; True if anything was sent."""
        old = self._node or {}
        status = self._status(old)
        patch = node_object.status_patch(old, status, heartbeat=heartbeat)
        if patch is None:
            return False
        self._take(
            await self._client.patch(NODES, self._settings.name, patch, kind="strategic", subresource="status")
        )
        self._tell(old, status)
        return True

    def _status(self, old: Object | None) -> Object:
        """The status as it should be now."""
        # A few files of /proc and two statvfs(2): too little work to be worth a thread.
        usage = machine.usage(self._node_dir, self._image_dir)
        capacity = node_object.capacity(self._settings, self._machine, usage)
        return {
            "addresses": [
                {"type": "InternalIP", "address": self._settings.address},
                {"type": "Hostname", "address": self._settings.name},
            ],
            "allocatable": node_object.allocatable(self._settings, capacity),
            "capacity": capacity,
            "conditions": node_object.conditions(
                old,
                pressures=self._pressures(),
                problems=list(self._problems.values()),
                now=self._clock.now(),
            ),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._settings.port}},
            "features": node_object.FEATURES,
            "images": node_object.image_list(self._images()),
            "nodeInfo": node_object.node_info(self._machine, self._runtime_version),
            "runtimeHandlers": self._runtime_handlers(),
        }

    def _tell(self, old: Object, status: Object) -> None:
        for condition in status["conditions"]:
            before = find_condition(old, condition["type"])
            if before is not None and before["status"] == condition["status"]:
                continue
            reason = _EVENTS[condition["type"]][condition["status"] != "True"]
            logger.info(kv("node condition", node=self._settings.name, reason=reason, why=condition["message"]))
            if self._recorder is not None:
                message = f"Node {self._settings.name} status is now: {reason}"
                self._recorder.event(self._subject(), "Normal", reason, message)

    def _subject(self) -> Object:
        """What events are about: a node agent names its Node by the name where others are named by their uid."""
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._settings.name, "uid": self._settings.name},
        }

    def _seen(self, _kind: str, _old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._take(new)
            self._wake.set()
        elif self._node is not None:
            # As in Kubernetes it is not made again: who deletes a node whose agent runs wants it to be gone.
            logger.warning(kv("the node was deleted", node=self._settings.name))
            self._node = None
            self._registered.clear()

    def _take(self, node: Object) -> None:
        """Remember the Node, unless a newer version was seen before: answers and the watch overtake one another."""
        known = self._node
        if known is not None and known["metadata"]["uid"] == node["metadata"]["uid"]:
            node = max(known, node, key=lambda version: int(resource_version(version)))
        self._node = node
        self._registered.set()
        if get_path(node, "spec", "podCIDR"):
            self._has_cidr.set()

    async def _woken_within(self, seconds: float) -> None:
        """Wait until something changes, for this long at most."""
        woken = asyncio.ensure_future(self._wake.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({woken, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            timer.cancel()
            # Not with suppressed CancelledErrors: one of them may be meant for us.
            await asyncio.gather(woken, timer, return_exceptions=True)
