"""Which run of a container a reader of its logs means, and what is said when it has none. Pure.

Source: k8s.io/kubernetes/pkg/kubelet, `validateContainerLogStatus`, whose words are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.errors import bad_request
from apimachinery.meta import Object, get_path, name
from kubelet.runtime import ContainerState

_PULL_FAILURES = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


def choose_attempt(
    pod: Object, container: str, runs: Sequence[ContainerState], kept: Sequence[int], *, previous: bool
) -> int:
    """The attempt whose log is meant. Raises ApiError 400.

    `runs` are what the runtime knows of this container; `kept` are the attempts of which there is a log file, for
    a pod whose containers are gone already.
    """
    attempts = sorted({run.attempt for run in runs} or set(kept))
    state = status_of(pod, container).get("state") or {}
    latest = max(runs, key=lambda run: run.attempt, default=None)
    if previous:
        # While the next run is waited for, the last one is the previous one already.
        over = latest is not None and latest.status == "exited" and "waiting" in state
        earlier = attempts if over else attempts[:-1]
        if not earlier:
            raise bad_request(f'previous terminated container "{container}" in pod "{name(pod)}" not found')
        return earlier[-1]
    if attempts:
        return attempts[-1]
    what = f'container "{container}" in pod "{name(pod)}"'
    waiting = state.get("waiting")
    if waiting is None:
        raise bad_request(f"{what} is not available")
    reason = waiting.get("reason") or ""
    raise bad_request(f"{what} is waiting to start: {_PULL_FAILURES.get(reason, reason)}")


def status_of(pod: Object, container: str) -> dict[str, Any]:
    """A container's entry in the pod's status; {} if there is none."""
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for status in get_path(pod, "status", kind, default=[]):
            if status["name"] == container:
                found: dict[str, Any] = status
                return found
    return {}
