"""/metrics/cadvisor: the series of containers that dashboards and alerts are made of. Pure.

Labels are those of Kubernetes' kubelet: a container has namespace, pod, container, id (its cgroup), image and name
(its id); a pod the first two and its cgroup; the machine the cgroup `/`. What this node does not know is left out.

Source: https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from apiclient.serving.exposition import Labels, family
from kubelet.node.machine import Machine
from kubelet.server.stats.groups import RESOURCES_UNDER_PRESSURE, Detail, Pressure, Usage
from kubelet.server.stats.network import Traffic


@dataclass(frozen=True, slots=True)
class Series:
    """One cgroup: who it is, and what is known of it. `disk` is (device, bytes written)."""

    labels: Labels
    usage: Usage
    detail: Detail | None = None
    started_at: float = 0.0
    traffic: Sequence[Traffic] = ()
    disk: tuple[str, int] | None = None
    pressure: Pressure | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """What the series of the machine are made of; `disk` is (device, bytes)."""

    machine: Machine
    cores: int
    physical_cores: int
    sockets: int
    swap_bytes: int
    disk: tuple[str, int]


Value = Callable[[Series], float | None]
Several = Callable[[Series], Iterable[tuple[Mapping[str, str], float]]]


def labels(
    group: str, *, namespace: str = "", pod: str = "", container: str = "", image: str = "", name: str = ""
) -> Labels:
    """Those of a cgroup; all series of a name have the same ones, empty where they say nothing."""
    return {"container": container, "id": group, "image": image, "name": name, "namespace": namespace, "pod": pod}


def page(series: Sequence[Series], node: Node, *, time: float) -> str:
    """The body."""
    parts = [family(name, kind, words, _plain(series, value), time=time) for name, kind, words, value in PLAIN]
    parts += [family(name, kind, words, _labelled(series, more), time=time) for name, kind, words, more in SEVERAL]
    for resource in RESOURCES_UNDER_PRESSURE:
        for state, words, index in _STATES:
            name = f"container_pressure_{resource}_{state}_seconds_total"
            value = partial(_pressure, resource=resource, index=index)
            parts.append(family(name, "counter", words.format(resource), _plain(series, value), time=time))
    error = "1 if there was an error while getting container metrics, 0 otherwise"
    return "".join((*parts, *_machine(node), family("container_scrape_error", "gauge", error, [({}, 0)])))


def _plain(series: Iterable[Series], value: Value) -> Iterator[tuple[Labels, float]]:
    return ((one.labels, found) for one in series if (found := value(one)) is not None)


def _labelled(series: Iterable[Series], several: Several) -> Iterator[tuple[Labels, float]]:
    return (({**one.labels, **more}, value) for one in series for more, value in several(one))


def _detail(value: Callable[[Detail], float | None]) -> Value:
    return lambda one: None if one.detail is None else value(one.detail)


def _limited(value: Callable[[Detail], float]) -> Value:
    """Of those whose CPU time is limited."""
    return lambda one: value(one.detail) if one.detail is not None and one.detail.quota_microseconds else None


def _pressure(one: Series, *, resource: str, index: int) -> float | None:
    found = (one.pressure or {}).get(resource)
    return None if found is None else found[index].total_nanoseconds / 1e9


# (name, type, words, value) of those with one sample a cgroup.
PLAIN: tuple[tuple[str, str, str, Value], ...] = (
    (
        "container_cpu_user_seconds_total",
        "counter",
        "Cumulative user cpu time consumed in seconds.",
        _detail(lambda found: found.user_nanoseconds / 1e9),
    ),
    (
        "container_cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed in seconds.",
        _detail(lambda found: found.system_nanoseconds / 1e9),
    ),
    (
        "container_cpu_cfs_periods_total",
        "counter",
        "Number of elapsed enforcement period intervals.",
        _limited(lambda found: found.periods),
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        "Number of throttled period intervals.",
        _limited(lambda found: found.throttled_periods),
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        _limited(lambda found: found.throttled_nanoseconds / 1e9),
    ),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        lambda one: one.usage.memory_bytes,
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set in bytes.",
        lambda one: one.usage.working_set_bytes,
    ),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", lambda one: one.usage.rss_bytes),
    ("container_memory_swap", "gauge", "Container swap usage in bytes.", lambda one: one.usage.swap_bytes),
    (
        "container_memory_cache",
        "gauge",
        "Number of bytes of page cache memory.",
        _detail(lambda found: found.cache_bytes),
    ),
    (
        "container_memory_mapped_file",
        "gauge",
        "Size of memory mapped files in bytes.",
        _detail(lambda found: found.mapped_file_bytes),
    ),
    (
        "container_memory_max_usage_bytes",
        "gauge",
        "Maximum memory usage recorded in bytes",
        _detail(lambda found: found.memory_bytes_max),
    ),
    (
        "container_memory_failcnt",
        "counter",
        "Number of memory usage hits limits",
        _detail(lambda found: found.limit_hits),
    ),
    (
        "container_oom_events_total",
        "counter",
        "Count of out of memory events observed for the container",
        _detail(lambda found: found.oom_kills),
    ),
    (
        "container_processes",
        "gauge",
        "Number of processes running inside the container.",
        _detail(lambda found: found.processes),
    ),
    (
        "container_threads",
        "gauge",
        "Number of threads running inside the container",
        _detail(lambda found: found.tasks),
    ),
    (
        "container_threads_max",
        "gauge",
        "Maximum number of threads allowed inside the container.",
        _detail(lambda found: found.tasks_max),
    ),
    (
        "container_spec_cpu_shares",
        "gauge",
        "CPU share of the container.",
        _detail(lambda found: found.shares or None),
    ),
    (
        "container_spec_cpu_period",
        "gauge",
        "CPU period of the container.",
        _detail(lambda found: found.period_microseconds or None),
    ),
    (
        "container_spec_cpu_quota",
        "gauge",
        "CPU quota of the container.",
        _limited(lambda found: found.quota_microseconds),
    ),
    (
        "container_spec_memory_limit_bytes",
        "gauge",
        "Memory limit for the container.",
        lambda one: one.usage.memory_limit or 0,
    ),
    (
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        lambda one: one.started_at or None,
    ),
)
_STATES = (
    ("waiting", "Total time duration tasks in the container have waited due to {} congestion.", 0),
    ("stalled", "Total time duration no tasks in the container could make progress due to {} congestion.", 1),
)


def _cpu(one: Series) -> Iterator[tuple[Mapping[str, str], float]]:
    yield {"cpu": "total"}, one.usage.cpu_nanoseconds / 1e9


def _faults(one: Series) -> Iterator[tuple[Mapping[str, str], float]]:
    yield {"failure_type": "pgfault", "scope": "hierarchy"}, one.usage.page_faults
    yield {"failure_type": "pgmajfault", "scope": "hierarchy"}, one.usage.major_page_faults


def _traffic(count: Callable[[Traffic], int]) -> Several:
    return lambda one: [({"interface": traffic.interface}, count(traffic)) for traffic in one.traffic]


def _disk(index: int) -> Several:
    return lambda one: [
        ({"device": device}, counts[index]) for device, counts in (one.detail.disks if one.detail else {}).items()
    ]


def _written(one: Series) -> Iterator[tuple[Mapping[str, str], float]]:
    if one.disk is not None:
        yield {"device": one.disk[0]}, one.disk[1]


# (name, type, words, samples) of those with a label more than the cgroup's.
SEVERAL: tuple[tuple[str, str, str, Several], ...] = (
    ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", _cpu),
    ("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", _faults),
    (
        "container_network_receive_bytes_total",
        "counter",
        "Cumulative count of bytes received",
        _traffic(lambda traffic: traffic.received_bytes),
    ),
    (
        "container_network_receive_packets_total",
        "counter",
        "Cumulative count of packets received",
        _traffic(lambda traffic: traffic.received_packets),
    ),
    (
        "container_network_receive_errors_total",
        "counter",
        "Cumulative count of errors encountered while receiving",
        _traffic(lambda traffic: traffic.received_errors),
    ),
    (
        "container_network_receive_packets_dropped_total",
        "counter",
        "Cumulative count of packets dropped while receiving",
        _traffic(lambda traffic: traffic.received_dropped),
    ),
    (
        "container_network_transmit_bytes_total",
        "counter",
        "Cumulative count of bytes transmitted",
        _traffic(lambda traffic: traffic.sent_bytes),
    ),
    (
        "container_network_transmit_packets_total",
        "counter",
        "Cumulative count of packets transmitted",
        _traffic(lambda traffic: traffic.sent_packets),
    ),
    (
        "container_network_transmit_errors_total",
        "counter",
        "Cumulative count of errors encountered while transmitting",
        _traffic(lambda traffic: traffic.sent_errors),
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "counter",
        "Cumulative count of packets dropped while transmitting",
        _traffic(lambda traffic: traffic.sent_dropped),
    ),
    ("container_fs_reads_bytes_total", "counter", "Cumulative count of bytes read", _disk(0)),
    ("container_fs_writes_bytes_total", "counter", "Cumulative count of bytes written", _disk(1)),
    ("container_fs_reads_total", "counter", "Cumulative count of reads completed", _disk(2)),
    ("container_fs_writes_total", "counter", "Cumulative count of writes completed", _disk(3)),
    (
        "container_fs_usage_bytes",
        "gauge",
        "Number of bytes that are consumed by the container on this filesystem.",
        _written,
    ),
)


def _machine(node: Node) -> Iterator[str]:
    machine = node.machine
    ids = {"boot_id": machine.boot_id, "machine_id": machine.machine_id, "system_uuid": machine.system_uuid}
    device, size = node.disk
    build = {
        "cadvisorRevision": "",
        "cadvisorVersion": "",
        "dockerVersion": "",
        "kernelVersion": machine.kernel_version,
        "osVersion": machine.os_image,
    }
    for name, words, sample_labels, value in (
        ("cadvisor_version_info", "What the containers run on.", build, 1),
        (
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            {**labels("/"), "device": device},
            size,
        ),
        ("machine_cpu_cores", "Number of logical CPU cores.", ids, node.cores),
        ("machine_cpu_physical_cores", "Number of physical CPU cores.", ids, node.physical_cores),
        ("machine_cpu_sockets", "Number of CPU sockets.", ids, node.sockets),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", ids, machine.memory_bytes),
        ("machine_swap_bytes", "Amount of swap memory available on the machine.", ids, node.swap_bytes),
        ("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", {}, 0),
    ):
        yield family(name, "gauge", words, [(sample_labels, value)])
