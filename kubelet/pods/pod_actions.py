"""What to do next about a pod's containers: pure, from the spec and what runs to starts and stops.

Init containers run one after another and each to its end, sidecars among them are only started; then all
containers at once, but for those that stand after one whose postStart hook goes on: people put the proxy first, and
have its hook wait until it works. Afterwards whatever ended is started again as its restart policy says, and the pod
has finished once nothing will ever be started again. Ephemeral containers are started once, whenever they come.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/,
https://kubernetes.io/docs/concepts/workloads/pods/init-containers/,
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ and
https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apimachinery.meta import Object, get_path
from kubelet.containers import backoff
from kubelet.containers.backoff import Backoff
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container
from kubelet.runtime import ContainerState


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a pod's containers, by name.

    `latest` is the newest run of each; those of an earlier sandbox are in `earlier` and only count for back-off.
    `started` holds the running ones whose startup probe has succeeded (or that have none), `unhealthy` why
    others must be killed ("failed liveness probe"), `outdated` those that were changed since they were started and
    so are started anew whatever their policy, `busy` those that are being started or stopped right now. `not_before`
    bounds the next try of those that could not be started at all, `done` holds those that ended for good in an
    earlier sandbox. `ended` has when runs ended, by their ids. All times are of the monotonic clock.
    """

    latest: Mapping[str, ContainerState]
    earlier: Mapping[str, ContainerState] = field(default_factory=dict)
    started: frozenset[str] = frozenset()
    unhealthy: Mapping[str, str] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    not_before: Mapping[str, float] = field(default_factory=dict)
    done: frozenset[str] = frozenset()
    ended: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Actions:
    """Containers to start now, to stop (with the message of the event), and those that wait until a time."""

    start: list[str] = field(default_factory=list)
    stop: dict[str, str] = field(default_factory=dict)
    backing_off: dict[str, float] = field(default_factory=dict)
    finished: bool = False


def next_actions(pod: Object, seen: Observed, now: float) -> Actions:
    """What to do about a pod that is to run."""
    actions = Actions()
    if _initialize(pod, seen, now, actions):
        for container in pod_spec.containers(pod):
            _keep_running(pod, container, seen, now, actions)
            if _begins_with_hook(container, seen, actions):
                break
        actions.finished = _has_finished(pod, seen, actions)
    if actions.finished:
        return Actions(finished=True)
    for container in pod_spec.ephemeral_containers(pod):
        _start_once(container["name"], seen, now, actions)
    return actions


def should_restart(pod: Object, container: Container, exit_code: int) -> bool:
    """Whether a container that ended with this code is started again: its own rules, its own policy, the pod's."""
    for rule in container.get("restartPolicyRules") or ():
        wanted = rule.get("exitCodes") or {}
        listed = exit_code in (wanted.get("values") or ())
        if rule.get("action") == "Restart" and listed == (wanted.get("operator") == "In"):
            return True
    policy = container.get("restartPolicy") or pod_spec.restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def will_restart(pod: Object, container: Container, run: ContainerState) -> bool:
    """Whether a run that has ended is followed by another; an init container's success is its end."""
    if pod_spec.is_ephemeral(pod, container["name"]):
        return False
    if pod_spec.is_sidecar(pod, container["name"]):
        return True
    code = run.exit_code if run.exit_code is not None else 137
    if pod_spec.is_init(pod, container["name"]):
        return code != 0 and should_restart(pod, container, code)
    return should_restart(pod, container, code)


def has_initialized(pod: Object, latest: Mapping[str, ContainerState]) -> bool:
    """True once a container has been started, before which all init containers must have been done."""
    return any(container["name"] in latest for container in pod_spec.containers(pod))


def _initialize(pod: Object, seen: Observed, now: float, actions: Actions) -> bool:
    """Bring the init containers on; True once the pod's own containers may run.

    How far they have come tells the last one of which there is a run: those before it are not waited for again,
    even if a sidecar among them has died meanwhile. That one is only started again.
    """
    inits = pod_spec.init_containers(pod)
    initialized = has_initialized(pod, seen.latest)
    begun = [n for n, entry in enumerate(inits) if entry["name"] in seen.latest or entry["name"] in seen.busy]
    reached = len(inits) if initialized else max(begun, default=0)
    for number, container in enumerate(inits):
        if pod_spec.is_sidecar(pod, container["name"]):
            _keep_running(pod, container, seen, now, actions)
            if number >= reached and container["name"] not in seen.started:
                return False
        elif number >= reached and not _run_to_its_end(pod, container, seen, now, actions):
            return False
    return True


