"""Keeps one pod of each DaemonSet on every node that should have one.

Pods, nodes and revisions enqueue the DaemonSets that they concern. Which nodes those are, and what ties a pod to its
node, is in `controllers.daemon_set_nodes`; the next step of a DaemonSet in `controllers.daemon_set_plan`; its history
in `controllers.controller_history`. Here they are put together.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apiclient.informer import DELETED
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    labels,
    name,
    namespace,
    namespaced_key,
    uid,
)
from apimachinery.resources import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from apimachinery.selectors import Selector, selector_from_object
from controllers import controller_history as history
from controllers import taints
from controllers.context import Context
from controllers.daemon_set_nodes import HASH_LABEL, KIND, Placement, by_target, pod_for_node, target_node
from controllers.daemon_set_plan import (
    Step,
    is_rolling,
    outlived,
    plan_nodes,
    plan_rollout,
    plan_status,
    revision_hash,
    seconds_to_next_availability,
)
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.ownership import claim, plan_claims
from controllers.pace import Pace
from controllers.pod_backoff import PodBackoff
from controllers.pods import BY_CONTROLLER, by_controller, is_finished, orphans_of, phase
from controllers.replicaset import replica_facts
from controllers.requests import (
    create_all,
    namespace_terminating,
    outcome_unknown,
    settle,
    settle_or_raise,
    unless_gone,
    write_status,
)

# A pass creates, and deletes, this many pods at most; then the status tells how far it is.
BURST_PODS = 250
BY_NAMESPACE = "namespace"


class DaemonSetController:
    """One control loop over all DaemonSets."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._daemon_sets = context.informers.of(DAEMONSETS)
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self._revisions = context.informers.of(CONTROLLERREVISIONS)
        self.informers = (self._daemon_sets, self._pods, self._nodes, self._revisions)
        self.queue = context.queue()
        # A pass looks at every node: what many of them tell is answered together.
        self._pace = Pace(self.queue, context.clock)
        self._expectations = Expectations(self._pods, context.clock)
        self._backoff = PodBackoff()
        self._pods.add_index(BY_CONTROLLER, by_controller)
        self._revisions.add_index(BY_CONTROLLER, by_controller)
        self._daemon_sets.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._daemon_sets.add_handler(self._daemon_set_changed)
        self._pods.add_handler(self._pod_changed)
        self._nodes.add_handler(self._node_changed)
        self._revisions.add_handler(self._revision_changed)

    def _daemon_set_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._expectations.forget(namespaced_key(old))
            self._pace.forget(namespaced_key(old))
        elif old is not None and old["metadata"].get("generation") == new["metadata"].get("generation"):
            self._pace.soon(namespaced_key(new))  # most often the echo of our own status
        else:
            self.queue.add(namespaced_key(new))

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _pod_facts(old) == _pod_facts(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            self._enqueue_owner(pod)
            if pod is new and controller_of(pod) is None and not deletion_requested(pod):
                self._enqueue_matching(pod)

    def _revision_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is None and new is not None and controller_of(new) is not None:
            return  # we have just created it, or have yet to see its owner
        for revision in (old, new):
            if revision is not None:
                self._enqueue_owner(revision)
        if new is not None and controller_of(new) is None and not deletion_requested(new):
            self._enqueue_matching(new)

    def _enqueue_owner(self, obj: Object) -> None:
        reference = controller_of(obj)
        if reference is None or reference["kind"] != DAEMONSETS.kind:
            return
        key = f"{namespace(obj)}/{reference['name']}"
        owner = self._daemon_sets.get(key)
        if owner is not None and uid(owner) == reference["uid"]:
            self._pace.soon(key)

    def _enqueue_matching(self, orphan: Object) -> None:
        for daemon_set in self._daemon_sets.by_index(BY_NAMESPACE, namespace(orphan)):
            if _selector(daemon_set).matches(labels(orphan)):
                self.queue.add(namespaced_key(daemon_set))

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """Heartbeats are most of what nodes tell, and no DaemonSet's business."""
        if kind == DELETED:
            old, new = new or old, None
        if old is not None and new is not None and _node_facts(old) == _node_facts(new):
            return
        for daemon_set in self._daemon_sets.list():
            placement = Placement(daemon_set)
            before, after = (placement.of(node) if node is not None else (False, False) for node in (old, new))
            if before != after:
                self._pace.soon(namespaced_key(daemon_set))

    async def reconcile(self, key: str) -> None:
        """Take the next step on every node, and tell how far it is."""
        daemon_set = self._daemon_sets.get(key)
        # Of one that is being deleted pods and revisions go or become orphans in any order: nothing can be told.
        if daemon_set is None or deletion_requested(daemon_set):
            return
        await self._expectations.clear_doubts(self._client, key, daemon_set, _selector(daemon_set))
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        pods = await self._owned_pods(daemon_set)
        revisions = await self._owned_revisions(daemon_set)
        collisions = int(get_path(daemon_set, "status", "collisionCount", default=0))
        current, collisions = await history.write_newest(
            self._client, DAEMONSETS, daemon_set, revisions, collision_count=collisions, hash_label=HASH_LABEL
        )
        digest, now = revision_hash(current), self._clock.now()
        if twins := history.twins(revisions, current):
            await self._merge(key, pods, twins, digest)
            return
        with self._pace.working(key):
            places = Placement(daemon_set).of_all(self._nodes.list())
            # What has ended and is being deleted needs nothing more: somebody else holds it.
            by_node = by_target(pod for pod in pods if not (is_finished(pod) and deletion_requested(pod)))
            status = plan_status(daemon_set, places, by_node, digest, now)
            step = plan_nodes(daemon_set, places, by_node, digest, now)
            step.delete += self._finished_to_delete(key, daemon_set, step.finished)
            if is_rolling(daemon_set) and not (step.create or step.delete):
                step = plan_rollout(daemon_set, places, by_node, digest, now)
        failure = await self._carry_out(key, daemon_set, step, digest)
        live = {labels(pod).get(HASH_LABEL, "") for pod in pods}
        earlier = [one for one in history.in_order(revisions) if uid(one) != uid(current)]
        await history.delete_revisions(self._client, outlived(daemon_set, earlier, live))
        if collisions:
            status["collisionCount"] = collisions
        await write_status(self._client, DAEMONSETS, daemon_set, status)
        if failure is not None:
            raise failure
        if wait := seconds_to_next_availability(daemon_set, pods, now):
            self.queue.add_after(key, wait)

    async def _owned_pods(self, daemon_set: Object) -> list[Object]:
        candidates = (
            *self._pods.by_index(BY_CONTROLLER, uid(daemon_set)),
            *self._pods.by_index(BY_CONTROLLER, orphans_of(namespace(daemon_set))),
        )
        claims = plan_claims(daemon_set, _selector(daemon_set), candidates)
        return await claim(self._client, owner_resource=DAEMONSETS, owner=daemon_set, resource=PODS, claims=claims)

    async def _owned_revisions(self, daemon_set: Object) -> list[Object]:
        candidates = (
            *self._revisions.by_index(BY_CONTROLLER, uid(daemon_set)),
            *self._revisions.by_index(BY_CONTROLLER, orphans_of(namespace(daemon_set))),
        )
        claims = plan_claims(daemon_set, _selector(daemon_set), candidates)
        return await claim(
            self._client, owner_resource=DAEMONSETS, owner=daemon_set, resource=CONTROLLERREVISIONS, claims=claims
        )

    async def _merge(self, key: str, pods: Sequence[Object], twins: Sequence[Object], digest: str) -> None:
        """Have one revision stand for its template: pods of its twins are not old, and none of them is replaced.

        What is written here has the DaemonSet looked at again.
        """
        theirs = {revision_hash(twin) for twin in twins}
        relabelled = [pod for pod in pods if labels(pod).get(HASH_LABEL) in theirs]
        for pod in await settle_or_raise(unless_gone(self._relabel(pod, digest)) for pod in relabelled):
            if pod is not None:
                self._expectations.written(key, pod)
        await history.delete_revisions(self._client, twins)

    async def _relabel(self, pod: Object, digest: str) -> Object:
        patch = {"metadata": {"uid": uid(pod), "labels": {HASH_LABEL: digest}}}
        return await self._client.patch(PODS, name(pod), patch, namespace(pod))

    def _finished_to_delete(self, key: str, daemon_set: Object, finished: Sequence[Object]) -> list[Object]:
        """Those that may go now. A node that turns a pod down does so with the next one too: that one waits."""
        going, now = [], self._clock.monotonic()
        for pod in finished:
            where = f"{namespaced_key(pod)} on node {target_node(pod)}"
            if phase(pod) == "Succeeded":
                message = f"Found succeeded daemon pod {where}, will try to delete it"
                self._tell(daemon_set, "Normal", "SucceededDaemonPod", message)
            else:
                generation = get_path(daemon_set, "status", "observedGeneration", default=0)
                entry = f"{uid(daemon_set)}/{generation}/{target_node(pod)}"
                if wait := self._backoff.seconds_left(entry, now):
                    self.queue.add_after(key, wait)
                    continue
                self._backoff.replaced(entry, now)
                message = f"Found failed daemon pod {where}, will try to kill it"
                self._tell(daemon_set, "Warning", "FailedDaemonPod", message)
            going.append(pod)
        return going

    async def _carry_out(self, key: str, daemon_set: Object, step: Step, digest: str) -> ApiError | None:
        failed = await self._create(key, daemon_set, step.create[:BURST_PODS], digest)
        return await self._delete(key, daemon_set, step.delete[:BURST_PODS]) or failed

    async def _create(self, key: str, daemon_set: Object, nodes: Sequence[str], digest: str) -> ApiError | None:
        """Create pods in batches of 1, 2, 4…: if the first can't be created, the server is not asked 250 times."""
        done, batch = 0, 1
        while done < len(nodes):
            made = [pod_for_node(daemon_set, node, digest) for node in nodes[done : done + batch]]
            results = await create_all(self._client, PODS, made)
            failure: ApiError | None = None
            for result in results:
                if isinstance(result, ApiError):
                    failure = result
                    if outcome_unknown(result):
                        self._expectations.doubt(key)
                else:
                    self._expectations.written(key, result)
                    self._tell(daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {name(result)}")
            if failure is not None:
                return self._failed(daemon_set, "FailedCreate", "creating", failure)
            done += batch
            batch *= 2
        return None

    async def _delete(self, key: str, daemon_set: Object, pods: Sequence[Object]) -> ApiError | None:
        if not pods:
            return None
        self._expectations.deleted(key, pods)
        results = await settle(self._client.delete(PODS, name(p), namespace(p), uid=uid(p)) for p in pods)
        failure: ApiError | None = None
        for pod, result in zip(pods, results, strict=True):
            if not isinstance(result, ApiError):
                self._tell(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name(pod)}")
            elif not is_not_found(result):
                self._expectations.not_deleted(key, pod)
                failure = self._failed(daemon_set, "FailedDelete", "deleting", result)
        return failure

    def _failed(self, daemon_set: Object, reason: str, doing: str, error: ApiError) -> ApiError | None:
        if namespace_terminating(error):
            return None
        self._tell(daemon_set, "Warning", reason, f"Error {doing}: {error.message}")
        return error

    def _tell(self, daemon_set: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**daemon_set, **KIND}, kind, reason, message)


def _selector(daemon_set: Object) -> Selector:
    return selector_from_object(daemon_set["spec"]["selector"])


def _pod_facts(pod: Object) -> tuple[Any, ...]:
    return (*replica_facts(pod), target_node(pod), phase(pod))


def _node_facts(node: Object) -> tuple[Any, ...]:
    return labels(node), taints.of(node)
