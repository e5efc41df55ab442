"""Tells in each PodDisruptionBudget how many of its pods may be disrupted now, which evictions then spend.

Pods enqueue the budgets that select them, and so does a change of size of what controls pods. Also takes back what a
pod's condition DisruptionTarget says once it has not come true for two minutes (`pods/NAMESPACE/NAME` in the queue).

Source: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
"""

from __future__ import annotations

import logging
from typing import Any

from apiclient.logs import kv
from apimachinery.errors import ApiError, is_conflict
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    labels,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.resources import PODDISRUPTIONBUDGETS, PODS
from apimachinery.selectors import Selector, selector_from_object
from controllers import disruption_status as statuses
from controllers.context import Context
from controllers.controller_scale import ControllerScales, NoScale
from controllers.disruption_target import disruption_target
from controllers.pods import ready_condition
from controllers.requests import unless_gone, write_status

logger = logging.getLogger(__name__)

KIND = {"apiVersion": PODDISRUPTIONBUDGETS.api_version, "kind": PODDISRUPTIONBUDGETS.kind}
POD_KIND = {"apiVersion": PODS.api_version, "kind": PODS.kind}
BY_NAMESPACE = "namespace"
# A burst of pods that become ready is counted once.
GATHER_SECONDS = 0.02
_POD = "pods/"


class DisruptionController:
    """One control loop over all PodDisruptionBudgets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._budgets = context.informers.of(PODDISRUPTIONBUDGETS)
        self._pods = context.informers.of(PODS)
        self._scales = ControllerScales(context)
        self.informers = (self._budgets, self._pods, *self._scales.informers)
        self.queue = context.queue()
        for informer in (self._budgets, self._pods):
            informer.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._budgets.add_handler(self._budget_changed)
        self._pods.add_handler(self._pod_changed)
        for informer in self._scales.informers:
            informer.add_handler(self._controller_changed)

    def _budget_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            # Other versions of the same generation are our own status, or an eviction that has spent of it.
            same = old is not None and old["metadata"].get("generation") == new["metadata"].get("generation")
            self.queue.add_after(namespaced_key(new), GATHER_SECONDS if same else 0)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and (wait := statuses.seconds_until_stale(new, self._clock.now())) is not None:
            self.queue.add_after(_POD + namespaced_key(new), wait)
        if old is not None and new is not None and _facts(old) == _facts(new):
            return
        for pod in (old, new):
            if pod is not None:
                for budget in self._budgets.by_index(BY_NAMESPACE, namespace(pod)):
                    if _selects(budget, pod):
                        self.queue.add_after(namespaced_key(budget), GATHER_SECONDS)

    def _controller_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        size, before = (get_path(obj or {}, "spec", "replicas") for obj in (new, old))
        if size != before:
            obj = new or old
            assert obj is not None
            for budget in self._budgets.by_index(BY_NAMESPACE, namespace(obj)):
                if statuses.counts_by_scale(budget):
                    self.queue.add_after(namespaced_key(budget), GATHER_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Count a budget's pods, or look at what a pod was announced."""
        if key.startswith(_POD):
            await self._take_back(key.removeprefix(_POD))
            return
        budget = self._budgets.get(key)
        if budget is None:
            return
        try:
            await self._count(key, budget)
        except (ApiError, NoScale) as error:
            if isinstance(error, ApiError) and is_conflict(error):
                raise  # an eviction was quicker: count again
            await self._allow_nothing(budget, error)
            if isinstance(error, ApiError):
                raise

    async def _count(self, key: str, budget: Object) -> None:
        pods = [pod for pod in self._pods.by_index(BY_NAMESPACE, namespace(budget)) if _selects(budget, pod)]
        if not pods:
            self._tell(budget, "Normal", "NoPods", "No matching pods found")
        scale, now = 0, self._clock.now()
        if statuses.counts_by_scale(budget):
            scale = await self._scales.expected(pods)
            if any(controller_of(pod) is None for pod in pods):
                self._tell_unmanaged(budget)
        evicted = statuses.disrupted(budget, pods, now)
        for pod in evicted.overdue:
            message = f"Pod was expected by PDB {namespaced_key(budget)} to be deleted but it wasn't"
            self._recorder.event({**pod, **POD_KIND}, "Warning", "NotDeleted", message)
        status = statuses.plan_status(budget, pods, scale, evicted.pods, now)
        await write_status(self._client, PODDISRUPTIONBUDGETS, budget, status)
        if evicted.look_again_seconds is not None:
            # A little later than the last moment: at that one the pod still counts as going.
            self.queue.add_after(key, evicted.look_again_seconds + GATHER_SECONDS)

    async def _allow_nothing(self, budget: Object, error: Exception) -> None:
        message = error.message if isinstance(error, ApiError) else str(error)
        why = f"Failed to calculate the number of expected pods: {message}"
        self._tell(budget, "Warning", "CalculateExpectedPodCountFailed", why)
        status = statuses.failed_status(budget, message, self._clock.now())
        await write_status(self._client, PODDISRUPTIONBUDGETS, budget, status)

    def _tell_unmanaged(self, budget: Object) -> None:
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {_selector(budget)}) were found to be unmanaged. "
            "As a result, the status of the PDB cannot be calculated correctly, which may result in undefined "
            'behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer '
            "value."
        )
        self._tell(budget, "Warning", "UnmanagedPods", message)

    async def _take_back(self, key: str) -> None:
        """Say of a pod that its end is not near any more."""
        pod = self._pods.get(key)
        wait = None if pod is None else statuses.seconds_until_stale(pod, self._clock.now())
        if pod is None or wait is None:
            return
        if wait > 0:
            self.queue.add_after(_POD + key, wait)
            return
        condition = disruption_target(pod, "False", None, None, self._clock.now())
        metadata = {"uid": uid(pod), "resourceVersion": resource_version(pod)}
        patch = {"metadata": metadata, "status": {"conditions": [condition]}}
        patching = self._client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic", subresource="status")
        await unless_gone(patching)
        logger.info(kv("the announced end of a pod did not come", pod=key))

    def _tell(self, budget: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**budget, **KIND}, kind, reason, message)


def _selector(budget: Object) -> Selector:
    return selector_from_object(get_path(budget, "spec", "selector"))


def _selects(budget: Object, pod: Object) -> bool:
    """A budget without a selector has no pods, one with an empty selector all of its namespace."""
    return get_path(budget, "spec", "selector") is not None and _selector(budget).matches(labels(pod))


def _facts(pod: Object) -> tuple[Any, ...]:
    """All of a pod that a budget's status rests on."""
    ready = ready_condition(pod) or {}
    return labels(pod), ready.get("status"), deletion_requested(pod), controller_of(pod)
