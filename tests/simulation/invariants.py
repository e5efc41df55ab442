"""What must hold in a cluster whatever happens, looked at with every single write.

Controllers act on what they have heard, which may be a while ago: what users have just changed (`STALE_SECONDS`) is
held against nobody. Where limits have changed, those of all the recent versions count, the most lenient first. What
only holds while nothing fails by itself (pods stay ready, nodes stay there) is looked at when all has been well for
as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from apimachinery.meta import Object, controller_of, find_condition, get_path
from apimachinery.quantity import milli_value
from apimachinery.resources import (
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    RESOURCEQUOTAS,
    STATEFULSETS,
    Resource,
)
from apimachinery.time import parse_rfc3339
from tests.simulation.virtual_loop import EPOCH

STALE_SECONDS = 30.0
ENDED = ("Succeeded", "Failed")
# A finalizer that users set, and take away in the end.
HOLD = "example.com/hold"
# (namespace, name)
Key = tuple[str, str]


class Change(NamedTuple):
    """A write: the object before it and after it (None: there was none, or it is gone)."""

    time: float
    before: Object | None
    after: Object | None

    @property
    def obj(self) -> Object:
        """The object, as it is or as it was last."""
        found = self.after or self.before
        assert found is not None, "something was written"
        return found


class Limits(NamedTuple):
    """What a version of a workload allows, and until when it was the newest."""

    until: float
    pods_max: int
    available_min: int


@dataclass(slots=True)
class State:
    """All objects, as the last write has left them, and what is remembered of earlier ones."""

    objects: dict[str, dict[Key, Object]] = field(default_factory=dict)
    limits: dict[str, list[Limits]] = field(default_factory=dict)
    # The pods of each Job that have succeeded and failed, by its uid.
    succeeded: dict[str, set[str]] = field(default_factory=dict)
    failed: dict[str, set[str]] = field(default_factory=dict)
    # Since when each pod is ready.
    ready_since: dict[str, float] = field(default_factory=dict)
    # When somebody failed to hear whether something was created.
    unanswered: list[float] = field(default_factory=list)
    # Whether users have begun to take HOLD away.
    released: bool = False
    # The pods that users have evicted or deleted, by their uids.
    evicted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    # When pods last became unready by themselves or were deleted by users; when by evictions; when by controllers.
    disturbed_at: float = float("-inf")
    evicted_at: float = float("-inf")
    replaced_at: float = float("-inf")

    def of(self, resource: Resource) -> dict[Key, Object]:
        """All objects of a resource."""
        return self.objects.setdefault(f"{resource.group or 'core'}/{resource.plural}", {})

    def owned_by(self, owner: str) -> list[Object]:
        """The pods whose controller has this uid."""
        return [pod for pod in self.of(PODS).values() if owner_uid(pod) == owner]

    def is_calm(self, now: float) -> bool:
        """Whether pods have only come and gone as controllers would have it, for long enough."""
        return now - max(self.disturbed_at, self.evicted_at) > STALE_SECONDS

    def limit(self, workload: Object, now: float) -> Limits:
        """The most lenient limits of the versions that a controller may know."""
        recent = [one for one in self.limits.get(uid(workload), ()) if one.until >= now - STALE_SECONDS]
        # Who does not know whether a pod was created creates another one.
        more = sum(moment >= now - STALE_SECONDS for moment in self.unanswered)
        return Limits(now, max(one.pods_max for one in recent) + more, min(one.available_min for one in recent))


Rule = Callable[[State, Change], Iterator[str]]


def uid(obj: Object) -> str:
    identity: str = obj["metadata"]["uid"]
    return identity


def key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def owner_uid(obj: Object) -> str | None:
    return (controller_of(obj) or {}).get("uid")


def lives(pod: Object) -> bool:
    """Whether a pod counts for its controller: it has not ended, and is to stay."""
    return not pod["metadata"].get("deletionTimestamp") and get_path(pod, "status", "phase") not in ENDED


def occupies(pod: Object) -> bool:
    """Whether a pod takes room on its node."""
    return get_path(pod, "status", "phase") not in ENDED


def is_overdue(pod: Object, now: float) -> bool:
    """Whether a pod should have been gone before now: its node may be lost, and no quota counts it any more."""
    due = pod["metadata"].get("deletionTimestamp")
    grace = pod["metadata"].get("deletionGracePeriodSeconds") or 0
    return due is not None and parse_rfc3339(due) + grace <= EPOCH + now


def is_ready(pod: Object) -> bool:
    return (find_condition(pod, "Ready") or {}).get("status") == "True"


def available(state: State, pod: Object) -> bool:
    return lives(pod) and is_ready(pod)


def share(value: object, of: int, *, up: bool) -> int:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of
        return -(-part // 100) if up else part // 100
    return int(str(value))


def limits_of(workload: Object) -> tuple[int, int]:
    """(the most pods, the fewest available ones) that a workload wants at a time."""
    spec = workload["spec"]
    replicas = int(spec.get("replicas", 1))
    if workload["kind"] == DEPLOYMENTS.kind:
        rolling = spec["strategy"].get("rollingUpdate")
        if rolling is None:
            return replicas, 0
        surge = share(rolling["maxSurge"], replicas, up=True)
        unavailable = share(rolling["maxUnavailable"], replicas, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1  # else no rollout would ever begin
        return replicas + surge, replicas - min(unavailable, replicas)
    if workload["kind"] == JOBS.kind:
        return (0 if spec.get("suspend") else int(spec["parallelism"])), 0
    return replicas, 0


def _workload(state: State, pod: Object) -> Object | None:
    """The Deployment of a pod."""
    for replica_set in state.of(REPLICASETS).values():
        if uid(replica_set) == owner_uid(pod):
            return next((one for one in state.of(DEPLOYMENTS).values() if uid(one) == owner_uid(replica_set)), None)
    return None


def _pods_of_deployment(state: State, deployment: Object) -> list[Object]:
    sets = {uid(one) for one in state.of(REPLICASETS).values() if owner_uid(one) == uid(deployment)}
    return [pod for pod in state.of(PODS).values() if owner_uid(pod) in sets]


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


def cpu(pod: Object) -> int:
    """What a pod asks for, in thousandths of a CPU."""
    return sum(
        milli_value(get_path(one, "resources", "requests", "cpu", default="0")) for one in pod["spec"]["containers"]
    )


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


def no_more_pods_than_wanted(state: State, change: Change) -> Iterator[str]:
    """A new pod is never one more than is wanted, nor than the surge allows; and a Job that is done gets none."""
    if change.before is not None or change.after is None:
        return
    owner = owner_uid(change.after)
    for resource in (REPLICASETS, JOBS, STATEFULSETS):
        for workload in state.of(resource).values():
            if uid(workload) != owner:
                continue
            count = sum(map(lives, state.owned_by(owner)))
            most = state.limit(workload, change.time).pods_max
            if count > most:
                yield f"it is number {count} of {workload['kind']} {key(workload)[1]}, which wants {most} at most"
            done = {one["type"] for one in get_path(workload, "status", "conditions", default=())}
            if resource is JOBS and done & {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}:
                yield f"it is for Job {key(workload)[1]}, which is done"
    deployment = _workload(state, change.after)
    if deployment is not None:
        count = sum(map(lives, _pods_of_deployment(state, deployment)))
        most = state.limit(deployment, change.time).pods_max
        if count > most:
            yield f"it is number {count} of Deployment {key(deployment)[1]}, which allows {most} with its surge"


def no_fewer_pods_than_needed(state: State, change: Change) -> Iterator[str]:
    """When a controller has an available pod go, enough others stay available, as long as nothing fails by itself."""
    if change.before is None or not available(state, change.before):
        return
    if change.after is not None and available(state, change.after):
        return
    deployment = _workload(state, change.before)
    if uid(change.before) in state.evicted or uid(change.before) in state.deleted:
        return
    if deployment is None or deployment["metadata"].get("deletionTimestamp") or not state.is_calm(change.time):
        return
    # (What has just become ready, its controller may not know to be.)
    if change.time - state.ready_since.get(uid(change.before), change.time) < STALE_SECONDS:
        return
    left = sum(available(state, pod) for pod in _pods_of_deployment(state, deployment))
    least = state.limit(deployment, change.time).available_min
    if left < least:
        yield f"{left} pods of Deployment {key(deployment)[1]} stay available, of {least} at least"


def stateful_pods_come_in_order(state: State, change: Change) -> Iterator[str]:
    """A pod of a StatefulSet that goes by order is made when all before it are ready."""
    if change.before is not None or change.after is None or not state.is_calm(change.time):
        return
    owner = owner_uid(change.after)
    for one in state.of(STATEFULSETS).values():
        if uid(one) != owner or one["spec"].get("podManagementPolicy") != "OrderedReady":
            continue
        namespace, name = key(change.after)
        base, _, ordinal = name.rpartition("-")
        start = get_path(one, "spec", "ordinals", "start", default=0)
        for number in range(start, int(ordinal)):
            pod = state.of(PODS).get((namespace, f"{base}-{number}"))
            if pod is None or not is_ready(pod):
                yield f"it was made before {base}-{number} was ready"


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
    if before is None or not available(state, before) or (after is not None and available(state, after)):
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
            available(state, pod)
            for (place, _), pod in state.of(PODS).items()
            if place == key(budget)[0] and wanted.items() <= pod["metadata"].get("labels", {}).items()
        )
        least = budget["spec"].get("minAvailable")
        if isinstance(least, int) and healthy < least:
            yield f"its eviction leaves {healthy} healthy pods, of which budget {key(budget)[1]} wants {least}"


EVERYTHING: tuple[Rule, ...] = (one_object_of_a_name, finalizers_are_honoured, nothing_is_observed_ahead)
RULES: dict[Resource, tuple[Rule, ...]] = {
    PODS: (
        a_pod_is_bound_once,
        a_pod_has_one_controller,
        a_pod_fits_its_node,
        no_more_pods_than_wanted,
        no_fewer_pods_than_needed,
        stateful_pods_come_in_order,
        quotas_are_kept,
        budgets_are_kept,
    ),
    JOBS: (jobs_count_each_pod_once,),
    RESOURCEQUOTAS: (quotas_are_kept,),
    REPLICASETS: (a_pod_has_one_controller,),
}
_RULES = {f"{resource.group or 'core'}/{resource.plural}": rules for resource, rules in RULES.items()}
_WORKLOADS = {f"{one.group}/{one.plural}" for one in (DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS, JOBS)}


class Invariants:
    """Follows all writes of a history."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.state = State()
        self.broken: list[str] = []
        self._clock = clock

    def written(self, resource: str, obj: Object, *, deleted: bool) -> None:
        """A write has become visible."""
        state, now = self.state, self._clock()
        objects = state.objects.setdefault(resource, {})
        change = Change(now, objects.get(key(obj)), None if deleted else obj)
        if change.before is None and deleted:
            return
        if deleted:
            del objects[key(obj)]
        else:
            objects[key(obj)] = obj
        self._remember(resource, change)
        for rule in (*EVERYTHING, *_RULES.get(resource, ())):
            for problem in rule(state, change):
                self.tell(f"{resource} {'/'.join(key(obj))}: {problem} [{rule.__name__}]")

    def tell(self, problem: str) -> None:
        """Something is not as it must be."""
        self.broken.append(f"{self._clock():.3f} {problem}")

    def _remember(self, resource: str, change: Change) -> None:
        state, now = self.state, change.time
        if resource in _WORKLOADS and change.after is not None:
            known = state.limits.setdefault(uid(change.after), [])
            limits = Limits(float("inf"), *limits_of(change.after))
            if not known or known[-1][1:] != limits[1:]:
                if known:
                    known[-1] = known[-1]._replace(until=now)
                known.append(limits)
        if resource != "core/pods":
            return
        pod = change.after
        if pod is None:
            return
        if is_ready(pod):
            state.ready_since.setdefault(uid(pod), now)
        elif state.ready_since.pop(uid(pod), None) is not None and lives(pod):
            state.disturbed_at = now
        owner, phase = owner_uid(pod), get_path(pod, "status", "phase")
        if owner and phase in ENDED:
            (state.succeeded if phase == "Succeeded" else state.failed).setdefault(owner, set()).add(uid(pod))
        if change.before is not None and lives(change.before) and pod["metadata"].get("deletionTimestamp"):
            if owner:
                # What is deleted while it runs counts as failed.
                state.failed.setdefault(owner, set()).add(uid(pod))
            if uid(pod) in state.evicted:
                state.evicted_at = now
            elif uid(pod) in state.deleted:
                state.disturbed_at = now
            else:
                state.replaced_at = now
