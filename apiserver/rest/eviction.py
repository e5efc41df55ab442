"""Evictions: deletions of pods that a PodDisruptionBudget allows, or not now.

What is allowed is spent in the same transaction as the pod's deletion: two evictions at the same time can't both have
the last disruption. Pods that do no work, or that are on their way out, need nobody's leave.

Source: kubernetes/pkg/registry/core/pod/storage/eviction.go
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from apimachinery.errors import ApiError, forbidden, too_many_requests
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import PODDISRUPTIONBUDGETS
from apimachinery.selectors import selector_from_object
from apimachinery.time import rfc3339
from apiserver import encoding
from apiserver.rest.call import storage_key
from apiserver.storage.group_commit import Also, Look, Side

RETRY_SECONDS = 10
# So many evictions may wait for the controller to see that their pods are gone.
DISRUPTED_PODS_MAX = 2000
_WORKLESS = ("Succeeded", "Failed", "Pending")
_BUDGETS = storage_key(PODDISRUPTIONBUDGETS)


def spending(pod: Object, budgets: Iterable[Object], now: float) -> Also | None:
    """What an eviction of a pod changes along with it; None if no budget is concerned. Raises ApiError 500."""
    if get_path(pod, "status", "phase") in _WORKLESS or pod["metadata"].get("deletionTimestamp"):
        return None
    labels = pod["metadata"].get("labels") or {}
    found = [budget for budget in budgets if _selects(budget, labels)]
    if len(found) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "", why)
    if not found or _counts_as_disrupted(pod, found[0]):
        return None
    return partial(_spend, found[0]["metadata"]["name"], pod, now)


def _selects(budget: Object, labels: dict[str, str]) -> bool:
    selector = get_path(budget, "spec", "selector")
    return selector is not None and selector_from_object(selector).matches(labels)


def _counts_as_disrupted(pod: Object, budget: Object) -> bool:
    """Whether a pod that is not ready may go without costing anything."""
    ready = find_condition(pod, "Ready")
    if ready is not None and ready["status"] == "True":
        return False
    status = budget.get("status") or {}
    healthy, wanted = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
    policy = get_path(budget, "spec", "unhealthyPodEvictionPolicy")
    return policy == "AlwaysAllow" or (healthy >= wanted and wanted > 0)


def _spend(name: str, pod: Object, now: float, look: Look) -> list[Side]:
    namespace = pod["metadata"]["namespace"]
    entry = look(_BUDGETS, namespace, name)
    if entry is None:
        return []  # it has just gone
    spent = spent_once(entry.copy(), pod["metadata"]["name"], now)
    encode = partial(encoding.encode, PODDISRUPTIONBUDGETS, spent)
    return [Side(_BUDGETS, namespace, name, encode)]


def spent_once(budget: Object, pod_name: str, now: float) -> Object:
    """A private budget with one disruption less. Raises ApiError 403, or 429 if none is left."""
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    allowed, disrupted = status.get("disruptionsAllowed") or 0, status.get("disruptedPods") or {}
    if (status.get("observedGeneration") or 0) < (budget["metadata"].get("generation") or 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.", RETRY_SECONDS)
    refusal = f'{PODDISRUPTIONBUDGETS.group_resource} "{name}" is forbidden: '
    if allowed < 0:
        raise forbidden(f"{refusal}pdb disruptions allowed is negative")
    if len(disrupted) > DISRUPTED_PODS_MAX:
        raise forbidden(f"{refusal}DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if allowed == 0:
        healthy, wanted = (status.get(field) or 0 for field in ("currentHealthy", "desiredHealthy"))
        raise _refused(f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently", None)
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**disrupted, pod_name: rfc3339(now)}
    if allowed == 1:
        _tell_exhausted(status, budget["metadata"].get("generation"), now)
    return budget


def _tell_exhausted(status: Object, generation: int | None, now: float) -> None:
    told: dict[str, Any] = {"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods"}
    told |= {"message": "", "lastTransitionTime": rfc3339(now)}
    if generation is not None:
        told["observedGeneration"] = generation
    rest = [condition for condition in status.get("conditions") or () if condition["type"] != told["type"]]
    status["conditions"] = [*rest, told]


def _refused(cause: str, retry_after_seconds: int | None) -> ApiError:
    error = too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry_after_seconds is not None:
        details["retryAfterSeconds"] = retry_after_seconds
    error.details = details
    return error
