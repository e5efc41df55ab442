"""A pod's status: pure, from what is known of its sandbox and containers to what the API is told.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase and #pod-conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, find_condition, get_path
from apimachinery.time import rfc3339
from kubelet.containers.container_status import (
    ContainerFacts,
    Status,
    container_statuses,
    ephemeral_statuses,
    unknown,
)
from kubelet.pods import pod_actions, pod_spec, qos

Condition = dict[str, Any]

RESIZE_CONDITIONS = ("PodResizePending", "PodResizeInProgress")
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", *RESIZE_CONDITIONS)
DISRUPTED = "DisruptionTarget"
# What the termination messages of all containers of a pod may have together.
MESSAGES_BYTES_MAX = 12 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the node agent ends a pod by itself: a Failed pod's reason and message.

    With `disruption` the pod could have gone on elsewhere: the message of its condition DisruptionTarget.
    """

    reason: str
    message: str
    disruption: str = ""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known of a pod. `stopped` says that none of its containers runs or ever will again.

    `start_time` is when this node took the pod on, as it stands in its status. `resize` is what is to be said of
    resources that it wants and does not have; nothing is not said.
    """

    containers: ContainerFacts = field(default_factory=ContainerFacts)
    sandbox_ready: bool = False
    pod_ip: str = ""
    host_ip: str = ""
    verdict: Verdict | None = None
    stopped: bool = False
    start_time: str = ""
    resize: Sequence[Condition] = ()


def pod_status(pod: Object, facts: PodFacts, now: float) -> Status:
    """The whole status of a pod; times that only the API knows are taken over from there."""
    old: Status = pod.get("status") or {}
    inits = container_statuses(pod, pod_spec.init_containers(pod), facts.containers, "initContainerStatuses")
    mains = container_statuses(pod, pod_spec.containers(pod), facts.containers, "containerStatuses")
    later = ephemeral_statuses(pod, facts.containers)
    phase = _phase(pod, [*inits, *mains], facts)
    if facts.stopped:
        mains, later = _settled(mains), _settled(later)
    inits, mains, later = _within_limits(inits, mains, later)
    status: Status = {
        "phase": phase,
        "startTime": old.get("startTime") or facts.start_time or rfc3339(now),
        "qosClass": qos.qos_class(pod),
        "containerStatuses": mains,
    }
    if pod["metadata"].get("generation"):
        status["observedGeneration"] = pod["metadata"]["generation"]
    if inits:
        status["initContainerStatuses"] = inits
    if later:
        status["ephemeralContainerStatuses"] = later
    if phase == "Failed" and facts.verdict is not None:
        status |= {"reason": facts.verdict.reason, "message": facts.verdict.message}
    elif phase == old.get("phase"):
        status |= {key: old[key] for key in ("reason", "message") if old.get(key)}
    status |= _addresses(pod, facts)
    status["conditions"] = _conditions(pod, [*inits, *mains], phase, facts, now)
    return status


def rejected(pod: Object, verdict: Verdict, now: float) -> Status:
    """The status of a pod that this node will not run."""
    status: Status = {
        "phase": "Failed",
        "reason": verdict.reason,
        "message": f"Pod was rejected: {verdict.message}",
        "startTime": get_path(pod, "status", "startTime") or rfc3339(now),
        "qosClass": qos.qos_class(pod),
    }
    if pod["metadata"].get("generation"):
        status["observedGeneration"] = pod["metadata"]["generation"]
    return status


def phase_of(pod: Object, statuses: Sequence[Status], *, initialized: bool, stopped: bool) -> str:
    """The phase that these container statuses make.

    `initialized` says that a container was started in the present sandbox, `stopped` that none is started any more.
    """
    by_name = {status["name"]: status for status in statuses}
    running, pending = _count_inits(pod, by_name, initialized=initialized)
    if running < 0:
        return "Failed"
    if pod_spec.init_containers(pod) and not initialized and not stopped:
        return "Pending"
    waiting = unknown_count = ended = succeeded = 0
    restarting = False
    for container in pod_spec.containers(pod):
        status = by_name.get(container["name"])
        state = status["state"] if status is not None else {}
        past = get_path(status or {}, "lastState", "terminated")
        if status is None:
            unknown_count += 1
        elif "running" in state:
            running += 1
        elif "terminated" in state:
            ended += 1
            code = state["terminated"]["exitCode"]
            succeeded += code == 0
            restarting = restarting or pod_actions.should_restart(pod, container, code)
        elif past:
            ended += 1
            restarting = restarting or pod_actions.should_restart(pod, container, past["exitCode"])
        else:
            waiting += 1
    if pending or waiting:
        return "Pending"
    if running and not unknown_count:
        return "Running"
    if not ended or unknown_count:
        return "Pending"
    if restarting and not stopped:
        return "Running"
    return "Succeeded" if ended == succeeded else "Failed"


def _is_initialized(pod: Object, facts: PodFacts) -> bool:
    """Whether the present sandbox has got beyond the init containers, which have to run again in a new one."""
    known = facts.containers
    names = [container["name"] for container in pod_spec.containers(pod)]
    return any(run.id not in known.earlier for name in names for run in known.runs.get(name) or ())


def _count_inits(pod: Object, by_name: dict[str, Status], *, initialized: bool) -> tuple[int, int]:
    """(sidecars that run, init containers still to be done); -1 sidecars when initialization has failed for good."""
    running = pending = 0
    for container in pod_spec.init_containers(pod):
        status = by_name.get(container["name"], {})
        state = status.get("state") or {}
        ended = state.get("terminated") or get_path(status, "lastState", "terminated")
        if pod_spec.is_sidecar(pod, container["name"]):
            running += "running" in state
            pending += not initialized and not status.get("started") and not ended
        elif "running" in state or not ended:
            pending += not initialized
        elif ended["exitCode"] != 0 and not pod_actions.should_restart(pod, container, ended["exitCode"]):
            return -1, 0
    return running, pending


def _has_run(status: Status) -> bool:
    state = status.get("state") or {}
    return "running" in state or "terminated" in state or bool(get_path(status, "lastState", "terminated"))


def _phase(pod: Object, statuses: Sequence[Status], facts: PodFacts) -> str:
    if pod_spec.has_ended(pod):
        return pod_spec.phase(pod)
    if facts.verdict is not None and facts.stopped:
        return "Failed"
    phase = phase_of(pod, statuses, initialized=_is_initialized(pod, facts), stopped=facts.stopped)
    # A pod that was ended before it could finish, or even begin, has failed.
    return "Failed" if facts.stopped and phase in ("Pending", "Running") else phase


def _settled(statuses: list[Status]) -> list[Status]:
    """Nothing may look as if it ran once nothing does: what is not known to have ended is reported as lost.

    The containers of a pod that never got as far as starting one simply go on waiting.
    """
    if not any(_has_run(status) for status in statuses):
        return statuses
    lost = unknown("The container could not be located when the pod was terminated")
    return [
        status if "terminated" in status["state"] else {**status, "state": {"terminated": lost}, "ready": False}
        for status in statuses
    ]


def _within_limits(*lists: list[Status]) -> list[list[Status]]:
    """The containers' last words, cut so that those of all together do not make the pod too large."""
    limit = MESSAGES_BYTES_MAX // max(1, sum(len(statuses) for statuses in lists))
    return [[_cut(status, limit) for status in statuses] for statuses in lists]


