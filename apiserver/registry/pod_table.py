"""A pod's row in the table that `kubectl get pods` prints: what it is doing, in one word.

The word is the pod's phase or reason unless a container has something more telling to say: an init container that
has not ended (`Init:0/2`, `Init:Error`), else the first container that waits or has ended (`CrashLoopBackOff`,
`OOMKilled`, `Completed`). A pod whose deletion has been asked for is `Terminating`.

Source: kubernetes/pkg/printers/internalversion/printers.go (printPod).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apimachinery.meta import Object, find_condition
from apiserver.registry.checks import Fields
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Since

NONE = "<none>"


@dataclass(slots=True)
class Summary:
    """What the columns tell."""

    status: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: str = ""


def summarize(pod: Object) -> Summary:
    """The whole row."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    phase = status.get("phase") or ""
    summary = Summary(status.get("reason") or phase, total=len(spec.get("containers") or ()))
    scheduled = find_condition(status.get("conditions"), "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        summary.status = "SchedulingGated"
    init = {container.get("name"): container for container in spec.get("initContainers") or ()}
    sidecars = {name for name, container in init.items() if container.get("restartPolicy") == "Always"}
    summary.total += len(sidecars)
    initializing = _add_init(status.get("initContainerStatuses") or (), sidecars, len(init), summary)
    if not initializing or _is_true(status, "Initialized"):
        _add_containers(status, sidecars, summary)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.status = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            summary.status = "Terminating"
    return summary


def _add_init(statuses: Sequence[Fields], sidecars: set[str], count: int, summary: Summary) -> bool:
    """True while an init container has not done its work: that is then what the pod is doing."""
    for number, container in enumerate(statuses):
        _count_restarts(container, summary)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            summary.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            summary.status = f"Init:{_end(ended)}"
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            summary.status = f"Init:{waiting['reason']}"
        else:
            summary.status = f"Init:{number}/{count}"
        return True
    return False


def _add_containers(status: Fields, sidecars: set[str], summary: Summary) -> None:
    # Restarts of init containers that have done their work don't count any more, those of sidecars do.
    summary.restarts, summary.last_restart = 0, ""
    for container in status.get("initContainerStatuses") or ():
        if container.get("name") in sidecars:
            _count_restarts(container, summary)
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        _count_restarts(container, summary)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if waiting is not None and waiting.get("reason"):
            summary.status = waiting["reason"]
        elif ended is not None:
            summary.status = _end(ended)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.status == "Completed" and running:
        summary.status = "Running" if _is_true(status, "Ready") else "NotReady"


def _count_restarts(container: Fields, summary: Summary) -> None:
    summary.restarts += container.get("restartCount") or 0
    finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
    # RFC 3339 in UTC and whole seconds: the order of the texts is that of the times.
    summary.last_restart = max(summary.last_restart, finished)


def _end(ended: Fields) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode') or 0}"


def _is_true(status: Fields, condition: str) -> bool:
    found = find_condition(status.get("conditions"), condition)
    return found is not None and found.get("status") == "True"


def _ready(pod: Object) -> Cell:
    summary = summarize(pod)
    return f"{summary.ready}/{summary.total}"


def _status(pod: Object) -> Cell:
    return summarize(pod).status


def _restarts(pod: Object) -> Cell:
    summary = summarize(pod)
    if summary.restarts and summary.last_restart:
        return Since((summary.last_restart,), f"{summary.restarts} ({{}} ago)")
    return str(summary.restarts)


def _ip(pod: Object) -> Cell:
    addresses = (pod.get("status") or {}).get("podIPs")
    return (addresses[0].get("ip") if addresses else None) or NONE


def _node(pod: Object) -> Cell:
    return (pod.get("spec") or {}).get("nodeName") or NONE


def _nominated(pod: Object) -> Cell:
    return (pod.get("status") or {}).get("nominatedNodeName") or NONE


def _gates(pod: Object) -> Cell:
    gates = (pod.get("spec") or {}).get("readinessGates")
    if not gates:
        return NONE
    status = pod.get("status") or {}
    passed = sum(_is_true(status, gate.get("conditionType") or "") for gate in gates)
    return f"{passed}/{len(gates)}"


COLUMNS = (
    NAME,
    Column("Ready", _ready, description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", _status, description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        _restarts,
        description="The number of times the containers in this pod have been restarted and when the last container "
        "in this pod has restarted.",
    ),
    AGE,
    Column("IP", _ip, priority=1, description="The address of the pod."),
    Column("Node", _node, priority=1, description="The node that the pod is bound to."),
    Column("Nominated Node", _nominated, priority=1, description="The node where room is being made for the pod."),
    Column("Readiness Gates", _gates, priority=1, description="The further conditions for readiness that hold."),
)
