"""What the scheduler serves: what became of its attempts and how long they took, what waits, and how it is run.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/, whose names these are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from apiclient.clock import Clock
from apiclient.events import EventRecorder
from apiclient.informer import Informer
from apiclient.leaderelection import LeaderElector
from apiclient.rest import Client
from apiclient.serving.figures import Figures
from apiclient.serving.health import Health
from apiclient.serving.instruments import Counter, Gauge, Histogram
from apiclient.serving.reviews import Reviews
from apiclient.serving.server import ComponentServer, Pages, Place
from apimachinery.duration import duration_text
from apimachinery.meta import Object, uid
from scheduler.cluster import Cluster, Placement, scheduler_of
from scheduler.framework import Profile
from scheduler.options import Options
from scheduler.queue import Part, QueuedPod, SchedulingQueue
from scheduler.reporting import UNSCHEDULABLE, Reporter

# From one millisecond on, doubled.
ATTEMPT_SECONDS = tuple(0.001 * 2**power for power in range(15))
SCHEDULED = "scheduled"
# An attempt of which nothing is told, for the pod is gone, is forgotten when so many others are under way.
ATTEMPTS_MAX = 10_000


class Attempts:
    """What becomes of the pods that are taken out of the queue."""

    def __init__(self, figures: Figures, clock: Clock) -> None:
        self._figures = figures
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._attempts = Counter(
            "scheduler_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, "
            "while 'error' means an internal scheduler problem.",
            *("profile", "result"),
        )
        self._seconds = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            ATTEMPT_SECONDS,
            *("profile", "result"),
        )
        figures.add(self._attempts, self._seconds)

    def follow(self, queue: SchedulingQueue) -> None:
        """Tell how many pods wait, and where."""

        def waiting() -> list[tuple[dict[str, str], float]]:
            return [({"queue": part}, count) for part, count in queue.counts().items() if part != Part.OUT.value]

        words = (
            "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means "
            "number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the "
            "scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the "
            "scheduler never attempted to schedule because they are gated."
        )
        self._figures.add(Gauge("scheduler_pending_pods", words, waiting))

    def begin(self, pod_uid: str) -> None:
        """A pod is taken out."""
        self._begun[pod_uid] = self._clock.monotonic()
        if len(self._begun) > ATTEMPTS_MAX:
            del self._begun[next(iter(self._begun))]

    def end(self, pod: Object, result: str) -> None:
        """It has been bound, or was not. (One of a gang that did not lead it was not taken out by itself.)"""
        profile, begun = scheduler_of(pod), self._begun.pop(uid(pod), None)
        self._attempts.add(profile, result)
        if begun is not None:
            self._seconds.add(self._clock.monotonic() - begun, profile, result)

    def forget(self, pod_uid: str) -> None:
        """What began came to nothing."""
        self._begun.pop(pod_uid, None)


class MeasuredCluster(Cluster):
    """A cluster that tells when an attempt begins, or is given up."""

    attempts: Attempts

    def next_pod(self, now: float) -> QueuedPod | None:
        """The pod to place next."""
        queued = super().next_pod(now)
        if queued is not None:
            self.attempts.begin(queued.uid)
        return queued

    def forget(self, placement: Placement) -> None:
        """A pod is not on the node that was found for it."""
        self.attempts.forget(placement.queued.uid)
        super().forget(placement)


class MeasuredReporter(Reporter):
    """A reporter that counts what it reports."""

    attempts: Attempts

    def placed(self, placement: Placement) -> None:
        """A pod has been bound."""
        self.attempts.end(placement.queued.pod, SCHEDULED)
        super().placed(placement)

    def failed(self, pod: Object, reason: str, message: str, **more: Any) -> None:
        """A pod could not be placed."""
        self.attempts.end(pod, "unschedulable" if reason == UNSCHEDULABLE else "error")
        super().failed(pod, reason, message, **more)


class Serving:
    """All that is served, and what it is gathered with."""

    def __init__(self, options: Options, place: Place, client: Client, clock: Clock) -> None:
        """`client` asks the API server about those who ask. Raises OSError for unusable certificates."""
        self._figures, self._lease = Figures(clock), options.lease_name
        self._attempts = Attempts(self._figures, clock)
        self._elector: LeaderElector | None = None
        self._figures.follow_client(client)
        document = {"kubescheduler.config.k8s.io": configuration(options)}
        pages = Pages(Health({"leaderElection": self._lead_problem}), self._figures, lambda: document)
        self._server = ComponentServer(place, pages, Reviews(client, clock), clock)

    def reporter(
        self, client: Client, pods: Informer, recorders: Mapping[str, EventRecorder], *, clock: Clock
    ) -> Reporter:
        """A reporter whose reports are counted."""
        made = MeasuredReporter(client, pods, recorders, clock=clock)
        made.attempts = self._attempts
        return made

    def cluster(self, *profiles: Profile, rng: random.Random, queue: SchedulingQueue) -> Cluster:
        """A cluster whose attempts are timed."""
        made = MeasuredCluster(*profiles, rng=rng, queue=queue)
        made.attempts = self._attempts
        return made

    def follow(self, client: Client, queue: SchedulingQueue) -> None:
        """Tell of a client's requests, and of what waits in a queue."""
        self._figures.follow_client(client)
        self._attempts.follow(queue)

    def follow_lead(self, elector: LeaderElector) -> None:
        """Tell whether this process leads."""
        self._elector = elector
        self._figures.follow_lead(self._lease, lambda: elector.leads)

    def _lead_problem(self) -> str:
        return self._elector.problem() if self._elector is not None else ""

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._server.run()


def configuration(options: Options) -> Object:
    """How the scheduler is run, in the words of Kubernetes' KubeSchedulerConfiguration, as far as it is told."""
    return {
        "LeaderElection": {
            "LeaderElect": options.leader_elect,
            "LeaseDuration": duration_text(options.lease_duration_seconds),
            "RenewDeadline": duration_text(options.renew_deadline_seconds),
            "RetryPeriod": duration_text(options.retry_period_seconds),
            "ResourceLock": "leases",
            "ResourceName": options.lease_name,
            "ResourceNamespace": options.lease_namespace,
        },
        "PodInitialBackoffSeconds": options.backoff_first_seconds,
        "PodMaxBackoffSeconds": options.backoff_max_seconds,
        "Profiles": [{"SchedulerName": profile.scheduler_name} for profile in options.profiles],
    }
