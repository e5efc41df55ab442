"""One pod's worker: a state machine that brings what runs on this node in line with what the API says of the pod.

    Pending      the pod waits to be taken on: the node must be known, and have room for it
    Starting     its volumes, its sandbox and its network are made (or found again by a new node agent)
    Running      init containers, containers, restarts, probes: see pod_actions.py
    Terminating  its containers are being stopped, each in its grace period
    Terminated   nothing runs; the last status is written, sandbox, network and volumes are given back
    Finished     nothing is left on this node but logs; a deleted pod's object is taken away
    Gone         the API knows the pod no more, and neither does this node

Every step looks at what there is (levels, not edges) and may be repeated, so that a node agent that was killed at
any point is followed by one that finds its way. What takes long (a pull, a hook, a grace period) runs beside the
worker as an operation and wakes it at its end; so do the informer, the runtime, probes and timers.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from apiclient.logs import kv
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, namespaced_key
from apimachinery.time import parse_rfc3339, rfc3339
from kubelet.instruments import POD_START_SECONDS, POD_WORKER_SECONDS
from kubelet.pods import pod_actions, pod_spec
from kubelet.pods.pod_actions import Observed
from kubelet.pods.pod_entry import PodEntry
from kubelet.pods.pod_operations import SETUP, PodOperations
from kubelet.pods.pod_resize import PodResize
from kubelet.pods.pod_runs import PodRuns
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_setup import PodSetup, SetupFailure
from kubelet.pods.pod_status import PodFacts, Verdict, pod_status, rejected
from kubelet.probes import PodProbes
from kubelet.runtime import RuntimeFailure
from kubelet.signals import Signal
from kubelet.static_pods.identity import is_static
from kubelet.volumes import VolumeFailure

logger = logging.getLogger(__name__)


class State(Enum):
    """Where a pod is on this node."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FINISHED = "Finished"
    GONE = "Gone"


TRANSITIONS: dict[State, dict[State, str]] = {
    State.PENDING: {
        State.STARTING: "the node takes the pod on",
        State.TERMINATING: "deleted, or ended already",
        State.TERMINATED: "the node refuses it",
    },
    State.STARTING: {
        State.RUNNING: "volumes, sandbox and network are there",
        State.TERMINATING: "deleted, or past its deadline",
    },
    State.RUNNING: {
        State.STARTING: "the sandbox was lost",
        State.TERMINATING: "deleted, past its deadline, or all containers have ended for good",
    },
    State.TERMINATING: {State.TERMINATED: "no container runs"},
    State.TERMINATED: {State.FINISHED: "the last status is written and everything given back"},
    State.FINISHED: {State.GONE: "the API knows the pod no more"},
    State.GONE: {},
}

DEADLINE_EXCEEDED = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
# A pod that starts, or ends, faster than this is reported once, when it has.
QUIET_SECONDS = 0.2
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.5, 30.0

# What a step counts as among the kubelet's metrics: all that is not in here is for the pod's end.
OPERATIONS = {State.PENDING: "create", State.STARTING: "create", State.RUNNING: "sync"}

Step = Callable[[], Awaitable["State | None"]]


