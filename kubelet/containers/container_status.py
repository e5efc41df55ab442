"""The status of one container: pure, from its runs to an entry of `status.containerStatuses`.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, get_path
from apimachinery.time import rfc3339
from kubelet.pods import pod_actions, pod_spec
from kubelet.pods.pod_spec import Container
from kubelet.runtime import ContainerState

RUNTIME_NAME = "wherry"
UNKNOWN_REASON, UNKNOWN_CODE = "ContainerStatusUnknown", 137
# What the exit code of a container that never ran is, as containerd reports it.
START_ERROR_CODE = 128

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, in Kubernetes' words."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What is known of a pod's containers, by name.

    `runs` are newest first; `earlier` are the ids of those of an earlier sandbox. `starting` holds those whose start
    is not over: they count as waiting even when their process runs, since a postStart hook may go on. `messages` are
    termination messages by container id, `images` are (image, imageID) pairs, `users` what the first process runs as.
    `resources` is what runs that were resized have, by container id.
    """

    runs: Mapping[str, Sequence[ContainerState]] = field(default_factory=dict)
    earlier: frozenset[str] = frozenset()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    starting: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()
    messages: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def container_statuses(pod: Object, containers: Sequence[Container], facts: ContainerFacts, key: str) -> list[Status]:
    """The entries of these containers; `key` says where the API keeps them, for what only it still knows."""
    known = {entry["name"]: entry for entry in get_path(pod, "status", key, default=[])}
    return [container_status(pod, container, facts, known.get(container["name"], {})) for container in containers]


def ephemeral_statuses(pod: Object, facts: ContainerFacts) -> list[Status]:
    """The entries of the ephemeral containers, which nobody asks whether they have started or are ready."""
    found = container_statuses(pod, pod_spec.ephemeral_containers(pod), facts, "ephemeralContainerStatuses")
    for status in found:
        status.pop("started", None)
        status["ready"] = False
    return found


def container_status(pod: Object, container: Container, facts: ContainerFacts, known: Status) -> Status:
    """One container's entry; `known` is the one that the API has."""
    name = container["name"]
    runs = facts.runs.get(name) or ()
    if not runs:
        return _without_run(pod, container, facts, known)
    run = runs[0]
    status: Status = {"name": name, "state": {}, "lastState": _last_state(runs, facts, known)}
    running = run.status == "running" and name not in facts.starting
    if running:
        status["state"] = {"running": {"startedAt": rfc3339(run.started_at or 0)}}
    elif run.status == "exited":
        _ended(pod, container, run, facts, status)
    else:
        status["state"] = {"waiting": _waiting(pod, name, facts)}
    image, image_id = facts.images.get(name) or (known.get("image") or container.get("image", ""), "")
    status |= {
        "ready": _is_ready(pod, name, status["state"], facts),
        "started": running and name in facts.started,
        "restartCount": run.attempt,
        "image": image,
        "imageID": image_id or known.get("imageID", ""),
        "containerID": container_id(run.id),
    }
    if not pod_spec.is_ephemeral(pod, name) and (not pod_spec.is_init(pod, name) or pod_spec.is_sidecar(pod, name)):
        status |= _given(container, facts.resources.get(run.id) if running else None)
    user = facts.users.get(name) or _same_run(known, run).get("user")
    return status | _mounts(container) | ({"user": {"linux": user["linux"]}} if user else {})


def container_id(runtime_id: str) -> str:
    """A container's id as the API shows it."""
    return f"{RUNTIME_NAME}://{runtime_id}"


def terminated(run: ContainerState, message: str) -> dict[str, Any]:
    """The `terminated` state of a run that has ended."""
    finished = run.finished_at or run.started_at or 0
    code = run.exit_code if run.exit_code is not None else UNKNOWN_CODE
    state: dict[str, Any] = {"exitCode": code, "reason": _reason(run, code)}
    text = ": ".join(part for part in (run.error, message) if part)
    if text:
        state["message"] = text
    started = run.started_at or finished
    return state | {
        "startedAt": rfc3339(started),
        "finishedAt": rfc3339(finished),
        "containerID": container_id(run.id),
    }


