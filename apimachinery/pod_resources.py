"""What a pod asks for and is limited to, all its containers together; and whose a resource's name is.

Containers run at the same time, so theirs adds up. Init containers run one after the other beside the sidecars
started before them: the largest of these moments counts, if it is more than what runs afterwards. What the pod says
for itself takes the place of the sum; overhead comes on top. While a pod is being resized the larger of both sizes
counts.

Source: https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers,
k8s.io/component-helpers/resource/helpers.go
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery import names
from apimachinery.meta import Object, find_condition
from apimachinery.quantity import Quantity, parse

REQUESTS, LIMITS = "requests", "limits"
HUGE_PAGES = "hugepages-"

Amounts = dict[str, Quantity]


def is_huge_pages(name: str) -> bool:
    """Pages of a size that stands in the name, as `hugepages-2Mi`."""
    return name.startswith(HUGE_PAGES)


def is_native(name: str) -> bool:
    """Kubernetes' own: in no domain, or in kubernetes.io."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """A device or whatever else a node advertises under a domain of its maker."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def is_of_pods(name: str) -> bool:
    """A resource that a pod can have as a whole."""
    return name in ("cpu", "memory") or is_huge_pages(name)


def amounts(listed: Mapping[str, Any] | None) -> Amounts:
    """What is listed, without what is no quantity."""
    found: Amounts = {}
    for name, value in (listed or {}).items():
        try:
            found[name] = parse(value)
        except ValueError:
            continue
    return found


def pod_total(pod: Object, kind: str) -> Amounts:
    """What a pod has of each resource; `kind` is REQUESTS or LIMITS."""
    spec, status = pod["spec"], pod.get("status") or {}
    told = {
        one["name"]: one
        for field in ("containerStatuses", "initContainerStatuses")
        for one in status.get(field) or ()
        if one.get("resources") is not None
    }
    total = containers_total(spec, kind, told, infeasible=bool(told) and _is_infeasible(pod))
    own = amounts((spec.get("resources") or {}).get(kind))
    total |= {name: value for name, value in own.items() if is_of_pods(name)}
    for name, value in amounts(spec.get("overhead")).items():
        if kind == REQUESTS or name in total:
            total[name] = total[name] + value if name in total else value
    return total


def containers_total(
    spec: Mapping[str, Any], kind: str, told: Mapping[str, Object] | None = None, *, infeasible: bool = False
) -> Amounts:
    """What a pod's containers have of each resource.

    `told` is what is known of containers that run, by their names; `infeasible` says that what is wanted of them
    will never be.
    """
    told = told or {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of_container(container, kind, told, infeasible=infeasible))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        stays = container.get("restartPolicy") == "Always"
        mine = _of_container(container, kind, told if stays else {}, infeasible=infeasible)
        moment = dict(sidecars)
        _add(moment, mine)
        if stays:
            _add(total, mine)
            sidecars = moment
        _raise_to(peak, moment)
    _raise_to(total, peak)
    return total


def _of_container(container: Object, kind: str, told: Mapping[str, Object], *, infeasible: bool) -> Amounts:
    wanted = amounts((container.get("resources") or {}).get(kind))
    running = told.get(container.get("name") or "")
    if running is None:
        return wanted
    found = {} if infeasible else wanted
    _raise_to(found, amounts(running["resources"].get(kind)))
    if kind == REQUESTS:
        _raise_to(found, amounts(running.get("allocatedResources")))
    return found


def _is_infeasible(pod: Object) -> bool:
    condition = find_condition(pod, "PodResizePending")
    return condition is not None and condition.get("reason") == "Infeasible"


def _add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _raise_to(total: Amounts, least: Mapping[str, Quantity]) -> None:
    for name, value in least.items():
        if name not in total or total[name] < value:
            total[name] = value
