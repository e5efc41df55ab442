"""The workers of all pods of this node, and how news reaches them.

A pod is known by its UID: one that is deleted and made again under the same name has another worker, and the old
one ends its containers first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from apiclient.logs import kv
from apimachinery.meta import Object, namespace, namespaced_key, uid
from kubelet.objects import ObjectKey
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_status import Verdict
from kubelet.pods.pod_worker import PodWorker, State
from kubelet.runtime import SandboxState
from kubelet.signals import Signal

logger = logging.getLogger(__name__)

# What the containers of a pod that the API forgot while nobody looked are given to end.
ORPHAN_GRACE_SECONDS = 2


class PodWorkers:
    """One worker a pod, as tasks of `group`."""

    def __init__(self, group: asyncio.TaskGroup, services: PodServices) -> None:
        self._group = group
        self._services = services
        self._workers: dict[str, PodWorker] = {}
        self._states = Signal(services.clock)
        # Called with the pod of a worker that is gone.
        self.on_gone: Callable[[Object], None] = lambda _pod: None

    def pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        """The informer's handler."""
        if new is None:
            worker = self._workers.get(uid(old or {"metadata": {}}))
            if worker is not None and old is not None:
                # The last version says how much time a pod had left that was deleted by force.
                worker.update(old)
                worker.vanish()
            return
        worker = self._workers.get(uid(new))
        if worker is None:
            self._add(PodWorker(new, self._services, self._group))
        else:
            worker.update(new)

    def runtime_changed(self, pod_uid: str) -> None:
        """A container of the pod has started or ended, or its sandbox has died."""
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.wake()

    def object_changed(self, key: ObjectKey) -> None:
        """A ConfigMap or Secret that pods of this node refer to has changed."""
        for worker in self._workers.values():
            if namespace(worker.pod) == key.namespace:
                worker.objects_changed()

    def node_changed(self) -> None:
        """The node is known now, or its network is ready."""
        self._services.resizes.retry()
        for worker in self._workers.values():
            worker.wake()

    def room_appeared(self) -> None:
        """A pod has given back what it held: others may have waited for it."""
        for worker in self._workers.values():
            if worker.state is State.PENDING:
                worker.wake()

    def holding(self, *, but: str) -> Sequence[Object]:
        """The pods that hold this node's resources, with what they hold; all but one."""
        return [worker.held for key, worker in self._workers.items() if key != but and worker.holds_resources]

    def end(self, pod_uid: str, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        """End a pod for a reason that the node has; harmless if it is gone."""
        worker = self._workers.get(pod_uid)
        if worker is not None:
            worker.end(verdict, grace_seconds_max)

    def that_may_end(self) -> Sequence[Object]:
        """The pods that run, or are about to, and that the node has not decided to end."""
        return [worker.pod for worker in self._workers.values() if worker.holds_resources and not worker.is_ending]

    async def wait_ended(self, pod_uids: Iterable[str], seconds: float) -> bool:
        """Wait until all of these have given back what they had, for this long at most; whether they have."""
        clock = self._services.clock
        uids, until = list(pod_uids), clock.monotonic() + seconds
        while True:
            seen, left = self._states.version, until - clock.monotonic()
            waiting = [key for key in uids if key in self._workers and not self._workers[key].has_given_back]
            if not waiting or left <= 0:
                return not waiting
            await self._states.wait(seen, until)

    def uids(self) -> frozenset[str]:
        """The pods that are worked on."""
        return frozenset(self._workers)

    def end_orphans(self, sandboxes: Iterable[SandboxState]) -> None:
        """End what runs for pods that the API does not know; to be called once all that it knows have workers."""
        for sandbox in sandboxes:
            if sandbox.pod_uid not in self._workers:
                pod = _remembered(sandbox)
                logger.info(kv("ending a pod that is gone", pod=namespaced_key(pod), uid=sandbox.pod_uid))
                worker = PodWorker(pod, self._services, self._group)
                worker.vanish()
                self._add(worker)

    def _add(self, worker: PodWorker) -> None:
        self._workers[worker.uid] = worker
        worker.on_state = self._states.notify
        self._group.create_task(self._run(worker))

    async def _run(self, worker: PodWorker) -> None:
        await worker.run()
        del self._workers[worker.uid]
        self.on_gone(worker.pod)


def _remembered(sandbox: SandboxState) -> Object:
    """As much of a pod as its sandbox tells: enough to end it."""
    spec = sandbox.spec
    names = sorted({container.name for container in sandbox.containers})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": spec.pod_name, "namespace": spec.pod_namespace, "uid": spec.pod_uid},
        "spec": {
            "containers": [{"name": name, "image": ""} for name in names],
            "hostNetwork": spec.host_network,
            "terminationGracePeriodSeconds": ORPHAN_GRACE_SECONDS,
        },
    }
