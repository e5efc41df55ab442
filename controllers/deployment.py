"""Rolls each Deployment out: one ReplicaSet a pod template, and the pods moved from the old ones to the new one.

ReplicaSets enqueue the Deployment that they belong to, or might; so do the ends of pods where the strategy is
Recreate. The arithmetic is in `controllers.deployment_rollout`, what makes a revision in
`controllers.deployment_revision`, what is told in `controllers.deployment_status`; here they are put together.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery import meta
from apimachinery.errors import ApiError, is_already_exists
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    is_controlled_by,
    labels,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.resources import DEPLOYMENTS, PODS, REPLICASETS
from apimachinery.selectors import selector_from_object
from controllers import deployment_revision as revisions
from controllers import deployment_rollout as rollout
from controllers import deployment_status as statuses
from controllers.context import Context
from controllers.deployment_revision import KIND
from controllers.deployment_rollback import Rollback, plan_rollback
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.ownership import claim, plan_claims
from controllers.pods import BY_CONTROLLER, by_controller, is_finished, orphans_of
from controllers.requests import namespace_terminating, settle_or_raise, unless_gone, write_status

logger = logging.getLogger(__name__)

BY_NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Update:
    """A change of one ReplicaSet: a merge patch, and the size before and after it."""

    replica_set: Object
    patch: Object
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One step of a rollout."""

    status: Object
    create: Object | None = None
    updates: tuple[Update, ...] = ()
    delete: tuple[Object, ...] = ()
    revision: str | None = None


def plan_deployment(deployment: Object, replica_sets: Sequence[Object], *, old_pods_run: bool, now: float) -> Plan:
    """The next step for a Deployment that has these ReplicaSets; the status is that of after the step.

    A Deployment that is paused or has just been scaled is sized, but not rolled further.
    """
    new, old = revisions.split(deployment, replica_sets)
    if deletion_requested(deployment):
        return Plan(statuses.counted_status(deployment, new, replica_sets, now))
    told = statuses.paused_conditions(deployment, now)
    deployment = {**deployment, "status": {**(deployment.get("status") or {}), "conditions": told}}
    paused = bool(get_path(deployment, "spec", "paused", default=False))
    number = revisions.next_revision(old)
    if paused or rollout.is_scaling(deployment, replica_sets):
        sizes = rollout.scaled_sizes(deployment, new, old)
        updates = _updates(deployment, new, old, sizes, number, annotate=True)
        status = statuses.counted_status(deployment, new, _resized(replica_sets, sizes), now)
        outlived = revisions.outlived(deployment, old) if paused else []
        return Plan(status, None, updates, tuple(outlived), _revision(deployment, new, number))
    create = None
    if new is None and (rollout.is_rolling(deployment) or not (rollout.active(old) or old_pods_run)):
        new = revisions.new_replica_set(deployment, number)
        new = create = _sized(new, rollout.new_size(deployment, [*old, new], new))
    if rollout.is_rolling(deployment) and new is not None:
        sizes = rollout.rolling_sizes(deployment, new, old)
    else:
        sizes = rollout.recreate_sizes(deployment, new, old, old_pods_run=old_pods_run)
    complete = statuses.is_complete(deployment, deployment.get("status") or {})
    everything = _resized([*old, *([new] if new is not None else [])], sizes)
    status = statuses.rollout_status(deployment, new, everything, created=create is not None, now=now)
    return Plan(
        status,
        create,
        _updates(deployment, new if create is None else None, old, sizes, number, annotate=False),
        tuple(revisions.outlived(deployment, old)) if complete else (),
        _revision(deployment, new, number),
    )


def _revision(deployment: Object, new: Object | None, number: int) -> str | None:
    """The revision to be written on the Deployment, if it is another than before."""
    if new is None:
        return None
    wanted = str(max(number, revisions.revision(new)))
    return wanted if meta.annotations(deployment).get(revisions.REVISION) != wanted else None


