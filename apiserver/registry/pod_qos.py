"""The quality of service of a pod, by which a node under pressure chooses whom it stops first.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from __future__ import annotations

from collections.abc import Iterator

from apimachinery.quantity import Quantity
from apiserver.registry.amounts import amount
from apiserver.registry.checks import Fields

_RESOURCES = ("cpu", "memory")


def qos_class(spec: Fields) -> str:
    """Guaranteed, Burstable or BestEffort."""
    whole = spec.get("resources")
    if whole and (whole.get("requests") or whole.get("limits")):
        parts = [whole]
    else:
        containers = (c for key in ("containers", "initContainers") for c in spec.get(key) or ())
        parts = [container.get("resources") or {} for container in containers]
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    every_part_is_limited = True
    for part in parts:
        for name, value in _of(part, "requests"):
            requests[name] = requests.get(name, 0) + value.nanos
        limited = dict(_of(part, "limits"))
        for name, value in limited.items():
            limits[name] = limits.get(name, 0) + value.nanos
        every_part_is_limited = every_part_is_limited and len(limited) == len(_RESOURCES)
    if not requests and not limits:
        return "BestEffort"
    if every_part_is_limited and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _of(resources: Fields, kind: str) -> Iterator[tuple[str, Quantity]]:
    listed = resources.get(kind)
    if not listed:
        return
    for name in _RESOURCES:
        found = amount(listed[name]) if name in listed else None
        if found is not None and found.nanos > 0:
            yield name, found
