"""Removes pods that no node agent will ever remove.

    orphaned            bound to a node that does not exist any more
    unscheduled         being deleted before they were ever bound
    out of service      being deleted on a node that an administrator has declared dead (taint out-of-service)
    finished            the oldest ones, when there are more than --terminated-pod-gc-threshold

The absence of a node is asked for at the server, after a moment in which it may register again.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from apiclient.logs import kv
from apimachinery.meta import Object, deletion_requested, name, namespace, namespaced_key, uid
from apimachinery.resources import NODES, PODS
from controllers import taints
from controllers.context import Context
from controllers.disruption_target import disruption_target
from controllers.pods import BY_NODE, by_node, created, is_finished, node_name
from controllers.requests import settle_or_raise, unless_gone

logger = logging.getLogger(__name__)

# A node that has just been deleted may be about to register again.
QUARANTINE_SECONDS = 3.0
# The key for the count of all finished pods; no pod's key is without a slash.
FINISHED = "finished"


def choose_finished(pods: Iterable[Object], threshold: int) -> list[Object]:
    """The finished pods that are too many: evicted ones first, then the oldest."""
    finished = [pod for pod in pods if is_finished(pod)]
    surplus = len(finished) - threshold
    if threshold <= 0 or surplus <= 0:
        return []
    ordered = sorted(finished, key=lambda pod: (not _is_evicted(pod), created(pod), namespaced_key(pod)))
    return ordered[:surplus]


def _is_evicted(pod: Object) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Failed" and status.get("reason") == "Evicted"


def is_out_of_service(pod: Object, node: Object) -> bool:
    """True for a pod that is being deleted on a node that is down for good."""
    declared = any(taint["key"] == taints.OUT_OF_SERVICE for taint in taints.of(node))
    return deletion_requested(pod) and declared and taints.ready_status(node) != "True"


class PodGarbageCollector:
    """One control loop over pods that nobody looks after."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._threshold = context.options.terminated_pod_gc_threshold
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self.informers = (self._pods, self._nodes)
        self.queue = context.queue()
        self._finished: set[str] = set()
        self._pods.add_index(BY_NODE, by_node)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None or not is_finished(new):
            pod = new or old
            assert pod is not None
            self._finished.discard(namespaced_key(pod))
        else:
            self._finished.add(namespaced_key(new))
            if 0 < self._threshold < len(self._finished):
                self.queue.add(FINISHED)
        if new is None:
            return
        if node_name(new):
            # Before the first list of nodes every node is missing: the quarantine is checked again at its end.
            if self._nodes.get(node_name(new)) is None:
                self.queue.add_after(namespaced_key(new), QUARANTINE_SECONDS)
            elif deletion_requested(new):
                self.queue.add(namespaced_key(new))
        elif deletion_requested(new):
            self.queue.add(namespaced_key(new))

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        node = new or old
        assert node is not None
        if new is not None and (old is None or taints.of(old) == taints.of(new)):
            return
        delay = 0.0 if new is not None else QUARANTINE_SECONDS
        for pod in self._pods.by_index(BY_NODE, name(node)):
            self.queue.add_after(namespaced_key(pod), delay)

    async def reconcile(self, key: str) -> None:
        """Remove the pod if nobody else will."""
        if key == FINISHED:
            surplus = choose_finished(self._pods.list(), self._threshold)
            await settle_or_raise(self._delete(pod) for pod in surplus)
            return
        pod = self._pods.get(key)
        if pod is None:
            return
        node = self._nodes.get(node_name(pod))
        if not node_name(pod):
            if deletion_requested(pod):
                await self._fail_and_delete(pod, None)
        elif node is not None:
            if is_out_of_service(pod, node):
                await self._fail_and_delete(pod, None)
        elif await unless_gone(self._client.get(NODES, node_name(pod))) is None:
            await self._fail_and_delete(pod, "PodGC: node no longer exists")

    async def _fail_and_delete(self, pod: Object, disruption: str | None) -> None:
        """Say that the pod has failed, for whoever counts on that, and remove it without asking its node."""
        if not is_finished(pod):
            status: dict[str, Any] = {"phase": "Failed"}
            if disruption is not None:
                now = self._clock.now()
                status["conditions"] = [disruption_target(pod, "True", "DeletionByPodGC", disruption, now)]
            patch = {"metadata": {"uid": uid(pod)}, "status": status}
            patching = self._client.patch(
                PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status"
            )
            await unless_gone(patching)
        await self._delete(pod)

    async def _delete(self, pod: Object) -> None:
        deletion = self._client.delete(PODS, name(pod), namespace(pod), grace_period_seconds=0, uid=uid(pod))
        await unless_gone(deletion)
        logger.info(kv("pod removed", pod=namespaced_key(pod), node=node_name(pod)))
