"""Keeps as many pods of each ReplicaSet alive as its spec says, and of each ReplicationController.

Pods and ReplicaSets enqueue the ReplicaSet they belong to, or might belong to. Pods are counted only once the cache
shows all that was done before (`controllers.expectations`), created in batches that double as long as they
succeed, and given up in the order of `controllers.deletion_ranking`. Changes that only matter to the status wait
a moment for others, so that a burst of pods becoming ready costs one write.

A ReplicationController is an older ReplicaSet: its selector is a plain map of labels, and its status does not tell
of pods that are terminating. All else is the same; each of the two resources has a control loop of its own.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/ and
https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apiclient.informer import ADDED, DELETED
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    find_condition,
    get_path,
    labels,
    name,
    namespace,
    namespaced_key,
    owner_reference,
    uid,
    with_condition,
)
from apimachinery.resources import PODS, REPLICASETS, REPLICATIONCONTROLLERS, Resource
from apimachinery.selectors import Selector, selector_from_object
from apimachinery.time import rfc3339
from controllers.context import Context
from controllers.deletion_ranking import choose_pods_to_delete
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.ownership import claim, plan_claims
from controllers.pace import Pace
from controllers.pods import (
    BY_CONTROLLER,
    by_controller,
    is_active,
    is_finished,
    is_ready,
    is_terminating,
    orphans_of,
    ready_condition,
    seconds_until_available,
)
from controllers.requests import create_all, namespace_terminating, outcome_unknown, settle, write_status

# A pass creates or deletes this many pods at most; then the status tells how far it is.
BURST_PODS = 500
FIRST_BATCH_PODS = 1
# One that is being deleted replaces nothing: it only counts what is left, and has its Deployment count too.
LEAVING_SECONDS = 0.25
BY_NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the pods could not be created or deleted."""

    reason: str
    error: ApiError


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pods to create, or which to delete."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan_scale(replica_set: Object, active: list[Object], related: Iterable[Object], now: float) -> Plan:
    """What brings the number of active pods to `spec.replicas`, a burst at most."""
    missing = get_path(replica_set, "spec", "replicas", default=1) - len(active)
    if deletion_requested(replica_set) or missing == 0:
        return Plan()
    if missing > 0:
        return Plan(create=min(missing, BURST_PODS))
    surplus = min(-missing, BURST_PODS)
    return Plan(delete=tuple(choose_pods_to_delete(active, related, surplus, now)))


def named(resource: Resource, replica_set: Object) -> Object:
    """The object with its kind, which lists leave out."""
    return {**replica_set, "apiVersion": resource.api_version, "kind": resource.kind}


def pod_from_template(replica_set: Object, resource: Resource = REPLICASETS) -> Object:
    """The pod to create: the template, owned by the ReplicaSet."""
    template = replica_set["spec"]["template"]
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "generateName": f"{name(replica_set)}-",
            "namespace": namespace(replica_set),
            "ownerReferences": [owner_reference(named(resource, replica_set))],
        },
        "spec": template["spec"],
    }


def plan_status(
    replica_set: Object,
    pods: Iterable[Object],
    failure: Failure | None,
    now: float,
    resource: Resource = REPLICASETS,
) -> Object:
    """The status that tells of these owned pods."""
    min_ready = get_path(replica_set, "spec", "minReadySeconds", default=0)
    template_labels = get_path(replica_set, "spec", "template", "metadata", "labels", default={}).items()
    owned = list(pods)
    active = [pod for pod in owned if is_active(pod)]
    ready = [pod for pod in active if is_ready(pod)]
    # Without a time to wait, and that is the rule, nobody needs to be asked since when it is ready.
    available = [pod for pod in ready if seconds_until_available(pod, min_ready, now) == 0] if min_ready else ready
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels <= labels(pod).items() for pod in active),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
        "observedGeneration": replica_set["metadata"].get("generation", 0),
    }
    if resource == REPLICASETS:
        status["terminatingReplicas"] = sum(map(is_terminating, owned))
    if conditions := _conditions(replica_set, failure, now):
        status["conditions"] = conditions
    return status


