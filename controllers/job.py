"""Runs pods until as many of them have succeeded as each Job says.

Jobs and pods enqueue the Job; nothing is decided before the caches show all that was done for it before
(`controllers.expectations`). A pass counts and decides (`controllers.job_plan`), creates or deletes pods, and books
their ends into the status in such an order that a crash at any point neither loses nor doubles one
(`controllers.job_tracking`). Pods that have lost their Job lose its finalizer too: keys `pod:NAMESPACE/NAME`.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apiclient.informer import DELETED
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
    resource_version,
    uid,
)
from apimachinery.resources import JOBS, PODS
from apimachinery.selectors import Selector, selector_from_object
from controllers.context import Context
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.job_backoff import Backoff
from controllers.job_plan import Plan, Survey, decide, survey
from controllers.job_pods import KIND, TRACKING, is_tracked, new_pod
from controllers.job_tracking import Done, book, conclude
from controllers.ownership import claim, plan_claims
from controllers.pace import Pace
from controllers.pods import BY_CONTROLLER, by_controller, is_ready, orphans_of
from controllers.requests import create_all, namespace_terminating, outcome_unknown, replacing, settle, unless_gone

OUR_NAME = "kubernetes.io/job-controller"
BY_NAMESPACE = "namespace"
_LOST = "pod:"
_POD_STATUS = ("phase", "conditions", "containerStatuses", "initContainerStatuses")


def is_finished(job: Object) -> bool:
    """True once the Job has succeeded or failed for good."""
    conditions = (find_condition(job, kind) for kind in ("Complete", "Failed"))
    return any(found is not None and found["status"] == "True" for found in conditions)


def is_ours(job: Object) -> bool:
    """False if its author has another controller manage it."""
    return bool(get_path(job, "spec", "managedBy", default=OUR_NAME) == OUR_NAME)


def pod_facts(pod: Object) -> tuple[Any, ...]:
    """All of a pod that a Job's decisions rest on."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    facts = (deletion_requested(pod), metadata.get("finalizers"), labels(pod), metadata.get("ownerReferences"))
    return (*facts, *(status.get(key) for key in _POD_STATUS))


