"""What the node agent counts about its own work, under the names of Kubernetes' kubelet.

To count costs one look-up and two additions. The text of it is made by `kubelet.server.stats.agent` when somebody
asks. A process has one node agent, so these are its own.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Values = tuple[str, ...]
Line = tuple[str, dict[str, str], float]


class Counter:
    """How often something happened, apart by the values of some labels."""

    kind = "counter"

    def __init__(self, name: str, words: str, *labels: str) -> None:
        self.name, self.words, self._labels = name, words, labels
        self._counts: dict[Values, int] = {}

    def add(self, *values: str) -> None:
        """It has happened once more."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def forget(self, *first: str) -> None:
        """Count those no more whose labels begin with these values."""
        for values in [values for values in self._counts if values[: len(first)] == first]:
            del self._counts[values]

    def lines(self) -> Iterator[Line]:
        """(name, labels, value) of each line."""
        for values, count in self._counts.items():
            yield self.name, dict(zip(self._labels, values, strict=True)), count


class Histogram:
    """How often something took at most each of some times."""

    kind = "histogram"

    def __init__(self, name: str, words: str, bounds: Sequence[float], *labels: str) -> None:
        self.name, self.words, self._bounds, self._labels = name, words, bounds, labels
        # The counts between the bounds, and the sum.
        self._counts: dict[Values, list[int]] = {}
        self._sums: dict[Values, float] = {}

    def add(self, seconds: float, *values: str) -> None:
        """It took so long once more."""
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
            self._sums[values] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def forget(self, *first: str) -> None:
        """Count those no more whose labels begin with these values."""
        for values in [values for values in self._counts if values[: len(first)] == first]:
            del self._counts[values], self._sums[values]

    def lines(self) -> Iterator[Line]:
        """(name, labels, value) of each line."""
        for values, counts in self._counts.items():
            labels, total = dict(zip(self._labels, values, strict=True)), 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket", {**labels, "le": bound}, total
            yield f"{self.name}_sum", labels, self._sums[values]
            yield f"{self.name}_count", labels, total


SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
START_SECONDS = (
    0.5,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    20,
    30,
    45,
    60,
    120,
    180,
    240,
    300,
    360,
    480,
    600,
    900,
    1200,
    1800,
    2700,
    3600,
)

POD_WORKER_SECONDS = Histogram(
    "kubelet_pod_worker_duration_seconds",
    "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
    SECONDS,
    "operation_type",
)
POD_START_SECONDS = Histogram(
    "kubelet_pod_start_duration_seconds",
    "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
    START_SECONDS,
)
RUNTIME_OPERATIONS = Counter(
    "kubelet_runtime_operations_total", "Cumulative number of runtime operations by operation type.", "operation_type"
)
RUNTIME_ERRORS = Counter(
    "kubelet_runtime_operations_errors_total",
    "Cumulative number of runtime operation errors by operation type.",
    "operation_type",
)
RUNTIME_SECONDS = Histogram(
    "kubelet_runtime_operations_duration_seconds",
    "Duration in seconds of runtime operations. Broken down by operation type.",
    SECONDS,
    "operation_type",
)
HTTP_REQUESTS = Counter(
    "kubelet_http_requests_total",
    "Number of the http requests received since the server started",
    "method",
    "path",
    "server_type",
    "long_running",
)
HTTP_SECONDS = Histogram(
    "kubelet_http_requests_duration_seconds",
    "Duration in seconds to serve http requests",
    SECONDS,
    "method",
    "path",
    "server_type",
    "long_running",
)
PROBES = Counter(
    "prober_probe_total",
    "Cumulative number of a liveness, readiness or startup probe for a container by result.",
    "pod_uid",
    "container",
    "probe_type",
    "pod",
    "namespace",
    "result",
)
PROBE_SECONDS = Histogram(
    "prober_probe_duration_seconds",
    "Duration in seconds for a probe response.",
    SECONDS,
    "pod_uid",
    "container",
    "probe_type",
    "pod",
    "namespace",
)
EVICTIONS = Counter(
    "kubelet_evictions",
    "Cumulative number of pod evictions by eviction signal",
    "eviction_signal",
)
OF_THE_AGENT: tuple[Counter | Histogram, ...] = (
    POD_WORKER_SECONDS,
    POD_START_SECONDS,
    RUNTIME_OPERATIONS,
    RUNTIME_ERRORS,
    RUNTIME_SECONDS,
    HTTP_REQUESTS,
    HTTP_SECONDS,
    EVICTIONS,
)
OF_PROBES: tuple[Counter | Histogram, ...] = (PROBES, PROBE_SECONDS)


@contextmanager
def runtime_operation(name: str) -> Iterator[None]:
    """Count what is done in this block as an operation of the runtime."""
    RUNTIME_OPERATIONS.add(name)
    began = time.perf_counter()
    try:
        yield
    except Exception:
        RUNTIME_ERRORS.add(name)
        raise
    finally:
        RUNTIME_SECONDS.add(time.perf_counter() - began, name)
