"""What reaches the API server when pods make room for others, and what happens when it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

from apimachinery.errors import ApiError, conflict, internal, not_found
from apimachinery.meta import Object, find_condition, name
from scheduler.preemption import is_leaving
from scheduler.room_making import disruption
from tests.unit.scheduler.factories import make_node, make_pod
from tests.unit.scheduler.test_scheduler import World

UID = "uid-default-high"


class Api(World):
    """An API server that takes what it is told of statuses, and in which pods end some time after their deletion."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[tuple[str, Any]] = []
        self.delete_refusals: list[ApiError] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def patch(self, resource: Any, pod: str, patch: Object, namespace: str, **how: Any) -> Object:
        await super().patch(resource, pod, patch, namespace, **how)
        known = self.pods.objects.get(f"{namespace}/{pod}")
        if known is None:
            raise not_found("pods", pod)
        told = {key: value for key, value in {**known["status"], **patch["status"]}.items() if value is not None}
        self.pods.set({**known, "status": told})
        return {}

    async def delete(self, resource: Any, pod: str, namespace: str, *, uid: str) -> Object:
        await self.answering.wait()
        if self.delete_refusals:
            raise self.delete_refusals.pop(0)
        self.deleted.append((pod, uid))
        known = self.pods.objects[f"{namespace}/{pod}"]
        metadata = {**known["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        self.pods.set({**known, "metadata": metadata})
        return {}

    def status(self, pod: str) -> Object:
        status: Object = self.pods.objects[f"default/{pod}"]["status"]
        return status


def victim(pod: str = "low", node: str = "a", cpu: str = "4") -> Object:
    return make_pod(pod, node=node, cpu=cpu, priority=1)


def high(pod: str = "high", **fields: Any) -> Object:
    return make_pod(pod, cpu="4", priority=10, **fields)


async def test_a_victim_is_told_why_it_goes_and_the_pod_where_it_will_come() -> None:
    api = Api()
    async with api.leading():
        api.nodes.set(make_node("a"))
        api.pods.set(victim())
        api.pods.set(high())
        await api.clock.settle()
        assert api.deleted == [("low", "uid-default-low")]
        condition = find_condition(api.pods.objects["default/low"], "DisruptionTarget")
        assert condition is not None
        assert (condition["status"], condition["reason"], condition["message"]) == (
            "True",
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
        )
        assert is_leaving(api.pods.objects["default/low"])
        assert api.status("high")["nominatedNodeName"] == "a"
        assert ("Normal Preempted", f"Preempted by pod {UID} on node a") in api.events
        assert api.bound == {}
        api.pods.delete("default/low")
        await api.clock.settle()
        assert api.bound == {"high": "a"}


async def test_other_pods_are_placed_while_victims_go() -> None:
    api = Api()
    async with api.leading():
        api.nodes.set(make_node("a"))
        api.nodes.set(make_node("b", cpu="1"))
        api.pods.set(victim())
        api.pods.set(high())
        api.pods.set(make_pod("small", cpu="1"))
        await api.clock.settle()
        assert api.bound == {"small": "b"}
        assert api.deleted == [("low", "uid-default-low")]


async def test_victims_that_are_gone_or_others_by_now_are_not_missed() -> None:
    for refusal in (not_found("pods", "low"), conflict("pods", "low", "the UID in the precondition does not match")):
        api = Api()
        async with api.leading():
            api.delete_refusals = [refusal]
            api.nodes.set(make_node("a"))
            api.pods.set(victim())
            api.pods.set(high())
            await api.clock.settle()
            assert "Normal Preempted" not in {event for event, _ in api.events}
            api.pods.delete("default/low")
            await api.clock.settle()
            assert api.bound == {"high": "a"}


async def test_when_a_victim_can_not_be_deleted_the_pod_tries_again() -> None:
    api = Api()
    async with api.leading():
        api.delete_refusals = [internal("out of order")]
        api.nodes.set(make_node("a"))
        api.pods.set(victim())
        api.pods.set(high())
        await api.clock.advance(0.9)
        assert api.deleted == []
        await api.clock.advance(0.2)
        assert api.deleted == [("low", "uid-default-low")]


async def test_a_pod_that_is_displaced_is_told_so() -> None:
    api = Api()
    async with api.leading():
        api.nodes.set(make_node("a"))
        api.pods.set(victim())
        api.pods.set(high())
        await api.clock.settle()
        api.pods.set(make_pod("higher", cpu="4", priority=20))
        await api.clock.advance(1.1)
        assert api.status("higher")["nominatedNodeName"] == "a"
        assert "nominatedNodeName" not in api.status("high")
        api.pods.delete("default/low")
        await api.clock.settle()
        assert api.bound == {"higher": "a"}


async def test_a_leader_that_comes_next_goes_on_without_sending_anybody_away_again() -> None:
    api = Api()
    async with api.leading():
        api.nodes.set(make_node("a"))
        api.nodes.set(make_node("b"))
        api.pods.set(victim())
        api.pods.set(victim("other", "b"))
        api.pods.set(high())
        await api.clock.settle()
    node = api.status("high")["nominatedNodeName"]
    (gone,) = (pod for pod, _ in api.deleted)
    async with api.leading():
        await api.clock.advance(30)
        assert len(api.deleted) == 1
        api.pods.delete(f"default/{gone}")
        await api.clock.settle()
        assert api.bound == {"high": node}


async def test_whoever_loses_the_lead_while_a_victim_is_being_deleted_leaves_it_to_the_next() -> None:
    api = Api()
    async with api.leading():
        api.answering.clear()
        api.nodes.set(make_node("a"))
        api.pods.set(victim())
        api.pods.set(high())
        await api.clock.settle()
    assert api.deleted == []
    api.answering.set()
    async with api.leading():
        await api.clock.settle()
        assert [pod for pod, _ in api.deleted] == ["low"]


def test_a_pod_that_says_already_why_it_goes_is_not_told_again() -> None:
    pod = victim()
    condition = disruption(pod, "x: preempting", 0.0)
    assert condition is not None
    pod["status"]["conditions"] = [condition]
    assert disruption(pod, "x: preempting", 1.0) is None
    changed = disruption(pod, "y: preempting", 1.0)
    assert changed is not None and changed["lastTransitionTime"] == condition["lastTransitionTime"]
    assert name(pod) == "low"
