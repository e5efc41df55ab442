"""Pods and figures as tests of evictions need them."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from kubelet.eviction.thresholds import Observation

MIB, GIB = 1 << 20, 1 << 30
PLENTY = {
    "memory.available": Observation(4 * GIB, 8 * GIB),
    "nodefs.available": Observation(50 * GIB, 100 * GIB),
    "nodefs.inodesFree": Observation(500, 1000),
    "imagefs.available": Observation(50 * GIB, 100 * GIB),
    "imagefs.inodesFree": Observation(0, 0),
    "pid.available": Observation(900, 1000),
}


def pod(name: str, *, priority: int = 0, request: str = "", resource: str = "memory", **spec: Any) -> Object:
    """A pod of one container, web."""
    resources = {"requests": {resource: request}} if request else {}
    container = {"name": "web", "image": "web:1", "resources": resources}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [container], "priority": priority, **spec},
        "status": {},
    }


def critical(name: str) -> Object:
    """A pod that the cluster can't do without."""
    return pod(name, priority=2_000_000_000)


def names(pods: list[Object]) -> list[str]:
    return [one["metadata"]["name"] for one in pods]