def unknown(message: str) -> dict[str, Any]:
    """The `terminated` state of a container of which nothing is left to ask."""
    return {"exitCode": UNKNOWN_CODE, "reason": UNKNOWN_REASON, "message": message}


def _reason(run: ContainerState, code: int) -> str:
    if run.oom_killed:
        return "OOMKilled"
    if run.started_at is None:
        return "StartError"
    return "Completed" if code == 0 else "Error"


def _ended(pod: Object, container: Container, run: ContainerState, facts: ContainerFacts, status: Status) -> None:
    """A run that has ended shows as waiting, with the end as its past, once it is known to be held back."""
    state = {"terminated": terminated(run, facts.messages.get(run.id, ""))}
    held = facts.waiting.get(container["name"])
    if held is not None and pod_actions.will_restart(pod, container, run):
        status["lastState"] = state
        state = {"waiting": _words(held)}
    status["state"] = state


def _last_state(runs: Sequence[ContainerState], facts: ContainerFacts, known: Status) -> dict[str, Any]:
    if len(runs) > 1:
        return {"terminated": terminated(runs[1], facts.messages.get(runs[1].id, ""))}
    if not runs[0].attempt or not known:
        return {}
    if _same_run(known, runs[0]):
        return known.get("lastState") or {}
    ended = get_path(known, "state", "terminated")
    return {"terminated": ended} if ended else known.get("lastState") or {}


def _same_run(known: Status, run: ContainerState) -> Status:
    return known if known.get("containerID") == container_id(run.id) else {}


def _without_run(pod: Object, container: Container, facts: ContainerFacts, known: Status) -> Status:
    """A container of which the runtime knows nothing: never started, or lost."""
    if get_path(known, "state", "terminated"):
        return known
    status: Status = {
        "name": container["name"],
        "state": {"waiting": _waiting(pod, container["name"], facts)},
        "lastState": known.get("lastState") or {},
        "ready": False,
        "started": False,
        "restartCount": known.get("restartCount", 0),
        "image": container.get("image", ""),
        "imageID": "",
        **_mounts(container),
    }
    if "running" in (known.get("state") or {}) and not status["lastState"]:
        status["lastState"] = {
            "terminated": unknown(
                "The container could not be located when the pod was deleted.  The container used to be Running"
            )
        }
        if not pod["metadata"].get("deletionTimestamp"):
            status["restartCount"] += 1
    return status


def _waiting(pod: Object, name: str, facts: ContainerFacts) -> dict[str, Any]:
    held = facts.waiting.get(name)
    if held is not None:
        return _words(held)
    return {"reason": "PodInitializing" if pod_spec.init_containers(pod) else "ContainerCreating"}


def _words(held: Waiting) -> dict[str, Any]:
    return {"reason": held.reason, **({"message": held.message} if held.message else {})}


def _is_ready(pod: Object, name: str, state: dict[str, Any], facts: ContainerFacts) -> bool:
    """An init container is ready once it has done its work; all others while they run and say so."""
    if pod_spec.is_init(pod, name) and not pod_spec.is_sidecar(pod, name):
        return bool(get_path(state, "terminated", "exitCode", default=1) == 0)
    return "running" in state and name in facts.started and name in facts.ready


def _given(container: Container, has: Mapping[str, Any] | None) -> Status:
    """What a container that lasts as long as its pod was given, and what it has if that is something else."""
    resources = container.get("resources") or {}
    given = {key: resources[key] for key in ("limits", "requests") if resources.get(key)}
    found: Status = {"resources": dict(has) if has is not None else given}
    if given.get("requests"):
        found["allocatedResources"] = given["requests"]
    return found


def _mounts(container: Container) -> Status:
    mounts = [_mount(entry) for entry in container.get("volumeMounts") or ()]
    return {"volumeMounts": mounts} if mounts else {}


def _mount(entry: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": entry["name"], "mountPath": entry["mountPath"]}
    if entry.get("readOnly"):
        wanted = entry.get("recursiveReadOnly") or "Disabled"
        shown |= {"readOnly": True, "recursiveReadOnly": "Enabled" if wanted == "IfPossible" else wanted}
    return shown
