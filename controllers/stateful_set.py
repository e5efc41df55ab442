"""Keeps the pods of each StatefulSet as its spec says: each with a name, an ordinal and claims of its own.

Pods, revisions, claims that are gone and StatefulSets enqueue the set that they belong to. What to do is decided by
`controllers.stateful_set_plan`, once the cache shows all that was done before; the API server holds that there is one
pod of a name at a time, and no pod is taken for gone before it is. The pod templates that the set has had are
ControllerRevisions (`controllers.controller_history`).

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from apiclient.informer import ADDED, DELETED
from apiclient.logs import kv
from apimachinery.errors import ApiError, is_already_exists, is_not_found
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    labels,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.resources import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from apimachinery.selectors import selector_from_object
from controllers import controller_history as history
from controllers import stateful_set_plan as plans
from controllers.context import Context
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.ownership import claim, plan_claims
from controllers.pace import Pace
from controllers.pods import BY_CONTROLLER, by_controller, orphans_of, phase, ready_condition
from controllers.requests import namespace_terminating, settle, unless_gone, write_status
from controllers.stateful_set_claims import ClaimPlan
from controllers.stateful_set_identity import (
    KIND,
    claim_name,
    claim_templates,
    claim_volumes,
    identity_labels,
    is_member,
    ordinal,
    parent_and_ordinal,
    revision_of,
    storage_matches,
)
from controllers.stateful_set_plan import Stages, Step, View

BY_NAMESPACE = "namespace"
# A parallel set does this many things at once at most.
BATCH_MAX = 500

logger = logging.getLogger(__name__)


def member_facts(pod: Object) -> tuple[Any, ...]:
    """All of a pod that a StatefulSet's decisions rest on; a change of anything else is none of its business."""
    ready = ready_condition(pod) or {}
    settled = (deletion_requested(pod), phase(pod), ready.get("status"), ready.get("lastTransitionTime"))
    return (*settled, labels(pod), pod["metadata"].get("ownerReferences"))


