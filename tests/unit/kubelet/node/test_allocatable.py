"""Who is held to what of a node, by its flags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubelet.node import node_object, node_settings
from kubelet.node.allocatable import AllocatableEnforcer, GroupLimits, limits
from kubelet.node.node_settings import NodeSettings
from kubelet.runtime import RuntimeFailure
from tests.support.clock import ManualClock

GIB = 1 << 30
CAPACITY = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"}
RESERVED = {"cpu": "500m", "memory": "1Gi", "pid": "100"}


def settings(**fields: Any) -> NodeSettings:
    return NodeSettings("node-1", "10.0.0.1", **fields)


def test_pods_have_together_what_is_not_reserved() -> None:
    reserved = settings(reserved=RESERVED, system_reserved={"memory": "1Gi"})
    expected = {"cpu": {"shares": 3584}, "memory": {"limit": 6 * GIB}, "pids": {"limit": 900}}
    assert limits(reserved, CAPACITY, pids_max=1000) == [GroupLimits("", expected)]
    assert limits(settings(enforced=()), CAPACITY, pids_max=1000) == []


def test_what_is_reserved_is_held_to_that_where_its_group_is_named() -> None:
    named = settings(
        reserved=RESERVED,
        system_reserved=RESERVED,
        enforced=("kube-reserved", "system-reserved-compressible"),
        kube_reserved_group="/kube.slice",
        system_reserved_group="/system.slice",
    )
    assert limits(named, CAPACITY, pids_max=1000) == [
        GroupLimits("/kube.slice", {"cpu": {"shares": 512}, "memory": {"limit": GIB}, "pids": {"limit": 100}}),
        GroupLimits("/system.slice", {"cpu": {"shares": 512}}),
    ]


def test_what_is_reserved_for_the_system_is_not_allocatable_either() -> None:
    reserved = settings(reserved=RESERVED, system_reserved={"cpu": "500m"}, eviction={})
    assert node_object.allocatable(reserved, CAPACITY) == {**CAPACITY, "cpu": "3", "memory": "7Gi"}


@pytest.mark.parametrize(
    ("enforced", "words"),
    [
        ("none,pods", "'none' can't be enforced together"),
        ("everything", "'everything' can't be enforced"),
        ("pods,kube-reserved", "--kube-reserved-cgroup must be given"),
        ("system-reserved,system-reserved-compressible", "--system-reserved-cgroup must be given"),
    ],
)
def test_what_can_not_be_enforced_is_told(enforced: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node_settings.check(settings(enforced=node_settings.parse_enforced(enforced)))


class FailingRuntime:
    """Refuses a few times."""

    def __init__(self) -> None:
        self.failures = 2
        self.groups: list[tuple[str, dict[str, Any]]] = []

    async def set_group_resources(self, path: str, resources: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeFailure("UpdateContainerError", "busy")
        self.groups.append((path, resources))


async def test_it_is_tried_until_it_succeeds_and_told_each_time() -> None:
    clock, told = ManualClock(), []
    runtime: Any = FailingRuntime()

    async def node() -> dict[str, Any]:
        return {"status": {"capacity": CAPACITY}}

    def tell(kind: str, reason: str, message: str) -> None:
        told.append((kind, reason, message))

    task = asyncio.create_task(AllocatableEnforcer(runtime, settings(), node, clock, tell=tell).run())
    for _ in range(3):
        await clock.settle()
        await clock.advance(61)
    await asyncio.wait_for(task, 5)
    assert [path for path, _ in runtime.groups] == [""]
    failed = ("Warning", "FailedNodeAllocatableEnforcement", "Failed to update Node Allocatable Limits : busy")
    enforced = ("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
    assert told == [failed, failed, enforced]
