"""What the containers of a hollow pod would be doing at a moment, and what its status says then. Pure.

Which containers start next, and how long crashing ones are held back, is decided as for real pods
(kubelet/pods/pod_actions.py), and so are the words of the status (kubelet/pods/pod_status.py). Only the runtime is
made up: init containers succeed at once, all others run for as long as the pod's behaviour says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from apimachinery import meta
from apimachinery.meta import Object, deletion_requested, find_condition, get_path
from apimachinery.time import parse_rfc3339, rfc3339
from kubelet.containers import backoff
from kubelet.containers.backoff import Backoff
from kubelet.containers.container_status import RUNTIME_NAME, ContainerFacts, Waiting
from kubelet.hollow.settings import RUN_DURATION, Behaviour
from kubelet.pods import pod_actions, pod_spec, pod_status
from kubelet.pods.pod_actions import Actions, Observed
from kubelet.pods.pod_status import PodFacts
from kubelet.runtime import ContainerState

KILLED_CODE = 137
# A container that ends at once is started anew only after a back-off, so that this many rounds are never needed.
_ROUNDS_MAX = 100


class Moment(NamedTuple):
    """Now, by the wall clock for what is written down, and by the monotonic one for what is waited for."""

    wall: float
    monotonic: float

    @classmethod
    def of(cls, clock: Any) -> Moment:
        """The present, by a Clock."""
        return cls(clock.now(), clock.monotonic())


@dataclass(frozen=True, slots=True)
class HollowPod:
    """What a node would know of a pod that it runs; times are of the monotonic clock.

    `runs` has the newest run of each container and the one before it; `since` is when the newest began or ended.
    `sandbox` says that there is a place for containers to run in. `stopping` is when the deletion was first seen.
    """

    uid: str
    behaviour: Behaviour
    taken: float
    start_time: str
    sandbox: bool = False
    runs: Mapping[str, tuple[ContainerState, ...]] = field(default_factory=dict)
    since: Mapping[str, float] = field(default_factory=dict)
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    backing_off: frozenset[str] = frozenset()
    stopping: float | None = None
    stopped: bool = False


class Step(NamedTuple):
    """A pod as it is now, and in how many seconds it will be different by itself (infinite: never)."""

    state: HollowPod
    wait_seconds: float


def taken_on(pod: Object, behaviour: Behaviour, now: Moment) -> HollowPod:
    """A pod as its node first sees it; what its status tells of an earlier agent's time is taken over."""
    ago = _ago(get_path(pod, "status", "startTime"), now)
    fresh = HollowPod(
        uid=pod["metadata"]["uid"],
        behaviour=behaviour,
        taken=now.monotonic - ago,
        start_time=get_path(pod, "status", "startTime") or rfc3339(now.wall),
        stopped=pod_spec.has_ended(pod),
    )
    runs: dict[str, tuple[ContainerState, ...]] = {}
    since: dict[str, float] = {}
    delays: dict[str, Backoff] = {}
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for told in get_path(pod, "status", key, default=[]):
            run = _recalled(told)
            if run is None:
                continue
            name = run.name
            runs[name] = (run,)
            since[name] = now.monotonic - max(0.0, now.wall - (run.finished_at or run.started_at or now.wall))
            if (delay := backoff.resumed(run.attempt, since[name])) is not None:
                delays[name] = delay
    return replace(fresh, sandbox=bool(runs), runs=runs, since=since, backoffs=delays)


def advance(pod: Object, state: HollowPod, now: Moment) -> Step:
    """Bring a pod to this moment."""
    if state.stopped:
        return Step(state, math.inf)
    if deletion_requested(pod):
        return _stopping(pod, state, now)
    due = state.taken + state.behaviour.start_seconds
    if not state.sandbox:
        if now.monotonic < due:
            return Step(state, due - now.monotonic)
        state = replace(state, sandbox=True)
    state = _ended_by_now(pod, state, now)
    for _ in range(_ROUNDS_MAX):
        actions = pod_actions.next_actions(pod, _observed(state), now.monotonic)
        if not actions.start:
            break
        state = _started(pod, state, actions.start, now)
    state = replace(state, backing_off=frozenset(actions.backing_off), stopped=actions.finished)
    if state.stopped:
        # Sidecars are ended once all others have.
        state = _ended(state, dict.fromkeys(_running(state), 0), now)
    return Step(state, _wait(pod, state, actions, now))


def status_of(pod: Object, state: HollowPod, *, pod_ip: str, host_ip: str, now: Moment) -> Object:
    """What the API is told."""
    containers = ContainerFacts(
        runs=state.runs,
        waiting={
            name: Waiting("CrashLoopBackOff", pod_actions.backoff_message(pod, name, state.backoffs[name]))
            for name in state.backing_off
            if name in state.backoffs
        },
        started=frozenset(_running(state)),
        ready=frozenset(name for name in _running(state) if _ready_in(state, name, now) <= 0),
        images={name: (runs[0].image, _image_id(runs[0].image)) for name, runs in state.runs.items()},
    )
    facts = PodFacts(
        containers=containers,
        sandbox_ready=state.sandbox and not state.stopped,
        pod_ip=pod_ip if state.sandbox else "",
        host_ip=host_ip,
        stopped=state.stopped,
        start_time=state.start_time,
    )
    return pod_status.pod_status(pod, facts, now.wall)


