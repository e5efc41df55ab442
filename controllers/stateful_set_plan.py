"""What the pods of a StatefulSet need next, and what its status says: all decisions, and nothing else.

A pass has up to four stages: pods that should be there are created, replaced when they have ended, and put right;
the claims of surplus pods are put right; surplus pods are deleted; pods of old revisions are deleted, to be created
again by the new one. An ordered set (OrderedReady) takes one step at a time, upwards, and waits for each pod to be
available before it takes the next; deletions go downwards. A parallel one waits for none.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from apimachinery.meta import Object, deletion_requested, get_path, name
from controllers.pods import is_active, is_finished, is_ready, phase, seconds_until_available
from controllers.stateful_set_claims import NOTHING, ClaimPlan, claim_is_stale, plan_claims_of
from controllers.stateful_set_identity import (
    identity_matches,
    in_range,
    new_pod,
    ordinal,
    replicas,
    revision_of,
    start,
    storage_matches,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do for one pod. A pod's claims are seen to before it is created or updated.

    `recreate`: one that has ended is deleted, to be created again once it is gone. `claims` alone: the claims of one
    that waits for them. `retain`: the owners of a surplus pod's claims.
    """

    verb: Literal["create", "update", "delete", "recreate", "claims", "retain"]
    pod: Object
    claims: ClaimPlan = NOTHING


Stages = tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class View:
    """A StatefulSet as it is to be seen in one pass, as it was at its current revision, and the names of both."""

    stateful_set: Object
    current_set: Object
    current: str
    update: str
    # The claims of the namespace, by name.
    claims: Mapping[str, Object]
    now: float


def is_ordered(stateful_set: Object) -> bool:
    """True unless pods are created and deleted all at once."""
    return bool(get_path(stateful_set, "spec", "podManagementPolicy", default="OrderedReady") != "Parallel")


def is_rolling(stateful_set: Object) -> bool:
    """True unless pods of old revisions stay until somebody deletes them."""
    strategy = get_path(stateful_set, "spec", "updateStrategy", "type", default="RollingUpdate")
    return bool(strategy == "RollingUpdate")


def partition(stateful_set: Object) -> int:
    """How many pods, from the lowest ordinal on, are not updated."""
    return int(get_path(stateful_set, "spec", "updateStrategy", "rollingUpdate", "partition", default=0))


