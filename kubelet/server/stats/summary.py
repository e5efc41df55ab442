"""The Summary API (/stats/summary): what the node and its pods use, as one JSON document. Pure.

Source: https://kubernetes.io/docs/reference/config-api/kubelet-stats.v1alpha1/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object
from apimachinery.time import rfc3339
from kubelet.node.machine import Disk
from kubelet.node.machine import Usage as Free
from kubelet.server.stats.disk_usage import PodDisks, Taken
from kubelet.server.stats.groups import Pressure, Stall, Usage
from kubelet.server.stats.network import DEFAULT_INTERFACE, Traffic
from kubelet.server.stats.usage import NODE, ContainerUsage, PodUsage, Rates, Sample

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What goes into the document beside CPU and memory.

    `disks` and `specs` are by pod UID; `traffic` is asked for that of a process, `pressure` for that of a cgroup.
    """

    free: Free
    disks: Mapping[str, PodDisks]
    specs: Mapping[str, Object]
    traffic: Callable[[int], Sequence[Traffic]]
    node_traffic: Sequence[Traffic]
    node_interface: str
    pressure: Callable[[str], Pressure]


def summary(node_name: str, started_at: float, taken: Sample, rates: Rates, facts: Facts | None) -> Document:
    """The document; without `facts` that of CPU and memory alone."""
    stamp = rfc3339(taken.time)
    node: Document = {"nodeName": node_name, "startTime": rfc3339(started_at)}
    node |= _usage(taken.machine, rates.nanocores.get(NODE), stamp, facts.pressure("") if facts else {})
    if facts is None:
        return {"node": node, "pods": [_pod(pod, rates, stamp, None) for pod in taken.pods]}
    free = facts.free
    node["memory"]["availableBytes"] = free.memory_available_bytes
    node["fs"] = _file_system(free.node_disk, stamp)
    images = _file_system(free.image_disk, stamp)
    node["runtime"] = {"imageFs": images, "containerFs": _file_system(free.node_disk, stamp)}
    node["rlimit"] = {"time": stamp, "maxpid": free.pids_max, "curproc": free.pids_max - free.pids_available}
    if facts.node_traffic:
        node["network"] = _network(facts.node_traffic, facts.node_interface, stamp)
    return {"node": node, "pods": [_pod(pod, rates, stamp, facts) for pod in taken.pods]}


def _pod(pod: PodUsage, rates: Rates, stamp: str, facts: Facts | None) -> Document:
    disks = facts.disks.get(pod.uid, PodDisks()) if facts else PodDisks()
    started = min((container.started_at for container in pod.containers), default=0.0)
    document: Document = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": rfc3339(started),
        "containers": [_container(container, disks, rates, stamp, facts) for container in pod.containers],
        **_usage(pod.usage, rates.nanocores.get(pod.uid), stamp, facts.pressure(pod.group) if facts else {}),
    }
    if facts is None:
        return document
    document["process_stats"] = {"process_count": pod.tasks}
    traffic = facts.traffic(pod.network_pid) if pod.network_pid else ()
    if traffic:
        document["network"] = _network(traffic, DEFAULT_INTERFACE, stamp)
    if pod.uid in facts.disks:
        disk = facts.free.node_disk
        claims = _claims(facts.specs.get(pod.uid) or {}, pod.namespace)
        document["volume"] = [
            {"name": name, **_taken(taken, disk, stamp), **claims.get(name, {})}
            for name, taken in disks.volumes.items()
        ]
        document["ephemeral-storage"] = _taken(disks.ephemeral, disk, stamp)
    return document


def _container(container: ContainerUsage, disks: PodDisks, rates: Rates, stamp: str, facts: Facts | None) -> Document:
    pressure = facts.pressure(container.group) if facts else {}
    document: Document = {"name": container.name, "startTime": rfc3339(container.started_at)}
    document |= _usage(container.usage, rates.nanocores.get(container.id), stamp, pressure)
    if facts is not None:
        for name, taken in (("rootfs", disks.layers.get(container.id)), ("logs", disks.logs.get(container.name))):
            if taken is not None:
                document[name] = _taken(taken, facts.free.node_disk, stamp)
    return document


def _usage(usage: Usage, nanocores: int | None, stamp: str, pressure: Pressure) -> Document:
    cpu: Document = {"time": stamp}
    if nanocores is not None:
        cpu["usageNanoCores"] = nanocores
    cpu["usageCoreNanoSeconds"] = usage.cpu_nanoseconds
    memory: Document = {
        "time": stamp,
        "usageBytes": usage.memory_bytes,
        "workingSetBytes": usage.working_set_bytes,
        "rssBytes": usage.rss_bytes,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    }
    if usage.memory_limit is not None:
        memory["availableBytes"] = max(0, usage.memory_limit - usage.working_set_bytes)
    swap: Document = {"time": stamp, "swapUsageBytes": usage.swap_bytes}
    if usage.swap_limit is not None:
        swap["swapAvailableBytes"] = max(0, usage.swap_limit - usage.swap_bytes)
    document: Document = {"cpu": cpu, "memory": memory, "swap": swap}
    for name, (some, all_of_them) in pressure.items():
        part = document.setdefault(name, {"time": stamp})
        part["psi"] = {"full": _stall(all_of_them), "some": _stall(some)}
    return document


def _stall(stall: Stall) -> Document:
    ten, sixty, three_hundred = stall.averages
    return {"total": stall.total_nanoseconds, "avg10": ten, "avg60": sixty, "avg300": three_hundred}


def _network(traffic: Sequence[Traffic], default: str, stamp: str) -> Document:
    interfaces = [
        {
            "name": one.interface,
            "rxBytes": one.received_bytes,
            "rxErrors": one.received_errors,
            "txBytes": one.sent_bytes,
            "txErrors": one.sent_errors,
        }
        for one in traffic
    ]
    first = next((one for one in interfaces if one["name"] == default), {})
    return {"time": stamp, **first, "interfaces": interfaces}


def _claims(pod: Object, namespace: str) -> dict[str, Document]:
    """The claim behind each volume that is one of a claim."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    named = {
        volume["name"]: volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume
    }
    return {name: {"pvcRef": {"name": claim["claimName"], "namespace": namespace}} for name, claim in named.items()}


def _taken(taken: Taken, disk: Disk, stamp: str) -> Document:
    """What a part takes of the disk that it is on."""
    size, free, inodes, inodes_free = taken.whole or (disk.bytes, disk.bytes_available, disk.inodes, disk.inodes_free)
    return {
        "time": stamp,
        "availableBytes": free,
        "capacityBytes": size,
        "usedBytes": taken.bytes,
        "inodesFree": inodes_free,
        "inodes": inodes,
        "inodesUsed": taken.inodes,
    }


def _file_system(disk: Disk, stamp: str) -> Document:
    used = Taken(disk.bytes - disk.bytes_available, disk.inodes - disk.inodes_free)
    return _taken(used, disk, stamp)
