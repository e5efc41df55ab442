"""Quality of service: which class a pod is in, where its cgroup is, and whom the kernel kills first.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ and, for the numbers,
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior and
https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/
"""

from __future__ import annotations

from typing import Any

from apimachinery import pod_resources as totals
from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
NODE_CRITICAL = "system-node-critical"

_COMPUTE = ("cpu", "memory")
_OOM_GUARANTEED, _OOM_BEST_EFFORT = -997, 1000


def qos_class(pod: Object) -> str:
    """The class that the API has recorded (it never changes), or the one that the spec gives."""
    return get_path(pod, "status", "qosClass") or computed_class(pod)


def computed_class(pod: Object) -> str:
    """Guaranteed if every container's limits equal its requests, BestEffort if there are none at all.

    What a pod says of itself as a whole stands for all of its containers.
    """
    asked: set[str] = set()
    equal = True
    whole = pod["spec"].get("resources") or {}
    is_whole = bool(whole.get("requests") or whole.get("limits"))
    listed = [whole] if is_whole else [entry.get("resources") or {} for entry in pod_spec.all_containers(pod)]
    for resources in listed:
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        asked.update(name for name in _COMPUTE if quantity.parse(requests.get(name, 0)).nanos)
        for name in _COMPUTE:
            limit = quantity.parse(limits.get(name, 0)).nanos
            equal = equal and limit > 0 and limit == quantity.parse(requests.get(name, 0)).nanos
    if not asked:
        return BEST_EFFORT
    return GUARANTEED if equal else BURSTABLE


def cgroup_parent(pod: Object) -> str:
    """The pod's cgroup below the node agent's: guaranteed pods at the top, the others by class."""
    name = f"pod{pod['metadata']['uid']}"
    folder = {BURSTABLE: "burstable/", BEST_EFFORT: "besteffort/"}.get(qos_class(pod), "")
    return f"{folder}{name}"


def oom_score_adj(pod: Object, container: Container, *, node_memory_bytes: int) -> int:
    """A container's oom_score_adj: the less of its request is used up, the later it is killed.

    What the pod asks for beyond its containers is shared out evenly. A sidecar is not killed before the container
    that asks for the least.
    """
    if pod["spec"].get("priorityClassName") == NODE_CRITICAL:
        return _OOM_GUARANTEED
    match qos_class(pod):
        case "Guaranteed":
            return _OOM_GUARANTEED
        case "BestEffort":
            return _OOM_BEST_EFFORT
    request = _memory(container)
    if pod_spec.is_sidecar(pod, container["name"]):
        request = max(request, min(map(_memory, pod_spec.containers(pod)), default=0))
    score = 1000 - 1000 * (request + _shared_out(pod)) // max(node_memory_bytes, 1)
    return min(max(score, 1000 + _OOM_GUARANTEED), _OOM_BEST_EFFORT - 1)


def _shared_out(pod: Object) -> int:
    """Bytes for each container of what only the pod as a whole asks for."""
    asked = quantity.value(get_path(pod, "spec", "resources", "requests", "memory", default=0))
    if not asked:
        return 0
    own = totals.containers_total(pod["spec"], totals.REQUESTS).get("memory")
    return (asked - (own.value() if own is not None else 0)) // len(pod_spec.all_containers(pod))


def _memory(container: Container) -> int:
    found: Any = get_path(container, "resources", "requests", "memory", default=0)
    return quantity.value(found)
