"""/metrics/resource: the few figures that scaling is decided by. Pure.

Source: https://kubernetes.io/docs/reference/instrumentation/node-metrics/ and the metrics of Kubernetes' kubelet,
whose names these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apiclient.serving.exposition import Labels, family
from kubelet.server.stats.groups import Usage
from kubelet.server.stats.usage import Sample

Value = Callable[[Usage], float | None]

_FAILED = "1 if there was an error while getting container metrics, 0 otherwise"


def page(taken: Sample) -> str:
    """The body."""
    pods = [({"namespace": pod.namespace, "pod": pod.name}, pod) for pod in taken.pods]
    containers = [
        ({**labels, "container": container.name}, container) for labels, pod in pods for container in pod.containers
    ]
    used: dict[str, list[tuple[Labels, Usage]]] = {
        "container": [(labels, container.usage) for labels, container in containers],
        "node": [({}, taken.machine)],
        "pod": [(labels, pod.usage) for labels, pod in pods],
    }
    parts = []
    for what, usages in used.items():
        for name, kind, words, value in _families(what):
            found = [(labels, number) for labels, usage in usages if (number := value(usage)) is not None]
            parts.append(family(name, kind, words, found, time=taken.time))
    starts = [(labels, container.started_at) for labels, container in containers if container.started_at > 0]
    words = "Start time of the container since unix epoch in seconds"
    parts.append(family("container_start_time_seconds", "gauge", words, starts))
    parts.append(family("resource_scrape_error", "gauge", _FAILED, [({}, 0)]))
    parts.append(family("scrape_error", "gauge", _FAILED, [({}, 0)]))
    return "".join(parts)


def _families(what: str) -> Iterator[tuple[str, str, str, Value]]:
    words = f"Cumulative cpu time consumed by the {what} in core-seconds"
    yield f"{what}_cpu_usage_seconds_total", "counter", words, lambda usage: usage.cpu_nanoseconds / 1e9
    words = f"Current working set of the {what} in bytes"
    yield f"{what}_memory_working_set_bytes", "gauge", words, lambda usage: usage.working_set_bytes
    if what == "container":
        words = "Current amount of the container swap limit in bytes. Reported only on non-windows systems"
        yield "container_swap_limit_bytes", "gauge", words, lambda usage: usage.swap_limit
        words = "Current amount of the container swap usage in bytes. Reported only on non-windows systems"
    else:
        words = f"Current swap usage of the {what} in bytes. Reported only on non-windows systems"
    yield f"{what}_swap_usage_bytes", "gauge", words, lambda usage: usage.swap_bytes
