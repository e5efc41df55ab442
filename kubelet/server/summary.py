"""The Summary API (/stats/summary): what the node and its pods use, as one JSON document. Pure.

Source: https://kubernetes.io/docs/reference/config-api/kubelet-stats.v1alpha1/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object
from apimachinery.time import rfc3339
from kubelet.node.machine import Disk
from kubelet.node.machine import Usage as Free
from kubelet.server.usage import PodUsage, Usage


def summary(
    *, node_name: str, started_at: float, machine: Usage, free: Free, pods: Iterable[PodUsage], now: float
) -> Object:
    """The document; `free` is what of the machine is."""
    stamp = rfc3339(now)
    node = {
        "nodeName": node_name,
        "startTime": rfc3339(started_at),
        **_figures(machine, stamp),
        "fs": _file_system(free.node_disk, stamp),
        "runtime": {"imageFs": _file_system(free.image_disk, stamp)},
        "rlimit": {"time": stamp, "maxpid": free.pids_max, "curproc": free.pids_max - free.pids_available},
    }
    node["memory"]["availableBytes"] = free.memory_available_bytes
    return {"node": node, "pods": [_pod(pod, stamp) for pod in pods]}


def _pod(pod: PodUsage, stamp: str) -> dict[str, Any]:
    containers = [
        {"name": container.name, "startTime": rfc3339(container.started_at), **_figures(container.usage, stamp)}
        for container in pod.containers
    ]
    started = min((container.started_at for container in pod.containers), default=0.0)
    return {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": rfc3339(started),
        "containers": containers,
        **_figures(pod.usage, stamp),
    }


def _figures(usage: Usage, stamp: str) -> dict[str, Any]:
    return {
        "cpu": {"time": stamp, "usageCoreNanoSeconds": usage.cpu_nanoseconds},
        "memory": {
            "time": stamp,
            "usageBytes": usage.memory_bytes,
            "workingSetBytes": usage.working_set_bytes,
            "rssBytes": usage.rss_bytes,
        },
    }


def _file_system(disk: Disk, stamp: str) -> dict[str, Any]:
    return {
        "time": stamp,
        "availableBytes": disk.bytes_available,
        "capacityBytes": disk.bytes,
        "usedBytes": disk.bytes - disk.bytes_available,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes - disk.inodes_free,
    }
