"""Starting and stopping the containers of one pod, as operations beside its worker.

A start goes by the name of its container, a stop by `stop NAME`; what is done for the pod as a whole by a name that
no container can have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from apimachinery.meta import Object, namespaced_key
from kubelet.containers.container_stopper import Ending
from kubelet.containers.failures import PostStartFailure, StartFailure
from kubelet.operations import Operations
from kubelet.pods import pod_spec
from kubelet.pods.pod_resize import PodResize
from kubelet.pods.pod_runs import PodRuns
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_setup import PodSetup
from kubelet.probes import PodProbes
from kubelet.signals import Signal

SETUP, RESIZE = " setup", " resize"
_STOP = "stop "


class PodOperations:
    """The operations of one pod; `changed` is notified when one ends, and tells them of the pod's changes."""

    def __init__(
        self,
        pod: Object,
        services: PodServices,
        group: asyncio.TaskGroup,
        changed: Signal,
        *,
        runs: PodRuns,
        setup: PodSetup,
        probes: PodProbes,
        resize: PodResize,
    ) -> None:
        self.pod = pod
        self.going_on = Operations(group, services.clock, changed.notify, pod=namespaced_key(pod))
        self._services = services
        self._clock = services.clock
        self._changed = changed
        self._runs = runs
        self._setup = setup
        self._probes = probes
        self._resize = resize
        self._grace_ends: float | None = None
        # What the node grants the pod at most when it is the node that ends it.
        self.grace_seconds_max: float | None = None
        self._replaced: frozenset[str] = frozenset()

    @property
    def starting(self) -> frozenset[str]:
        """The containers whose start is not over yet."""
        return frozenset(name for name in self.going_on.names if not name.startswith((_STOP, " ")))

    @property
    def busy(self) -> frozenset[str]:
        """The containers that are being started or stopped."""
        names = (name.removeprefix(_STOP) for name in self.going_on.names if not name.startswith(" "))
        return frozenset((*names, *self._replaced))

    @property
    def host(self) -> str:
        """The address at which the pod's containers are asked."""
        if pod_spec.host_network(self.pod):
            return self._services.host_ip
        place = self._setup.place
        return place.pod_ip if place is not None else self._setup.known_ip(self.pod["metadata"]["uid"])

    def start(self, names: Iterable[str]) -> None:
        """Start containers, all at the same time."""
        for name in names:
            self.going_on.begin(name, self._start(name))

    def restart(self, name: str, message: str) -> None:
        """Stop a container because of its state; its end is then followed by what its restart policy says."""
        run = self._runs.running().get(name)
        if run is not None:
            self.going_on.begin(f"{_STOP}{name}", self._stop_alone(name, run.id, message))

    def resize(self) -> None:
        """Have the pod's containers get what it was given."""
        self.going_on.begin(RESIZE, self._carry_out_resize())

    def stop_all(self) -> None:
        """Call off what is being started, and stop every container that runs, all at the same time.

        To be repeated until none runs. The grace period never gets longer; a second deletion may shorten it.
        """
        self.going_on.cancel(name for name in self.going_on.names if not name.startswith(_STOP))
        granted = float(pod_spec.grace_period_seconds(self.pod))
        if self.grace_seconds_max is not None:
            granted = min(granted, self.grace_seconds_max)
        until = self._clock.monotonic() + granted
        self._grace_ends = until if self._grace_ends is None else min(self._grace_ends, until)
        for name, run in self._runs.running().items():
            self.going_on.begin(f"{_STOP}{name}", self._stop_with_pod(name, run.id))

    def call_off(self) -> None:
        """Call off everything."""
        self.going_on.cancel(self.going_on.names)

    async def _start(self, name: str) -> None:
        container = pod_spec.container(self.pod, name)
        assert container is not None and self._setup.place is not None
        attempt = self._runs.begin(name)
        self._resize.begins(name)
        try:
            started = await self._services.starter.start(
                self.pod,
                container,
                attempt=attempt,
                place=self._setup.place,
                running={other: run.id for other, run in self._runs.running().items()},
            )
            self._runs.started(name, started)
        except PostStartFailure as failure:
            self._runs.failed(name, attempt, failure)
            await self._stop_alone(name, failure.container_id, "FailedPostStartHook")
        except StartFailure as failure:
            self._runs.failed(name, attempt, failure)
        await self._runs.prune(name)

    async def _carry_out_resize(self) -> None:
        def running() -> dict[str, str]:
            return {name: run.id for name, run in self._runs.running().items()}

        try:
            await self._resize.carry_out(self._services.runtime, running, self._stop_to_replace)
        finally:
            self._replaced = frozenset()

    async def _stop_to_replace(self, names: Sequence[str]) -> None:
        """Stop containers, to be started anew once they are no longer held back."""
        self._replaced = frozenset(names)
        runs = {name: run for name, run in self._runs.running().items() if name in self._replaced}
        for name, run in runs.items():
            self._runs.outdate(name, run.id)
        words = "Container {} resize requires restart"
        await asyncio.gather(*(self._stop_alone(name, run.id, words.format(name)) for name, run in runs.items()))

    async def _stop_alone(self, name: str, container_id: str, message: str) -> None:
        until = self._clock.monotonic() + self._grace_seconds(name)
        ending = Ending(
            deadline=lambda: until if self._grace_ends is None else min(until, self._grace_ends), message=message
        )
        await self._stop(name, container_id, ending)

    async def _stop_with_pod(self, name: str, container_id: str) -> None:
        ending = Ending(deadline=lambda: self._grace_ends or 0.0, is_its_turn=lambda: self._is_last(name))
        await self._stop(name, container_id, ending)

    async def _stop(self, name: str, container_id: str, ending: Ending) -> None:
        container = pod_spec.container(self.pod, name) or {"name": name}
        await self._services.stopper.stop(self.pod, container, container_id, ending, self._changed, host=self.host)

    def _grace_seconds(self, name: str) -> float:
        """The grace period of a container that is killed on its own; the probe that it failed may set another."""
        seconds = self._probes.failed_probe(name).get("terminationGracePeriodSeconds")
        return float(seconds if seconds is not None else pod_spec.grace_period_seconds(self.pod))

    def _is_last(self, name: str) -> bool:
        """Whether a container may be ended now: sidecars outlive the containers, and end in reverse order."""
        if not pod_spec.is_sidecar(self.pod, name):
            return True
        running = self._runs.running()
        names = [container["name"] for container in pod_spec.init_containers(self.pod)]
        later = names[names.index(name) + 1 :]
        mains = [container["name"] for container in pod_spec.containers(self.pod)]
        return not any(other in running for other in (*later, *mains))