def max_unavailable(stateful_set: Object) -> int:
    """How many pods an update may have unavailable: percentages are rounded down, but it is one at least."""
    value = get_path(stateful_set, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable", default=1)
    if isinstance(value, str):
        value = int(value.removesuffix("%")) * replicas(stateful_set) // 100
    return max(1, int(value))


def is_running_and_ready(pod: Object) -> bool:
    """True if the pod runs and is ready."""
    return phase(pod) == "Running" and is_ready(pod)


def is_available(stateful_set: Object, pod: Object, now: float) -> bool:
    """True if the pod has been ready for `minReadySeconds`."""
    min_ready = get_path(stateful_set, "spec", "minReadySeconds", default=0)
    return seconds_until_available(pod, min_ready, now) == 0


def _exists(pod: Object) -> bool:
    return bool(pod["metadata"].get("uid"))


def plan_pods(view: View, pods: Sequence[Object]) -> Stages:
    """The stages of this pass; each is begun only when all of the one before has succeeded."""
    stateful_set = view.stateful_set
    if deletion_requested(stateful_set):
        return ()
    ordered = is_ordered(stateful_set)
    wanted = wanted_pods(view, pods)
    steps: list[Step] = []
    for pod in wanted:
        step, waits = _next_step(view, pod)
        if step is not None:
            steps.append(step)
        if waits and ordered:
            return (tuple(steps),)
    condemned = sorted((pod for pod in pods if _is_condemned(stateful_set, pod)), key=ordinal, reverse=True)
    stages = [tuple(steps), tuple(_claims_to_retain(view, condemned))]
    if ordered and condemned:
        return (*stages, tuple(_next_condemned(view, condemned)))
    stages.append(tuple(Step("delete", pod) for pod in condemned if not deletion_requested(pod)))
    if is_rolling(stateful_set):
        stages.append(tuple(Step("delete", pod) for pod in outdated(view, wanted)))
    return tuple(stages)


def _is_condemned(stateful_set: Object, pod: Object) -> bool:
    number = ordinal(pod)
    return number >= 0 and not in_range(stateful_set, number)


def wanted_pods(view: View, pods: Iterable[Object]) -> list[Object]:
    """The pods that the set is to have, upwards: those that are there, and what the others would be."""
    there = {ordinal(pod): pod for pod in pods}
    first = start(view.stateful_set)
    numbers = range(first, first + replicas(view.stateful_set))
    return [there.get(number) or versioned_pod(view, number) for number in numbers]


def versioned_pod(view: View, number: int) -> Object:
    """The pod with this ordinal: of the current revision where the update is not to come, else of the new one."""
    stateful_set = view.stateful_set
    if is_rolling(stateful_set):
        kept = partition(stateful_set)
        if get_path(stateful_set, "spec", "updateStrategy", "rollingUpdate") is None:
            kept = get_path(stateful_set, "status", "currentReplicas", default=0)
        if number < start(stateful_set) + kept:
            return new_pod(view.current_set, number, view.current)
    return new_pod(stateful_set, number, view.update)


def _next_step(view: View, pod: Object) -> tuple[Step | None, bool]:
    """(what a wanted pod needs, whether the pods after it have to wait for it)."""
    stateful_set = view.stateful_set
    if is_finished(pod):
        # Its place is taken once it is gone, and not before: there is one pod of a name at a time.
        return (None if deletion_requested(pod) else Step("recreate", pod)), True
    if not _exists(pod):
        if claim_is_stale(stateful_set, pod, view.claims):
            return None, True
        return Step("create", pod, plan_claims_of(stateful_set, pod, view.claims)), True
    pending, stored = phase(pod) == "Pending", storage_matches(stateful_set, pod)
    claims = plan_claims_of(stateful_set, pod, view.claims)
    if not pending and stored:
        claims = replace(claims, create=())  # who runs has what it needs
    waits = deletion_requested(pod) or not is_running_and_ready(pod) or _is_unavailable(view, pod)
    if waits and is_ordered(stateful_set):
        return (Step("claims", pod, claims) if pending and (claims.create or claims.references) else None), waits
    if not stored or not identity_matches(stateful_set, pod) or claims.references:
        return Step("update", pod, claims), waits
    return (Step("claims", pod, claims) if claims.create else None), waits


def _claims_to_retain(view: View, condemned: Iterable[Object]) -> Iterable[Step]:
    for pod in condemned:
        claims = plan_claims_of(view.stateful_set, pod, view.claims)
        if claims.references:
            yield Step("retain", pod, claims)


def _next_condemned(view: View, condemned: Sequence[Object]) -> Iterable[Step]:
    """The highest surplus pod, unless it is on its way already, or a lower one is not well: that one first."""
    pod = condemned[0]
    if deletion_requested(pod):
        return
    first_unavailable = next((one for one in reversed(condemned) if _is_unavailable(view, one)), None)
    well = is_running_and_ready(pod) and is_available(view.stateful_set, pod, view.now)
    if well or pod is first_unavailable:
        yield Step("delete", pod)


def _is_unavailable(view: View, pod: Object) -> bool:
    return deletion_requested(pod) or not is_available(view.stateful_set, pod, view.now)


def outdated(view: View, wanted: Sequence[Object]) -> list[Object]:
    """The pods to be deleted so that they come back by the new revision, from the highest ordinal down.

    Those of an old revision that are not available go first and cost nothing: they may never become available, and
    the update would wait for them for ever. Others go as long as no more than `maxUnavailable` are missing.
    """
    old = [
        pod
        for pod in reversed(wanted[partition(view.stateful_set) :])
        # What has ended is being replaced already.
        if _exists(pod) and revision_of(pod) != view.update and is_active(pod)
    ]
    unwell = [pod for pod in old if not is_available(view.stateful_set, pod, view.now)]
    well = [pod for pod in old if is_available(view.stateful_set, pod, view.now)]
    budget = max_unavailable(view.stateful_set) - sum(_is_unavailable(view, pod) for pod in wanted)
    return [*unwell, *well[: max(0, budget)]]


def plan_status(view: View, pods: Sequence[Object], *, updating: Iterable[Object], collision_count: int) -> Object:
    """The status that tells of these pods; `updating` are those that were just deleted for their revision."""
    stateful_set = view.stateful_set
    ready = [pod for pod in pods if is_running_and_ready(pod)]
    available = sum(is_available(stateful_set, pod, view.now) for pod in ready)
    leaving = {name(pod) for pod in updating}
    staying = [pod for pod in pods if not deletion_requested(pod)]
    of_current = sum(revision_of(pod) == view.current and name(pod) not in leaving for pod in staying)
    of_update = sum(revision_of(pod) == view.update for pod in staying)
    current, wanted = view.current, replicas(stateful_set)
    if is_rolling(stateful_set) and of_update == wanted == len(ready) == len(pods):
        current, of_current = view.update, of_update  # the update is complete
    counts = {"readyReplicas": len(ready), "currentReplicas": of_current, "updatedReplicas": of_update}
    return {
        "observedGeneration": stateful_set["metadata"].get("generation", 0),
        "replicas": len(pods),
        **{key: count for key, count in counts.items() if count},
        "currentRevision": current,
        "updateRevision": view.update,
        "collisionCount": collision_count,
        "availableReplicas": available,
    }


def seconds_to_next_availability(stateful_set: Object, pods: Iterable[Object], now: float) -> float | None:
    """When the next ready pod will have been ready for `minReadySeconds`; None if none is waiting for that."""
    min_ready = get_path(stateful_set, "spec", "minReadySeconds", default=0)
    waits = (seconds_until_available(pod, min_ready, now) for pod in pods if not deletion_requested(pod))
    return min((wait for wait in waits if wait), default=None)