def _updates(
    deployment: Object,
    new: Object | None,
    old: Sequence[Object],
    sizes: rollout.Sizes,
    number: int,
    *,
    annotate: bool,
) -> tuple[Update, ...]:
    """What must be written to existing ReplicaSets; `annotate`: their share of the new size is to be remembered."""
    updates = []
    for replica_set in (*old, *([new] if new is not None else [])):
        before = rollout.replicas(replica_set)
        after = sizes.get(name(replica_set), before)
        notes = meta.annotations(replica_set)
        spec: Object = {} if after == before else {"replicas": after}
        if replica_set is new:
            notes = revisions.current_annotations(deployment, replica_set, number)
            min_ready = get_path(deployment, "spec", "minReadySeconds", default=0)
            if get_path(replica_set, "spec", "minReadySeconds", default=0) != min_ready:
                spec["minReadySeconds"] = min_ready
        if after != before or (annotate and before > 0):
            notes = {**notes, **revisions.size_annotations(deployment)}
        if spec or notes != meta.annotations(replica_set):
            metadata = {"uid": uid(replica_set), "resourceVersion": resource_version(replica_set)}
            patch = {"metadata": {**metadata, "annotations": notes}, **({"spec": spec} if spec else {})}
            updates.append(Update(replica_set, patch, before, after))
    return tuple(updates)


def _sized(replica_set: Object, size: int) -> Object:
    return {**replica_set, "spec": {**replica_set["spec"], "replicas": size}}


def _resized(replica_sets: Iterable[Object], sizes: rollout.Sizes) -> list[Object]:
    return [_sized(rs, sizes[name(rs)]) if name(rs) in sizes else rs for rs in replica_sets]


