"""Requests and limits as the kernel takes them: OCI `linux.resources` for containers and whole pods.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-limits-are-run
and https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container

SHARES_PER_CPU, SHARES_MIN, SHARES_MAX = 1024, 2, 262_144
PERIOD_MICROSECONDS, QUOTA_MICROSECONDS_MIN = 100_000, 1_000

Amounts = dict[str, int]


def shares(milli_cpu: int) -> int:
    """cpu.shares of a request in thousandths of a CPU."""
    return min(max(milli_cpu * SHARES_PER_CPU // 1000, SHARES_MIN), SHARES_MAX)


def quota(milli_cpu: int) -> int:
    """Microseconds of CPU time a period of a limit in thousandths of a CPU."""
    return max(milli_cpu * PERIOD_MICROSECONDS // 1000, QUOTA_MICROSECONDS_MIN)


def container_resources(container: Container) -> dict[str, Any]:
    """A container's share of the CPU by its request, and what it can't go beyond by its limits."""
    limits = get_path(container, "resources", "limits", default={})
    requests = get_path(container, "resources", "requests", default={})
    asked = quantity.milli_value(requests.get("cpu", limits.get("cpu", 0)))
    return _linux(asked, quantity.milli_value(limits.get("cpu", 0)), quantity.value(limits.get("memory", 0)))


def pod_resources(pod: Object, *, pids_max: int) -> dict[str, Any]:
    """The pod's own cgroup: the sum of its containers, limited where every container is.

    `pids_max` bounds the processes of all its containers together; 0 is no bound.
    """
    requests = pod_requests(pod)
    limits = pod_limits(pod)
    found = _linux(requests.get("cpu", 0), limits.get("cpu", 0), limits.get("memory", 0))
    if pids_max > 0:
        found["pids"] = {"limit": pids_max}
    return found


def pod_requests(pod: Object) -> Amounts:
    """What a pod needs at once, by resource: thousandths of a CPU, else whole units.

    The larger of the containers together and the largest init container; sidecars run beside both.
    """
    return _effective(pod, "requests")


def pod_limits(pod: Object) -> Amounts:
    """A pod's limits, for those resources that every one of its containers limits."""
    listed = pod_spec.all_containers(pod)
    everywhere = [
        name
        for name in ("cpu", "memory")
        if all(quantity.parse(get_path(entry, "resources", "limits", name, default=0)).nanos for entry in listed)
    ]
    effective = _effective(pod, "limits")
    return {name: effective[name] for name in everywhere}


def amounts(listed: Mapping[str, Any]) -> Amounts:
    """A resource list as numbers: thousandths of a CPU, else whole units."""
    return {
        name: quantity.milli_value(text) if name == "cpu" else quantity.value(text) for name, text in listed.items()
    }


def add(*terms: Mapping[str, int]) -> Amounts:
    """The sum, by resource."""
    return {name: sum(term.get(name, 0) for term in terms) for term in terms for name in term}


def _linux(asked_milli_cpu: int, limit_milli_cpu: int, limit_memory_bytes: int) -> dict[str, Any]:
    cpu: dict[str, int] = {"shares": shares(asked_milli_cpu)}
    if limit_milli_cpu:
        cpu |= {"quota": quota(limit_milli_cpu), "period": PERIOD_MICROSECONDS}
    found: dict[str, Any] = {"cpu": cpu}
    if limit_memory_bytes:
        # Swap is bounded with it: a limit that merely pushes the container into swap is none.
        found["memory"] = {"limit": limit_memory_bytes, "swap": limit_memory_bytes}
    return found


def _effective(pod: Object, kind: str) -> Amounts:
    """KEP-753: init containers run one by one, but sidecars that started before go on beside them."""
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod_spec.init_containers(pod):
        own = _of(container, kind)
        if pod_spec.is_sidecar(pod, container["name"]):
            sidecars = add(sidecars, own)
            peak = _largest((peak, sidecars))
        else:
            peak = _largest((peak, add(sidecars, own)))
    together = add(sidecars, *(_of(container, kind) for container in pod_spec.containers(pod)))
    overhead = amounts(pod["spec"].get("overhead") or {})
    return add(_largest((peak, together)), overhead)


def _of(container: Container, kind: str) -> Amounts:
    listed = get_path(container, "resources", kind, default={})
    if kind == "requests":
        listed = {**get_path(container, "resources", "limits", default={}), **listed}
    return amounts(listed)


def _largest(terms: Iterable[Mapping[str, int]]) -> Amounts:
    found: Amounts = {}
    for term in terms:
        for name, count in term.items():
            found[name] = max(found.get(name, 0), count)
    return found