class JobController:
    """One control loop over all Jobs."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._recorder = context.recorder
        self._pods = context.informers.of(PODS)
        self._jobs = context.informers.of(JOBS)
        self.informers = (self._pods, self._jobs)
        self.queue = context.queue()
        # Many pods that end together cost one pass.
        self._pace = Pace(self.queue, context.clock)
        self._expected_pods = Expectations(self._pods, context.clock)
        self._expected_jobs = Expectations(self._jobs, context.clock)
        self._backoffs: dict[str, Backoff] = {}
        # By Job the pods, uid and key, that have lost their finalizer though the cache may not show it yet.
        self._released: dict[str, dict[str, str]] = {}
        self._pods.add_index(BY_CONTROLLER, by_controller)
        self._jobs.add_index(BY_NAMESPACE, lambda obj: (namespace(obj),))
        self._pods.add_handler(self._pod_changed)
        self._jobs.add_handler(self._job_changed)

    def _job_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        job = new or old
        assert job is not None
        key = namespaced_key(job)
        if kind == DELETED:
            self._forget(key)
            for pod in self._pods.by_index(BY_CONTROLLER, uid(job)):
                self._lost(pod)
        elif old is not None and old["metadata"].get("generation") == job["metadata"].get("generation"):
            self._pace.soon(key)  # most often the echo of our own status
        else:
            self.queue.add(key)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and pod_facts(old) == pod_facts(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            reference = controller_of(pod)
            if reference is not None and reference["kind"] == JOBS.kind:
                job = self._jobs.get(f"{namespace(pod)}/{reference['name']}")
                if job is not None and uid(job) == reference["uid"]:
                    self._pace.soon(namespaced_key(job))
                if pod is new and (job is None or uid(job) != reference["uid"] or is_finished(job)):
                    self._lost(pod)
            elif pod is new and reference is None:
                self._lost(pod)
                if old is None or controller_of(old) is not None or labels(old) != labels(pod):
                    self._enqueue_matching(pod)

    def _lost(self, pod: Object) -> None:
        if is_tracked(pod):
            self.queue.add(_LOST + namespaced_key(pod))

    def _enqueue_matching(self, orphan: Object) -> None:
        for job in self._jobs.by_index(BY_NAMESPACE, namespace(orphan)):
            if _selector(job).matches(labels(orphan)):
                self._pace.soon(namespaced_key(job))

    def _forget(self, key: str) -> None:
        self._expected_pods.forget(key)
        self._expected_jobs.forget(key)
        self._pace.forget(key)
        self._backoffs.pop(key, None)
        self._released.pop(key, None)

    async def reconcile(self, key: str) -> None:
        """Count the pods, create or delete what is wrong, and book the ends of pods."""
        if key.startswith(_LOST):
            await self._let_go(key.removeprefix(_LOST))
            return
        job = self._jobs.get(key)
        if job is None or not is_ours(job):
            return
        if is_finished(job):
            self._forget(key)
            return
        await self._expected_pods.clear_doubts(self._client, key, job, _selector(job))
        if not (self._expected_pods.satisfied(key) and self._expected_jobs.satisfied(key)):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        pods = await self._owned(job)
        released = self._still_released(key)
        with self._pace.working(key):
            found = survey(job, pods, released, self._backoffs.get(key, Backoff()), self._clock.now())
            plan = decide(found)
        done, error = await self._carry_out(key, found, plan)
        await self._track(key, found, plan, done)
        if error is not None:
            raise error
        if plan.wait_seconds is not None:
            self.queue.add_after(key, plan.wait_seconds)

    async def _owned(self, job: Object) -> list[Object]:
        candidates = [
            *self._pods.by_index(BY_CONTROLLER, uid(job)),
            *self._pods.by_index(BY_CONTROLLER, orphans_of(namespace(job))),
        ]
        claims = plan_claims(job, _selector(job), candidates)
        return await claim(
            self._client, owner_resource=JOBS, owner=job, resource=PODS, claims=claims, finalizer=TRACKING
        )

    def _still_released(self, key: str) -> set[str]:
        known = self._released.get(key, {})
        for one, pod_key in list(known.items()):
            pod = self._pods.get(pod_key)
            if pod is None or uid(pod) != one or not is_tracked(pod):
                del known[one]
        return set(known)

    async def _carry_out(self, key: str, found: Survey, plan: Plan) -> tuple[Done, ApiError | None]:
        if plan.delete:
            return await self._delete(key, found.job, plan)
        if plan.create:
            created, error = await self._create(key, found, plan.create)
            return Done(created=created), error
        return Done(), None

    async def _create(self, key: str, found: Survey, indexes: tuple[int | None, ...]) -> tuple[int, ApiError | None]:
        """Create pods in batches of 1, 2, 4…: if the first can't be created, the server is not asked 500 times."""
        created, batch = 0, 1
        while created < len(indexes):
            some = indexes[created : created + batch]
            pods = [new_pod(found.job, index, found.kept.get(index) if index is not None else None) for index in some]
            failure = None
            for result in await create_all(self._client, PODS, pods):
                if isinstance(result, ApiError):
                    failure = failure or result
                    if outcome_unknown(result):
                        self._expected_pods.doubt(key)
                else:
                    created += 1
                    self._expected_pods.written(key, result)
                    self._tell(found.job, "Normal", "SuccessfulCreate", f"Created pod: {name(result)}")
            if failure is not None:
                if namespace_terminating(failure):
                    return created, None
                self._tell(found.job, "Warning", "FailedCreate", f"Error creating: {failure.message}")
                return created, failure
            batch *= 2
        return created, None

    async def _delete(self, key: str, job: Object, plan: Plan) -> tuple[Done, ApiError | None]:
        """Delete pods; those that are merely too many are not counted, and so need no finalizer any more."""
        pods = plan.delete
        error: ApiError | None = None
        if plan.ending is None:
            released, error = await self._release(key, pods)
            pods = tuple(pod for pod in pods if uid(pod) in released)
        self._expected_pods.deleted(key, pods)
        done = Done()
        results = await settle(self._client.delete(PODS, name(pod), namespace(pod), uid=uid(pod)) for pod in pods)
        for pod, result in zip(pods, results, strict=True):
            if isinstance(result, ApiError) and not is_not_found(result):
                self._expected_pods.not_deleted(key, pod)
                self._tell(job, "Warning", "FailedDelete", f"Error deleting: {result.message}")
                error = error or result
                continue
            done.deleted += 1
            done.deleted_ready += is_ready(pod)
            if not isinstance(result, ApiError):
                self._tell(job, "Normal", "SuccessfulDelete", f"Deleted pod: {name(pod)}")
        return done, error

    async def _release(self, key: str, pods: Iterable[Object]) -> tuple[set[str], ApiError | None]:
        """Remove the finalizer; returns the uids of those that have none now, and an error if there was one."""
        pods = list(pods)
        known = self._released.setdefault(key, {})
        results = await settle(self._without_finalizer(pod) for pod in pods)
        released: set[str] = set()
        error = None
        for pod, result in zip(pods, results, strict=True):
            if isinstance(result, ApiError):
                error = error or result
                continue
            released.add(uid(pod))
            known[uid(pod)] = namespaced_key(pod)
            if result is not None:
                self._expected_pods.written(key, result)
        return released, error

    async def _without_finalizer(self, pod: Object) -> Object | None:
        if not is_tracked(pod):
            return None
        metadata = {"uid": uid(pod), "$deleteFromPrimitiveList/finalizers": [TRACKING]}
        patching = self._client.patch(PODS, name(pod), {"metadata": metadata}, namespace(pod), kind="strategic")
        return await unless_gone(patching)

    async def _track(self, key: str, found: Survey, plan: Plan, done: Done) -> None:
        """Write down who has ended, remove their finalizers, count them, in this order."""
        booking = book(found, plan, done)
        job = await self._write_status(key, found.job, booking.status)
        self._backoffs[key] = found.backoff
        for reason in booking.told:
            self._tell(job, "Normal", reason, f"Job {reason.lower()}")
        released, error = await self._release(key, booking.release)
        status, over = conclude(booking.status, booking, found.tracked - released, self._clock.now())
        job = await self._write_status(key, job, status)
        if over and booking.ending is not None:
            self._tell_end(job, booking.ending.final, booking.ending.reason, booking.ending.message)
        if error is not None:
            raise error

    def _tell_end(self, job: Object, final: str, reason: str, message: str) -> None:
        if final == "Failed":
            self._tell(job, "Warning", reason, message)
            return
        completions = get_path(job, "spec", "completions")
        if completions is not None and get_path(job, "status", "succeeded", default=0) > completions:
            told = "Too many succeeded pods running after completion count reached"
            self._tell(job, "Warning", "TooManySucceededPods", told)
        self._tell(job, "Normal", "Completed", "Job completed")

    async def _write_status(self, key: str, job: Object, status: Object) -> Object:
        """Write a status of this very version of the Job; one that says nothing new is not written."""
        known = job.get("status") or {}
        if status == known:
            return job
        precondition = {"uid": uid(job), "resourceVersion": resource_version(job)}
        patch = {"metadata": precondition, "status": replacing(known, status)}
        if "uncountedTerminatedPods" in status:
            old = known.get("uncountedTerminatedPods") or {}
            patch["status"]["uncountedTerminatedPods"] = replacing(old, status["uncountedTerminatedPods"])
        written = await self._client.patch(JOBS, name(job), patch, namespace(job), subresource="status")
        self._expected_jobs.written(key, written)
        return written

    async def _let_go(self, pod_key: str) -> None:
        """Remove the finalizer of a pod whose Job is over or gone: nobody else will ever count it."""
        pod = self._pods.get(pod_key)
        if pod is None or not is_tracked(pod):
            return
        reference = controller_of(pod)
        if reference is not None:
            if reference["kind"] != JOBS.kind:
                return
            if _counts(self._jobs.get(f"{namespace(pod)}/{reference['name']}"), reference):
                return
            # The cache may be late, and what is let go is lost for the count: ask.
            if _counts(await unless_gone(self._client.get(JOBS, reference["name"], namespace(pod))), reference):
                return
        await self._without_finalizer(pod)

    def _tell(self, job: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**job, **KIND}, kind, reason, message)


def _counts(job: Object | None, reference: Object) -> bool:
    """True if this is the Job that a pod refers to, and it, or whoever manages it, has yet to count the pod."""
    return job is not None and uid(job) == reference["uid"] and (not is_ours(job) or not is_finished(job))


def _selector(job: Object) -> Selector:
    return selector_from_object(job["spec"]["selector"])
