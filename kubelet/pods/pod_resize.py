"""In-place resize: what a pod has been given of its node, and how it comes to have more or less while it runs.

A wish is granted when the node has room for it, as it has for a pod; then the kernel is told (resize_plan.py), at
once or with a restart of the container, as its `resizePolicy` has it. A wish that has to wait is looked at again
whenever room may have appeared: those that ask for nothing more first, then by priority, class and age.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/ and
https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/1287-in-place-update-pod-resources
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery import meta
from apimachinery.meta import Object, get_path, namespaced_key
from kubelet.containers import resources
from kubelet.pods import admission, allocation, pod_spec, qos, resize_plan
from kubelet.pods.allocation import Allocation, AllocationStore, Resources
from kubelet.pods.resize_plan import Running
from kubelet.runtime import Runtime, RuntimeFailure

logger = logging.getLogger(__name__)

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
DEFERRED, INFEASIBLE, ERROR = "Deferred", "Infeasible", "Error"
# How much memory a pod uses is told by no event: limits that can't be lowered yet are tried again after this.
RETRY_SECONDS = 2.0
_SOURCE = "kubernetes.io/config.source"

Condition = dict[str, Any]
Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod wants and does not have: why it has to wait, of which generation this is said, and since when."""

    reason: str
    message: str
    generation: int
    since: float


class Resizes:
    """The pods of a node that wait for other resources.

    `node` is the node, `others` gives the pods that hold its resources with what they were given, all but one.
    """

    def __init__(
        self, store: AllocationStore, node: Callable[[], Object | None], others: Callable[[str], Sequence[Object]]
    ) -> None:
        self.store = store
        self._node = node
        self._others = others
        self._waiting: dict[str, PodResize] = {}

    def add(self, resize: PodResize) -> None:
        """A pod wants something else: see whether it can have it now, and who else can."""
        self._waiting[resize.uid] = resize
        self.retry()

    def drop(self, pod_uid: str) -> None:
        """A pod wants nothing any more."""
        self._waiting.pop(pod_uid, None)

    def retry(self) -> None:
        """Room may have appeared, or the node is known now."""
        node = self._node()
        if node is None:
            return
        for resize in sorted(self._waiting.values(), key=PodResize.order):
            if not resize.consider(objection(resize.wanted, node, self._others(resize.uid))):
                self.drop(resize.uid)


