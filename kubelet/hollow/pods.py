"""Tells what becomes of the pods that are bound to hollow nodes, and takes away those that are deleted.

One watch tells of all pods that are bound to any node. Of those that run, and of which nothing is to be told before
somebody changes them, next to nothing is kept: fifty thousand must fit. What a pod would be doing is decided in
`pod_plan`; this carries it out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import sys
from typing import Any

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import (
    Object,
    get_path,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.resources import PODS
from kubelet.hollow import pod_plan
from kubelet.hollow.nodes import HollowNode, HollowNodes
from kubelet.hollow.pod_plan import HollowPod, Moment
from kubelet.hollow.settings import Behaviour, Settings, behaviour
from kubelet.pods import pod_spec
from kubelet.pods.status_writer import RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS, patch_for

logger = logging.getLogger(__name__)

WORKERS = 32
BY_NODE = "node"


class HollowPods:
    """All pods of the nodes of this process."""

    def __init__(
        self, client: Client, nodes: HollowNodes, settings: Settings, *, clock: Clock, rng: random.Random
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._states: dict[str, HollowPod] = {}
        # Pods as answers have them, until the watch has told of those versions too.
        self._written: dict[str, Object] = {}
        self.queue = WorkQueue(clock, base_delay_seconds=RETRY_FIRST_SECONDS, max_delay_seconds=RETRY_MAX_SECONDS)
        self._informer = Informer(
            client, PODS, field_selector="spec.nodeName!=", transform=self._kept, clock=clock, rng=rng
        )
        self._informer.add_index(BY_NODE, lambda pod: (_node_name(pod),))
        self._informer.add_handler(self._seen)

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            for node in self._nodes.names():
                self.node_changed(node)
            await run_workers(self.queue, self._reconcile, name="hollow-pods", workers=WORKERS)

    def node_changed(self, node: str) -> None:
        """A node begins to live: whatever has happened to its pods meanwhile is looked at."""
        pods = self._informer.by_index(BY_NODE, node)
        # First of all, so that no address is given to a second pod.
        for pod in pods:
            self._keep_address(pod)
        for pod in pods:
            self.queue.add(namespaced_key(pod))

    def _keep_address(self, pod: Object) -> None:
        node = self._nodes.get(_node_name(pod))
        address = pod["ip"] if _is_kept_short(pod) else get_path(pod, "status", "podIP")
        if address and node is not None and node.addresses is not None:
            node.addresses.keep(namespaced_key(pod), address)

    def _kept(self, pod: Object) -> Object:
        """The pod while there is something to do for it here, else who and where it is."""
        node = _node_name(pod)
        if self._nodes.get(node) is not None and not pod_plan.is_settled(pod):
            return pod
        metadata = pod["metadata"]
        return {
            "metadata": {
                "name": metadata["name"],
                "namespace": sys.intern(metadata["namespace"]),
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "node": sys.intern(node),
            "ip": get_path(pod, "status", "podIP", default=""),
        }

    def _seen(self, _kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        node = self._nodes.get(_node_name(pod))
        if node is None:
            return
        key = namespaced_key(pod)
        if new is None or (old is not None and uid(old) != uid(new)):
            self._forget(key, node)
        if new is None:
            return
        self._keep_address(new)
        if _is_kept_short(new):
            self._states.pop(key, None)
            self._written.pop(key, None)
        else:
            self.queue.add(key)

    def _forget(self, key: str, node: HollowNode) -> None:
        self._states.pop(key, None)
        self._written.pop(key, None)
        self.queue.cancel(key)
        if node.addresses is not None:
            node.addresses.release(key)

    def _newest(self, key: str) -> Object | None:
        """The pod as far as it is known, if there is anything to do for it."""
        seen = self._informer.get(key)
        if seen is None or _is_kept_short(seen):
            return None
        answered = self._written.get(key)
        if answered is None or uid(answered) != uid(seen) or _version(answered) <= _version(seen):
            self._written.pop(key, None)
            return seen
        return answered

    async def _reconcile(self, key: str) -> None:
        pod = self._newest(key)
        node = self._nodes.get(_node_name(pod)) if pod is not None else None
        if pod is None or node is None or not node.alive or node.addresses is None:
            return
        now = Moment.of(self._clock)
        state = self._states.get(key)
        if state is None or state.uid != uid(pod):
            state = pod_plan.taken_on(pod, self._behaviour(pod), now)
        state, wait = pod_plan.advance(pod, state, now)
        self._states[key] = state
        if wait != math.inf:
            self.queue.add_after(key, wait)
        if not pod_spec.has_ended(pod):
            address = "" if pod_spec.host_network(pod) or not state.sandbox else node.addresses.take(key)
            status = pod_plan.status_of(pod, state, pod_ip=address, host_ip=node.settings.address, now=now)
            pod = await self._write(key, pod, status)
        # One that was deleted so already waits for its finalizers.
        if pod is not None and state.stopped and pod["metadata"].get("deletionGracePeriodSeconds"):
            await self._delete(pod)

    def _behaviour(self, pod: Object) -> Behaviour:
        try:
            return behaviour(pod, self._settings, self._rng)
        except ValueError as error:
            logger.warning(kv("an annotation is not understood", pod=namespaced_key(pod), error=error))
            return behaviour({**pod, "metadata": {}}, self._settings, self._rng)

    async def _write(self, key: str, pod: Object, status: dict[str, Any]) -> Object | None:
        """Have this be the pod's status; None if the pod is gone."""
        patch = patch_for(pod.get("status") or {}, status)
        if patch is None:
            return pod
        # The uid makes it a conflict if the name belongs to another pod by now.
        body = {"metadata": {"uid": uid(pod)}, "status": patch}
        try:
            answer = await self._client.patch(
                PODS, name(pod), body, namespace(pod), kind="strategic", subresource="status"
            )
        except ApiError as error:
            if errors.is_not_found(error) or (errors.is_conflict(error) and not self._is_current(key, pod)):
                return None
            raise
        seen = self._informer.get(key)
        if seen is not None and uid(seen) == uid(answer) and _version(seen) < _version(answer):
            self._written[key] = answer
        return answer

    async def _delete(self, pod: Object) -> None:
        """Take the pod itself away: this very one, and at once."""
        try:
            await self._client.delete(PODS, name(pod), namespace(pod), grace_period_seconds=0, uid=uid(pod))
        except ApiError as error:
            if not errors.is_not_found(error) and not errors.is_conflict(error):
                raise

    def _is_current(self, key: str, pod: Object) -> bool:
        seen = self._informer.get(key)
        return seen is not None and uid(seen) == uid(pod)


def _node_name(pod: Object) -> str:
    return str(pod.get("node") or get_path(pod, "spec", "nodeName", default=""))


def _is_kept_short(pod: Object) -> bool:
    return "node" in pod


def _version(pod: Object) -> int:
    return int(resource_version(pod) or 0)
