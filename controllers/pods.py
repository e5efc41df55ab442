"""What controllers need to know of a pod, as pure functions of it.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object, controller_of, deletion_requested, find_condition, get_path
from apimachinery.time import parse_rfc3339

BY_CONTROLLER = "controller"
BY_NODE = "node"


def phase(pod: Object) -> str:
    """`status.phase`; a pod without a status is Pending."""
    return str(get_path(pod, "status", "phase", default="Pending"))


def node_name(pod: Object) -> str:
    """The node that the pod is bound to, or ""."""
    return str(get_path(pod, "spec", "nodeName", default=""))


def is_finished(pod: Object) -> bool:
    """True once all containers have ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """True while the pod counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not deletion_requested(pod)


def is_terminating(pod: Object) -> bool:
    """True for a pod that is being deleted and still runs."""
    return deletion_requested(pod) and not is_finished(pod)


def ready_condition(pod: Object) -> dict[str, Any] | None:
    """The pod's condition Ready."""
    return find_condition(pod, "Ready")


def is_ready(pod: Object) -> bool:
    """True if the pod's condition Ready is."""
    condition = ready_condition(pod)
    return condition is not None and condition["status"] == "True"


def ready_since(pod: Object) -> float | None:
    """When the pod became ready, in seconds since 1970; None if it is not, or does not say."""
    condition = ready_condition(pod)
    if condition is None or condition["status"] != "True" or not condition.get("lastTransitionTime"):
        return None
    return parse_rfc3339(condition["lastTransitionTime"])


def seconds_until_available(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """How long until the pod has been ready for long enough: 0 if it has, None if it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds <= 0:
        return 0.0
    since = ready_since(pod)
    # A ready pod that does not say since when can't be counted on yet, as in Kubernetes.
    return float(min_ready_seconds) if since is None else max(0.0, since + min_ready_seconds - now)


def created(obj: Object) -> float:
    """`metadata.creationTimestamp` in seconds since 1970; 0 if there is none."""
    stamp = obj["metadata"].get("creationTimestamp")
    return parse_rfc3339(stamp) if stamp else 0.0


def restarts_max(pod: Object) -> tuple[int, int]:
    """The restarts of the container, and of the sidecar, that was restarted most."""
    sidecars = {one["name"] for one in get_path(pod, "spec", "initContainers", default=()) if is_sidecar(one)}
    statuses = get_path(pod, "status", "containerStatuses", default=())
    inits = get_path(pod, "status", "initContainerStatuses", default=()) if sidecars else ()
    return _restarts(statuses), _restarts(status for status in inits if status["name"] in sidecars)


def is_sidecar(init_container: Object) -> bool:
    """True if an init container runs as long as its pod does."""
    return bool(init_container.get("restartPolicy") == "Always")


def _restarts(statuses: Iterable[Object]) -> int:
    return max((status.get("restartCount", 0) for status in statuses), default=0)


def by_controller(obj: Object) -> Iterable[str]:
    """Index: the uid of the controller, or `orphan/NAMESPACE` for an object without one."""
    reference = controller_of(obj)
    yield reference["uid"] if reference is not None else orphans_of(obj["metadata"].get("namespace", ""))


def orphans_of(namespace: str) -> str:
    """The value of index `by_controller` for a namespace's objects that have no controller."""
    return f"orphan/{namespace}"


def by_node(pod: Object) -> Iterable[str]:
    """Index: the node of a bound pod."""
    name = node_name(pod)
    if name:
        yield name