def _run_to_its_end(pod: Object, container: Container, seen: Observed, now: float, actions: Actions) -> bool:
    """Start an init container unless it runs; True once it has succeeded."""
    name = container["name"]
    run = seen.latest.get(name)
    if name in seen.busy or (run is not None and run.status != "exited"):
        return False
    if run is None or will_restart(pod, container, run):
        _start(name, seen, now, actions)
        return False
    actions.finished = run.exit_code != 0
    return not actions.finished


def _begins_with_hook(container: Container, seen: Observed, actions: Actions) -> bool:
    """Whether those that follow have to wait: a container begins with its hook, the first time in its sandbox."""
    name = container["name"]
    run = seen.latest.get(name)
    if not get_path(container, "lifecycle", "postStart") or (run is not None and run.status == "exited"):
        return False
    before = seen.earlier.get(name)
    is_first = run is None or run.attempt == (0 if before is None else before.attempt + 1)
    return name in actions.start or (name in seen.busy and is_first)


def _keep_running(pod: Object, container: Container, seen: Observed, now: float, actions: Actions) -> None:
    name = container["name"]
    run = seen.latest.get(name)
    if name in seen.busy or (run is None and name in seen.done):
        return
    if run is None:
        _start(name, seen, now, actions)
    elif run.status == "exited":
        if will_restart(pod, container, run) or name in seen.outdated:
            _start(name, seen, now, actions)
    elif name in seen.outdated:
        actions.stop[name] = _stop_message(pod, name, "definition changed", restarts=True)
    elif name in seen.unhealthy:
        restarts = will_restart(pod, container, _killed(run))
        actions.stop[name] = _stop_message(pod, name, seen.unhealthy[name], restarts=restarts)


def _stop_message(pod: Object, name: str, why: str, *, restarts: bool) -> str:
    """What the event says of a container that is ended on its own; that a sidecar comes again needs no words."""
    if pod_spec.is_init(pod, name):
        return f"Init container {name} {why}"
    return f"Container {name} {why}{', will be restarted' if restarts else ''}"


def _start_once(name: str, seen: Observed, now: float, actions: Actions) -> None:
    """Start a container of which no run is known, not even in an earlier sandbox."""
    if name not in seen.busy and name not in seen.latest and name not in seen.earlier and name not in seen.done:
        _start(name, seen, now, actions)


def _killed(run: ContainerState) -> ContainerState:
    return ContainerState(id=run.id, name=run.name, attempt=run.attempt, status="exited", exit_code=137)


def _start(name: str, seen: Observed, now: float, actions: Actions) -> None:
    """Start a container now, or say until when it has to wait."""
    due = seen.not_before.get(name, 0.0)
    last = seen.latest.get(name) or seen.earlier.get(name)
    delay = seen.backoffs.get(name)
    if last is not None and delay is not None and last.id in seen.ended:
        due = max(due, delay.until(seen.ended[last.id]))
    if due > now:
        actions.backing_off[name] = due
    else:
        actions.start.append(name)


def _has_finished(pod: Object, seen: Observed, actions: Actions) -> bool:
    """True when every container has ended for good; sidecars do not keep a pod alive."""
    for container in pod_spec.containers(pod):
        name = container["name"]
        run = seen.latest.get(name)
        if name in seen.busy or name in actions.start or name in actions.backing_off:
            return False
        if run is None and name in seen.done:
            continue
        if run is None or run.status != "exited" or name in seen.outdated or will_restart(pod, container, run):
            return False
    return True


def backoff_message(pod: Object, name: str, delay: Backoff) -> str:
    """The waiting message of a container in CrashLoopBackOff."""
    return f"back-off {backoff.shown(delay.seconds)} restarting failed container={name} pod={pod_spec.describe(pod)}"