class PodWorker:
    """Works on one pod from the moment this node hears of it until nothing of it is left."""

    def __init__(self, pod: Object, services: PodServices, group: asyncio.TaskGroup) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.state = State.PENDING
        self.on_state: Callable[[], None] = lambda: None
        self._services = services
        self._clock = services.clock
        self._signal = Signal(services.clock)
        self._runs = PodRuns(pod, services)
        self._setup = PodSetup(services)
        self._probes = PodProbes(
            group, runtime=services.runtime, events=services.events, clock=services.clock, on_change=self.wake
        )
        self._resize = PodResize(
            pod, services.resizes, clock=services.clock, tell=self._tell_of_resize, changed=self._resized
        )
        self._operations = PodOperations(
            pod,
            services,
            group,
            self._signal,
            runs=self._runs,
            setup=self._setup,
            probes=self._probes,
            resize=self._resize,
        )
        self._vanished = False
        self._deleted = False
        self._rejected = False
        self._is_adopted = False
        self._verdict: Verdict | None = None
        self._entry = PodEntry(services)
        now, self._seen_at = self._clock.now(), self._clock.monotonic()
        self._has_run = get_path(pod, "status", "phase") == "Running"
        self._quiet_until = self._seen_at + QUIET_SECONDS
        told = get_path(pod, "status", "startTime", default="")
        self._start_time = parse_rfc3339(told) if told else now
        self._active_since = self._seen_at - max(0.0, now - self._start_time)
        self._until: float | None = None
        self._failures = 0
        self._setup_failures = 0
        self._setup_retry_at = 0.0
        self._steps: dict[State, Step] = {
            State.PENDING: self._pending,
            State.STARTING: self._starting,
            State.RUNNING: self._running,
            State.TERMINATING: self._terminating,
            State.TERMINATED: self._terminated,
            State.FINISHED: self._finished,
        }

    # News from outside.

    def update(self, pod: Object) -> None:
        """The API has a new version of the pod."""
        self._resize.seen(pod)
        self._take(self._resize.pod)
        self.wake()

    def vanish(self) -> None:
        """The API does not know the pod any more."""
        self._vanished = True
        self.wake()

    def wake(self) -> None:
        """Something has changed: look again."""
        self._signal.notify()

    def end(self, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        """The node needs what the pod has, or goes down: end it, in so much time at most. The first reason stays."""
        self._verdict = self._verdict or verdict
        self._operations.grace_seconds_max = grace_seconds_max
        self.wake()

    def objects_changed(self) -> None:
        """A ConfigMap or Secret of the pod may be there now: what failed for want of it is tried at once."""
        self._setup_retry_at = 0.0
        self._runs.retry_configuration()
        self.wake()

    @property
    def is_ending(self) -> bool:
        """Whether the node has decided that the pod ends."""
        return self._verdict is not None

    @property
    def has_given_back(self) -> bool:
        """Whether nothing of the pod is left on this node but logs."""
        return self.state in (State.FINISHED, State.GONE)

    @property
    def holds_resources(self) -> bool:
        """Whether the pod counts against what the node can give."""
        return self.state in (State.STARTING, State.RUNNING, State.TERMINATING)

    def _take(self, pod: Object) -> None:
        before, self.pod = self.pod, pod
        self._runs.pod = self._operations.pod = pod
        if _shown_in_volumes(before) != _shown_in_volumes(pod):
            self._services.volumes.pod_changed(pod)

    def _resized(self, names: Sequence[str]) -> None:
        """Containers were given other resources, or there is something new to be told of that."""
        self._take(self._resize.pod)
        for name in names:
            self._runs.begin_anew(name)
        self.wake()

    @property
    def held(self) -> Object:
        """The pod with what it holds of the node."""
        return self._resize.held

    # The machine.

    async def run(self) -> None:
        """Work until the pod is gone."""
        try:
            while self.state is not State.GONE:
                await self._step()
        finally:
            self._probes.stop()
            self._operations.call_off()

    async def _step(self) -> None:
        seen, began = self._signal.version, self._clock.monotonic()
        self._until = None
        try:
            following = await self._steps[self.state]()
            self._failures = 0
            POD_WORKER_SECONDS.add(self._clock.monotonic() - began, OPERATIONS.get(self.state, "kill"))
        except (ApiError, RuntimeFailure, VolumeFailure, OSError) as error:
            following = None
            logger.warning(self._words("pod worker failed", error=str(error)))
            self._retry_later()
        except Exception as error:  # a fault that shows with one pod must not end the others
            following = None
            logger.error(self._words("pod worker failed", error=repr(error)), exc_info=error)
            self._retry_later()
        if following is None:
            # A step that failed is not repeated because of what it did itself before it failed.
            await self._signal.wait(self._signal.version if self._failures else seen, self._until)
            return
        why = TRANSITIONS[self.state][following]
        logger.info(self._words(f"pod {following.value.lower()}", why=why))
        self.state = following
        self.on_state()
        if following is State.TERMINATING:
            self._quiet_until = self._clock.monotonic() + QUIET_SECONDS

    def _words(self, message: str, **fields: str) -> str:
        return kv(message, pod=namespaced_key(self.pod), uid=self.uid, state=self.state.value, **fields)

    def _retry_later(self) -> None:
        self._failures += 1
        self._wait_until(self._clock.monotonic() + _delay(self._failures))

    def _wait_until(self, *times: float | None) -> None:
        """Look again at the earliest of these times at the latest."""
        self._until = min((time for time in (self._until, *times) if time is not None), default=None)

    # The steps, one a state. Each returns the state to go to, or None to wait.

    async def _pending(self) -> State | None:
        if self._must_end():
            return State.TERMINATING
        self._services.objects.register(self.pod)
        self._is_adopted = self._sandbox_lives()
        if self._is_adopted or get_path(self.pod, "status", "startTime"):
            return self._take_on(is_new=False)  # as a former node agent has
        node = self._services.node() or (self._services.local_node() if is_static(self.pod) else None)
        if node is None:
            return None
        verdict = self._entry.objection(self.pod, node)
        if verdict is None:
            return self._take_on(is_new=True) if not self._entry.waits else None
        self._rejected = True
        self._services.events.warning(self.pod, verdict.reason, verdict.message)
        self._services.writer.set(self.pod, rejected(self.pod, verdict, self._clock.now()))
        return State.TERMINATED

    def _take_on(self, *, is_new: bool) -> State:
        sandbox = self._services.runtime.sandbox(self.uid)
        self._resize.begin(sandbox.spec.allocation if sandbox is not None else None, is_new=is_new)
        self._take(self._resize.pod)
        return State.STARTING

    async def _starting(self) -> State | None:
        if self._must_end():
            return State.TERMINATING
        if self._setup.place is not None and self._sandbox_lives():
            self._runs.adopt()
            return State.RUNNING
        if self._setup.can_begin(self.pod) and SETUP not in self._operations.going_on.names:
            if self._setup_retry_at > self._clock.monotonic():
                self._wait_until(self._setup_retry_at)
            else:
                self._runs.leave_sandbox(self._setup.dead_sandbox(self.uid))
                if self._has_finished_before():
                    return State.TERMINATING
                self._operations.going_on.begin(SETUP, self._set_up())
        self._follow_probes()
        self._wait_until(self._deadline())
        self._publish()
        return None

    async def _running(self) -> State | None:
        if self._must_end():
            return State.TERMINATING
        if not self._sandbox_lives():
            self._operations.call_off()
            self._is_adopted = False
            self._setup.place = None
            return State.STARTING
        self._runs.note_ended()
        self._follow_probes(but=self._operations.starting)
        now = self._clock.monotonic()
        actions = pod_actions.next_actions(self.pod, self._observe(), now)
        if actions.finished and not self._operations.going_on:
            return State.TERMINATING
        self._operations.start(actions.start)
        for name, message in actions.stop.items():
            self._operations.restart(name, message)
        self._runs.hold_back(actions.backing_off, now)
        if self._resize.is_due(now) and not self._operations.starting:
            self._operations.resize()
        self._wait_until(self._deadline(), self._resize.retry_at, *actions.backing_off.values())
        self._publish()
        return None

    async def _terminating(self) -> State | None:
        self._operations.stop_all()
        self._runs.note_ended()
        self._follow_probes(ending=True)
        if not self._runs.running() and not self._operations.going_on:
            return State.TERMINATED
        self._publish()
        return None

    async def _terminated(self) -> State | None:
        self._probes.stop()
        self._resize.end()
        self._services.room_appeared()
        if self._has_something_to_say():
            self._services.writer.set(self.pod, self._status(stopped=True))
        if not self._vanished:
            # The exit codes must not go before they are told: the next node agent could not find them any more.
            await self._until_settled()
        await self._setup.tear_down(self.uid)
        self._services.objects.unregister(self.uid)
        self._services.puller.forget(self.uid)
        return State.FINISHED

    async def _finished(self) -> State | None:
        if self._vanished:
            self._services.writer.forget(self.uid)
            await self._setup.remove_files(self.pod)
            return State.GONE
        if self.pod["metadata"].get("deletionTimestamp") and not self._deleted:
            await self._services.writer.delete(self.pod)
            self._deleted = True
        return None

    # What the steps decide by.

    def _must_end(self) -> bool:
        """Whether the pod is not to run any more; sets the verdict when it is this node that says so."""
        if self._vanished or self.pod["metadata"].get("deletionTimestamp") or pod_spec.has_ended(self.pod):
            return True
        if self._verdict is not None:
            return True
        deadline = self._deadline()
        if deadline is None or self._clock.monotonic() < deadline:
            return False
        self._verdict = DEADLINE_EXCEEDED
        self._services.events.normal(self.pod, DEADLINE_EXCEEDED.reason, DEADLINE_EXCEEDED.message)
        return True

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        return self._active_since + float(seconds) if seconds is not None else None

    def _sandbox_lives(self) -> bool:
        sandbox = self._services.runtime.sandbox(self.uid)
        return sandbox is not None and sandbox.alive

    def _observe(self) -> Observed:
        return self._runs.observed(
            started=self._probes.started(),
            unhealthy=self._probes.unhealthy(),
            busy=self._operations.busy,
        )

    def _has_finished_before(self) -> bool:
        """Whether nothing is left to start: every container ended for good before its sandbox was lost."""
        seen = self._observe()
        return bool(seen.done) and pod_actions.next_actions(self.pod, seen, self._clock.monotonic()).finished

    def _follow_probes(self, *, but: frozenset[str] = frozenset(), ending: bool = False) -> None:
        running = {name: run for name, run in self._runs.running().items() if name not in but}
        self._probes.follow(
            self.pod,
            running,
            host=self._operations.host,
            known_started=self._runs.started_before,
            known_ready=self._runs.ready_before,
            ending=ending,
        )

    # Status.

    def _status(self, *, stopped: bool = False) -> dict[str, Any]:
        place = self._setup.place
        facts = PodFacts(
            containers=self._runs.facts(
                starting=self._operations.starting,
                started=self._probes.started(),
                ready=self._probes.ready(),
                resources=self._resize.shown(),
            ),
            sandbox_ready=self._sandbox_lives() and (place is not None or self._is_adopted) and not stopped,
            pod_ip=place.pod_ip if place is not None else self._setup.known_ip(self.uid),
            host_ip=self._services.host_ip,
            verdict=self._verdict,
            stopped=stopped,
            start_time=rfc3339(self._start_time),
            resize=self._resize.conditions(),
        )
        return pod_status(self.pod, facts, self._clock.now())

    def _tell_of_resize(self, kind: str, reason: str, message: str) -> None:
        events = self._services.events
        (events.normal if kind == "Normal" else events.warning)(self.pod, reason, message)

    def _publish(self) -> None:
        """Have the pod's status written, unless there will be a better one in a moment.

        That a container has ended only to come again is not told: it may have ended for good by its policy.
        """
        if not self._has_something_to_say() or self._runs.replacing:
            return
        if self._operations.going_on and not self._runs.waiting and self._clock.monotonic() < self._quiet_until:
            self._wait_until(self._quiet_until)
            return
        status = self._status()
        if not self._has_run and status["phase"] == "Running":
            self._has_run = True
            POD_START_SECONDS.add(self._clock.monotonic() - self._seen_at)
        self._services.writer.set(self.pod, status)

    def _has_something_to_say(self) -> bool:
        """Nobody hears of a pod that is gone; one that had ended before keeps its status if nothing is left here."""
        if self._vanished or self._rejected:
            return False
        return bool(self._runs.known()) or not pod_spec.has_ended(self.pod)

    async def _until_settled(self) -> None:
        """Wait until the status has been written, or the pod is gone."""
        settled = asyncio.ensure_future(self._services.writer.settled(self.uid))
        settled.add_done_callback(lambda _: self.wake())
        try:
            while not settled.done() and not self._vanished:
                await self._signal.wait(self._signal.version)
        finally:
            settled.cancel()

    # What the worker does about the pod as a whole; PodOperations does the rest.

    async def _set_up(self) -> None:
        if self._observe().done:
            # What must not run twice is told before the dead sandbox goes, which is all that the next agent had.
            self._services.writer.set(self.pod, self._status())
            await self._services.writer.settled(self.uid)
        try:
            await self._setup.run(self.pod)
            self._setup_failures = 0
        except SetupFailure as failure:
            self._setup_failures += 1
            self._setup_retry_at = self._clock.monotonic() + _delay(self._setup_failures)
            self._services.events.warning(self.pod, failure.reason, failure.message)


def _shown_in_volumes(pod: Object) -> tuple[Any, ...]:
    """What of a pod may stand in its own volumes (downwardAPI) and may change."""
    metadata = pod["metadata"]
    return metadata.get("labels"), metadata.get("annotations"), pod["spec"]


def _delay(failures: int) -> float:
    return min(RETRY_FIRST_SECONDS * 2.0 ** min(failures - 1, 10), RETRY_MAX_SECONDS)
