"""What each metric of an autoscaler asks for, and what all of them ask for together.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#scaling-on-multiple-metrics
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from apimachinery import quantity
from apimachinery.meta import Object
from controllers import horizontal_pod_autoscaler_replicas as replicas
from controllers.horizontal_pod_autoscaler_metrics import Metrics
from controllers.horizontal_pod_autoscaler_replicas import NoReplicas, Proposal, Tolerance, Windows

NO_STATUS: Object = {"type": ""}
Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled: how many pods it should have and has, which these are, and how they are looked at."""

    scope: str
    wanted: int
    existing: int
    selector: str
    pods: Sequence[Object]
    tolerance: Tolerance
    windows: Windows
    now: float


class Measured(NamedTuple):
    """How many pods a metric asks for, how it is called in messages, and its part of the status."""

    replicas: int
    name: str
    status: Object


class Failed(NamedTuple):
    """A metric that says nothing: reason and message of the event, and all that is said of it in one line."""

    reason: str
    message: str
    summary: str


class Together(NamedTuple):
    """What all metrics ask for, None if nothing can be done by them; the first failure, if there was one."""

    replicas: int | None
    name: str
    statuses: list[Object]
    active: tuple[bool, str, str]
    failure: str


async def evaluate(metric: Spec, target: Target, metrics: Metrics) -> Measured | Failed:
    """Ask for one metric, and reckon."""
    match metric["type"]:
        case "Resource":
            return await _resource(metric["resource"], target, metrics)
        case "ContainerResource":
            return await _resource(metric["containerResource"], target, metrics)
        case "Pods":
            return await _pods(metric["pods"], target, metrics)
        case "Object":
            return await _object(metric["object"], target, metrics)
        case "External":
            return await _external(metric["external"], target, metrics)
    told = f'unknown metric source type "{metric["type"]}"'
    return Failed("InvalidMetricSourceType", told, told)


async def _resource(source: Spec, target: Target, metrics: Metrics) -> Measured | Failed:
    resource, container, wanted = source["name"], source.get("container") or "", source["target"]
    average = wanted.get("averageValue")
    try:
        try:
            samples = await metrics.of_pods_resource(resource, target.scope, target.selector, container)
        except NoReplicas as error:
            raise NoReplicas(f"unable to get metrics for resource {resource}: {error}") from error
        groups = _groups(target, samples, resource)
        if average is not None:
            milli = quantity.milli_value(average)
            proposal = replicas.by_average(target.wanted, milli, samples, groups, target.tolerance)
        else:
            requests = replicas.requests_of(target.pods, container, resource)
            percent = wanted["averageUtilization"]
            proposal = replicas.by_utilization(target.wanted, percent, samples, requests, groups, target.tolerance)
    except NoReplicas as error:
        told = f"failed to get {resource} {'utilization' if average is None else 'usage'}: {error}"
        if container:
            reason, what = "FailedGetContainerResourceMetric", f"{container} container"
        else:
            reason, what = "FailedGetResourceMetric", f"{resource} resource"
        return Failed(reason, told, f"failed to get {what} metric value: {told}")
    shown: Object = {"name": resource, "current": _current(proposal)}
    called = f"{resource} resource"
    if average is None:
        called = f"{resource} {'container ' if container else ''}resource utilization (percentage of request)"
    if not container:
        return Measured(proposal.replicas, called, {"type": "Resource", "resource": shown})
    status = {"type": "ContainerResource", "containerResource": {**shown, "container": container}}
    return Measured(proposal.replicas, called, status)


async def _pods(source: Spec, target: Target, metrics: Metrics) -> Measured | Failed:
    metric, milli = source["metric"], quantity.milli_value(source["target"]["averageValue"])
    try:
        try:
            samples = await metrics.of_pods(metric, target.scope, target.selector)
        except NoReplicas as error:
            raise NoReplicas(f"unable to get metric {metric['name']}: {error}") from error
        groups = _groups(target, samples, "")
        proposal = replicas.by_average(target.wanted, milli, samples, groups, target.tolerance)
    except NoReplicas as error:
        return Failed("FailedGetPodsMetric", str(error), f"failed to get pods metric value: {error}")
    status = {"type": "Pods", "pods": {"metric": metric, "current": _current(proposal)}}
    return Measured(proposal.replicas, f"pods metric {metric['name']}", status)


