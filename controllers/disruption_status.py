"""What a PodDisruptionBudget's status says of its pods, and which conditions of pods are out of date: pure.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, deletion_requested, find_condition, get_path, name, with_condition
from apimachinery.time import parse_rfc3339, rfc3339
from controllers.daemon_set_plan import scaled_up
from controllers.pods import is_finished, is_ready

# A pod whose eviction was allowed counts as going for so long, whether it shows that or not.
DELETION_SECONDS_MAX = 120.0
# Who has announced a pod's end has this long to bring it about.
STALE_SECONDS = 120.0
# A node agent's announcement stands: how long the containers take to end, it alone knows.
_BY_NODE_AGENT = "TerminationByKubelet"
_COUNTS = ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed")


def counts_by_scale(budget: Object) -> bool:
    """True if it takes the size of the pods' controllers to say how many pods there should be."""
    spec = budget.get("spec") or {}
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def expected_and_desired(budget: Object, pods: int, scale: int) -> tuple[int, int]:
    """(pods that there should be, pods that have to be healthy), by their number or their controllers' scale."""
    spec = budget.get("spec") or {}
    unavailable, available = spec.get("maxUnavailable"), spec.get("minAvailable")
    if unavailable is not None:
        return scale, max(0, scale - scaled_up(unavailable, scale))
    if isinstance(available, int):
        return pods, available
    return (scale, scaled_up(available, scale)) if available is not None else (0, 0)


@dataclass(slots=True)
class Disrupted:
    """The pods whose eviction was allowed and that are still there: those that are still expected to go, with the
    time of the eviction; those that should be gone by now; and when to look again.
    """

    pods: dict[str, str] = field(default_factory=dict)
    overdue: list[Object] = field(default_factory=list)
    look_again_seconds: float | None = None


def disrupted(budget: Object, pods: Sequence[Object], now: float) -> Disrupted:
    """What has become of the pods that were evicted."""
    known: Mapping[str, str] = get_path(budget, "status", "disruptedPods", default={})
    found = Disrupted()
    for pod in pods:
        if name(pod) not in known or deletion_requested(pod):
            continue
        left = parse_rfc3339(known[name(pod)]) + DELETION_SECONDS_MAX - now
        if left < 0:
            found.overdue.append(pod)
            continue
        found.pods[name(pod)] = known[name(pod)]
        known_wait = found.look_again_seconds
        found.look_again_seconds = left if known_wait is None else min(left, known_wait)
    return found


def plan_status(budget: Object, pods: Sequence[Object], scale: int, evicted: Mapping[str, str], now: float) -> Object:
    """The status that tells of these pods, whose controllers want so many."""
    expected, desired = expected_and_desired(budget, len(pods), scale)
    healthy = sum(is_ready(pod) and not deletion_requested(pod) and name(pod) not in evicted for pod in pods)
    # A budget without pods allows nothing: of its first ones it would not have been told yet.
    allowed = max(0, healthy - desired) if expected > 0 else 0
    generation = budget["metadata"].get("generation", 0)
    verdict = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
    status: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": generation,
        "conditions": _conditions(budget, *verdict, "", generation, now),
    }
    return {**status, "disruptedPods": dict(evicted)} if evicted else status


def failed_status(budget: Object, why: str, now: float) -> Object:
    """The status where the pods can't be counted: nothing is allowed until they can."""
    known = budget.get("status") or {}
    generation = known.get("observedGeneration", 0)
    counts = {key: known.get(key, 0) for key in _COUNTS}
    conditions = _conditions(budget, "False", "SyncFailed", why, generation, now)
    return {**known, **counts, "disruptionsAllowed": 0, "conditions": conditions}


def _conditions(budget: Object, verdict: str, reason: str, message: str, generation: int, now: float) -> list[Any]:
    known = get_path(budget, "status", "conditions", default=[])
    told: Object = {"status": verdict, "reason": reason, "message": message, "observedGeneration": generation}
    return with_condition(known, type="DisruptionAllowed", now=rfc3339(now), **told)


def seconds_until_stale(pod: Object, now: float) -> float | None:
    """When the announcement of the pod's end is not believed any more; None if there is none, or it came true."""
    condition = find_condition(pod, "DisruptionTarget")
    if condition is None or condition["status"] != "True" or condition.get("reason") == _BY_NODE_AGENT:
        return None
    if deletion_requested(pod) or is_finished(pod):
        return None
    since = condition.get("lastTransitionTime")
    return max(0.0, parse_rfc3339(since) + STALE_SECONDS - now) if since else 0.0
