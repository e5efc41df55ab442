"""/metrics and /metrics/probes: what the agent itself does. Pure.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/, whose names these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apiclient.serving.exposition import family
from apiclient.serving.instruments import text
from kubelet.instruments import OF_PROBES, OF_THE_AGENT
from kubelet.runtime import SandboxState
from kubelet.server.stats.summary import Document

_VOLUME_LABELS = ("namespace", "persistentvolumeclaim")
_VOLUMES = (
    ("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume", "availableBytes"),
    ("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume", "capacityBytes"),
    ("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume", "inodes"),
    ("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume", "inodesFree"),
    ("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume", "inodesUsed"),
    ("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume", "usedBytes"),
)


@dataclass(frozen=True, slots=True)
class Process:
    """The agent's own process."""

    cpu_seconds: float
    resident_bytes: int
    virtual_bytes: int
    open_files: int
    open_files_max: int
    started_at: float


def page(
    node_name: str, version: str, sandboxes: Sequence[SandboxState], process: Process, pods: Iterable[Document]
) -> str:
    """The body of /metrics; `pods` are those of the Summary, with their volumes."""
    states = [state.status for sandbox in sandboxes for state in sandbox.containers]
    running = sum(sandbox.alive for sandbox in sandboxes)
    by_state = [({"container_state": state}, states.count(state)) for state in ("created", "running", "exited")]
    families = [
        family("kubelet_node_name", "gauge", "The node's name. The count is always 1.", [({"node": node_name}, 1)]),
        family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", [({}, running)]),
        family("kubelet_running_containers", "gauge", "Number of containers currently running", by_state),
        family("kubernetes_build_info", "gauge", "Always 1, labelled by version.", [({"git_version": version}, 1)]),
    ]
    families += map(text, OF_THE_AGENT)
    families += _volumes(pods)
    return "".join((*families, *_process(process)))


def probes(process: Process) -> str:
    """The body of /metrics/probes."""
    return "".join((*map(text, OF_PROBES), _started(process)))


def _volumes(pods: Iterable[Document]) -> list[str]:
    claimed = {}
    for pod in pods:
        for volume in pod.get("volume") or ():
            if "pvcRef" in volume:
                claimed[volume["pvcRef"]["namespace"], volume["pvcRef"]["name"]] = volume
    return [
        family(
            name,
            "gauge",
            words,
            [(dict(zip(_VOLUME_LABELS, claim, strict=True)), volume[key]) for claim, volume in claimed.items()],
        )
        for name, words, key in _VOLUMES
    ]


def _process(process: Process) -> list[str]:
    return [
        family(name, kind, words, [({}, value)])
        for name, kind, words, value in (
            ("process_cpu_seconds_total", "counter", "Total user and system CPU time.", process.cpu_seconds),
            ("process_open_fds", "gauge", "Number of open file descriptors.", process.open_files),
            ("process_max_fds", "gauge", "Maximum number of open file descriptors.", process.open_files_max),
            ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", process.resident_bytes),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", process.virtual_bytes),
        )
    ] + [_started(process)]


def _started(process: Process) -> str:
    words = "Start time of the process since unix epoch in seconds."
    return family("process_start_time_seconds", "gauge", words, [({}, process.started_at)])
