"""The loop: what reaches the API server when nodes and pods come, go, and are refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from apimachinery.errors import ApiError, conflict, forbidden
from apimachinery.meta import Object, name, namespaced_key
from scheduler.cluster import Cluster
from scheduler.plugins import default_profile
from scheduler.reporting import Failure, Reporter, condition_patch
from scheduler.scheduler import Scheduler
from tests.support.clock import ManualClock
from tests.unit.scheduler.factories import make_node, make_pod


class Collection:
    """Stands in for an informer: the test says what it sees."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.handlers: list[Callable[[str, Object | None, Object | None], None]] = []

    def add_handler(self, handler: Callable[[str, Object | None, Object | None], None]) -> None:
        self.handlers.append(handler)
        for obj in self.objects.values():
            handler("ADDED", None, obj)

    def get(self, key: str) -> Object | None:
        return self.objects.get(key)

    async def wait_synced(self) -> None:
        pass

    def set(self, obj: Object) -> None:
        old = self.objects.get(namespaced_key(obj))
        self.objects[namespaced_key(obj)] = obj
        for handler in self.handlers:
            handler("MODIFIED" if old else "ADDED", old, obj)

    def delete(self, key: str) -> None:
        old = self.objects.pop(key)
        for handler in self.handlers:
            handler("DELETED", old, None)