async def _object(source: Spec, target: Target, metrics: Metrics) -> Measured | Failed:
    metric, described, wanted = source["metric"], source["describedObject"], source["target"]
    shared = wanted["type"] == "AverageValue"
    try:
        try:
            used = await metrics.of_object(metric, target.scope, described)
        except NoReplicas as error:
            place = f"{described['kind']} {target.scope}/{described['name']}"
            raise NoReplicas(f"unable to get metric {metric['name']}: {error} on {place}") from error
        current, proposal = _of_one_value(used, wanted, target, shared=shared)
    except NoReplicas as error:
        told = f"failed to get {metric['name']} object metric: {error}" if shared else str(error)
        return Failed("FailedGetObjectMetric", str(error), f"failed to get object metric value: {told}")
    called = f"external metric {_named(metric)}" if shared else f"{described['kind']} metric {metric['name']}"
    part = {"metric": metric, "describedObject": described, "current": current}
    return Measured(proposal.replicas, called, {"type": "Object", "object": part})


async def _external(source: Spec, target: Target, metrics: Metrics) -> Measured | Failed:
    metric, wanted = source["metric"], source["target"]
    shared = wanted.get("averageValue") is not None
    try:
        try:
            used = await metrics.external(metric, target.scope)
        except NoReplicas as error:
            place = f"{target.scope}/{metric['name']}/{selector_text(metric.get('selector'))}"
            raise NoReplicas(f"unable to get external metric {place}: {error}") from error
        current, proposal = _of_one_value(used, wanted, target, shared=shared)
    except NoReplicas as error:
        what = f"{metric['name']} external metric" if shared else f"external metric {metric['name']}"
        told = f"failed to get {metric['name']} external metric value: failed to get {what}: {error}"
        return Failed("FailedGetExternalMetric", str(error), told)
    status = {"type": "External", "external": {"metric": metric, "current": current}}
    return Measured(proposal.replicas, f"external metric {_named(metric)}", status)


def _of_one_value(used: int, wanted: Spec, target: Target, *, shared: bool) -> tuple[Object, Proposal]:
    """What one value asks for, as such or as each pod's part of it; and how it is shown."""
    if shared:
        average = quantity.milli_value(wanted["averageValue"])
        proposal = replicas.by_share(target.existing, average, used, target.tolerance)
        return _current(proposal), proposal
    value = quantity.milli_value(wanted["value"])
    proposal = replicas.by_value(target.wanted, value, used, target.pods, target.tolerance)
    return {"value": quantity.canonical(f"{proposal.used}m")}, proposal


def _groups(target: Target, samples: Mapping[str, replicas.Sample], resource: str) -> replicas.Groups:
    if not target.pods:
        raise NoReplicas("no pods returned by selector while calculating replica count")
    return replicas.group_pods(target.pods, samples, resource, target.windows, target.now)


def _current(proposal: Proposal) -> Object:
    shown: Object = {"averageValue": quantity.canonical(f"{proposal.used}m")}
    return shown if proposal.percent is None else {"averageUtilization": proposal.percent, **shown}


def _named(metric: Spec) -> str:
    return f"{metric['name']}({selector_text(metric.get('selector'))})"


def selector_text(selector: Spec | None) -> str:
    """A label selector as Kubernetes writes it into messages about metrics."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    requirements = "".join(map(_requirement_text, selector.get("matchExpressions") or ()))
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )


def _requirement_text(one: Spec) -> str:
    values = " ".join(one.get("values") or ())
    return f"LabelSelectorRequirement{{Key:{one['key']},Operator:{one['operator']},Values:[{values}],}},"


def together(outcomes: Sequence[Measured | Failed], current: int) -> Together:
    """The most that any metric asks for. While one says nothing, what others say makes nothing smaller."""
    statuses = [one.status if isinstance(one, Measured) else NO_STATUS for one in outcomes]
    measured = [one for one in outcomes if isinstance(one, Measured)]
    failed = [one for one in outcomes if isinstance(one, Failed)]
    most = max(measured, key=lambda one: one.replicas, default=None)
    failure = ""
    if failed:
        count = f"{len(failed)} invalid out of {len(outcomes)}"
        failure = f"invalid metrics ({count}), first error is: {failed[0].summary}"
    if most is None or (failed and most.replicas < current):
        told = f"the HPA was unable to compute the replica count: {failed[0].message}" if failed else ""
        reason = failed[0].reason if failed else "InvalidMetricSourceType"
        return Together(None, "", statuses, (False, reason, told), failure)
    told = f"the HPA was able to successfully calculate a replica count from {most.name}"
    return Together(most.replicas, most.name, statuses, (True, "ValidMetricFound", told), failure)
