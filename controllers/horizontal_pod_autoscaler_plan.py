"""What is done with an autoscaler's target, and what its status says of that. Pure.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object, get_path, labels, with_condition
from apimachinery.selectors import Selector
from apimachinery.time import rfc3339
from controllers.horizontal_pod_autoscaler_evaluation import Together
from controllers.horizontal_pod_autoscaler_limits import History, Told, limit
from controllers.horizontal_pod_autoscaler_replicas import Tolerance

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
GOT_SCALE: Told = ("SucceededGetScale", "the HPA controller was able to get the target's current scale")
DISABLED: Told = ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
NO_SELECTOR = "the HPA target's scale is missing a selector"
Conditions = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The size that is wanted, why, and what is said and remembered of it."""

    replicas: int
    reason: str
    conditions: Conditions
    history: History


def said(conditions: Conditions, kind: str, holds: bool, told: Told, now: float) -> Conditions:
    """The conditions with this one among them."""
    status = "True" if holds else "False"
    return with_condition(conditions, type=kind, status=status, reason=told[0], message=told[1], now=rfc3339(now))


def bounds(autoscaler: Object) -> tuple[int, int]:
    """The least and the most pods."""
    return get_path(autoscaler, "spec", "minReplicas", default=1), autoscaler["spec"]["maxReplicas"]


def tolerance_of(autoscaler: Object, default: float) -> Tolerance:
    """How near is near enough, in either direction."""
    rules: Mapping[str, Any] = get_path(autoscaler, "spec", "behavior", default={})
    down, up = (get_path(rules.get(side), "tolerance") for side in ("scaleDown", "scaleUp"))
    return Tolerance(*(default if one is None else quantity.parse(one).nanos / quantity.NANO for one in (down, up)))


def plan_without_metrics(
    autoscaler: Object, current: int, conditions: Conditions, history: History, now: float
) -> Plan | None:
    """What follows from the bounds alone; None if metrics have to be asked."""
    least, most = bounds(autoscaler)
    if current == 0 and least != 0:
        return Plan(0, "", said(conditions, ACTIVE, False, DISABLED, now), history)
    if current > most:
        return Plan(most, "Current number of replicas above Spec.MaxReplicas", conditions, history)
    if current < least:
        return Plan(least, "Current number of replicas below Spec.MinReplicas", conditions, history)
    return None


def plan_by_metrics(
    autoscaler: Object,
    current: int,
    found: Together,
    conditions: Conditions,
    history: History,
    *,
    down_window: float,
    now: float,
    monotonic: float,
) -> Plan:
    """What metrics ask for, within all limits. `monotonic` is the time of the history."""
    assert found.replicas is not None, "something has been found out"
    least, most = bounds(autoscaler)
    behavior = autoscaler["spec"].get("behavior")
    limited = limit(found.replicas, current, least, most, behavior, down_window, history, monotonic)
    conditions = said(conditions, ABLE, True, limited.able, now)
    conditions = said(conditions, LIMITED, limited.limited, limited.limit, now)
    reason = f"{found.name} above target" if found.replicas > current else "All metrics below target"
    return Plan(limited.replicas, reason, conditions, limited.history)


def rescaled(plan: Plan, now: float) -> Plan:
    """The plan once it is carried out."""
    told = ("SucceededRescale", f"the HPA controller was able to update the target scale to {plan.replicas}")
    return replace(plan, conditions=said(plan.conditions, ABLE, True, told, now))


def status_of(
    autoscaler: Object,
    conditions: Conditions,
    *,
    current: int | None = None,
    desired: int | None = None,
    metrics: list[Object] | None = None,
    scaled_at: float | None = None,
) -> Object:
    """The status; what is not told stays as it is, but for the metrics, which are those of the last look."""
    known = autoscaler.get("status") or {}
    status = {
        **known,
        "observedGeneration": autoscaler["metadata"].get("generation", 1),
        "currentReplicas": known.get("currentReplicas", 0) if current is None else current,
        "desiredReplicas": known.get("desiredReplicas", 0) if desired is None else desired,
        "conditions": conditions,
    }
    if current is not None:
        status.pop("currentMetrics", None)
    if metrics:
        status["currentMetrics"] = metrics
    if scaled_at is not None:
        status["lastScaleTime"] = rfc3339(scaled_at)
    return status


def rivals(scope: str, pods: Iterable[Object], selectors: Mapping[str, Selector]) -> list[str]:
    """The autoscalers (`namespace/name`) of a namespace that have any of these pods. There should be one."""
    all_labels = [labels(pod) for pod in pods]
    return sorted(
        key
        for key, selector in selectors.items()
        if key.startswith(f"{scope}/") and any(selector.matches(one) for one in all_labels)
    )
