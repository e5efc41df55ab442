"""Bindings: what each answer of the API server means, and what happens when there is none."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import pytest

from apiclient.rest import ApiUnavailable
from apimachinery import errors
from apimachinery.meta import Object
from scheduler.binding import QUEUED_MAX, TOGETHER_MAX, WORKERS, Binder, Outcome, bind
from scheduler.cluster import Placement
from scheduler.framework import PodClass
from scheduler.pods import Usage
from scheduler.queue import QueuedPod
from tests.support.clock import ManualClock
from tests.unit.scheduler.factories import make_pod

BROKEN = ApiUnavailable("https://server", OSError("connection reset"))
ASSIGNED = errors.conflict("pods/binding", "pod", 'pod pod is already assigned to node "a"')
NOT_FOUND = errors.not_found("pods", "pod")


class Server:
    """Answers bindings with the given answers in turn (None: done), and shows one pod.

    `together` answers lists of them: by an error, or with the errors of those that it names.
    """

    def __init__(
        self,
        *answers: Exception | None,
        pod: Object | None = None,
        together: errors.ApiError | dict[str, errors.ApiError] | None = None,
    ) -> None:
        self.answers = list(answers)
        self.together = together or {}
        self.posted: list[Object] = []
        self.lists: list[list[str]] = []
        self.pod = pod
        self.gate: asyncio.Event | None = None
        self.under_way = self.under_way_max = 0

    async def create(self, resource: Any, obj: Object, namespace: str, *, name: str, subresource: str) -> Object:
        assert (resource.plural, namespace, name, subresource) == (
            "pods",
            "default",
            obj["metadata"]["name"],
            "binding",
        )
        self.posted.append(obj)
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            if self.gate is not None:
                await self.gate.wait()
            answer = self.answers.pop(0) if self.answers else None
            if answer is not None:
                raise answer
            return {}
        finally:
            self.under_way -= 1

    async def create_each(self, resource: Any, objects: list[Object], namespace: str) -> list[errors.ApiError | None]:
        assert resource.plural == "bindings"
        names = [obj["metadata"]["name"] for obj in objects]
        assert {obj["metadata"]["namespace"] for obj in objects} == {namespace}
        self.lists.append(names)
        self.under_way += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            if isinstance(self.together, errors.ApiError):
                return [self.together] * len(names)
            return [self.together.get(name) or {} for name in names]
        finally:
            self.under_way -= 1

    async def get(self, resource: Any, name: str, namespace: str) -> Object:
        if self.pod is None:
            raise NOT_FOUND
        return self.pod


async def outcome(server: Server) -> Outcome:
    clock = ManualClock()
    task = asyncio.ensure_future(bind(server, make_pod(), "a", clock=clock))  # type: ignore[arg-type]
    await clock.run_until(task.done)
    return task.result()[0]


OTHER_POD = {**make_pod(), "metadata": {**make_pod()["metadata"], "uid": "another"}}
ANSWERS: list[tuple[list[Exception | None], Object | None, Outcome]] = [
    ([None], None, Outcome.BOUND),
    ([NOT_FOUND], None, Outcome.GONE),
    ([errors.forbidden("no")], make_pod(), Outcome.FAILED),
    # Another scheduler was faster.
    ([ASSIGNED], make_pod(node="b"), Outcome.FAILED),
    # The pod has been deleted and made anew under its name.
    ([errors.conflict("pods/binding", "pod", "uid")], OTHER_POD, Outcome.GONE),
    # The server is busy, or away for a moment.
    ([errors.too_many_requests("later", 1), None], None, Outcome.BOUND),
    ([errors.internal("oops"), None], None, Outcome.BOUND),
    ([BROKEN, None], None, Outcome.BOUND),
    # The connection broke after the binding was made: the second try is refused, and the pod is where it should be.
    ([BROKEN, ASSIGNED], make_pod(node="a"), Outcome.BOUND),
    ([BROKEN] * 100, make_pod(), Outcome.FAILED),
    ([BROKEN] * 100, make_pod(node="a"), Outcome.BOUND),
    ([BROKEN] * 100, None, Outcome.GONE),
]


@pytest.mark.parametrize(("answers", "pod", "expected"), ANSWERS)
async def test_each_answer_has_its_outcome(
    answers: list[Exception | None], pod: Object | None, expected: Outcome
) -> None:
    assert await outcome(Server(*answers, pod=pod)) is expected


async def test_a_binding_names_the_very_pod_and_the_node() -> None:
    server = Server()
    await outcome(server)
    (posted,) = server.posted
    assert posted["metadata"]["uid"] == "uid-default-pod"
    assert posted["target"] == {"apiVersion": "v1", "kind": "Node", "name": "a"}


def placement(number: int) -> Placement:
    pod_class = PodClass((), Usage((), 0, 0))
    return Placement(QueuedPod(make_pod(f"p{number}"), pod_class), "a")


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def binder_to(server: Any, done: list[Any]) -> Binder:
    volumes: Any = None  # no claims here
    return Binder(server, lambda *told: done.append(told), volumes=volumes, clock=ManualClock())


async def test_bindings_go_out_together_but_never_too_many_at_once() -> None:
    server, done = Server(), []
    server.gate = asyncio.Event()
    binder = binder_to(server, done)
    running = asyncio.create_task(binder.run())
    room = WORKERS * TOGETHER_MAX + QUEUED_MAX
    for number in range(room):
        await binder.submit(placement(number))
    one_more = asyncio.create_task(binder.submit(placement(9999)))
    await ManualClock().run_until(lambda: server.under_way == WORKERS)
    assert not one_more.done(), "the loop is held up instead of piling up placements"
    server.gate.set()
    await one_more
    await ManualClock().run_until(lambda: len(done) == room + 1)
    assert max(map(len, server.lists)) == TOGETHER_MAX
    assert {outcome for _, outcome, _ in done} == {Outcome.BOUND}
    await stop(running)


async def bound_together(server: Server, pods: int) -> dict[str, Outcome]:
    """What becomes of so many pods that wait at the same time, by name."""
    done: list[Any] = []
    binder = binder_to(server, done)
    running = asyncio.create_task(binder.run())
    for number in range(pods):
        await binder.submit(placement(number))
    await ManualClock().run_until(lambda: len(done) == pods)
    await stop(running)
    return {told.queued.pod["metadata"]["name"]: outcome for told, outcome, _ in done}


async def test_each_of_those_that_travelled_together_has_its_own_outcome() -> None:
    refused = {"p1": NOT_FOUND, "p2": errors.bad_request("no"), "p3": errors.internal("not now"), "p4": ASSIGNED}
    server = Server(None, ASSIGNED, pod=make_pod("p4", node="elsewhere"), together=refused)
    outcomes = await bound_together(server, 6)
    assert outcomes["p0"] is outcomes["p5"] is Outcome.BOUND
    assert (outcomes["p1"], outcomes["p2"]) == (Outcome.GONE, Outcome.FAILED)
    assert [posted["metadata"]["name"] for posted in server.posted] == ["p3", "p4"], "what is open is asked again"
    assert (outcomes["p3"], outcomes["p4"]) == (Outcome.BOUND, Outcome.FAILED)


async def test_who_may_bind_pods_but_not_post_to_their_namespace_binds_them_one_by_one() -> None:
    server = Server(together=errors.forbidden("cannot create resource bindings"))
    assert set((await bound_together(server, 3)).values()) == {Outcome.BOUND}
    assert len(server.posted) == 3


async def test_a_server_that_is_away_for_a_moment_gets_lists_again() -> None:
    server, done = Server(together=BROKEN), []
    binder = binder_to(server, done)
    running = asyncio.create_task(binder.run())
    for expected in (2, 4):
        for number in range(2):
            await binder.submit(placement(number))
        await ManualClock().run_until(partial(lambda count: len(done) == count, expected))
    assert len(server.lists) == 2
    await stop(running)


async def test_what_is_unfinished_when_the_lead_is_lost_is_called_off() -> None:
    server, done = Server(), []
    server.gate = asyncio.Event()
    binder = binder_to(server, done)
    running = asyncio.create_task(binder.run())
    pods = WORKERS * TOGETHER_MAX + 5
    for number in range(pods):
        await binder.submit(placement(number))
    await ManualClock().run_until(lambda: server.under_way == WORKERS)
    await stop(running)
    assert [outcome for _, outcome, _ in done] == [Outcome.CALLED_OFF] * pods