def _conditions(replica_set: Object, failure: Failure | None, now: float) -> list[dict[str, Any]]:
    """ReplicaFailure stays as it was first told until a pass succeeds."""
    known: list[dict[str, Any]] = get_path(replica_set, "status", "conditions", default=[])
    if failure is None:
        return [condition for condition in known if condition["type"] != "ReplicaFailure"]
    if find_condition(known, "ReplicaFailure") is not None:
        return known
    told = {"status": "True", "reason": failure.reason, "message": failure.error.message}
    return with_condition(known, type="ReplicaFailure", now=rfc3339(now), **told)


def seconds_to_next_availability(replica_set: Object, pods: Iterable[Object], now: float) -> float | None:
    """When the next ready pod will have been ready for `minReadySeconds`; None if none is waiting for that."""
    min_ready = get_path(replica_set, "spec", "minReadySeconds", default=0)
    if not min_ready:
        return None
    waits = (seconds_until_available(pod, min_ready, now) for pod in pods if is_active(pod))
    return min((wait for wait in waits if wait), default=None)


def replica_facts(pod: Object) -> tuple[Any, ...]:
    """All of a pod that a ReplicaSet's decisions rest on; a change of anything else is none of its business."""
    ready = ready_condition(pod) or {}
    references = pod["metadata"].get("ownerReferences")
    settled = (deletion_requested(pod), is_finished(pod))
    return (*settled, ready.get("status"), ready.get("lastTransitionTime"), labels(pod), references)