def is_settled(pod: Object) -> bool:
    """Whether the API says all that there is to say of a pod until somebody changes it: it runs, and will for ever.

    Such a pod need not be kept in mind.
    """
    if deletion_requested(pod):
        return False
    if pod_spec.has_ended(pod):
        return True
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if pod_spec.phase(pod) != "Running" or pod_spec.restart_policy(pod) != "Always":
        return False
    if spec.get("readinessGates") or len(spec.get("ephemeralContainers") or ()) != len(
        status.get("ephemeralContainerStatuses") or ()
    ):
        return False
    if (metadata.get("generation") or 0) != (status.get("observedGeneration") or 0):
        return False
    if RUN_DURATION in meta.annotations(pod):
        return False
    return all((find_condition(pod, kind) or {}).get("status") == "True" for kind in ("Ready", "ContainersReady"))


def _stopping(pod: Object, state: HollowPod, now: Moment) -> Step:
    """Containers end as slowly as they do, or are killed when their grace is over."""
    since = state.stopping if state.stopping is not None else now.monotonic
    grace = float(pod_spec.grace_period_seconds(pod))
    takes = min(state.behaviour.stop_seconds, grace) if _running(state) else 0.0
    left = since + takes - now.monotonic
    if left > 0:
        return Step(replace(state, stopping=since), left)
    code = 0 if state.behaviour.stop_seconds <= grace else KILLED_CODE
    ended = dict.fromkeys(_running(state), code)
    return Step(replace(_ended(state, ended, now), stopping=since, stopped=True, backing_off=frozenset()), math.inf)


def _ended_by_now(pod: Object, state: HollowPod, now: Moment) -> HollowPod:
    due = {name: state.behaviour.exit_code for name in _running(state) if _ends_in(pod, state, name, now) <= 0}
    return _ended(state, due, now) if due else state


def _ended(state: HollowPod, codes: Mapping[str, int], now: Moment) -> HollowPod:
    runs, since = dict(state.runs), dict(state.since)
    for name, code in codes.items():
        last, *before = runs[name]
        runs[name] = (replace(last, status="exited", exit_code=code, finished_at=now.wall), *before)
        since[name] = now.monotonic
    return replace(state, runs=runs, since=since)


def _started(pod: Object, state: HollowPod, names: list[str], now: Moment) -> HollowPod:
    runs, since, delays = dict(state.runs), dict(state.since), dict(state.backoffs)
    at_once = {}
    for name in names:
        before = runs.get(name, ())
        attempt = before[0].attempt + 1 if before else 0
        if before:
            delays[name] = backoff.after_try(delays.get(name), since[name], now.monotonic)
        container = pod_spec.container(pod, name) or {}
        run = ContainerState(
            id=_container_id(state.uid, name, attempt),
            name=name,
            attempt=attempt,
            status="running",
            started_at=now.wall,
            image=container.get("image", ""),
        )
        runs[name] = (run, *before[:1])
        since[name] = now.monotonic
        if pod_spec.is_init(pod, name) and not pod_spec.is_sidecar(pod, name):
            at_once[name] = 0
    state = replace(state, runs=runs, since=since, backoffs=delays)
    return _ended(state, at_once, now) if at_once else state


def _observed(state: HollowPod) -> Observed:
    return Observed(
        latest={name: runs[0] for name, runs in state.runs.items()},
        started=frozenset(_running(state)),
        backoffs=state.backoffs,
        ended={runs[0].id: state.since[name] for name, runs in state.runs.items() if runs[0].status == "exited"},
    )


def _wait(pod: Object, state: HollowPod, actions: Actions, now: Moment) -> float:
    """Seconds until something ends, is ready or may be tried again."""
    if state.stopped:
        return math.inf
    waits = [due - now.monotonic for due in actions.backing_off.values()]
    for name in _running(state):
        waits.append(_ends_in(pod, state, name, now))
        ready = _ready_in(state, name, now)
        if ready > 0:
            waits.append(ready)
    return min(waits, default=math.inf)


def _running(state: HollowPod) -> list[str]:
    return [name for name, runs in state.runs.items() if runs[0].status == "running"]


def _ends_in(pod: Object, state: HollowPod, name: str, now: Moment) -> float:
    """Seconds until a container ends by itself; sidecars never do."""
    if not any(entry["name"] == name for entry in pod_spec.containers(pod)):
        return math.inf
    return state.since[name] + state.behaviour.run_seconds - now.monotonic


def _ready_in(state: HollowPod, name: str, now: Moment) -> float:
    return state.since[name] + state.behaviour.ready_seconds - now.monotonic


def _container_id(uid: str, name: str, attempt: int) -> str:
    return sha256(f"{uid}/{name}/{attempt}".encode()).hexdigest()


def _image_id(image: str) -> str:
    return f"{image.partition('@')[0]}@sha256:{sha256(image.encode()).hexdigest()}"


def _ago(stamp: str | None, now: Moment) -> float:
    return max(0.0, now.wall - parse_rfc3339(stamp)) if stamp else 0.0


def _recalled(told: Mapping[str, Any]) -> ContainerState | None:
    """A run of which the API was told; None for a container that has never run."""
    state = told.get("state") or {}
    running, ended = state.get("running"), state.get("terminated") or get_path(told, "lastState", "terminated")
    if not running and not ended:
        return None
    begun = (running or ended).get("startedAt")
    run = ContainerState(
        id=str(told.get("containerID") or "").removeprefix(f"{RUNTIME_NAME}://"),
        name=told["name"],
        attempt=told.get("restartCount") or 0,
        status="running" if running else "exited",
        started_at=parse_rfc3339(begun) if begun else None,
        image=told.get("image", ""),
    )
    if running:
        return run
    finished = ended.get("finishedAt")
    return replace(run, exit_code=ended["exitCode"], finished_at=parse_rfc3339(finished) if finished else None)
