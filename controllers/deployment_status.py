"""What a Deployment's status says of its ReplicaSets: counts, and three conditions.

    Available         as many pods are available as the strategy demands
    Progressing       the rollout is over, gets on, or has not got on for progressDeadlineSeconds
    ReplicaFailure    a ReplicaSet can't create or delete its pods

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.meta import Object, find_condition, get_path, name
from apimachinery.time import parse_rfc3339, rfc3339
from controllers.deployment_rollout import limits, replicas, total, total_available

NO_DEADLINE_SECONDS = 2**31 - 1
COMPLETE, TIMED_OUT, PAUSED = "NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused"
Conditions = list[dict[str, Any]]


def counted_status(deployment: Object, new: Object | None, everything: Sequence[Object], now: float) -> Object:
    """The counts and the condition Available, with the other conditions as they are."""
    up = total_available(everything)
    wanted = replicas(deployment)
    enough = up >= wanted - limits(deployment)[1]
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": _count(everything, "replicas"),
        "updatedReplicas": _count([new] if new is not None else [], "replicas"),
        "readyReplicas": _count(everything, "readyReplicas"),
        "availableReplicas": up,
        "unavailableReplicas": max(0, total(everything) - up),
        "terminatingReplicas": _count(everything, "terminatingReplicas"),
    }
    if (collisions := get_path(deployment, "status", "collisionCount")) is not None:
        status["collisionCount"] = collisions
    known = get_path(deployment, "status", "conditions", default=[])
    if enough:
        reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        reason, message = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    status["conditions"] = set_condition(known, "Available", "True" if enough else "False", reason, message, now)
    return status


def rollout_status(
    deployment: Object, new: Object | None, everything: Sequence[Object], *, created: bool, now: float
) -> Object:
    """The whole status, the progress of the rollout included; `created`: the new ReplicaSet is just being made."""
    status = counted_status(deployment, new, everything, now)
    conditions: Conditions = status["conditions"]
    if not has_deadline(deployment):
        conditions = _without(conditions, "Progressing")
    elif created and new is not None:
        message = f'Created new replica set "{name(new)}"'
        conditions = set_condition(conditions, "Progressing", "True", "NewReplicaSetCreated", message, now)
    else:
        conditions = _progress(deployment, new, status, conditions, now)
    status["conditions"] = _with_replica_failure(conditions, new, everything)
    return status


def paused_conditions(deployment: Object, now: float) -> Conditions:
    """The conditions of a Deployment, with it told that it is paused or resumed: its deadline starts afresh."""
    conditions: Conditions = get_path(deployment, "status", "conditions", default=[])
    known = find_condition(conditions, "Progressing")
    reason = known["reason"] if known is not None else None
    if not has_deadline(deployment) or reason == TIMED_OUT:
        return conditions
    if get_path(deployment, "spec", "paused", default=False):
        if reason != PAUSED:
            return set_condition(conditions, "Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    elif reason == PAUSED:
        message = "Deployment is resumed"
        return set_condition(conditions, "Progressing", "Unknown", "DeploymentResumed", message, now)
    return conditions


def failed_conditions(conditions: Conditions, message: str, now: float) -> Conditions:
    """The conditions of a Deployment whose new ReplicaSet could not be created."""
    return set_condition(conditions, "Progressing", "False", "ReplicaSetCreateError", message, now)


def _progress(
    deployment: Object, new: Object | None, status: Object, conditions: Conditions, now: float
) -> Conditions:
    known = find_condition(conditions, "Progressing")
    if known is None and new is not None:
        message = f'Found new replica set "{name(new)}"'
        conditions = set_condition(conditions, "Progressing", "True", "FoundNewReplicaSet", message, now)
        known = find_condition(conditions, "Progressing")
    if known is not None and known["reason"] == COMPLETE and status["replicas"] == status["updatedReplicas"]:
        return conditions  # the rollout is over: pods that come and go later are no lack of progress
    subject = f'ReplicaSet "{name(new)}"' if new is not None else f'Deployment "{name(deployment)}"'
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return set_condition(conditions, "Progressing", "True", COMPLETE, message, now)
    if _has_progressed(get_path(deployment, "status", default={}), status):
        message = f"{subject} is progressing."
        return set_condition(conditions, "Progressing", "True", "ReplicaSetUpdated", message, now, refresh=True)
    if known is not None and _deadline_passed(deployment, known, now):
        message = f"{subject} has timed out progressing."
        return set_condition(conditions, "Progressing", "False", TIMED_OUT, message, now)
    return conditions


def has_deadline(deployment: Object) -> bool:
    """True if lack of progress is to be told."""
    deadline = get_path(deployment, "spec", "progressDeadlineSeconds")
    return deadline is not None and deadline != NO_DEADLINE_SECONDS


def is_complete(deployment: Object, status: Object) -> bool:
    """True if all pods are of the new template and available, and no others are left."""
    wanted = replicas(deployment)
    counts = (status.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return seen and all(count == wanted for count in counts)


def seconds_to_deadline(deployment: Object, status: Object, now: float) -> float | None:
    """When lack of progress must be looked for again; None if there is nothing to look for."""
    known = find_condition(status.get("conditions") or [], "Progressing")
    if known is None or not has_deadline(deployment) or is_complete(deployment, status):
        return None
    if known["reason"] in (TIMED_OUT, COMPLETE):
        return None
    # Times on the wire are whole seconds: a second later is surely after the deadline.
    return max(0.0, _deadline(deployment, known) - now) + 1.0


def _deadline(deployment: Object, progressing: dict[str, Any]) -> float:
    updated = progressing.get("lastUpdateTime") or progressing["lastTransitionTime"]
    return parse_rfc3339(updated) + int(deployment["spec"]["progressDeadlineSeconds"])


def _deadline_passed(deployment: Object, progressing: dict[str, Any], now: float) -> bool:
    if progressing["reason"] in (TIMED_OUT, COMPLETE):
        return bool(progressing["reason"] == TIMED_OUT)
    return _deadline(deployment, progressing) < now


def _has_progressed(before: Object, status: Object) -> bool:
    """True if there are more new, ready or available pods than before, or fewer old ones."""

    def old_pods(counts: Object) -> int:
        return int(counts.get("replicas", 0)) - int(counts.get("updatedReplicas", 0))

    more = ("updatedReplicas", "readyReplicas", "availableReplicas")
    grown = any(status.get(key, 0) > before.get(key, 0) for key in more)
    return grown or old_pods(status) < old_pods(before)


def _with_replica_failure(conditions: Conditions, new: Object | None, everything: Sequence[Object]) -> Conditions:
    """A ReplicaSet that can't create its pods: the new one's trouble counts before that of the others."""
    for replica_set in (*([new] if new is not None else []), *everything):
        failure = find_condition(replica_set, "ReplicaFailure")
        if failure is not None:
            told = {**failure, "lastUpdateTime": failure.get("lastTransitionTime")}
            same = find_condition(conditions, "ReplicaFailure")
            if same is not None and (same["status"], same["reason"]) == (told["status"], told["reason"]):
                return conditions
            return [*_without(conditions, "ReplicaFailure"), told]
    return _without(conditions, "ReplicaFailure")


def set_condition(
    conditions: Conditions,
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: float,
    *,
    refresh: bool = False,
) -> Conditions:
    """The conditions with this one set. One with the same status and reason stays as it is, unless refreshed."""
    known = find_condition(conditions, kind)
    if known is not None and (known["status"], known["reason"]) == (status, reason) and not refresh:
        return conditions
    stamp = rfc3339(now)
    moved = known["lastTransitionTime"] if known is not None and known["status"] == status else stamp
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    return [*_without(conditions, kind), {**told, "lastUpdateTime": stamp, "lastTransitionTime": moved}]


def _without(conditions: Conditions, kind: str) -> Conditions:
    return [condition for condition in conditions if condition["type"] != kind]


def _count(replica_sets: Sequence[Object], key: str) -> int:
    return sum(int(get_path(replica_set, "status", key, default=0)) for replica_set in replica_sets)