def _cut(status: Status, limit: int) -> Status:
    for key in ("state", "lastState"):
        ended = (status.get(key) or {}).get("terminated") or {}
        words = ended.get("message", "").encode()
        if len(words) > limit:
            shorter = words[:limit].decode(errors="ignore")
            status = {**status, key: {"terminated": {**ended, "message": shorter}}}
    return status


def _addresses(pod: Object, facts: PodFacts) -> Status:
    found: Status = {}
    if facts.host_ip:
        found |= {"hostIP": facts.host_ip, "hostIPs": [{"ip": facts.host_ip}]}
    ip = facts.host_ip if pod_spec.host_network(pod) else facts.pod_ip
    if not ip and facts.stopped:
        ip = get_path(pod, "status", "podIP", default="")
    if ip:
        found |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return found


def _conditions(pod: Object, statuses: Sequence[Status], phase: str, facts: PodFacts, now: float) -> list[Condition]:
    """The conditions that the node agent answers for; whoever keeps another one may have changed it since."""
    old: list[Condition] = get_path(pod, "status", "conditions", default=[])
    others = [condition for condition in old if condition["type"] not in OWN_CONDITIONS]
    containers_ready = _containers_ready(pod, statuses, phase)
    own = [
        _condition("PodReadyToStartContainers", facts.sandbox_ready),
        _initialized(pod, statuses, phase),
        _ready(pod, others, containers_ready),
        containers_ready,
        *facts.resize,
    ]
    if phase == "Failed" and facts.verdict is not None and facts.verdict.disruption:
        others = [condition for condition in others if condition["type"] != DISRUPTED]
        own.append(_condition(DISRUPTED, True, "TerminationByKubelet", facts.verdict.disruption))
    if find_condition(others, "PodScheduled") is None:
        own.append(_condition("PodScheduled", True))
    generation = pod["metadata"].get("generation")
    return [_stamped(condition, find_condition(old, condition["type"]), now, generation) for condition in own]


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Condition:
    condition: Condition = {"type": kind, "status": "True" if holds else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _stamped(condition: Condition, old: Condition | None, now: float, generation: int | None) -> Condition:
    same = old is not None and old["status"] == condition["status"]
    moved = old.get("lastTransitionTime") if old is not None and same else None
    observed = {"observedGeneration": generation} if generation else {}
    return {**observed, **condition, "lastTransitionTime": moved or rfc3339(now)}


def _names(names: Sequence[str]) -> str:
    return f"[{' '.join(names)}]"


def _containers_ready(pod: Object, statuses: Sequence[Status], phase: str) -> Condition:
    kind = "ContainersReady"
    if phase in ("Succeeded", "Failed"):
        return _condition(kind, False, "PodCompleted" if phase == "Succeeded" else "PodFailed")
    counted = {entry["name"] for entry in pod_spec.containers(pod)}
    counted |= {entry["name"] for entry in pod_spec.init_containers(pod) if pod_spec.is_sidecar(pod, entry["name"])}
    unready = [status["name"] for status in statuses if status["name"] in counted and not status["ready"]]
    if unready:
        return _condition(kind, False, "ContainersNotReady", f"containers with unready status: {_names(unready)}")
    return _condition(kind, True)


def _ready(pod: Object, others: Sequence[Condition], containers_ready: Condition) -> Condition:
    if containers_ready["status"] != "True":
        return {**containers_ready, "type": "Ready"}
    problems = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        condition = find_condition(list(others), kind)
        if condition is None:
            problems.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif condition["status"] != "True":
            problems.append(f'the status of pod readiness gate "{kind}" is not "True", but {condition["status"]}')
    if problems:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(problems))
    return _condition("Ready", True)


def _initialized(pod: Object, statuses: Sequence[Status], phase: str) -> Condition:
    kind = "Initialized"
    if phase == "Succeeded":
        return _condition(kind, True, "PodCompleted")
    by_name = {status["name"]: status for status in statuses}
    if any(_has_run(by_name[entry["name"]]) for entry in pod_spec.containers(pod)):
        return _condition(kind, True)
    incomplete = [
        entry["name"]
        for entry in pod_spec.init_containers(pod)
        if not by_name[entry["name"]]["started" if pod_spec.is_sidecar(pod, entry["name"]) else "ready"]
    ]
    if incomplete:
        message = f"containers with incomplete status: {_names(incomplete)}"
        return _condition(kind, False, "ContainersNotInitialized", message)
    return _condition(kind, True)
