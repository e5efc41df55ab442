"""Gangs in the loop: all of a gang is bound, whatever goes wrong on the way, and its pods are told why they wait."""

from __future__ import annotations

import asyncio
import contextlib

from apimachinery.errors import bad_request
from apimachinery.meta import Object
from scheduler.gangs import TOLD_AFTER_SECONDS, TOO_FEW_PODS
from tests.unit.scheduler.factories import make_node
from tests.unit.scheduler.test_gangs import make_workload, members
from tests.unit.scheduler.test_scheduler import World


def conditions(world: World) -> list[tuple[str, str, str]]:
    """Of each patch the pod, and the reason and message of its condition."""
    found = []
    for pod, patch in world.patches:
        (condition,) = patch["status"]["conditions"]
        found.append((pod, condition["reason"], condition["message"]))
    return found


def workload(minimum: int) -> Object:
    made = make_workload(minimum)
    made["metadata"]["resourceVersion"] = "1"
    return made


async def test_pods_that_are_held_back_are_told_after_a_while_and_bound_when_all_are_there() -> None:
    world = World()
    async with world.leading():
        world.nodes.set(make_node("a"))
        world.workloads.set(workload(3))
        *some, last = members(3)
        for pod in some:
            world.pods.set(pod)
        await world.clock.settle()
        assert not world.events
        await world.clock.advance(TOLD_AFTER_SECONDS)
        assert world.events == [("Warning FailedScheduling", TOO_FEW_PODS)] * 2
        assert sorted(conditions(world)) == [(f"train-{n}", "Unschedulable", TOO_FEW_PODS) for n in range(2)]
        world.pods.set(last)
        await world.clock.settle()
        assert world.bound == dict.fromkeys(("train-0", "train-1", "train-2"), "a")


async def test_a_binding_of_a_gang_that_is_refused_is_tried_again_and_the_others_stay() -> None:
    world = World()
    world.refusals = [bad_request("not today")]
    async with world.leading():
        world.nodes.set(make_node("a"))
        world.workloads.set(workload(3))
        for pod in members(3):
            world.pods.set(pod)
        await world.clock.settle()
        assert len(world.bound) == 2
        assert ("Warning FailedScheduling", "binding rejected: not today") in world.events
        await world.clock.advance(1.1)
        assert len(world.bound) == 3


async def test_of_a_gang_that_is_on_its_way_when_the_lead_is_lost_nothing_is_forgotten() -> None:
    world = World()
    world.nodes.set(make_node("a", cpu="400", pods=400))
    world.workloads.set(workload(300))
    for pod in members(300):
        world.pods.set(pod)
    scheduler, _ = world.scheduler()
    for turns in (1, 2, 4, 8):
        leads = asyncio.create_task(scheduler.lead())
        for _ in range(turns):
            await asyncio.sleep(0)
        leads.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leads
    leads = asyncio.create_task(scheduler.lead())
    await world.clock.run_until(lambda: len(world.bound) == 300)
    leads.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leads
