"""Deletes Jobs a while after they have finished, if they say so: `spec.ttlSecondsAfterFinished`.

Jobs enqueue themselves. Before one is deleted it is read afresh: its author may have given it more time.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/
"""

from __future__ import annotations

import logging

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery.meta import Object, deletion_requested, find_condition, get_path, namespaced_key, split_key, uid
from apimachinery.resources import JOBS
from apimachinery.time import parse_rfc3339
from controllers.context import Context
from controllers.requests import unless_gone

logger = logging.getLogger(__name__)


def seconds_left(job: Object, now: float) -> float | None:
    """How long a finished Job still stays; None for as long as nothing is known of its end."""
    ttl = get_path(job, "spec", "ttlSecondsAfterFinished")
    if ttl is None or deletion_requested(job):
        return None
    for kind in ("Complete", "Failed"):
        condition = find_condition(job, kind)
        if condition is not None and condition["status"] == "True" and condition.get("lastTransitionTime"):
            return parse_rfc3339(condition["lastTransitionTime"]) + float(ttl) - now
    return None


class TtlAfterFinished:
    """One control loop over finished Jobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._jobs = context.informers.of(JOBS)
        self.informers = (self._jobs,)
        self.queue = context.queue()
        self._jobs.add_handler(self._job_changed)

    def _job_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if kind != DELETED and new is not None and seconds_left(new, self._clock.now()) is not None:
            self.queue.add(namespaced_key(new))

    async def reconcile(self, key: str) -> None:
        """Delete the Job if its time is up, or wait for that."""
        job = self._jobs.get(key)
        if job is None or not self._is_due(key, job):
            return
        namespace, name = split_key(key)
        fresh = await unless_gone(self._client.get(JOBS, name, namespace))
        if fresh is None or not self._is_due(key, fresh):
            return
        deletion = self._client.delete(JOBS, name, namespace, propagation_policy="Foreground", uid=uid(fresh))
        await unless_gone(deletion)
        logger.info(kv("finished job removed", job=key))

    def _is_due(self, key: str, job: Object) -> bool:
        left = seconds_left(job, self._clock.now())
        if left is not None and left > 0:
            self.queue.add_after(key, left)
        return left is not None and left <= 0