class PodResize:
    """What one pod wants and has. `wanted` is the pod as the API has it; `pod` what the node goes by.

    `tell` records an event. `changed` is called with the names of containers that were given something else, with
    none when there is only something new to be told.
    """

    def __init__(
        self,
        pod: Object,
        resizes: Resizes,
        *,
        clock: Clock,
        tell: Tell,
        changed: Callable[[Sequence[str]], None],
    ):
        self.uid: str = pod["metadata"]["uid"]
        self.wanted = pod
        self.pending: Wish | None = None
        self.progress: Wish | None = None
        self.retry_at: float | None = None
        self._given: Allocation | None = None
        self._has: Allocation = {}
        self._is_settled = True
        self._has_ended = False
        self._is_kept = False
        self._shown: dict[str, Resources] = {}
        self._resizes = resizes
        self._clock = clock
        self._tell = tell
        self._changed = changed

    @property
    def pod(self) -> Object:
        """The pod with what it was given."""
        return self.wanted if self._given is None else allocation.given(self.wanted, self._given)

    @property
    def held(self) -> Object:
        """The pod with what it holds of its node: while it is resized, the larger of what it had and will have."""
        had = {} if self._is_settled else self._has
        statuses = [{"name": name, "resources": resources} for name, resources in had.items()]
        known = {"containerStatuses": statuses, "initContainerStatuses": [], "conditions": []}
        pod = self.pod
        return {**pod, "status": {**(pod.get("status") or {}), **known}}

    def begin(self, recorded: Allocation | None, *, is_new: bool) -> None:
        """The node has taken the pod on; `recorded` is what a former node agent gave it at first. Raises OSError."""
        resized = None if is_new else self._resizes.store.read(self.uid)
        self._is_kept = resized is not None
        self._given = resized or recorded or allocation.of(self.wanted)
        self._has = self._given
        # What a pod has that was resized, perhaps not to the end, is not known before its cgroups are read.
        self._is_settled = resized is None
        self._look()

    def seen(self, pod: Object) -> None:
        """The API has a new version of the pod."""
        before, self.wanted = self.wanted, pod
        changed = pod["metadata"].get("generation") != before["metadata"].get("generation")
        if changed and self._given is not None and not self._has_ended:
            self._look()

    def end(self) -> None:
        """The pod runs no more. Raises OSError."""
        self._has_ended = True
        self.pending = self.progress = None
        self._resizes.drop(self.uid)
        if self._is_kept:
            self._resizes.store.remove(self.uid)
            self._is_kept = False
        self._resizes.retry()

    def order(self) -> tuple[bool, int, bool, float]:
        """Whose wish is looked at first: the smallest of these."""
        asked, has = resources.pod_requests(_alone(self.wanted)), resources.pod_requests(_alone(self.pod))
        grows = any(asked.get(name, 0) > has.get(name, 0) for name in ("cpu", "memory"))
        guaranteed = qos.qos_class(self.wanted) == qos.GUARANTEED
        since = self.pending.since if self.pending is not None else self._clock.now()
        return grows, -(self.wanted["spec"].get("priority") or 0), not guaranteed, since

    def consider(self, objection: tuple[str, str] | None) -> bool:
        """Grant what is wanted, or say why not; True if it is to be looked at again later."""
        if self.pod is self.wanted:
            self._clear_pending()
            return False
        if objection is not None:
            self._wait(*objection)
            return objection[0] == DEFERRED
        given = allocation.of(self.wanted)
        try:
            self._resizes.store.write(self.uid, given)
            self._is_kept = True
        except OSError as error:
            self._wait(DEFERRED, f"the allocation can't be kept: {error}")
            return True
        logger.info(kv("pod resize granted", pod=namespaced_key(self.wanted), generation=self._generation))
        changed = allocation.differing(self._given or {}, given)
        self._given = given
        self._is_settled = False
        self.retry_at = None
        self.pending = None
        self.progress = Wish("", "", self._generation, self._clock.now())
        self._tell_of("Normal", "ResizeStarted", "Pod resize started", self._generation)
        self._changed(changed)
        return False

    # Telling the kernel.

    def is_due(self, now: float) -> bool:
        """Whether the kernel is to be told of what was granted."""
        return not self._is_settled and (self.retry_at is None or self.retry_at <= now)

    async def carry_out(
        self,
        runtime: Runtime,
        running: Callable[[], Mapping[str, str]],
        stop: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """Have the kernel hold the pod to what it was given.

        `running` gives the ids of the containers that run, by name; `stop` ends some of them, which are then started
        anew. These end before the pod's own limits are changed: while they run, they may need the old ones.
        """
        pod, given = self.pod, self._given
        restarting = [one.container["name"] for one in self._groups(runtime, running()) if self._needs_restart(one)]
        if restarting:
            await stop(restarting)
        groups = self._groups(runtime, running())
        failure = await self._write(runtime, pod, groups)
        self._note(groups, runtime)
        if given is not self._given:
            return  # something else was granted meanwhile
        if failure:
            self._fail(failure)
        elif not restarting:
            self._finish()

    def begins(self, name: str) -> None:
        """A container is started with what the pod has been given."""
        if self._given is not None and name in self._given:
            self._has = {**self._has, name: self._given[name]}

    def shown(self) -> dict[str, Resources]:
        """What containers that were resized have, by their ids; others have what their pod's spec says."""
        return dict(self._shown)

    def conditions(self) -> list[Condition]:
        """What the pod's status says of it."""
        told = ((PENDING, self.pending), (IN_PROGRESS, self.progress))
        return [_condition(kind, wish) for kind, wish in told if wish is not None]

    @property
    def _generation(self) -> int:
        return int(self.wanted["metadata"].get("generation") or 0)

    def _look(self) -> None:
        if self.pod is not self.wanted:
            self._resizes.add(self)
        else:
            self._clear_pending()

    def _clear_pending(self) -> None:
        self._resizes.drop(self.uid)
        if self.pending is not None:
            self.pending = None
            self._changed(())

    def _wait(self, reason: str, message: str) -> None:
        before = self.pending
        since = before.since if before is not None else self._clock.now()
        self.pending = Wish(reason, message, self._generation, since)
        if self.pending != before:
            event = "ResizeInfeasible" if reason == INFEASIBLE else "ResizeDeferred"
            self._tell_of("Warning", event, f"Pod resize {reason}", self._generation, message)
            self._changed(())

    def _groups(self, runtime: Runtime, running: Mapping[str, str]) -> list[Running]:
        pod, given = self.pod, self._given or {}
        return [
            Running(container, running[container["name"]], runtime.limits(self.uid, running[container["name"]]))
            for container in pod_spec.all_containers(pod)
            if container["name"] in running and container["name"] in given
        ]

    def _needs_restart(self, one: Running) -> bool:
        changed = resize_plan.differences(self.pod, one)
        has = self._has.get(one.container["name"], {})
        wanted = one.container.get("resources") or {}
        if get_path(has, "requests", "memory") != get_path(wanted, "requests", "memory"):
            changed.add("memory")  # which no cgroup tells
        return resize_plan.needs_restart(one.container, changed)

    async def _write(self, runtime: Runtime, pod: Object, groups: Sequence[Running]) -> str:
        """Why it could not be done, or ""."""
        try:
            whole = runtime.limits(self.uid)
            if why := resize_plan.refusal(pod, groups, whole):
                return why
            for step in resize_plan.steps(pod, groups, whole):
                if step.container_id:
                    await runtime.update_container_resources(self.uid, step.container_id, step.resources)
                else:
                    await runtime.update_pod_resources(self.uid, step.resources)
        except RuntimeFailure as failure:
            return failure.message
        return ""

    def _note(self, groups: Sequence[Running], runtime: Runtime) -> None:
        self._shown = {one.id: resize_plan.actual(one.container, runtime.limits(self.uid, one.id)) for one in groups}

    def _fail(self, message: str) -> None:
        self.retry_at = self._clock.monotonic() + RETRY_SECONDS
        generation = self.progress.generation if self.progress is not None else self._generation
        if self.progress is None or self.progress.message != message:
            self._tell_of("Warning", "ResizeError", "Pod resize error", generation, message)
        self.progress = Wish(ERROR, message, generation, self._clock.now())
        self._changed(())

    def _finish(self) -> None:
        self._is_settled = True
        self._has = self._given or {}
        self.retry_at = None
        if self.progress is not None:
            logger.info(kv("pod resized", pod=namespaced_key(self.wanted), generation=self.progress.generation))
            self._tell_of("Normal", "ResizeCompleted", "Pod resize completed", self.progress.generation)
            self.progress = None
        self._changed(())
        self._resizes.retry()

    def _tell_of(self, kind: str, reason: str, words: str, generation: int, error: str = "") -> None:
        pod = self.wanted if reason in ("ResizeDeferred", "ResizeInfeasible") else self.pod
        self._tell(kind, reason, f"{words}: {summary(pod, generation, error)}")


def objection(wanted: Object, node: Object, others: Sequence[Object]) -> tuple[str, str] | None:
    """Why a node can't give a pod what it wants: never (Infeasible) or not now (Deferred), and the message."""
    if meta.annotations(wanted).get(_SOURCE, "api") != "api":
        return INFEASIBLE, "In-place resize of static-pods is not supported"
    asked = resources.pod_requests(_alone(wanted))
    allocatable = resources.amounts(get_path(node, "status", "allocatable", default={}))
    for name in ("memory", "cpu"):
        if asked.get(name, 0) > allocatable.get(name, 0):
            amounts = f"{name}, requested: {asked[name]}, capacity: {allocatable.get(name, 0)}"
            return INFEASIBLE, f"Node didn't have enough capacity: {amounts}"
    verdict = admission.objection(_alone(wanted), node, others)
    return (DEFERRED, verdict.message) if verdict is not None else None


def summary(pod: Object, generation: int, error: str = "") -> str:
    """A pod's resources, as events about its resize show them."""
    found: dict[str, Any] = {}
    for key in ("initContainers", "containers"):
        if pod["spec"].get(key):
            found[key] = [
                {"name": entry["name"], "resources": entry.get("resources") or {}} for entry in pod["spec"][key]
            ]
    found["generation"] = generation
    if error:
        found["error"] = error
    return orjson.dumps(found).decode()


def _condition(kind: str, wish: Wish) -> Condition:
    found: Condition = {"type": kind, "status": "True"}
    if wish.reason:
        found |= {"reason": wish.reason, "message": wish.message}
    return found | ({"observedGeneration": wish.generation} if wish.generation else {})


def _alone(pod: Object) -> Object:
    """A pod without what is known of its containers: what it asks for counts, not what it has."""
    return {"metadata": pod["metadata"], "spec": pod["spec"]}
