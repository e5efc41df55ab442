"""Makes pods leave nodes with NoExecute taints that they don't tolerate, or no longer tolerate.

Pods and nodes enqueue pods. A pod that tolerates the taints for a while gets a timer, which starts when the taints
are first seen and is void once they are gone. Before a pod is deleted its node is looked at once more at the server:
the cache may be late, and a node that has come back keeps its pods. That a node is not ready counts only after this
process has watched for a whole grace period (`controllers.vigil`).

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery.meta import (
    Object,
    deletion_requested,
    find_condition,
    name,
    namespace,
    namespaced_key,
    uid,
)
from apimachinery.resources import NODES, PODS
from controllers import taints
from controllers.context import Context
from controllers.disruption_target import DISRUPTION_TARGET, disruption_target
from controllers.pods import BY_NODE, by_node, node_name
from controllers.requests import unless_gone
from controllers.vigil import Vigil

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stay:
    """How long a pod of a tainted node has been on notice: since when, and when its time is up (monotonic)."""

    uid: str
    since: float
    due: float


class TaintEvictionController:
    """One control loop over the pods of tainted nodes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._grace = context.options.node_monitor_grace_period
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self.informers = (self._pods, self._nodes)
        self.queue = context.queue()
        self._vigil = Vigil(context.clock, self._grace)
        self._stays: dict[str, _Stay] = {}
        self._pods.add_index(BY_NODE, by_node)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        node = self._nodes.get(node_name(pod))
        if kind == DELETED or (node is not None and taints.no_execute(node)):
            self.queue.add(namespaced_key(pod))

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        before = taints.no_execute(old) if old is not None else []
        after = taints.no_execute(new) if new is not None else []
        if before == after:
            return
        node = new or old
        assert node is not None
        for pod in self._pods.by_index(BY_NODE, name(node)):
            self.queue.add(namespaced_key(pod))

    async def reconcile(self, key: str) -> None:
        """Delete the pod if its time on its node is up; otherwise wait for that, or forget about it."""
        pod = self._pods.get(key)
        node = self._nodes.get(node_name(pod)) if pod is not None else None
        wait = self._seconds_left(key, pod, node) if pod is not None and node is not None else None
        if wait is None or pod is None or node is None:
            if self._stays.pop(key, None) is not None and pod is not None and not deletion_requested(pod):
                self._tell(pod, f"Cancelling deletion of Pod {key}")
            return
        if wait > 0:
            self.queue.add_after(key, wait)
            return
        fresh = await unless_gone(self._client.get(NODES, name(node)))
        if fresh is None or taints.no_execute(fresh) != taints.no_execute(node):
            return  # the cache will show that in a moment, and the pod comes by again
        self._tell(pod, f"Marking for deletion Pod {key}")
        await self._evict(pod)
        logger.info(kv("pod evicted", pod=key, node=name(node)))

    def _seconds_left(self, key: str, pod: Object, node: Object) -> float | None:
        """How long the pod may stay; None for as long as nothing changes."""
        effective = taints.no_execute(node)
        tolerated = taints.seconds_tolerated(pod, effective) if effective else None
        if tolerated is None or deletion_requested(pod):
            return None
        now = self._clock.monotonic()
        stay = self._stays.get(key)
        if stay is None or stay.uid != uid(pod):
            stay = self._stays[key] = _Stay(uid(pod), now, now)
        elif now >= stay.due:
            self._vigil.woke(stay.due)
        stay.due = stay.since + tolerated
        if taints.only_lost(effective):
            stay.due = max(stay.due, self._vigil.since + self._grace)
        return max(0.0, stay.due - now)

    async def _evict(self, pod: Object) -> None:
        known = find_condition(pod, DISRUPTION_TARGET)
        if known is None or known["status"] != "True":  # it may have been taken back
            message = "Taint manager: deleting due to NoExecute taint"
            told = disruption_target(pod, "True", "DeletionByTaintManager", message, self._clock.now())
            patch = {"metadata": {"uid": uid(pod)}, "status": {"conditions": [told]}}
            patching = self._client.patch(
                PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status"
            )
            await unless_gone(patching)
        await unless_gone(self._client.delete(PODS, name(pod), namespace(pod), uid=uid(pod)))

    def _tell(self, pod: Object, message: str) -> None:
        self._recorder.event({**pod, "apiVersion": "v1", "kind": "Pod"}, "Normal", "TaintManagerEviction", message)
