"""Keeps the number of a workload's pods such that each has as much to do as its HorizontalPodAutoscaler wants.

Every autoscaler is looked at when it is new or changed, and from then on by the clock: metrics tell nobody when they
change. A look asks for the scale of the target, whatever kind that is, its pods and its metrics; caches hold too
little of pods. What was recommended and done lately is remembered here alone: a manager that takes over begins with
what it finds, and so scales down later rather than sooner.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery import resources
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, name, namespace, namespaced_key, uid
from apimachinery.resources import HORIZONTALPODAUTOSCALERS, PODS, Resource
from apimachinery.selectors import Selector, parse_label_selector
from controllers.context import Context
from controllers.horizontal_pod_autoscaler_evaluation import Failed, Target, Together, evaluate, together
from controllers.horizontal_pod_autoscaler_limits import History, begun, scaled
from controllers.horizontal_pod_autoscaler_metrics import Metrics
from controllers.horizontal_pod_autoscaler_plan import (
    ABLE,
    ACTIVE,
    GOT_SCALE,
    NO_SELECTOR,
    Conditions,
    Plan,
    plan_by_metrics,
    plan_without_metrics,
    rescaled,
    rivals,
    said,
    status_of,
    tolerance_of,
)
from controllers.horizontal_pod_autoscaler_replicas import NoReplicas, Windows
from controllers.requests import replacing

logger = logging.getLogger(__name__)

KIND = {"apiVersion": HORIZONTALPODAUTOSCALERS.api_version, "kind": HORIZONTALPODAUTOSCALERS.kind}


@dataclass(slots=True)
class _Memory:
    """What is kept of one autoscaler between two looks."""

    uid: str
    history: History = field(default_factory=History)
    selector: Selector | None = None


class HorizontalPodAutoscalerController:
    """One control loop over all HorizontalPodAutoscalers."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._options = context.options
        self._custom = context.informers.custom
        self._autoscalers = context.informers.of(HORIZONTALPODAUTOSCALERS)
        self._metrics = Metrics(context.client, self._find)
        self._memories: dict[str, _Memory] = {}
        self.informers = (self._autoscalers,)
        self.queue = context.queue()
        self._autoscalers.add_handler(self._autoscaler_changed)

    def _autoscaler_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if kind == DELETED:
            assert old is not None
            self.queue.cancel(namespaced_key(old))
            self._memories.pop(namespaced_key(old), None)
        elif new is not None and (
            old is None or old["metadata"].get("generation") != new["metadata"].get("generation")
        ):
            self.queue.add(namespaced_key(new))

    async def reconcile(self, key: str) -> None:
        """Look at an autoscaler's target, and again after a period, whatever has come of it.

        A failure is not tried again at once: metrics from before a change would have it done twice.
        """
        self.queue.cancel(key)
        autoscaler = self._autoscalers.get(key)
        if autoscaler is None:
            self._memories.pop(key, None)
            return
        try:
            await self._look(key, autoscaler)
        except ApiError as error:
            logger.warning(kv("autoscaler not followed", autoscaler=key, error=error.message))
        finally:
            self.queue.add_after(key, self._options.horizontal_pod_autoscaler_sync_period)

    async def _look(self, key: str, autoscaler: Object) -> None:
        now = self._clock.now()
        conditions: Conditions = get_path(autoscaler, "status", "conditions", default=[])
        try:
            resource, scale = await self._scale_of(autoscaler)
        except (ApiError, NoReplicas) as error:
            why = error.message if isinstance(error, ApiError) else str(error)
            self._tell(autoscaler, "Warning", "FailedGetScale", why)
            told = f"the HPA controller was unable to get the target's current scale: {why}"
            conditions = said(conditions, ABLE, False, ("FailedGetScale", told), now)
            await self._write(autoscaler, status_of(autoscaler, conditions))
            return
        conditions = said(conditions, ABLE, True, GOT_SCALE, now)
        current: int = get_path(scale, "spec", "replicas", default=0)
        memory = self._memory(key, autoscaler)
        memory.history = begun(memory.history, current, self._clock.monotonic())
        plan, metrics = plan_without_metrics(autoscaler, current, conditions, memory.history, now), None
        if plan is None:
            found, conditions = await self._measure(key, autoscaler, scale, conditions, now)
            metrics = found.statuses
            if found.replicas is None:
                status = status_of(autoscaler, conditions, current=current, metrics=metrics)
                await self._write(autoscaler, status)
                self._tell(autoscaler, "Warning", "FailedComputeMetricsReplicas", found.failure)
                return
            plan = plan_by_metrics(
                autoscaler,
                current,
                found,
                conditions,
                memory.history,
                down_window=self._options.horizontal_pod_autoscaler_downscale_stabilization,
                now=now,
                monotonic=self._clock.monotonic(),
            )
            memory.history = plan.history
        await self._carry_out(autoscaler, resource, scale, memory, plan, metrics)

    async def _carry_out(
        self,
        autoscaler: Object,
        resource: Resource,
        scale: Object,
        memory: _Memory,
        plan: Plan,
        metrics: list[Object] | None,
    ) -> None:
        """Scale the target, unless it is as it should be, and tell in the status."""
        now, current = self._clock.now(), get_path(scale, "spec", "replicas", default=0)
        if plan.replicas == current:
            status = status_of(autoscaler, plan.conditions, current=current, desired=current, metrics=metrics)
            await self._write(autoscaler, status)
            return
        wanted = f"New size: {plan.replicas}; reason: {plan.reason}"
        try:
            changed = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": plan.replicas}}
            await self._client.update(resource, changed, subresource="scale")
        except ApiError as error:
            self._tell(autoscaler, "Warning", "FailedRescale", f"{wanted}; error: {error.message}")
            told = f"the HPA controller was unable to update the target scale: {error.message}"
            conditions = said(plan.conditions, ABLE, False, ("FailedUpdateScale", told), now)
            await self._write(autoscaler, status_of(autoscaler, conditions, current=current, metrics=metrics))
            return
        behavior = autoscaler["spec"].get("behavior")
        memory.history = scaled(memory.history, behavior, current, plan.replicas, self._clock.monotonic())
        self._tell(autoscaler, "Normal", "SuccessfulRescale", wanted)
        logger.info(kv("scaled", autoscaler=namespaced_key(autoscaler), old=current, new=plan.replicas))
        conditions = rescaled(plan, now).conditions
        status = status_of(
            autoscaler, conditions, current=current, desired=plan.replicas, metrics=metrics, scaled_at=now
        )
        await self._write(autoscaler, status)

    async def _measure(
        self, key: str, autoscaler: Object, scale: Object, conditions: Conditions, now: float
    ) -> tuple[Together, Conditions]:
        """What all metrics ask for."""
        scope, text = namespace(autoscaler), get_path(scale, "status", "selector", default="")
        try:
            selector = _selector(text)
        except NoReplicas as error:
            event = "SelectorRequired" if not text else "InvalidSelector"
            told = NO_SELECTOR if not text else str(error)
            return self._unusable(autoscaler, event, str(error), ("InvalidSelector", told), conditions, now)
        self._memory(key, autoscaler).selector = selector
        pods = (await self._client.list(PODS, scope, label_selector=text, resource_version="0"))["items"]
        known = {one: memory.selector for one, memory in self._memories.items() if memory.selector is not None}
        if len(keys := rivals(scope, pods, known)) > 1:
            told = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(keys)}]"
            return self._unusable(autoscaler, "AmbiguousSelector", told, ("AmbiguousSelector", told), conditions, now)
        options = self._options
        target = Target(
            scope,
            get_path(scale, "spec", "replicas", default=0),
            get_path(scale, "status", "replicas", default=0),
            text,
            pods,
            tolerance_of(autoscaler, options.horizontal_pod_autoscaler_tolerance),
            Windows(
                options.horizontal_pod_autoscaler_cpu_initialization_period,
                options.horizontal_pod_autoscaler_initial_readiness_delay,
            ),
            now,
        )
        outcomes = [await evaluate(one, target, self._metrics) for one in autoscaler["spec"].get("metrics") or ()]
        for one in outcomes:
            if isinstance(one, Failed):
                self._tell(autoscaler, "Warning", one.reason, one.message)
        found = together(outcomes, target.wanted)
        holds, reason, message = found.active
        return found, said(conditions, ACTIVE, holds, (reason, message), now)

    def _unusable(
        self,
        autoscaler: Object,
        event: str,
        why: str,
        told: tuple[str, str],
        conditions: Conditions,
        now: float,
    ) -> tuple[Together, Conditions]:
        """What follows from pods that can't be told from others."""
        self._tell(autoscaler, "Warning", event, why)
        return Together(None, "", [], (False, *told), why), said(conditions, ACTIVE, False, told, now)

    async def _scale_of(self, autoscaler: Object) -> tuple[Resource, Object]:
        """The target's resource and its subresource `scale`. Raises NoReplicas, ApiError."""
        reference = autoscaler["spec"]["scaleTargetRef"]
        resource = await self._find(reference.get("apiVersion") or "", reference["kind"])
        scale = await self._client.get(resource, reference["name"], namespace(autoscaler), subresource="scale")
        return resource, scale

    async def _find(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind, in whatever version it is served. Raises NoReplicas, ApiError."""
        group = api_version.rpartition("/")[0]
        found = _built_in(group, kind) or self._custom.by_group_kind(group, kind)
        if found is None:
            await self._custom.refresh()
            found = self._custom.by_group_kind(group, kind)
        if found is None:
            raise NoReplicas(f'no matches for kind "{kind}" in group "{group}"')
        return found

    def _memory(self, key: str, autoscaler: Object) -> _Memory:
        known = self._memories.get(key)
        if known is None or known.uid != uid(autoscaler):
            known = self._memories[key] = _Memory(uid(autoscaler))
        return known

    async def _write(self, autoscaler: Object, status: Object) -> None:
        """Tell in the status, if it is anything new. Nobody else writes it: no version is insisted on."""
        known = autoscaler.get("status") or {}
        if status != known:
            patch = {"metadata": {"uid": uid(autoscaler)}, "status": replacing(known, status)}
            scope = namespace(autoscaler)
            await self._client.patch(HORIZONTALPODAUTOSCALERS, name(autoscaler), patch, scope, subresource="status")

    def _tell(self, autoscaler: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**autoscaler, **KIND}, kind, reason, message)


def _selector(text: str) -> Selector:
    """Raises NoReplicas for one that is missing or makes no sense."""
    if not text:
        raise NoReplicas("selector is required")
    try:
        return parse_label_selector(text)
    except ApiError as error:
        why = f"couldn't convert selector into a corresponding internal selector object: {error.message}"
        raise NoReplicas(why) from error


def _built_in(group: str, kind: str) -> Resource | None:
    return next((one for one in resources.BUILTIN if (one.group, one.kind) == (group, kind)), None)
