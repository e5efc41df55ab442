"""Ends one container: preStop hook, SIGTERM to its first process, the rest of the grace period, SIGKILL.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from apiclient.clock import Clock
from apimachinery.meta import Object, get_path
from kubelet.containers.hooks import HookFailure, run_hook
from kubelet.images import ImageError, ImageStore
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_spec import Container
from kubelet.runtime import Runtime, RuntimeFailure
from kubelet.signals import Signal

# However short the grace period: a program that can end at once gets the chance.
GRACE_SECONDS_MIN = 2.0
# A process that SIGKILL does not end hangs in the kernel (in a dead file system, say).
KILL_SECONDS_MAX = 10.0
_SIGNAL = re.compile(r"(?P<number>\d+)|(?:SIG)?(?P<name>[A-Z][A-Z0-9]*)(?P<offset>[+-]\d+)?")
_GONE = ("ContainerNotFound", "SandboxNotFound")


class StillRunning(Exception):
    """A container did not end even when it was killed."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container is to be ended.

    `deadline` gives the end of the grace period (unix seconds), which may come nearer meanwhile; `is_its_turn`
    whether those that must end before it have; `message` is the event's.
    """

    deadline: Callable[[], float]
    message: str = ""
    is_its_turn: Callable[[], bool] = lambda: True


class ContainerStopper:
    """Stops containers of any pod of this node."""

    def __init__(self, *, runtime: Runtime, images: ImageStore, events: PodEvents, clock: Clock) -> None:
        self._runtime = runtime
        self._images = images
        self._events = events
        self._clock = clock

    async def stop(
        self, pod: Object, container: Container, container_id: str, ending: Ending, changed: Signal, *, host: str
    ) -> None:
        """Return once the container has ended; `changed` tells of the pod's changes. Raises StillRunning."""
        message = ending.message or f"Stopping container {container['name']}"
        self._events.normal(pod, "Killing", message, container=container["name"])
        stop = _Stop(self, pod, container, container_id, ending, changed)
        hook = stop.begin_pre_stop_hook(host)
        try:
            if hook is not None:
                await stop.wait_until(hook.done)
            await self._end(pod, container, container_id, stop)
        finally:
            if hook is not None:
                hook.cancel()
                await asyncio.wait((hook,))

    async def _end(self, pod: Object, container: Container, container_id: str, stop: _Stop) -> None:
        await stop.wait_for_its_turn()
        if not self.is_running(pod, container_id):
            return
        await self._signal(pod, container_id, self._stop_signal(container))
        await stop.wait_for_end(not_before=self._clock.monotonic() + GRACE_SECONDS_MIN)
        if self.is_running(pod, container_id):
            await self._signal(pod, container_id, signal.SIGKILL, all_processes=True)
            await stop.wait_for_end(not_before=self._clock.monotonic() + KILL_SECONDS_MAX)
        if self.is_running(pod, container_id):
            raise StillRunning(f"container {container['name']} does not end even when killed")

    def is_running(self, pod: Object, container_id: str) -> bool:
        """Whether the container has not ended yet."""
        sandbox = self._runtime.sandbox(pod["metadata"]["uid"])
        if sandbox is None or not sandbox.alive:
            return False
        state = sandbox.container(container_id)
        return state is not None and state.status == "running"

    def _stop_signal(self, container: Container) -> int:
        """What the container, else its image, wants to be ended with."""
        name = get_path(container, "lifecycle", "stopSignal")
        if not name:
            try:
                image = self._images.find(container.get("image", ""))
            except ImageError:
                image = None
            name = image.config.get("StopSignal") if image is not None else None
        return signal_number(name) or signal.SIGTERM

    async def _signal(self, pod: Object, container_id: str, signo: int, *, all_processes: bool = False) -> None:
        try:
            await self._runtime.signal_container(pod["metadata"]["uid"], container_id, signo, all_processes)
        except RuntimeFailure as failure:
            if failure.reason not in _GONE:
                raise

    async def pre_stop(self, pod: Object, container: Container, container_id: str, *, host: str) -> None:
        """Run the preStop hook; its failure is told and changes nothing.

        A command that has not come to its end when the container is gone has gone with it, and so failed too.
        """
        hook = get_path(container, "lifecycle", "preStop", default={})
        try:
            await run_hook(
                self._runtime,
                pod,
                container,
                container_id,
                hook,
                host=host,
                events=self._events,
                clock=self._clock,
            )
        except HookFailure:
            self._pre_stop_failed(pod, container)
        except asyncio.CancelledError:
            if hook.get("exec"):
                self._pre_stop_failed(pod, container)
            raise

    def _pre_stop_failed(self, pod: Object, container: Container) -> None:
        # What the hook printed must not be given away by an event.
        self._events.warning(pod, "FailedPreStopHook", "PreStopHook failed", container=container["name"])


def signal_number(name: str | None) -> int | None:
    """A signal by its number or its name: `9`, `SIGKILL`, `KILL`, `SIGRTMIN+3`; None if there is no such signal."""
    match = _SIGNAL.fullmatch(name or "")
    if match is None:
        return None
    if match["number"]:
        number = int(match["number"])
    else:
        try:
            number = signal.Signals[f"SIG{match['name']}"] + int(match["offset"] or 0)
        except KeyError:
            return None
    return number if 1 <= number <= signal.SIGRTMAX else None


class _Stop:
    """What the steps of one stop share."""

    def __init__(
        self,
        stopper: ContainerStopper,
        pod: Object,
        container: Container,
        container_id: str,
        ending: Ending,
        changed: Signal,
    ) -> None:
        self._stopper = stopper
        self._pod = pod
        self._container = container
        self._id = container_id
        self._ending = ending
        self._changed = changed

    def begin_pre_stop_hook(self, host: str) -> asyncio.Task[None] | None:
        """Begin the hook, if there is one and time for it. It is waited for in the grace period, and may go on."""
        if self._ending.deadline() <= self._stopper._clock.monotonic():
            return None
        if not get_path(self._container, "lifecycle", "preStop"):
            return None
        hook = asyncio.ensure_future(self._stopper.pre_stop(self._pod, self._container, self._id, host=host))
        hook.add_done_callback(lambda _: self._changed.notify())
        return hook

    async def wait_for_its_turn(self) -> None:
        """Wait until those that must end before have, or the grace period is over."""
        await self.wait_until(self._ending.is_its_turn)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, the container ends or its time is up."""
        while True:
            seen = self._changed.version
            deadline = self._ending.deadline()
            if holds() or not self._running or self._stopper._clock.monotonic() >= deadline:
                return
            await self._changed.wait(seen, deadline)

    async def wait_for_end(self, *, not_before: float) -> None:
        """Wait until the container has ended, or its grace period, and `not_before` at the earliest."""
        while True:
            seen = self._changed.version
            deadline = max(self._ending.deadline(), not_before)
            if not self._running or self._stopper._clock.monotonic() >= deadline:
                return
            await self._changed.wait(seen, deadline)

    @property
    def _running(self) -> bool:
        return self._stopper.is_running(self._pod, self._id)
