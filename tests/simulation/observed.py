"""What is known of a simulated cluster to whoever sees all of its writes: the objects, and what has been.

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
    PODS,
    REPLICASETS,
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
    recreates: bool = False


@dataclass(slots=True)
class State:
    """All objects, as the last write has left them, and what is remembered of earlier ones."""

    objects: dict[str, dict[Key, Object]] = field(default_factory=dict)
    limits: dict[str, list[Limits]] = field(default_factory=dict)
    # The pods of each Job that have succeeded and failed, by its uid.
    succeeded: dict[str, set[str]] = field(default_factory=dict)
    failed: dict[str, set[str]] = field(default_factory=dict)
    # When each pod was made, and since when it is ready.
    made_at: dict[str, float] = field(default_factory=dict)
    ready_since: dict[str, float] = field(default_factory=dict)
    # When somebody failed to hear whether something was created.
    unanswered: list[float] = field(default_factory=list)
    # Whether users have begun to take HOLD away.
    released: bool = False
    # The pods that users have evicted or deleted, by their uids.
    evicted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    # When pods last became unready by themselves or were deleted by others than their controllers; when by evictions;
    # when by controllers.
    disturbed_at: float = float("-inf")
    evicted_at: float = float("-inf")
    replaced_at: float = float("-inf")

    def of(self, resource: Resource) -> dict[Key, Object]:
        """All objects of a resource."""
        return self.objects.setdefault(stored(resource), {})

    def owned_by(self, owner: str | None) -> list[Object]:
        """The pods whose controller has this uid."""
        return [pod for pod in self.of(PODS).values() if owner_uid(pod) == owner]

    def is_calm(self, now: float) -> bool:
        """Whether all nodes are there, and pods have long come and gone only as controllers would have it."""
        if not all(map(is_ready, self.of(NODES).values())):
            return False
        return now - max(self.disturbed_at, self.evicted_at) > STALE_SECONDS

    def limit(self, workload: Object, now: float) -> Limits:
        """The most lenient limits of the versions that a controller may know."""
        recent = [one for one in self.limits.get(uid(workload), ()) if one.until >= now - STALE_SECONDS]
        return Limits(
            now,
            max(one.pods_max for one in recent) + self.doubtful(now),
            min(one.available_min for one in recent),
            all(one.recreates for one in recent),
        )

    def doubtful(self, now: float) -> int:
        """How many pods there may be twice: who does not hear whether one was created creates another one."""
        return sum(moment >= now - STALE_SECONDS for moment in self.unanswered)

    def controller(self, pod: Object) -> Object | None:
        """The workload that has made a pod."""
        owner = owner_uid(pod)
        for resource in (REPLICASETS, STATEFULSETS, DAEMONSETS, JOBS):
            for one in self.of(resource).values():
                if uid(one) == owner:
                    return one
        return None

    def workload(self, pod: Object) -> Object | None:
        """The workload of its users that a pod is of: the Deployment behind a ReplicaSet, if there is one."""
        found = self.controller(pod)
        if found is None or found["kind"] != REPLICASETS.kind:
            return found
        return next((one for one in self.of(DEPLOYMENTS).values() if uid(one) == owner_uid(found)), found)

    def pods_of(self, workload: Object) -> list[Object]:
        """The pods of a workload."""
        if workload["kind"] != DEPLOYMENTS.kind:
            return self.owned_by(uid(workload))
        sets = {uid(one) for one in self.of(REPLICASETS).values() if owner_uid(one) == uid(workload)}
        return [pod for pod in self.of(PODS).values() if owner_uid(pod) in sets]

    def take(self, resource: str, now: float, obj: Object, *, deleted: bool) -> Change | None:
        """Take a write in; None if it is the end of what nobody knew of."""
        objects = self.objects.setdefault(resource, {})
        change = Change(now, objects.get(key(obj)), None if deleted else obj)
        if change.after is not None:
            objects[key(obj)] = obj
        elif objects.pop(key(obj), None) is None:
            return None
        if resource in _WORKLOADS and change.after is not None:
            self._remember_limits(change.after, now)
        if resource == stored(NODES) and not is_ready(obj):
            self.disturbed_at = now
        if resource == stored(PODS) and change.after is not None:
            self._remember_pod(change.before, change.after, now)
        return change

    def _remember_limits(self, workload: Object, now: float) -> None:
        known = self.limits.setdefault(uid(workload), [])
        limits = limits_of(self, workload)
        if not known or known[-1][1:] != limits[1:]:
            if known:
                known[-1] = known[-1]._replace(until=now)
            known.append(limits)

    def _remember_pod(self, before: Object | None, pod: Object, now: float) -> None:
        identity, owner, phase = uid(pod), owner_uid(pod), get_path(pod, "status", "phase")
        if before is None:
            self.made_at[identity] = now
        if is_ready(pod):
            self.ready_since.setdefault(identity, now)
        elif self.ready_since.pop(identity, None) is not None and lives(pod):
            self.disturbed_at = now
        goes = before is not None and lives(before) and bool(pod["metadata"].get("deletionTimestamp"))
        if owner and (phase in ENDED or goes):
            # What is deleted while it runs counts as failed.
            (self.succeeded if phase == "Succeeded" else self.failed).setdefault(owner, set()).add(identity)
        if not goes:
            return
        if identity in self.evicted:
            self.evicted_at = now
        elif identity in self.deleted or find_condition(pod, "DisruptionTarget") is not None:
            self.disturbed_at = now
        else:
            self.replaced_at = now


def stored(resource: Resource) -> str:
    """What the store calls a resource."""
    return f"{resource.group or 'core'}/{resource.plural}"


_WORKLOADS = {stored(one) for one in (DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS, JOBS)}

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


def is_ready(obj: Object) -> bool:
    return (find_condition(obj, "Ready") or {}).get("status") == "True"


def is_available(pod: Object) -> bool:
    return lives(pod) and is_ready(pod)


def cpu(pod: Object) -> int:
    """What a pod asks for, in thousandths of a CPU."""
    return sum(
        milli_value(get_path(one, "resources", "requests", "cpu", default="0")) for one in pod["spec"]["containers"]
    )


def node_of(pod: Object) -> str:
    """The node of a pod; of a DaemonSet's pod that is not bound yet, the one that it is for."""
    terms = get_path(
        *(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
        "nodeSelectorTerms",
        default=(),
    )
    meant = [value for term in terms for one in term.get("matchFields", ()) for value in one["values"]]
    name: str = get_path(pod, "spec", "nodeName") or (meant[0] if meant else "")
    return name


def share(value: object, of: int, *, up: bool) -> int:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of
        return -(-part // 100) if up else part // 100
    return int(str(value))


def limits_of(state: State, workload: Object) -> Limits:
    """The most pods, and the fewest available ones, that a workload wants at a time."""
    spec, kind, newest = workload["spec"], workload["kind"], float("inf")
    if kind == JOBS.kind:
        return Limits(newest, 0 if spec.get("suspend") else int(spec["parallelism"]), 0)
    if kind == DAEMONSETS.kind:
        selector = get_path(spec, "template", "spec", "nodeSelector", default={})
        nodes = sum(selector.items() <= node["metadata"]["labels"].items() for node in state.of(NODES).values())
        rolling = spec["updateStrategy"]["rollingUpdate"]
        return Limits(newest, 2 * nodes, nodes - share(rolling["maxUnavailable"], nodes, up=True))
    replicas = int(spec.get("replicas", 1))
    if kind == STATEFULSETS.kind:
        rolling = get_path(spec, "updateStrategy", "rollingUpdate", default={})
        return Limits(newest, replicas, replicas - share(rolling.get("maxUnavailable", 1), replicas, up=True))
    if kind == REPLICASETS.kind:
        return Limits(newest, replicas, replicas)
    rolling = spec["strategy"].get("rollingUpdate")
    if rolling is None:
        return Limits(newest, replicas, 0, recreates=True)
    surge = share(rolling["maxSurge"], replicas, up=True)
    unavailable = share(rolling["maxUnavailable"], replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # else no rollout would ever begin
    return Limits(newest, replicas + surge, replicas - min(unavailable, replicas))