class StatefulSetController:
    """One control loop over all StatefulSets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._sets = context.informers.of(STATEFULSETS)
        self._pods = context.informers.of(PODS)
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self._revisions = context.informers.of(CONTROLLERREVISIONS)
        self.informers = (self._sets, self._pods, self._claims, self._revisions)
        self.queue = context.queue()
        # Changes that matter to the status alone wait for others.
        self._pace = Pace(self.queue, context.clock)
        self._pods_expected = Expectations(self._pods, context.clock)
        self._revisions_expected = Expectations(self._revisions, context.clock)
        for owned in (self._pods, self._revisions):
            owned.add_index(BY_CONTROLLER, by_controller)
        for found in (self._sets, self._claims):
            found.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._sets.add_handler(self._set_changed)
        self._pods.add_handler(self._pod_changed)
        self._claims.add_handler(self._claim_changed)
        self._revisions.add_handler(self._revision_changed)

    def _set_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        key = namespaced_key(obj)
        if kind == DELETED:
            self._pods_expected.forget(key)
            self._revisions_expected.forget(key)
            self._pace.forget(key)
        elif old is not None and old["metadata"].get("generation") == obj["metadata"].get("generation"):
            self._pace.soon(key)  # most often the echo of our own status
        else:
            self.queue.add(key)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and member_facts(old) == member_facts(new):
            return
        for pod in (old, new):
            if pod is not None:
                self._enqueue_owner(pod)
                if pod is new and controller_of(pod) is None and (kind == ADDED or not deletion_requested(pod)):
                    self._enqueue_matching(pod)

    def _revision_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """One that was deleted or changed by others is brought back; the echo of our own changes nothing."""
        revision = new or old
        assert revision is not None
        if kind != ADDED:
            self._enqueue_owner(revision)

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """A pod may have waited for a claim to be gone."""
        if kind != DELETED or old is None:
            return
        number = parent_and_ordinal(name(old))[1]
        for stateful_set in self._sets.by_index(BY_NAMESPACE, namespace(old)):
            if any(claim_name(stateful_set, one, number) == name(old) for one in claim_templates(stateful_set)):
                self.queue.add(namespaced_key(stateful_set))

    def _enqueue_owner(self, owned: Object) -> None:
        reference = controller_of(owned)
        if reference is None or reference["kind"] != STATEFULSETS.kind:
            return
        key = f"{namespace(owned)}/{reference['name']}"
        stateful_set = self._sets.get(key)
        if stateful_set is not None and uid(stateful_set) == reference["uid"]:
            # An ordered set waits for this one pod; in others many get ready at once.
            if plans.is_ordered(stateful_set):
                self.queue.add(key)
            else:
                self._pace.soon(key)

    def _enqueue_matching(self, orphan: Object) -> None:
        for stateful_set in self._sets.by_index(BY_NAMESPACE, namespace(orphan)):
            if is_member(stateful_set, orphan) and _selector(stateful_set).matches(labels(orphan)):
                self.queue.add(namespaced_key(stateful_set))

    async def reconcile(self, key: str) -> None:
        """Take the next step, or all at once if the set is parallel, and tell in the status."""
        stateful_set = self._sets.get(key)
        if stateful_set is None:
            return
        if not self._pods_expected.satisfied(key) or not self._revisions_expected.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        revisions = await self._own_revisions(stateful_set)
        pods = await self._own_pods(stateful_set)
        if deletion_requested(stateful_set):
            await self._tell_status(self._as_it_leaves(stateful_set), pods, (), collisions(stateful_set))
            return
        update, collision_count = await history.write_newest(
            self._client, STATEFULSETS, stateful_set, revisions, collision_count=collisions(stateful_set)
        )
        self._revisions_expected.written(key, update)
        with self._pace.working(key):
            view = self._view(stateful_set, revisions, update)
            stages = plans.plan_pods(view, pods)
        updating, error = await self._carry_out(key, view, stages)
        await self._tell_status(view, pods, updating, collision_count)
        live = {view.current, view.update, *map(revision_of, pods)}
        limit = get_path(stateful_set, "spec", "revisionHistoryLimit", default=10)
        await history.delete_revisions(self._client, history.outlived(revisions, live, limit))
        if error is not None:
            raise error
        if wait := plans.seconds_to_next_availability(stateful_set, pods, view.now):
            self.queue.add_after(key, wait)

    async def _own_pods(self, stateful_set: Object) -> list[Object]:
        claims = plan_claims(stateful_set, _selector(stateful_set), self._candidates(self._pods, stateful_set))
        strangers = [pod for pod in claims.owned if not is_member(stateful_set, pod)]
        if not deletion_requested(stateful_set):
            claims.release += strangers
        claims.owned = [pod for pod in claims.owned if is_member(stateful_set, pod)]
        claims.adopt = [pod for pod in claims.adopt if is_member(stateful_set, pod)]
        return await claim(
            self._client, owner_resource=STATEFULSETS, owner=stateful_set, resource=PODS, claims=claims
        )

    async def _own_revisions(self, stateful_set: Object) -> list[Object]:
        candidates = self._candidates(self._revisions, stateful_set)
        claims = plan_claims(stateful_set, _selector(stateful_set), candidates)
        claims.release = []  # history is never let go
        return await claim(
            self._client, owner_resource=STATEFULSETS, owner=stateful_set, resource=CONTROLLERREVISIONS, claims=claims
        )

    def _candidates(self, informer: Any, stateful_set: Object) -> list[Object]:
        return [
            *informer.by_index(BY_CONTROLLER, uid(stateful_set)),
            *informer.by_index(BY_CONTROLLER, orphans_of(namespace(stateful_set))),
        ]

    def _view(self, stateful_set: Object, revisions: Sequence[Object], update: Object) -> View:
        known = get_path(stateful_set, "status", "currentRevision", default="")
        current = next((one for one in revisions if name(one) == known), update)
        claims: dict[str, Object] = {}
        if claim_templates(stateful_set):
            claims = {name(one): one for one in self._claims.by_index(BY_NAMESPACE, namespace(stateful_set))}
        # The newest revision is what the set says now: only an earlier one has to be brought back.
        same = name(current) == name(update)
        current_set = stateful_set if same else history.with_revision(STATEFULSETS, stateful_set, current)
        now = self._clock.now()
        return View(stateful_set, current_set, name(current), name(update), claims, now)

    def _as_it_leaves(self, stateful_set: Object) -> View:
        """A set that is being deleted makes no more history: its revisions are those that it last told of."""
        told = stateful_set.get("status") or {}
        names = (told.get("currentRevision", ""), told.get("updateRevision", ""))
        return View(stateful_set, stateful_set, *names, {}, self._clock.now())

    async def _tell_status(
        self, view: View, pods: Sequence[Object], updating: Iterable[Object], collision_count: int
    ) -> None:
        status = plans.plan_status(view, pods, updating=updating, collision_count=collision_count)
        await unless_gone(write_status(self._client, STATEFULSETS, view.stateful_set, status))

    async def _carry_out(self, key: str, view: View, stages: Stages) -> tuple[list[Object], ApiError | None]:
        """Do the stages until something fails; returns the pods that were deleted, and what failed."""
        ordered = plans.is_ordered(view.stateful_set)
        deleted: list[Object] = []
        for stage in stages:
            done, size = 0, 1
            # Batches of 1, 2, 4…: if the first can't be done, the server is not asked 500 times.
            while done < len(stage):
                batch = stage[done : done + size]
                results = await settle(self._take(key, view.stateful_set, step) for step in batch)
                errors = [result for result in results if isinstance(result, ApiError)]
                deleted += [
                    step.pod
                    for step, result in zip(batch, results, strict=True)
                    if step.verb == "delete" and not isinstance(result, ApiError)
                ]
                if errors:
                    return deleted, None if namespace_terminating(errors[0]) else errors[0]
                done += len(batch)
                size = 1 if ordered else min(2 * size, BATCH_MAX)
        return deleted, None

    async def _take(self, key: str, stateful_set: Object, step: Step) -> None:
        pod = step.pod
        if step.verb == "delete":
            await self._delete(key, stateful_set, pod)
        elif step.verb == "recreate":
            self._tell_recreation(stateful_set, pod)
            await self._delete(key, stateful_set, pod)
        elif step.verb == "create":
            await self._create(key, stateful_set, pod, step.claims)
        elif step.verb == "update":
            await self._update(key, stateful_set, pod, step.claims)
        else:
            await self._see_to_claims(stateful_set, pod, step.claims)

    async def _create(self, key: str, stateful_set: Object, pod: Object, claims: ClaimPlan) -> None:
        try:
            await self._see_to_claims(stateful_set, pod, claims)
            created = await self._client.create(PODS, pod)
        except ApiError as error:
            # A taken name: another pod has it and will tell when it goes, or our cache was late.
            if not is_already_exists(error) and not namespace_terminating(error):
                self._tell_pod(stateful_set, "create", pod, error)
            raise
        self._pods_expected.written(key, created)
        self._tell_pod(stateful_set, "create", pod)

    async def _update(self, key: str, stateful_set: Object, pod: Object, claims: ClaimPlan) -> None:
        number = ordinal(pod)
        precondition = {"uid": uid(pod), "resourceVersion": resource_version(pod)}
        patch: Object = {"metadata": {**precondition, "labels": identity_labels(stateful_set, number)}}
        if not storage_matches(stateful_set, pod):
            patch["spec"] = {"volumes": claim_volumes(stateful_set, number)}
        try:
            await self._see_to_claims(stateful_set, pod, claims)
            written = await self._client.patch(PODS, name(pod), patch, namespace(pod), kind="strategic")
        except ApiError as error:
            self._tell_pod(stateful_set, "update", pod, error)
            raise
        self._pods_expected.written(key, written)
        self._tell_pod(stateful_set, "update", pod)

    async def _delete(self, key: str, stateful_set: Object, pod: Object) -> None:
        logger.info(kv("deleting pod", pod=namespaced_key(pod), stateful_set=name(stateful_set)))
        self._pods_expected.deleted(key, [pod])
        try:
            await self._client.delete(PODS, name(pod), namespace(pod), uid=uid(pod))
        except ApiError as error:
            if is_not_found(error):
                return
            self._pods_expected.not_deleted(key, pod)
            self._tell_pod(stateful_set, "delete", pod, error)
            raise
        self._tell_pod(stateful_set, "delete", pod)

    async def _see_to_claims(self, stateful_set: Object, pod: Object, claims: ClaimPlan) -> None:
        """Create what is missing and write what owns the others. Raises ApiError if a claim can't be had."""
        for wanted in claims.create:
            await self._create_claim(stateful_set, pod, wanted)
        for which in claims.leaving:
            raise ApiError(409, "Conflict", f"pvc {which} is being deleted")
        for which in claims.conflicting:
            message = (
                f"PersistentVolumeClaim {which} has a conflicting OwnerReference that acts as a manging controller, "
                "the retention policy is ignored for this claim"
            )
            self._tell(stateful_set, "Warning", "ConflictingController", message)
        for found, references in claims.references:
            precondition = {"uid": uid(found), "resourceVersion": resource_version(found)}
            patch = {"metadata": {**precondition, "ownerReferences": references}}
            scope = namespace(found)
            await unless_gone(self._client.patch(PERSISTENTVOLUMECLAIMS, name(found), patch, scope))

    async def _create_claim(self, stateful_set: Object, pod: Object, wanted: Object) -> None:
        ending = f"Claim {name(wanted)} Pod {name(pod)} in StatefulSet {name(stateful_set)} success"
        try:
            await self._client.create(PERSISTENTVOLUMECLAIMS, wanted)
        except ApiError as error:
            if is_already_exists(error):
                return  # our cache was late
            if not namespace_terminating(error):
                message = (
                    f"create Claim {name(wanted)} for Pod {name(pod)} in StatefulSet {name(stateful_set)} "
                    f"failed error: {error.message}"
                )
                self._tell(stateful_set, "Warning", "FailedCreate", message)
            why = f"failed to create PVC {name(wanted)}: {error.message}"
            raise ApiError(error.code, error.reason, why, details=error.details) from error
        self._tell(stateful_set, "Normal", "SuccessfulCreate", f"create {ending}")

    def _tell_pod(self, stateful_set: Object, verb: str, pod: Object, error: ApiError | None = None) -> None:
        what = f"{verb} Pod {name(pod)} in StatefulSet {name(stateful_set)}"
        if error is None:
            self._tell(stateful_set, "Normal", f"Successful{verb.title()}", f"{what} successful")
        else:
            self._tell(stateful_set, "Warning", f"Failed{verb.title()}", f"{what} failed error: {error.message}")

    def _tell_recreation(self, stateful_set: Object, pod: Object) -> None:
        failed = phase(pod) == "Failed"
        how, reason = ("Warning", "RecreatingFailedPod") if failed else ("Normal", "RecreatingTerminatedPod")
        ended = f"{'failed' if failed else 'terminated'} Pod {name(pod)}"
        self._tell(stateful_set, how, reason, f"StatefulSet {namespaced_key(stateful_set)} is recreating {ended}")

    def _tell(self, stateful_set: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**stateful_set, **KIND}, kind, reason, message)


def collisions(stateful_set: Object) -> int:
    """`status.collisionCount`."""
    return int(get_path(stateful_set, "status", "collisionCount", default=0))


def _selector(stateful_set: Object) -> Any:
    return selector_from_object(stateful_set["spec"]["selector"])