class DeploymentController:
    """One control loop over all Deployments."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._deployments = context.informers.of(DEPLOYMENTS)
        self._replica_sets = context.informers.of(REPLICASETS)
        self._pods = context.informers.of(PODS)
        self.informers = (self._deployments, self._replica_sets, self._pods)
        self.queue = context.queue()
        self._expectations = Expectations(self._replica_sets, context.clock)
        self._replica_sets.add_index(BY_CONTROLLER, by_controller)
        self._pods.add_index(BY_CONTROLLER, by_controller)
        self._deployments.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._deployments.add_handler(self._deployment_changed)
        self._replica_sets.add_handler(self._replica_set_changed)
        self._pods.add_handler(self._pod_changed)

    def _deployment_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(namespaced_key(new))
        elif old is not None:
            self._expectations.forget(namespaced_key(old))

    def _replica_set_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for replica_set in (old, new):
            if replica_set is not None:
                owner = self._owner(replica_set)
                if owner is not None:
                    self.queue.add(namespaced_key(owner))
        if new is not None and controller_of(new) is None:
            for deployment in self._deployments.by_index(BY_NAMESPACE, namespace(new)):
                if _selector(deployment).matches(labels(new)):
                    self.queue.add(namespaced_key(deployment))

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """A Recreate waits for the last old pod; nothing else here depends on single pods."""
        pod = new or old
        assert pod is not None
        if kind != DELETED and not is_finished(pod):
            return
        reference = controller_of(pod)
        if reference is None or reference["kind"] != REPLICASETS.kind:
            return
        replica_set = self._replica_sets.get(f"{namespace(pod)}/{reference['name']}")
        deployment = self._owner(replica_set) if replica_set is not None else None
        if deployment is not None and not rollout.is_rolling(deployment):
            self.queue.add(namespaced_key(deployment))

    def _owner(self, replica_set: Object) -> Object | None:
        reference = controller_of(replica_set)
        if reference is None or reference["kind"] != DEPLOYMENTS.kind:
            return None
        deployment = self._deployments.get(f"{namespace(replica_set)}/{reference['name']}")
        return deployment if deployment is not None and uid(deployment) == reference["uid"] else None

    async def reconcile(self, key: str) -> None:
        """Take the next step of the rollout, and tell how far it is."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return
        if not deployment["spec"]["selector"]:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._tell(deployment, "Warning", "SelectingAll", message)
            return
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        replica_sets = await self._owned(deployment)
        if (rollback := plan_rollback(deployment, replica_sets)) is not None:
            await self._roll_back(deployment, rollback)
            return
        now = self._clock.now()
        old_pods_run = self._old_pods_run(deployment, replica_sets)
        plan = plan_deployment(deployment, replica_sets, old_pods_run=old_pods_run, now=now)
        if plan.create is not None and not await self._create(deployment, plan.create, now):
            return
        await settle_or_raise(self._update(deployment, update) for update in plan.updates)
        await settle_or_raise(map(self._delete, plan.delete))
        if plan.revision is not None:
            deployment = await self._set_revision(deployment, plan.revision)
        await write_status(self._client, DEPLOYMENTS, deployment, plan.status)
        if wait := statuses.seconds_to_deadline(deployment, plan.status, now):
            self.queue.add_after(key, wait)

    async def _owned(self, deployment: Object) -> list[Object]:
        candidates = (
            *self._replica_sets.by_index(BY_CONTROLLER, uid(deployment)),
            *self._replica_sets.by_index(BY_CONTROLLER, orphans_of(namespace(deployment))),
        )
        claims = plan_claims(deployment, _selector(deployment), candidates)
        return await claim(
            self._client, owner_resource=DEPLOYMENTS, owner=deployment, resource=REPLICASETS, claims=claims
        )

    def _old_pods_run(self, deployment: Object, replica_sets: Sequence[Object]) -> bool:
        """True if a pod of an earlier template still runs, be it on its way out; asked by Recreate only."""
        if rollout.is_rolling(deployment):
            return False
        _, old = revisions.split(deployment, replica_sets)
        pods = (pod for rs in old for pod in self._pods.by_index(BY_CONTROLLER, uid(rs)))
        counted = any(get_path(rs, "status", "replicas", default=0) for rs in old)
        return counted or not all(map(is_finished, pods))

    async def _create(self, deployment: Object, replica_set: Object, now: float) -> bool:
        """Create the new ReplicaSet; False if that must be tried again with another name or in another world."""
        try:
            created = await self._client.create(REPLICASETS, replica_set)
        except ApiError as error:
            if is_already_exists(error):
                return await self._is_ours(deployment, replica_set)
            if namespace_terminating(error):
                return False
            message = f'Failed to create new replica set "{name(replica_set)}": {error.message}'
            self._tell(deployment, "Warning", "ReplicaSetCreateError", message)
            if statuses.has_deadline(deployment):
                known = get_path(deployment, "status", "conditions", default=[])
                conditions = statuses.failed_conditions(known, message, now)
                status = {**(deployment.get("status") or {}), "conditions": conditions}
                await write_status(self._client, DEPLOYMENTS, deployment, status)
            raise
        self._expectations.written(namespaced_key(deployment), created)
        size = rollout.replicas(replica_set)
        if size > 0:
            self._tell_scaled(deployment, replica_set, 0, size)
        return True

    async def _is_ours(self, deployment: Object, replica_set: Object) -> bool:
        """A taken name: either our cache was late, or two templates have the same hash and another one is needed."""
        found = await self._client.get(REPLICASETS, name(replica_set), namespace(replica_set))
        template = deployment["spec"]["template"]
        if is_controlled_by(found, deployment) and revisions.same_template(found["spec"]["template"], template):
            return True
        collisions = get_path(deployment, "status", "collisionCount", default=0) + 1
        status = {**(deployment.get("status") or {}), "collisionCount": collisions}
        await write_status(self._client, DEPLOYMENTS, deployment, status)
        return False

    async def _update(self, deployment: Object, update: Update) -> None:
        replica_set = update.replica_set
        patch, scope = update.patch, namespace(replica_set)
        written = await self._client.patch(REPLICASETS, name(replica_set), patch, scope)
        self._expectations.written(namespaced_key(deployment), written)
        if update.after != update.before:
            self._tell_scaled(deployment, replica_set, update.before, update.after)

    async def _delete(self, replica_set: Object) -> None:
        version = resource_version(replica_set)
        deletion = self._client.delete(
            REPLICASETS, name(replica_set), namespace(replica_set), uid=uid(replica_set), resource_version=version
        )
        await unless_gone(deletion)

    async def _set_revision(self, deployment: Object, revision: str) -> Object:
        metadata = {"uid": uid(deployment), "resourceVersion": resource_version(deployment)}
        patch = {"metadata": {**metadata, "annotations": {revisions.REVISION: revision}}}
        return await self._client.patch(DEPLOYMENTS, name(deployment), patch, namespace(deployment))

    async def _roll_back(self, deployment: Object, rollback: Rollback) -> None:
        """The write has the Deployment looked at again."""
        precondition = {"uid": uid(deployment), "resourceVersion": resource_version(deployment)}
        patch = {**rollback.patch, "metadata": {**rollback.patch["metadata"], **precondition}}
        await self._client.patch(DEPLOYMENTS, name(deployment), patch, namespace(deployment))
        self._tell(deployment, rollback.type, rollback.reason, rollback.message)

    def _tell_scaled(self, deployment: Object, replica_set: Object, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        logger.info(kv("scaled", replica_set=namespaced_key(replica_set), before=before, after=after))
        message = f"Scaled {direction} replica set {name(replica_set)} from {before} to {after}"
        self._tell(deployment, "Normal", "ScalingReplicaSet", message)

    def _tell(self, deployment: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**deployment, **KIND}, kind, reason, message)


def _selector(deployment: Object) -> Any:
    return selector_from_object(deployment["spec"]["selector"])
