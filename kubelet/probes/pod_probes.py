"""The probes of one pod: a task for each probe of each running container, and what they have found out so far.

Until a startup probe has succeeded no other probe asks, and then it asks no more. A container that is found not
to live is left alone until it has been restarted.
Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key, uid
from kubelet import instruments
from kubelet.pods import pod_spec
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_spec import Container
from kubelet.probes.prober import ask
from kubelet.probes.tally import Outcome, ProbeSpec, Tally
from kubelet.runtime import ContainerState, Runtime

logger = logging.getLogger(__name__)

STARTUP, LIVENESS, READINESS = "startupProbe", "livenessProbe", "readinessProbe"
_NAMES = {STARTUP: "Startup", LIVENESS: "Liveness", READINESS: "Readiness"}
# How outcomes are counted: all others are successes.
_RESULTS = {Outcome.FAILURE: "failed", Outcome.UNKNOWN: "unknown"}


@dataclass(slots=True)
class _Probed:
    """One run of a container: what its probes have found, and the tasks that ask."""

    container: Container
    container_id: str
    started_at: float
    has_started: asyncio.Event
    results: dict[str, Outcome | None] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class PodProbes:
    """Asks the containers of one pod; calls `on_change` when a result changes."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        runtime: Runtime,
        events: PodEvents,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self._group = group
        self._runtime = runtime
        self._events = events
        self._clock = clock
        self._on_change = on_change
        self._probed: dict[str, _Probed] = {}
        self._pod: Object = {}
        self._host = ""

    def follow(
        self,
        pod: Object,
        running: Mapping[str, ContainerState],
        *,
        host: str,
        known_started: frozenset[str],
        known_ready: frozenset[str],
        ending: bool = False,
    ) -> None:
        """Ask those containers that run, by name, and no others.

        Those in `known_started` (container ids) had started when a former node agent looked; those in `known_ready`
        were ready then, and so stay until a probe says otherwise. A pod that is `ending` is only asked for its
        readiness.
        """
        self._pod, self._host = pod, host
        for name in [name for name, known in self._probed.items() if self._is_over(known, running.get(name))]:
            self._drop(name)
        for name, run in running.items():
            container = pod_spec.container(pod, name)
            if name not in self._probed and container is not None:
                self._probed[name] = self._begin(
                    container, run, has_started=run.id in known_started, is_ready=run.id in known_ready
                )
        if ending:
            for known in self._probed.values():
                for kind in (STARTUP, LIVENESS):
                    if (task := known.tasks.pop(kind, None)) is not None:
                        task.cancel()

    def stop(self) -> None:
        """Ask nobody any more."""
        for name in list(self._probed):
            self._drop(name)

    def started(self) -> frozenset[str]:
        """The running containers that have started, by their startup probe if they have one."""
        return frozenset(name for name, known in self._probed.items() if known.has_started.is_set())

    def ready(self) -> frozenset[str]:
        """The running containers that are ready, by their readiness probe if they have one."""
        return frozenset(
            name
            for name, known in self._probed.items()
            if READINESS not in known.container or known.results.get(READINESS) is Outcome.SUCCESS
        )

    def unhealthy(self) -> dict[str, str]:
        """The running containers that must be killed, and why: "failed liveness probe"."""
        found = {}
        for name, known in self._probed.items():
            for kind in (STARTUP, LIVENESS):
                if known.results.get(kind) is Outcome.FAILURE:
                    found[name] = f"failed {_NAMES[kind].lower()} probe"
        return found

    def failed_probe(self, name: str) -> Mapping[str, Any]:
        """The probe because of which a container is unhealthy; it may set a grace period of its own."""
        known = self._probed.get(name)
        for kind in (STARTUP, LIVENESS):
            if known is not None and known.results.get(kind) is Outcome.FAILURE:
                probe: Mapping[str, Any] = known.container[kind]
                return probe
        return {}

    @staticmethod
    def _is_over(known: _Probed, run: ContainerState | None) -> bool:
        return run is None or run.id != known.container_id

    def _drop(self, name: str) -> None:
        for task in self._probed.pop(name).tasks.values():
            task.cancel()
        for instrument in instruments.OF_PROBES:
            instrument.forget(uid(self._pod), name)

    def _count(self, name: str, kind: str, outcome: Outcome, seconds: float) -> None:
        metadata = self._pod["metadata"]
        labels = (metadata["uid"], name, _NAMES[kind], metadata["name"], metadata["namespace"])
        instruments.PROBES.add(*labels, _RESULTS.get(outcome, "successful"))
        instruments.PROBE_SECONDS.add(seconds, *labels)

    def _begin(self, container: Container, run: ContainerState, *, has_started: bool, is_ready: bool) -> _Probed:
        known = _Probed(container, run.id, run.started_at or self._clock.now(), asyncio.Event())
        if has_started or not container.get(STARTUP):
            known.has_started.set()
        if is_ready:
            known.results[READINESS] = Outcome.SUCCESS
        for kind in (STARTUP, LIVENESS, READINESS):
            if container.get(kind) and not (kind == STARTUP and has_started):
                known.tasks[kind] = self._group.create_task(self._ask_again_and_again(known, kind))
        return known

    async def _ask_again_and_again(self, known: _Probed, kind: str) -> None:
        probe = known.container[kind]
        spec = ProbeSpec.of(probe)
        tally = Tally(spec, known.results.get(kind))
        if kind != STARTUP:
            await known.has_started.wait()
        await self._clock.sleep(spec.initial_delay_seconds - max(0.0, self._clock.now() - known.started_at))
        while True:
            began = self._clock.monotonic()
            outcome = await self._ask(known, kind, probe, spec)
            if tally.count(outcome):
                known.results[kind] = tally.result
                if kind == STARTUP and tally.result is Outcome.SUCCESS:
                    known.has_started.set()
                self._on_change()
                if kind == STARTUP or (kind == LIVENESS and tally.result is Outcome.FAILURE):
                    return
            await self._clock.sleep(spec.period_seconds - (self._clock.monotonic() - began))

    async def _ask(self, known: _Probed, kind: str, probe: Mapping[str, Any], spec: ProbeSpec) -> Outcome:
        name, began = known.container["name"], self._clock.monotonic()
        try:
            outcome, said = await ask(
                self._runtime,
                self._pod,
                known.container,
                known.container_id,
                probe,
                host=self._host,
                timeout_seconds=spec.timeout_seconds,
            )
        except Exception as error:  # one probe that can't be made must not end the pod's worker
            key = namespaced_key(self._pod)
            logger.error(kv("probe can't be made", pod=key, container=name, error=repr(error)), exc_info=error)
            return Outcome.UNKNOWN
        self._count(name, kind, outcome, self._clock.monotonic() - began)
        if outcome is Outcome.FAILURE:
            self._events.warning(self._pod, "Unhealthy", f"{_NAMES[kind]} probe failed: {said}", container=name)
        elif outcome is Outcome.WARNING:
            self._events.warning(self._pod, "ProbeWarning", f"{_NAMES[kind]} probe warning: {said}", container=name)
        elif outcome is Outcome.UNKNOWN:
            message = f"{_NAMES[kind]} probe errored and resulted in unknown state: {said}"
            self._events.warning(self._pod, "Unhealthy", message, container=name)
        return outcome
