"""What a node's agent says of CPU and memory (/stats/summary), and the objects that are made of it. Pure.

The agent says what share of its CPUs each container takes now, so that one answer of it is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apimachinery import quantity
from apimachinery.meta import Object
from apiserver.resourcemetrics.kinds import NODE_METRICS, POD_METRICS

# How many seconds the shares are of, which the document does not say; an agent that does not either (another
# kubelet) looks about as often.
WINDOW_HEADER = "X-Sample-Window-Seconds"
WINDOW_SECONDS = 10.0
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


class Used(NamedTuple):
    """Billionths of CPUs, and bytes."""

    nanocores: int
    memory_bytes: int

    def shown(self) -> Object:
        """As quantities."""
        return {
            "cpu": quantity.canonical(f"{self.nanocores}n"),
            "memory": quantity.canonical(f"{self.memory_bytes >> 10}Ki"),
        }


class PodReport(NamedTuple):
    """One pod: when it was looked at, and its containers by name."""

    time: str
    containers: Mapping[str, Used]


class Report(NamedTuple):
    """One node: when it was looked at, what it uses if that is known, and its pods by UID."""

    window_seconds: float
    time: str
    node: Used | None
    pods: Mapping[str, PodReport]


def read(document: Any, window: str) -> Report:
    """The report of a document and its header. Raises ValueError for what makes no sense."""
    try:
        seconds = float(window) if window else WINDOW_SECONDS
        pods = {}
        for pod in document.get("pods") or ():
            used = {one["name"]: used for one in pod.get("containers") or () if (used := _used(one)) is not None}
            if used:
                time = next(one["cpu"]["time"] for one in pod["containers"] if one["name"] in used)
                pods[str(pod["podRef"]["uid"])] = PodReport(str(time), used)
        node = document["node"]
        return Report(seconds, str((node.get("cpu") or {}).get("time") or ""), _used(node), pods)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no summary: {error!r}") from error


def _used(part: Mapping[str, Any]) -> Used | None:
    """What a node or a container uses, None if that is not known in full."""
    cpu = (part.get("cpu") or {}).get("usageNanoCores")
    memory = (part.get("memory") or {}).get("workingSetBytes")
    return None if cpu is None or memory is None else Used(int(cpu), int(memory))


def node_metrics(node: Object, report: Report, now: str) -> Object | None:
    """The NodeMetrics of a node, if it is known what it uses."""
    if report.node is None:
        return None
    kind = {"kind": NODE_METRICS.kind, "apiVersion": NODE_METRICS.api_version}
    return {
        **kind,
        "metadata": _metadata(node, now),
        "timestamp": report.time,
        "window": duration(report.window_seconds),
        "usage": report.node.shown(),
    }


def pod_metrics(pod: Object, report: Report, now: str) -> Object | None:
    """The PodMetrics of a pod, if it is known what any of its containers uses."""
    found = report.pods.get(pod["metadata"]["uid"])
    if found is None:
        return None
    return {
        "kind": POD_METRICS.kind,
        "apiVersion": POD_METRICS.api_version,
        "metadata": _metadata(pod, now),
        "timestamp": found.time,
        "window": duration(report.window_seconds),
        "containers": [{"name": name, "usage": found.containers[name].shown()} for name in _in_order(pod, found)],
    }


def _in_order(pod: Object, found: PodReport) -> list[str]:
    """The names of the containers, in the order of the pod's spec."""
    spec = pod.get("spec") or {}
    names = [one["name"] for kind in _CONTAINERS for one in spec.get(kind) or ()]
    places = {name: place for place, name in enumerate(names)}
    return sorted(found.containers, key=lambda name: places.get(name, len(places)))


def _metadata(of: Object, now: str) -> Object:
    metadata = of["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if metadata.get(key)}
    return {**kept, "creationTimestamp": now}


def duration(seconds: float) -> str:
    """As Go writes it: `15.021s`, `1m10.5s`."""
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s" if minutes else f"{text}s"
