"""How many pods a metric asks for. Pure.

A metric of pods is compared, on average, with what is wanted of each; pods that say nothing, or nothing that counts
yet, are taken for what makes the change smaller, and never turn it around. Values are thousandths, as the metrics of
a quarter of a CPU need them.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from apimachinery import quantity
from apimachinery.meta import Object, deletion_requested, get_path, name
from apimachinery.time import parse_rfc3339
from controllers.pods import is_ready, phase, ready_condition

REPLICAS_MAX = 2**31 - 1
CPU = "cpu"
_POD_LEVEL = ("cpu", "memory", "hugepages-")


class NoReplicas(Exception):
    """No number of pods follows from what is known; the message says why."""


class Sample(NamedTuple):
    """What one pod uses: thousandths, until when it was looked at (seconds since 1970), and for how long."""

    value: int
    time: float
    window_seconds: float


class Tolerance(NamedTuple):
    """How far what is used may be from what is wanted before anything changes, as shares of it."""

    down: float
    up: float

    def covers(self, ratio: float) -> bool:
        """Whether so much, of what is wanted, is near enough."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Windows(NamedTuple):
    """How long the CPU use of a pod that starts is looked at with care; seconds."""

    cpu_initialization: float
    initial_readiness_delay: float


@dataclass(frozen=True, slots=True)
class Groups:
    """Pods by what can be said of them; names, and of those that count the number."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


class Proposal(NamedTuple):
    """How many pods there should be, and what is used now: on average in thousandths, and in percent of requests."""

    replicas: int
    used: int
    percent: int | None = None


def group_pods(
    pods: Sequence[Object], samples: Mapping[str, Sample], resource: str, windows: Windows, now: float
) -> Groups:
    """Which pods count. `resource` is that of the metric, "" for one that is no resource."""
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in pods:
        sample = samples.get(name(pod))
        if deletion_requested(pod) or phase(pod) == "Failed":
            ignored.add(name(pod))
        elif phase(pod) == "Pending":
            unready.add(name(pod))
        elif sample is None:
            missing.add(name(pod))
        elif resource == CPU and _starts(pod, sample, windows, now):
            unready.add(name(pod))
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _starts(pod: Object, sample: Sample, windows: Windows, now: float) -> bool:
    """Whether the CPU that a pod uses is that of its start, and says nothing of its load."""
    condition, started = ready_condition(pod), get_path(pod, "status", "startTime")
    if condition is None or started is None:
        return True
    started = parse_rfc3339(started)
    changed = parse_rfc3339(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else 0.0
    if started + windows.cpu_initialization > now:
        return bool(condition["status"] == "False" or sample.time < changed + sample.window_seconds)
    # One that is unready since its start was never ready; one that became so later does count.
    return bool(condition["status"] == "False" and started + windows.initial_readiness_delay > changed)


def requests_of(pods: Sequence[Object], container: str, resource: str) -> dict[str, int]:
    """What each pod (or its container of this name) requests, in thousandths. Raises NoReplicas."""
    return {name(pod): _request(pod, container, resource) for pod in pods}


def _request(pod: Object, container: str, resource: str) -> int:
    of_pod: Mapping[str, Any] = get_path(pod, "spec", "resources", "requests", default={})
    if not container and any(one.startswith(_POD_LEVEL) for one in of_pod):
        if resource not in of_pod:
            raise NoReplicas(f"missing pod-level request for {resource} in Pod {name(pod)}")
        return quantity.milli_value(of_pod[resource])
    total = 0
    for one in _running_containers(pod):
        if container and one["name"] != container:
            continue
        request = get_path(one, "resources", "requests", resource)
        if request is None:
            raise NoReplicas(f"missing request for {resource} in container {one['name']} of Pod {name(pod)}")
        total += quantity.milli_value(request)
        if container:
            return total
    if container:
        raise NoReplicas(f"container {container} not found in Pod {name(pod)}")
    return total


def _running_containers(pod: Object) -> list[dict[str, Any]]:
    sidecars = [
        one for one in get_path(pod, "spec", "initContainers", default=()) if one.get("restartPolicy") == "Always"
    ]
    return [*get_path(pod, "spec", "containers", default=()), *sidecars]


def by_utilization(
    current: int,
    target_percent: int,
    samples: Mapping[str, Sample],
    requests: Mapping[str, int],
    groups: Groups,
    tolerance: Tolerance,
) -> Proposal:
    """So many pods that they use this share of what they request. Raises NoReplicas."""
    known = _counting(samples, groups)

    def measure(values: Mapping[str, int]) -> tuple[float, int, int]:
        requested = [pod for pod in values if pod in requests]
        total = sum(requests[pod] for pod in requested)
        if not total:
            raise NoReplicas("no metrics returned matched known pods")
        used = sum(values[pod] for pod in requested)
        percent = used * 100 // total
        return percent / target_percent, percent, used // len(requested)

    ratio, percent, used = measure(known)
    # A pod of which nothing is known uses all that it requests, for those who ask whether there are too many.
    busy = {pod: requests.get(pod, 0) * max(100, target_percent) // 100 for pod in groups.missing}
    replicas = _replicas(current, ratio, known, busy, groups, tolerance, lambda values: measure(values)[0])
    return Proposal(replicas, used, percent)


def by_average(
    current: int, target: int, samples: Mapping[str, Sample], groups: Groups, tolerance: Tolerance
) -> Proposal:
    """So many pods that each has this much on average. Raises NoReplicas."""
    known = _counting(samples, groups)

    def measure(values: Mapping[str, int]) -> float:
        return (sum(values.values()) // len(values)) / target

    busy = dict.fromkeys(groups.missing, target)
    replicas = _replicas(current, measure(known), known, busy, groups, tolerance, measure)
    return Proposal(replicas, sum(known.values()) // len(known))


def _counting(samples: Mapping[str, Sample], groups: Groups) -> dict[str, int]:
    left_out = groups.ignored | groups.unready
    known = {pod: sample.value for pod, sample in samples.items() if pod not in left_out}
    if not known:
        raise NoReplicas("did not receive metrics for targeted pods (pods might be unready)")
    return known


def _replicas(
    current: int,
    ratio: float,
    known: Mapping[str, int],
    busy: Mapping[str, int],
    groups: Groups,
    tolerance: Tolerance,
    measure: Callable[[Mapping[str, int]], float],
) -> int:
    """The number of pods that brings the ratio to one, with all that is not known taken for the worse."""
    unready_count = bool(groups.unready) and ratio > 1.0
    if not unready_count and not groups.missing:
        return current if tolerance.covers(ratio) else _whole(ratio * groups.ready)
    values = dict(known)
    if ratio < 1.0:
        values.update(busy)
    elif ratio > 1.0:
        values.update(dict.fromkeys(groups.missing, 0))
    if unready_count:
        values.update(dict.fromkeys(groups.unready, 0))
    again = measure(values)
    turned = (ratio < 1.0 < again) or (again < 1.0 < ratio)
    if tolerance.covers(again) or turned:
        return current
    replicas = _whole(again * len(values))
    # More pods were counted than are wanted now, or fewer: not what the metric asks for.
    against = (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current)
    return current if against else replicas


def by_value(current: int, target: int, used: int, pods: Sequence[Object], tolerance: Tolerance) -> Proposal:
    """So many pods that one value, of all of them together, becomes this much. Raises NoReplicas."""
    ratio = used / target
    if current == 0:
        return Proposal(_whole(ratio), used)
    if tolerance.covers(ratio):
        return Proposal(current, used)
    if not pods:
        raise NoReplicas(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(phase(pod) == "Running" and is_ready(pod) for pod in pods)
    return Proposal(_whole(ratio * ready), used)


def by_share(current: int, target: int, used: int, tolerance: Tolerance) -> Proposal:
    """So many pods that one value, shared out among them, is this much for each."""
    if current and tolerance.covers(used / (target * current)):
        return Proposal(current, math.ceil(used / current))
    return Proposal(_whole(used / target), math.ceil(used / current) if current else used)


def _whole(replicas: float) -> int:
    return min(math.ceil(replicas), REPLICAS_MAX)
