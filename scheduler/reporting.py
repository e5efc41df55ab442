"""Tells people what became of a pod: events, and the PodScheduled condition of a pod that can't be placed.

(That a pod has been placed is written into its condition by the API server, in the same write as the binding.)
Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.events import EventRecorder
from apiclient.informer import Informer
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import (
    Object,
    find_condition,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
    with_condition,
)
from apimachinery.resources import PODS
from apimachinery.time import rfc3339
from scheduler.cluster import Placement, scheduler_of
from scheduler.pods import node_name, nominated_node

CONDITION = "PodScheduled"
UNSCHEDULABLE, SCHEDULER_ERROR = "Unschedulable", "SchedulerError"
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod could not be placed, and the node that is kept for it now: "" if none is, None if as before."""

    uid: str
    reason: str
    message: str
    nominated: str | None = None


class Reporter:
    """Events at once, by the recorder of the pod's scheduler; conditions by a few workers.

    Of several failures of a pod only the last one is written.
    """

    def __init__(
        self, client: Client, pods: Informer, recorders: Mapping[str, EventRecorder], *, clock: Clock
    ) -> None:
        self._client = client
        self._pods = pods
        self._recorders = recorders
        self._clock = clock
        self._queue = WorkQueue(clock)
        self._failures: dict[str, Failure] = {}

    def placed(self, placement: Placement) -> None:
        """A pod has been bound."""
        pod = placement.queued.pod
        self._recorders[scheduler_of(pod)].event(
            pod, "Normal", "Scheduled", f"Successfully assigned {namespaced_key(pod)} to {placement.node}"
        )

    def failed(self, pod: Object, reason: str, message: str, *, nominated: str | None = None) -> None:
        """A pod could not be placed; `nominated` is the node that it is to wait for now, if that has changed."""
        self._recorders[scheduler_of(pod)].event(pod, "Warning", "FailedScheduling", message)
        waiting = self._failures.get(namespaced_key(pod))
        if nominated is None and waiting is not None and waiting.uid == uid(pod):
            nominated = waiting.nominated
        self._failures[namespaced_key(pod)] = Failure(uid(pod), reason, message, nominated)
        self._queue.add(namespaced_key(pod))

    def preempted(self, victim: Object, preemptor: Object, node: str) -> None:
        """A pod has been sent away to make room for another one."""
        message = f"Preempted by pod {uid(preemptor)} on node {node}"
        self._recorders[scheduler_of(preemptor)].event(victim, "Normal", "Preempted", message)

    async def run(self) -> None:
        """Write conditions until cancelled."""
        await run_workers(self._queue, self._write_condition, name="pod-scheduled-condition", workers=WORKERS)

    async def _write_condition(self, key: str) -> None:
        failure = self._failures.get(key)
        pod = self._pods.get(key)
        patch = condition_patch(pod, failure, self._clock.now()) if pod is not None and failure is not None else None
        if pod is not None and patch is not None:
            try:
                await self._client.patch(
                    PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status"
                )
            except ApiError as error:
                if not is_not_found(error):
                    raise
        if self._failures.get(key) is failure:
            self._failures.pop(key, None)


def condition_patch(pod: Object, failure: Failure, now: float) -> Object | None:
    """The patch that tells of the failure, for this very version of the pod; None if there is nothing to tell.

    The version matters: the pod may be bound meanwhile, and must then not be said to be waiting.
    """
    if uid(pod) != failure.uid or node_name(pod):
        return None
    known = find_condition(pod, CONDITION)
    told = (known or {}).get("status"), (known or {}).get("reason"), (known or {}).get("message")
    nominated = nominated_node(pod) if failure.nominated is None else failure.nominated
    if told == ("False", failure.reason, failure.message) and nominated == nominated_node(pod):
        return None
    generation = pod["metadata"].get("generation")
    conditions = with_condition(
        [known] if known is not None else [],
        type=CONDITION,
        status="False",
        reason=failure.reason,
        message=failure.message,
        now=rfc3339(now),
        **({"observedGeneration": generation} if generation else {}),
    )
    metadata = {"uid": uid(pod), "resourceVersion": resource_version(pod)}
    status = {"conditions": conditions, "nominatedNodeName": nominated or None}
    if nominated == nominated_node(pod):
        del status["nominatedNodeName"]
    return {"metadata": metadata, "status": status}
