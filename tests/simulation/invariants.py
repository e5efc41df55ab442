"""What must hold in a cluster whatever happens, looked at with every single write."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apimachinery.meta import Object, get_path
from apimachinery.quantity import milli_value
from apimachinery.resources import JOBS, NODES, PODDISRUPTIONBUDGETS, PODS, REPLICASETS, RESOURCEQUOTAS
from tests.simulation import workload_rules
from tests.simulation.observed import (
    HOLD,
    STALE_SECONDS,
    Change,
    Rule,
    State,
    cpu,
    is_available,
    is_overdue,
    key,
    lives,
    occupies,
    owner_uid,
    stored,
    uid,
)


def one_object_of_a_name(state: State, change: Change) -> Iterator[str]:
    """A name passes to another object only after the first one is gone, and what is being deleted stays so."""
    before, after = change.before, change.after
    if before is not None and after is not None:
        if uid(before) != uid(after):
            yield "another object has taken its place"
        if before["metadata"].get("deletionTimestamp") and not after["metadata"].get("deletionTimestamp"):
            yield "its deletion was taken back"


def finalizers_are_honoured(state: State, change: Change) -> Iterator[str]:
    """Nothing goes that somebody still has to do something for."""
    # (The last version of what is gone has the finalizer still that was removed last.)
    if change.after is None and HOLD in change.obj["metadata"].get("finalizers", ()) and not state.released:
        yield "it is gone, and is held by a finalizer"


def nothing_is_observed_ahead(state: State, change: Change) -> Iterator[str]:
    """A status tells of generations that there are, and never goes back."""
    if change.after is None:
        return
    observed = get_path(change.after, "status", "observedGeneration", default=0)
    if observed > change.after["metadata"].get("generation", 0):
        yield f"generation {observed} was observed before it was there"
    if observed < get_path(change.before or {}, "status", "observedGeneration", default=0):
        yield f"generation {observed} was observed after a later one"


def a_pod_is_bound_once(state: State, change: Change) -> Iterator[str]:
    """A pod never moves."""
    before = get_path(change.before or {}, "spec", "nodeName")
    after = get_path(change.after or {}, "spec", "nodeName")
    if change.after is not None and before and before != after:
        yield f"it has moved from {before} to {after}"


def a_pod_has_one_controller(state: State, change: Change) -> Iterator[str]:
    """A pod passes from one controller to another only when the first has let go of it."""
    if change.before is not None and change.after is not None:
        before, after = owner_uid(change.before), owner_uid(change.after)
        if before and after and before != after:
            yield f"it was taken from its controller {before} by {after}"


def a_pod_fits_its_node(state: State, change: Change) -> Iterator[str]:
    """When a pod is bound, its node is there and has room for it."""
    if change.after is None or get_path(change.before or {}, "spec", "nodeName"):
        return
    name = get_path(change.after, "spec", "nodeName")
    if not name:
        return
    node = state.of(NODES).get(("", name))
    if node is None:
        yield f"it was bound to {name}, which is not there"
        return
    there = [pod for pod in state.of(PODS).values() if get_path(pod, "spec", "nodeName") == name and occupies(pod)]
    allocatable = node["status"]["allocatable"]
    if sum(map(cpu, there)) > milli_value(allocatable["cpu"]):
        yield f"{name} has no CPU for it: {sum(map(cpu, there))} of {allocatable['cpu']} are asked for"
    if len(there) > int(allocatable["pods"]):
        yield f"{name} has {len(there)} pods, and room for {allocatable['pods']}"
    wanted = get_path(change.after, "spec", "nodeSelector", default={})
    if not wanted.items() <= node["metadata"]["labels"].items():
        yield f"{name} is not one of those that it wants"


def jobs_count_each_pod_once(state: State, change: Change) -> Iterator[str]:
    """A Job never tells of more pods that have ended than have, and none of them is forgotten again."""
    if change.after is None:
        return
    identity = uid(change.after)
    for count, pods in (("succeeded", state.succeeded), ("failed", state.failed)):
        told = get_path(change.after, "status", count, default=0)
        ended = len(pods.get(identity, ()))
        if told > ended:
            yield f"{told} {count} pods are counted, of {ended}"
        if told < get_path(change.before or {}, "status", count, default=0):
            yield f"{told} {count} pods are counted, and it were more before"
    done = {
        one["type"] for one in get_path(change.after, "status", "conditions", default=()) if one["status"] == "True"
    }
    if {"Complete", "Failed"} <= done:
        yield "it has both failed and completed"
    completions = get_path(change.after, "spec", "completions")
    if completions is not None and get_path(change.after, "status", "succeeded", default=0) > completions:
        yield f"more than {completions} pods were wanted"


def quotas_are_kept(state: State, change: Change) -> Iterator[str]:
    """A namespace never has more pods than its quota allows."""
    if change.after is None:
        return
    is_quota = change.after["kind"] == RESOURCEQUOTAS.kind
    if not is_quota and change.before is not None:
        return
    namespace = key(change.after)[0]
    for (where, name), quota in state.of(RESOURCEQUOTAS).items():
        hard = get_path(quota, "spec", "hard", "pods")
        if where != namespace or hard is None:
            continue
        pods = [pod for (place, _), pod in state.of(PODS).items() if place == namespace]
        there = sum(occupies(pod) and not is_overdue(pod, change.time) for pod in pods)
        if there > int(hard):
            yield f"{there} pods are in {namespace}, of which quota {name} allows {hard}"
        used = get_path(quota, "status", "used", "pods")
        if is_quota and used is not None and int(used) < sum(map(lives, pods)):
            yield f"{used} pods are counted, and there are {sum(map(lives, pods))}"


def budgets_are_kept(state: State, change: Change) -> Iterator[str]:
    """An eviction leaves as many healthy pods as the budget says, as long as they go only by evictions."""
    before, after = change.before, change.after
    if before is None or not is_available(before) or (after is not None and is_available(after)):
        return
    if uid(before) not in state.evicted:
        return
    if change.time - max(state.disturbed_at, state.replaced_at) < STALE_SECONDS:
        return
    for budget in state.of(PODDISRUPTIONBUDGETS).values():
        wanted = budget["spec"]["selector"]["matchLabels"]
        if key(budget)[0] != key(before)[0] or not wanted.items() <= before["metadata"].get("labels", {}).items():
            continue
        healthy = sum(
            is_available(pod)
            for (place, _), pod in state.of(PODS).items()
            if place == key(budget)[0] and wanted.items() <= pod["metadata"].get("labels", {}).items()
        )
        least = budget["spec"].get("minAvailable")
        if isinstance(least, int) and healthy < least:
            yield f"its eviction leaves {healthy} healthy pods, of which budget {key(budget)[1]} wants {least}"


EVERYTHING: tuple[Rule, ...] = (one_object_of_a_name, finalizers_are_honoured, nothing_is_observed_ahead)
RULES: dict[str, tuple[Rule, ...]] = {
    stored(PODS): (
        a_pod_is_bound_once,
        a_pod_has_one_controller,
        a_pod_fits_its_node,
        *workload_rules.RULES,
        quotas_are_kept,
        budgets_are_kept,
    ),
    stored(JOBS): (jobs_count_each_pod_once,),
    stored(RESOURCEQUOTAS): (quotas_are_kept,),
    stored(REPLICASETS): (a_pod_has_one_controller, workload_rules.revisions_are_of_deployments),
}


class Invariants:
    """Follows all writes of a history."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.state = State()
        self.broken: list[str] = []
        self._clock = clock

    def written(self, resource: str, obj: Object, *, deleted: bool) -> None:
        """A write has become visible."""
        change = self.state.take(resource, self._clock(), obj, deleted=deleted)
        if change is None:
            return
        for rule in (*EVERYTHING, *RULES.get(resource, ())):
            for problem in rule(self.state, change):
                self.tell(f"{resource} {'/'.join(key(obj))}: {problem} [{rule.__name__}]")

    def tell(self, problem: str) -> None:
        """Something is not as it must be."""
        self.broken.append(f"{self._clock():.3f} {problem}")
