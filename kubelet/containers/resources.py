"""Requests and limits as the kernel takes them: OCI `linux.resources` for containers and whole pods.

What a pod says of itself as a whole bounds its containers together; a container that has no limit of its own is
limited as its pod is. Swap is never given: a limit that merely pushes a container into swap is none.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-limits-are-run,
https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/
and https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery import pod_resources as totals
from apimachinery import quantity
from apimachinery.meta import Object, get_path
from apimachinery.quantity import Quantity
from kubelet.pods import pod_spec, qos
from kubelet.pods.pod_spec import Container

SHARES_PER_CPU, SHARES_MIN, SHARES_MAX = 1024, 2, 262_144
PERIOD_MICROSECONDS, QUOTA_MICROSECONDS_MIN = 100_000, 1_000
_PAGE_UNITS = (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10))

Amounts = dict[str, int]


def shares(milli_cpu: int) -> int:
    """cpu.shares of a request in thousandths of a CPU."""
    return min(max(milli_cpu * SHARES_PER_CPU // 1000, SHARES_MIN), SHARES_MAX)


def quota(milli_cpu: int) -> int:
    """Microseconds of CPU time a period of a limit in thousandths of a CPU."""
    return max(milli_cpu * PERIOD_MICROSECONDS // 1000, QUOTA_MICROSECONDS_MIN)


def container_resources(pod: Object, container: Container) -> dict[str, Any]:
    """A container's share of the CPU by its request, and what it can't go beyond by its limits."""
    limits = {**_whole(pod, "limits"), **get_path(container, "resources", "limits", default={})}
    requests = get_path(container, "resources", "requests", default={})
    asked = quantity.milli_value(requests.get("cpu", limits.get("cpu", 0)))
    found = _linux(asked, quantity.milli_value(limits.get("cpu", 0)), quantity.value(limits.get("memory", 0)))
    return found | _huge_pages(get_path(container, "resources", "limits", default={}))


def pod_resources(pod: Object, *, pids_max: int) -> dict[str, Any]:
    """The pod's own cgroup: the sum of its containers, limited where every container is.

    `pids_max` bounds the processes of all its containers together; 0 is no bound.
    """
    found = _linux(0, 0, 0) if qos.qos_class(pod) == qos.BEST_EFFORT else _whole_pod({"spec": pod["spec"]})
    if pids_max > 0:
        found["pids"] = {"limit": pids_max}
    return found


def pod_requests(pod: Object) -> Amounts:
    """What a pod needs at once, by resource: thousandths of a CPU, else whole units.

    While a pod is being resized this is the larger of what it has and what it is to have.
    """
    return _numbers(totals.pod_total(pod, totals.REQUESTS))


def pod_limits(pod: Object) -> Amounts:
    """A pod's limits, for those resources that it or every one of its containers limits."""
    listed = pod_spec.all_containers(pod)
    whole = _whole(pod, "limits")
    total = totals.pod_total({"spec": pod["spec"]}, totals.LIMITS)
    return _numbers(
        {
            name: total[name]
            for name in ("cpu", "memory")
            if quantity.parse(whole.get(name, 0)).nanos
            or all(quantity.parse(get_path(entry, "resources", "limits", name, default=0)).nanos for entry in listed)
        }
    )


def amounts(listed: Mapping[str, Any]) -> Amounts:
    """A resource list as numbers: thousandths of a CPU, else whole units."""
    return _numbers({name: quantity.parse(text) for name, text in listed.items()})


def add(*terms: Mapping[str, int]) -> Amounts:
    """The sum, by resource."""
    return {name: sum(term.get(name, 0) for term in terms) for term in terms for name in term}


def page_size(resource: str) -> str:
    """A size of huge pages as hugetlb's files have it: `2MB` of `hugepages-2Mi`."""
    size = quantity.value(resource.removeprefix(totals.HUGE_PAGES))
    unit, factor = next((unit, factor) for unit, factor in _PAGE_UNITS if size % factor == 0)
    return f"{size // factor}{unit}"


def _whole_pod(pod: Object) -> dict[str, Any]:
    requests, limits = pod_requests(pod), pod_limits(pod)
    found = _linux(requests.get("cpu", 0), limits.get("cpu", 0), limits.get("memory", 0))
    return found | _huge_pages(totals.pod_total(pod, totals.LIMITS))


def _linux(asked_milli_cpu: int, limit_milli_cpu: int, limit_memory_bytes: int) -> dict[str, Any]:
    cpu: dict[str, int] = {"shares": shares(asked_milli_cpu)}
    if limit_milli_cpu:
        cpu |= {"quota": quota(limit_milli_cpu), "period": PERIOD_MICROSECONDS}
    found: dict[str, Any] = {"cpu": cpu}
    if limit_memory_bytes:
        found["memory"] = {"limit": limit_memory_bytes, "swap": limit_memory_bytes}
    return found


def _huge_pages(limits: Mapping[str, Any]) -> dict[str, Any]:
    found = [
        {"pageSize": page_size(name), "limit": _whole_units(value)}
        for name, value in limits.items()
        if totals.is_huge_pages(name)
    ]
    return {"hugepageLimits": found} if found else {}


def _whole_units(value: Any) -> int:
    return value.value() if isinstance(value, Quantity) else quantity.value(value)


def _whole(pod: Object, kind: str) -> Mapping[str, Any]:
    """What the pod says for all of its containers together."""
    found: Mapping[str, Any] = get_path(pod, "spec", "resources", kind, default={})
    return found


def _numbers(listed: Mapping[str, Quantity]) -> Amounts:
    return {name: found.milli_value() if name == "cpu" else found.value() for name, found in listed.items()}
