"""What this server has done and holds, for /metrics in Prometheus' text format, under Kubernetes' names.

Counting a request must cost next to nothing: one look-up and two additions. Everything else is found out when
somebody asks.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from __future__ import annotations

import os
import resource as limits
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from apimachinery.resources import Resource
from apiserver.exposition import Histogram, gauge, header, sample
from apiserver.request_info import RequestInfo

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds; those of kube-apiserver.
BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH"}
_VERBS |= {"delete": "DELETE", "deletecollection": "DELETECOLLECTION", "head": "GET", "post": "POST", "put": "PUT"}
_STREAMS = ("log", "exec", "attach", "portforward", "proxy")
_READING = ("get", "list", "head", "watch")
# Paths that are no resources are counted by their first step, and those that nothing serves not apart.
_PATHS = ("api", "apis", "healthz", "livez", "metrics", "openapi", "readyz", "version")

Find = Callable[[str, str, str], Resource | None]
"""The resource of a group, version and plural name, if there is one."""
_Key = tuple[str, str, str, str, str, str]
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Metrics:
    """The counters of one server."""

    def __init__(self, find: Find) -> None:
        """`find` knows what is served: requests for anything else are not counted apart."""
        self._find = find
        self._requests: Counter[tuple[_Key, int]] = Counter()
        self._durations: dict[_Key, Histogram] = {}
        self._running: Counter[str] = Counter()
        self._watching: Counter[_Key] = Counter()
        self._started = time.time()

    def begin(self, info: RequestInfo) -> None:
        """A request starts to be served."""
        if is_long_running(info):
            self._watching[self._key(info)] += 1
        else:
            self._running["readOnly" if info.verb in _READING else "mutating"] += 1

    def end(self, info: RequestInfo, code: int, seconds: float) -> None:
        """A request was answered."""
        key = self._key(info)
        self._requests[key, code] += 1
        if is_long_running(info):
            self._watching[key] -= 1
            return
        self._running["readOnly" if info.verb in _READING else "mutating"] -= 1
        histogram = self._durations.get(key)
        if histogram is None:
            histogram = self._durations[key] = Histogram(BUCKETS)
        histogram.add(seconds)

    def _key(self, info: RequestInfo) -> _Key:
        """The labels of a request. Whatever a client makes up is counted as one, so that their number has a limit."""
        verb = _VERBS.get(info.verb, "other")
        served = self._find(info.group, info.version, info.resource) if info.version else None
        if served is None:
            first = info.path[1:].partition("/")[0] if not info.resource else ""
            return verb, "", "", "", f"/{first}" if first in _PATHS else "", ""
        subresource = info.subresource if info.subresource in served.subresources else ""
        scope = "resource" if info.name or info.verb == "create" else "namespace" if info.namespace else "cluster"
        return verb, info.group, info.version, info.resource, subresource, scope

    def text(self, objects: Iterable[tuple[Resource, int]], watchers: int, more: Iterable[str] = ()) -> bytes:
        """The whole page; `objects` says how many there are of each resource, `more` are the lines of others."""
        lines = [
            *self._request_lines(),
            *gauge("apiserver_registered_watchers", "Watches that are served.", [({}, watchers)]),
            *_object_lines(objects),
            *more,
            *_process_lines(self._started),
        ]
        return ("\n".join(lines) + "\n").encode()

    def _request_lines(self) -> Iterator[str]:
        yield from header("apiserver_request_total", "counter", "Requests by verb, resource and code.")
        for (key, code), count in self._requests.items():
            labels = {**_labels(key), "component": "apiserver", "dry_run": "", "code": str(code)}
            yield sample("apiserver_request_total", labels, count)
        name = "apiserver_request_duration_seconds"
        yield from header(name, "histogram", "How long requests took; watches and streams are not among them.")
        for key, histogram in self._durations.items():
            yield from histogram.lines(name, {**_labels(key), "component": "apiserver", "dry_run": ""})
        running = [({"request_kind": kind}, self._running[kind]) for kind in ("mutating", "readOnly")]
        yield from gauge("apiserver_current_inflight_requests", "Requests that are being served.", running)
        watching = [({**_labels(key), "component": "apiserver"}, count) for key, count in self._watching.items()]
        yield from gauge("apiserver_longrunning_requests", "Watches and streams that are being served.", watching)


def is_long_running(info: RequestInfo) -> bool:
    """Whether the answer has no end of its own: a watch, or a stream of a container."""
    return info.verb == "watch" or info.subresource in _STREAMS


def _labels(key: _Key) -> dict[str, str]:
    return dict(zip(_LABELS, key, strict=True))


def _object_lines(objects: Iterable[tuple[Resource, int]]) -> Iterator[str]:
    counted = list(objects)
    old = [({"resource": one.group_resource}, count) for one, count in counted]
    new = [({"group": one.group, "resource": one.plural}, count) for one, count in counted]
    yield from gauge("apiserver_storage_objects", "Stored objects by resource.", old)
    yield from gauge("apiserver_resource_objects", "Stored objects by group and resource.", new)


def _process_lines(started: float) -> Iterator[str]:
    """What the kernel says of this process (proc_pid_stat(5), getrusage(2))."""
    used = limits.getrusage(limits.RUSAGE_SELF)
    pages = Path("/proc/self/statm").read_text().split()
    size = os.sysconf("SC_PAGE_SIZE")
    cpu = used.ru_utime + used.ru_stime
    yield from header("process_cpu_seconds_total", "counter", "Processor time of this process.")
    yield sample("process_cpu_seconds_total", {}, cpu)
    for name, text, value in (
        ("process_resident_memory_bytes", "Memory that is resident.", int(pages[1]) * size),
        ("process_virtual_memory_bytes", "Memory that is mapped.", int(pages[0]) * size),
        ("process_open_fds", "Open file descriptors.", len(os.listdir("/proc/self/fd"))),
        ("process_max_fds", "The limit of open file descriptors.", limits.getrlimit(limits.RLIMIT_NOFILE)[0]),
        ("process_start_time_seconds", "When this process started, in seconds since 1970.", started),
    ):
        yield from gauge(name, text, [({}, value)])