class ReplicaSetController:
    """One control loop over all ReplicaSets, or over all ReplicationControllers."""

    def __init__(self, context: Context, resource: Resource = REPLICASETS) -> None:
        self._resource = resource
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._pods = context.informers.of(PODS)
        self._replica_sets = context.informers.of(resource)
        self.informers = (self._pods, self._replica_sets)
        self.queue = context.queue()
        # Changes that matter to the status alone wait for others.
        self._pace = Pace(self.queue, context.clock)
        self._expectations = Expectations(self._pods, context.clock)
        self._pods.add_index(BY_CONTROLLER, by_controller)
        self._replica_sets.add_index(BY_CONTROLLER, by_controller)
        self._replica_sets.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._pods.add_handler(self._pod_changed)
        self._replica_sets.add_handler(self._replica_set_changed)

    def _replica_set_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        key = namespaced_key(obj)
        if kind == DELETED:
            self._expectations.forget(key)
            self._pace.forget(key)
        elif old is not None and old["metadata"].get("generation") == obj["metadata"].get("generation"):
            self._pace.soon(key)  # most often the echo of our own status
        else:
            self.queue.add(key)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None:
            if replica_facts(old) == replica_facts(new):
                return
            same = controller_of(old) == controller_of(new) and labels(old) == labels(new)
            if same and is_active(old) == is_active(new):
                self._enqueue_owner(new, at_once=False)
                return
        elif old is not None and not is_active(old):
            # It did not count any more: a rollout sees the last of hundreds of pods at a time.
            self._enqueue_owner(old, at_once=False)
            return
        for pod in (old, new):
            if pod is not None:
                self._enqueue_owner(pod, at_once=True)
                if pod is new and controller_of(pod) is None and (kind == ADDED or not deletion_requested(pod)):
                    self._enqueue_matching(pod)

    def _enqueue_owner(self, pod: Object, *, at_once: bool) -> None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != self._resource.kind:
            return
        key = f"{namespace(pod)}/{reference['name']}"
        replica_set = self._replica_sets.get(key)
        if replica_set is not None and uid(replica_set) == reference["uid"]:
            if deletion_requested(replica_set):
                self.queue.add_after(key, LEAVING_SECONDS)
            elif at_once:
                self.queue.add(key)
            else:
                self._pace.soon(key)

    def _enqueue_matching(self, orphan: Object) -> None:
        for replica_set in self._replica_sets.by_index(BY_NAMESPACE, namespace(orphan)):
            if self._selector(replica_set).matches(labels(orphan)):
                self.queue.add(namespaced_key(replica_set))

    async def reconcile(self, key: str) -> None:
        """Count the pods, create or delete what is wrong, and tell in the status."""
        replica_set = self._replica_sets.get(key)
        if replica_set is None:
            return
        await self._expectations.clear_doubts(self._client, key, replica_set, self._selector(replica_set))
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        now = self._clock.now()
        with self._pace.working(key):
            pods = await self._owned(replica_set)
            plan = plan_scale(replica_set, [p for p in pods if is_active(p)], self._related(replica_set), now)
        failure = await self._create(key, replica_set, plan.create) if plan.create else None
        if plan.delete:
            failure = await self._delete(key, replica_set, plan.delete)
        status = plan_status(replica_set, pods, failure, now, self._resource)
        await write_status(self._client, self._resource, replica_set, status)
        if failure is not None:
            raise failure.error
        if wait := seconds_to_next_availability(replica_set, pods, now):
            self.queue.add_after(key, wait)

    async def _owned(self, replica_set: Object) -> list[Object]:
        candidates = [
            *self._pods.by_index(BY_CONTROLLER, uid(replica_set)),
            *(p for p in self._pods.by_index(BY_CONTROLLER, orphans_of(namespace(replica_set))) if is_active(p)),
        ]
        claims = plan_claims(replica_set, self._selector(replica_set), candidates)
        # What has ended, or is to end, does not count anyway: it need not be let go.
        claims.release = [pod for pod in claims.release if is_active(pod)]
        return await claim(
            self._client, owner_resource=self._resource, owner=replica_set, resource=PODS, claims=claims
        )

    def _selector(self, replica_set: Object) -> Selector:
        selector = replica_set["spec"]["selector"]
        return selector_from_object(
            {"matchLabels": selector} if self._resource == REPLICATIONCONTROLLERS else selector
        )

    def _related(self, replica_set: Object) -> Iterable[Object]:
        reference = controller_of(replica_set)
        if reference is None:
            return self._pods.by_index(BY_CONTROLLER, uid(replica_set))
        family = self._replica_sets.by_index(BY_CONTROLLER, reference["uid"])
        return (pod for member in family for pod in self._pods.by_index(BY_CONTROLLER, uid(member)))

    async def _create(self, key: str, replica_set: Object, count: int) -> Failure | None:
        """Create pods in batches of 1, 2, 4…: if the first can't be created, the server is not asked 500 times."""
        pod = pod_from_template(replica_set, self._resource)
        batch = FIRST_BATCH_PODS
        while count > 0:
            size = min(batch, count)
            results = await create_all(self._client, PODS, [pod] * size)
            errors = []
            for result in results:
                if isinstance(result, ApiError):
                    errors.append(result)
                    if outcome_unknown(result):
                        self._expectations.doubt(key)
                else:
                    self._expectations.written(key, result)
                    self._tell(replica_set, "SuccessfulCreate", f"Created pod: {name(result)}")
            if errors:
                return self._failed(replica_set, "FailedCreate", f"Error creating: {errors[0].message}", errors[0])
            count -= size
            batch *= 2
        return None

    async def _delete(self, key: str, replica_set: Object, pods: tuple[Object, ...]) -> Failure | None:
        self._expectations.deleted(key, pods)
        results = await settle(self._client.delete(PODS, name(p), namespace(p), uid=uid(p)) for p in pods)
        failure = None
        for pod, result in zip(pods, results, strict=True):
            if not isinstance(result, ApiError):
                self._tell(replica_set, "SuccessfulDelete", f"Deleted pod: {name(pod)}")
            elif not is_not_found(result):
                self._expectations.not_deleted(key, pod)
                failure = self._failed(replica_set, "FailedDelete", f"Error deleting: {result.message}", result)
        return failure

    def _failed(self, replica_set: Object, reason: str, message: str, error: ApiError) -> Failure | None:
        if namespace_terminating(error):
            return None
        self._recorder.event(named(self._resource, replica_set), "Warning", reason, message)
        return Failure(reason, error)

    def _tell(self, replica_set: Object, reason: str, message: str) -> None:
        self._recorder.event(named(self._resource, replica_set), "Normal", reason, message)
