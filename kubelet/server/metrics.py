"""Figures in Prometheus' text form: of the agent itself, and of what pods use (which `kubectl top` is made of). Pure.

Source: https://kubernetes.io/docs/reference/instrumentation/node-metrics/ and the metrics of Kubernetes' kubelet,
whose names these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubelet.runtime import SandboxState
from kubelet.server.usage import PodUsage, Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True, slots=True)
class Process:
    """The agent's own process."""

    cpu_seconds: float
    resident_bytes: int
    open_files: int
    started_at: float


def agent(node_name: str, sandboxes: Sequence[SandboxState], process: Process) -> str:
    """The body of /metrics."""
    states = [state.status for sandbox in sandboxes for state in sandbox.containers]
    families = [
        _family("kubelet_node_name", "gauge", "The node's name.", [({"node": node_name}, 1)]),
        _family(
            "kubelet_running_pods",
            "gauge",
            "Number of pods that have a running pod sandbox",
            [({}, sum(sandbox.alive for sandbox in sandboxes))],
        ),
        _family(
            "kubelet_running_containers",
            "gauge",
            "Number of containers by their state",
            [({"container_state": state}, states.count(state)) for state in ("created", "running", "exited")],
        ),
        _family("process_cpu_seconds_total", "counter", "CPU time in seconds.", [({}, process.cpu_seconds)]),
        _family("process_open_fds", "gauge", "Number of open file descriptors.", [({}, process.open_files)]),
        _family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, process.resident_bytes)]),
        _family("process_start_time_seconds", "gauge", "Start since the epoch.", [({}, process.started_at)]),
    ]
    return "".join(families)


def resources(machine: Usage, pods: Iterable[PodUsage]) -> str:
    """The body of /metrics/resource."""
    pods = list(pods)
    of_pods = [({"namespace": pod.namespace, "pod": pod.name}, pod.usage) for pod in pods]
    of_containers = [
        ({"container": container.name, "namespace": pod.namespace, "pod": pod.name}, container)
        for pod in pods
        for container in pod.containers
    ]
    cpu = "Cumulative cpu time consumed by the {} in core-seconds"
    memory = "Current working set of the {} in bytes"
    families = []
    for what, samples in (
        ("container", [(labels, container.usage) for labels, container in of_containers]),
        ("node", [({}, machine)]),
        ("pod", of_pods),
    ):
        spent = [(labels, usage.cpu_nanoseconds / 1e9) for labels, usage in samples]
        families.append(_family(f"{what}_cpu_usage_seconds_total", "counter", cpu.format(what), spent))
        held = [(labels, float(usage.working_set_bytes)) for labels, usage in samples]
        families.append(_family(f"{what}_memory_working_set_bytes", "gauge", memory.format(what), held))
    starts = [(labels, container.started_at) for labels, container in of_containers]
    families.append(_family("container_start_time_seconds", "gauge", "Start time of the container", starts))
    families.append(_family("resource_scrape_error", "gauge", "1 if there was an error, 0 otherwise", [({}, 0)]))
    return "".join(families)


def _family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {words}\n", f"# TYPE {name} {kind}\n"]
    for labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{shown}}} {value:.17g}\n" if shown else f"{name} {value:.17g}\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