class World:
    """A scheduler with an API server that binds at once, and what has been told to it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.nodes, self.pods = Collection(), Collection()
        self.claims, self.volumes, self.classes = Collection(), Collection(), Collection()
        self.workloads, self.budgets = Collection(), Collection()
        self.bound: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.patches: list[tuple[str, Object]] = []
        self.refusals: list[Exception] = []
        self.taken_by_others: dict[str, str] = {}
        self.patch_refusals: list[Exception] = []

    async def create(self, resource: Any, obj: Object, namespace: str, **_: Any) -> Object:
        if self.refusals:
            raise self.refusals.pop(0)
        pod = self.pods.objects[f"{namespace}/{name(obj)}"]
        if node := self.taken_by_others.get(name(obj)):
            self.pods.set({**pod, "spec": {**pod["spec"], "nodeName": node}})
            raise conflict("pods/binding", name(obj), f'pod {name(obj)} is already assigned to node "{node}"')
        assert not pod["spec"].get("nodeName"), "a pod is bound once"
        self.bound[name(obj)] = obj["target"]["name"]
        self.pods.set({**pod, "spec": {**pod["spec"], "nodeName": obj["target"]["name"]}})
        return {}

    async def create_each(self, resource: Any, objects: list[Object], namespace: str) -> list[Object | ApiError]:
        answers: list[Object | ApiError] = []
        for obj in objects:
            try:
                answers.append(await self.create(resource, obj, namespace))
            except ApiError as error:
                answers.append(error)
        return answers

    async def get(self, resource: Any, pod: str, namespace: str) -> Object:
        return self.pods.objects[f"{namespace}/{pod}"]

    async def patch(self, resource: Any, pod: str, patch: Object, namespace: str, **_: Any) -> Object:
        if self.patch_refusals:
            raise self.patch_refusals.pop(0)
        self.patches.append((pod, patch))
        return {}

    def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        self.events.append((f"{type} {reason}", message))

    def scheduler(self) -> tuple[Scheduler, Reporter]:
        parts: Any = (self, self.pods, {"default-scheduler": self})
        reporter = Reporter(*parts, clock=self.clock)
        cluster = Cluster(default_profile(), rng=random.Random(1))
        client: Any = self
        nodes: Any = self.nodes
        pods: Any = self.pods
        storage: Any = (self.claims, self.volumes, self.classes)
        workloads: Any = self.workloads
        budgets: Any = self.budgets
        followed: Any = {"nodes": nodes, "pods": pods, "storage": storage, "workloads": workloads}
        made = Scheduler(client, cluster, reporter, **followed, budgets=budgets, clock=self.clock)
        return made, reporter

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        scheduler, reporter = self.scheduler()
        tasks = [asyncio.create_task(scheduler.lead()), asyncio.create_task(reporter.run())]
        await self.clock.settle()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def test_a_pod_is_bound_as_soon_as_it_is_seen() -> None:
    world = World()
    async with world.leading():
        world.nodes.set(make_node("node-1"))
        world.pods.set(make_pod("web"))
        await world.clock.settle()
        assert world.bound == {"web": "node-1"}
        assert world.events == [("Normal Scheduled", "Successfully assigned default/web to node-1")]


async def test_a_pod_that_fits_nowhere_is_told_so_and_bound_when_a_node_comes() -> None:
    world = World()
    async with world.leading():
        world.nodes.set(make_node("small", cpu="1"))
        world.pods.set(make_pod("web", cpu="2"))
        await world.clock.settle()
        why = "0/1 nodes are available: 1 Insufficient cpu."
        why += " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        assert world.events == [("Warning FailedScheduling", why)]
        ((pod, patch),) = world.patches
        (condition,) = patch["status"]["conditions"]
        assert pod == "web"
        assert (condition["type"], condition["status"], condition["reason"], condition["message"]) == (
            "PodScheduled",
            "False",
            "Unschedulable",
            why,
        )
        assert (
            patch["metadata"]["resourceVersion"] == world.pods.objects["default/web"]["metadata"]["resourceVersion"]
        )
        world.nodes.set(make_node("large", cpu="4"))
        await world.clock.settle()
        assert world.bound == {"web": "large"}


async def test_many_pods_fill_the_nodes_and_no_more() -> None:
    world = World()
    async with world.leading():
        for number in range(3):
            world.nodes.set(make_node(f"n{number}", cpu="10"))
        for number in range(500):
            world.pods.set(make_pod(f"p{number}", cpu="100m"))
        await world.clock.run_until(lambda: len(world.bound) == 300 and len(world.events) == 500)
        assert sorted(world.bound.values()).count("n0") == 100
        world.pods.delete(f"default/{next(iter(world.bound))}")
        await world.clock.settle()
        assert len(world.bound) == 301


async def test_a_binding_that_is_refused_is_told_and_tried_again_after_a_delay() -> None:
    world = World()
    world.refusals = [forbidden("not today")]
    async with world.leading():
        world.nodes.set(make_node("a", cpu="1"))
        world.pods.set(make_pod("web", cpu="1"))
        await world.clock.settle()
        assert world.events == [("Warning FailedScheduling", "binding rejected: not today")]
        assert world.patches[0][1]["status"]["conditions"][0]["reason"] == "SchedulerError"
        await world.clock.advance(0.9)
        assert world.bound == {}
        await world.clock.advance(0.2)
        assert world.bound == {"web": "a"}


async def test_a_pod_that_another_scheduler_took_is_left_to_it_without_a_word() -> None:
    world = World()
    world.taken_by_others = {"web": "b"}
    async with world.leading():
        world.nodes.set(make_node("a"))
        world.pods.set(make_pod("web", cpu="4"))
        await world.clock.settle()
        world.pods.set(make_pod("other", cpu="4"))
        await world.clock.settle()
        assert world.bound == {"other": "a"}
        assert [event for event, _ in world.events] == ["Normal Scheduled"]


async def test_pods_that_wait_are_known_to_whoever_takes_the_lead() -> None:
    world = World()
    scheduler, _ = world.scheduler()
    world.nodes.set(make_node("a"))
    world.pods.set(make_pod("web"))
    for _ in range(2):
        lead = asyncio.create_task(scheduler.lead())
        await world.clock.settle()
        lead.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lead
        world.pods.set(make_pod("later"))
    assert world.bound == {"web": "a", "later": "a"}


async def test_an_error_in_placing_one_pod_does_not_keep_the_others_waiting() -> None:
    world = World()
    scheduler, _ = world.scheduler()
    place = scheduler._cluster.place
    broken = [True]

    def break_once(queued: Any, now: float) -> Any:
        if broken.pop() if broken else False:
            raise ZeroDivisionError("a plugin's bug")
        return place(queued, now)

    scheduler._cluster.place = break_once  # type: ignore[method-assign]
    lead = asyncio.create_task(scheduler.lead())
    world.nodes.set(make_node("a"))
    world.pods.set(make_pod("first"))
    world.pods.set(make_pod("second"))
    await world.clock.settle()
    assert world.bound == {"second": "a"}
    await world.clock.advance(1.1)
    assert world.bound == {"second": "a", "first": "a"}
    lead.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await lead


async def test_a_condition_is_written_again_after_a_conflict() -> None:
    world = World()
    async with world.leading():
        world.patch_refusals = [conflict("pods", "web", "the object has been modified")]
        world.pods.set(make_pod("web"))
        await world.clock.advance(1)
        assert [pod for pod, _ in world.patches] == ["web"]


FAILURE = Failure("uid-default-pod", "Unschedulable", "0/1 nodes are available: 1 Too many pods.")


def test_a_condition_that_is_there_already_is_not_written_again() -> None:
    pod = make_pod()
    patch = condition_patch(pod, FAILURE, 1000.0)
    assert patch is not None
    pod["status"]["conditions"] = patch["status"]["conditions"]
    assert condition_patch(pod, FAILURE, 2000.0) is None


def test_the_time_of_a_condition_is_when_its_status_changed_not_its_message() -> None:
    pod = make_pod()
    first = condition_patch(pod, Failure("uid-default-pod", "Unschedulable", "other"), 1000.0)
    assert first is not None
    pod["status"]["conditions"] = first["status"]["conditions"]
    second = condition_patch(pod, FAILURE, 2000.0)
    assert second is not None
    assert second["status"]["conditions"][0]["lastTransitionTime"] == "1970-01-01T00:16:40Z"


def test_a_pod_that_is_bound_or_another_one_by_now_is_not_said_to_wait() -> None:
    assert condition_patch(make_pod(node="a"), FAILURE, 0.0) is None
    assert condition_patch(make_pod(), Failure("another", "Unschedulable", ""), 0.0) is None
