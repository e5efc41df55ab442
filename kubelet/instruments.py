"""What the node agent counts about its own work, under the names of Kubernetes' kubelet.

To count costs one look-up and two additions. The text of it is made by `kubelet.server.stats.agent` when somebody
asks. A process has one node agent, so these are its own.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from apiclient.serving.instruments import Counter, Histogram

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
