"""The figures that all parts tell which are clients of the API: their queues, requests, lead and process.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/, whose names these are.
"""

from __future__ import annotations

import os
import resource as limits
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from apiclient.clock import Clock
from apiclient.rest import Client
from apiclient.serving.exposition import Labels, family
from apiclient.serving.instruments import Counter, Gauge, Histogram, Instrument, text
from apiclient.workqueue import WorkQueue

VERSION = "v1.35.0+wherry"
QUEUE_SECONDS = (1e-08, 1e-07, 1e-06, 1e-05, 0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000)
REQUEST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


class Figures:
    """What one process tells. Its parts may come and go; what was counted stays."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.now()
        self._queues: dict[str, Queue] = {}
        build = {"git_version": VERSION, "platform": f"linux/{os.uname().machine}"}
        self._adds = Counter("workqueue_adds_total", "Total number of adds handled by workqueue", "name")
        self._retries = Counter("workqueue_retries_total", "Total number of retries handled by workqueue", "name")
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            QUEUE_SECONDS,
            "name",
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            QUEUE_SECONDS,
            "name",
        )
        self._requests = Counter(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            *("code", "host", "method"),
        )
        self._request_seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            REQUEST_SECONDS,
            *("host", "verb"),
        )
        self._instruments: list[Instrument] = [
            *(self._adds, self._retries, self._waited, self._worked),
            Gauge("workqueue_depth", "Current depth of workqueue", self._of_queues(Queue.depth)),
            Gauge(
                "workqueue_unfinished_work_seconds",
                "How many seconds of work has done that is in progress and hasn't been observed by work_duration. "
                "Large values indicate stuck threads. One can deduce the number of stuck threads by observing the "
                "rate at which this increases.",
                self._of_queues(Queue.unfinished_seconds),
            ),
            Gauge(
                "workqueue_longest_running_processor_seconds",
                "How many seconds has the longest running processor for workqueue been running.",
                self._of_queues(Queue.longest_seconds),
            ),
            *(self._requests, self._request_seconds),
            Gauge("kubernetes_build_info", "Always 1, labelled by version.", lambda: [(build, 1)]),
        ]

    def add(self, *instruments: Instrument) -> None:
        """Tell what these say, too."""
        self._instruments += instruments

    def follow_lead(self, lease: str, leads: Callable[[], bool]) -> None:
        """Tell whether this process leads."""
        words = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates "
        words += "master. 'name' is the string used to identify the lease. Please make sure to group by name."
        self.add(Gauge("leader_election_master_status", words, lambda: [({"name": lease}, int(leads()))]))

    def follow_queue(self, name: str, queue: WorkQueue) -> None:
        """Measure what becomes of a queue's keys; a later one of the same name takes the place of the former."""
        measured = self._queues[name] = Queue(
            queue,
            self._clock,
            added=partial(self._adds.add, name),
            retried=partial(self._retries.add, name),
            waited=lambda seconds: self._waited.add(seconds, name),
            worked=lambda seconds: self._worked.add(seconds, name),
        )
        queue.observe(measured)

    def follow_client(self, client: Client) -> None:
        """Count a client's requests."""
        host = client.server.partition("://")[2].partition("/")[0]

        def answered(method: str, code: str, seconds: float) -> None:
            self._requests.add(code, host, method)
            self._request_seconds.add(seconds, host, method)

        client.observe(answered)

    def page(self) -> str:
        """The body of /metrics."""
        return "".join((*map(text, self._instruments), _process(self._started)))

    def _of_queues(self, ask: Callable[[Queue], float]) -> Callable[[], Iterable[tuple[Labels, float]]]:
        return lambda: [({"name": name}, ask(queue)) for name, queue in self._queues.items()]


class Queue:
    """What is measured of one queue (`apiclient.workqueue.Observer`)."""

    def __init__(
        self,
        queue: WorkQueue,
        clock: Clock,
        *,
        added: Callable[[], None],
        retried: Callable[[], None],
        waited: Callable[[float], None],
        worked: Callable[[float], None],
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._added, self._retried, self._waited, self._worked = added, retried, waited, worked
        self._since: dict[str, float] = {}
        self._running: dict[str, float] = {}

    def added(self, key: str) -> None:
        """A key that was not waiting is."""
        self._added()
        self._since.setdefault(key, self._clock.monotonic())

    def taken(self, key: str) -> None:
        """A worker has begun."""
        now = self._clock.monotonic()
        self._running[key] = now
        self._waited(now - self._since.pop(key, now))

    def done(self, key: str) -> None:
        """A worker has finished."""
        now = self._clock.monotonic()
        self._worked(now - self._running.pop(key, now))

    def retried(self, key: str) -> None:
        """It has failed, and will be added again."""
        self._retried()

    def depth(self) -> float:
        """How many keys wait."""
        return len(self._queue)

    def unfinished_seconds(self) -> float:
        """For how long, together, the keys that are worked on have been."""
        now = self._clock.monotonic()
        return sum(now - begun for begun in self._running.values())

    def longest_seconds(self) -> float:
        """For how long the oldest of them has been."""
        return self._clock.monotonic() - min(self._running.values(), default=self._clock.monotonic())


def _process(started: float) -> str:
    """What the kernel says of this process (proc_pid_statm(5), getrusage(2))."""
    used = limits.getrusage(limits.RUSAGE_SELF)
    pages = Path("/proc/self/statm").read_text().split()
    size = os.sysconf("SC_PAGE_SIZE")
    told: Sequence[tuple[str, str, str, float]] = (
        ("cpu_seconds_total", "counter", "Total user and system CPU time.", used.ru_utime + used.ru_stime),
        ("resident_memory_bytes", "gauge", "Resident memory size in bytes.", int(pages[1]) * size),
        ("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", int(pages[0]) * size),
        ("open_fds", "gauge", "Number of open file descriptors.", len(os.listdir("/proc/self/fd"))),
        ("max_fds", "gauge", "Maximum number of open files.", limits.getrlimit(limits.RLIMIT_NOFILE)[0]),
        ("start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", started),
    )
    return "".join(family(f"process_{name}", kind, words, [({}, value)]) for name, kind, words, value in told)
