"""When a node counts as lost, and who has to leave: the controller under a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from apiclient.events import EventRecorder
from apimachinery.meta import Object, name
from apimachinery.resources import LEASES, NODES, PODS
from apimachinery.time import rfc3339_micro
from controllers import taints
from controllers.context import Context, Informers, Options, run_controller
from controllers.node_lifecycle import LEASE_NAMESPACE, NodeLifecycleController
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.support.workloads import node, pod


class SleepyClock(ManualClock):
    """A clock whose machine can sleep: wall time runs on, the monotonic clock stands."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept


class Recorder(EventRecorder):
    """Keeps the events that it is to record: reason and message."""

    told: list[tuple[str, str]]

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.told.append((reason, message))


class Cluster:
    """Nodes that renew their leases every second, and what the controller makes of them."""

    def __init__(self, count: int, **options: Any) -> None:
        self.clock = SleepyClock()
        self.api = StagedApi()
        self.options = Options(**options)
        self.told: list[tuple[str, str]] = []
        self.names = [f"node-{number}" for number in range(count)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        client: Any = self.api
        informers = Informers(client, client, clock=self.clock)
        recorder = Recorder(client, "test", clock=self.clock)
        recorder.told = self.told
        context = Context(client, client, informers, recorder, self.clock, self.options)
        for which in self.names:
            await self.api.create(NODES, node(which, heartbeat=self.clock.now()))
            metadata = {"name": which, "namespace": LEASE_NAMESPACE}
            await self.api.create(LEASES, {"metadata": metadata, "spec": {"renewTime": "first"}})
        try:
            async with asyncio.TaskGroup() as group:
                controller = NodeLifecycleController(context)
                informers.start(group)
                group.create_task(run_controller("test", controller, workers=4, clock=self.clock))
                await self.clock.settle()
                yield
                raise _Over
        except* _Over:
            pass

    async def live(self, seconds: int, alive: Iterable[str] | None = None) -> None:
        """Let time pass while these nodes (all, unless told) renew their leases."""
        names = self.names if alive is None else list(alive)
        for _ in range(seconds):
            await self.renew(names)
            await self.clock.advance(1.0)

    async def renew(self, names: Iterable[str]) -> None:
        for which in names:
            patch = {"metadata": {}, "spec": {"renewTime": rfc3339_micro(self.clock.now())}}
            await self.api.patch(LEASES, which, patch, LEASE_NAMESPACE)

    async def report_ready(self, which: str) -> None:
        """Post the node's conditions, as its agent does when it is back."""
        status = node(heartbeat=self.clock.now())["status"]
        await self.api.patch(NODES, which, {"metadata": {}, "status": status})

    def node(self, which: str) -> Object:
        return next(obj for obj in self.api.objects(NODES) if name(obj) == which)

    @property
    def lost(self) -> set[str]:
        return {name(obj) for obj in self.api.objects(NODES) if taints.ready_status(obj) == "Unknown"}

    @property
    def emptied(self) -> set[str]:
        return {name(obj) for obj in self.api.objects(NODES) if taints.is_marked_lost(obj)}

    def others(self, *lost: str) -> list[str]:
        return [which for which in self.names if which not in lost]


class _Over(Exception):
    """The test is over: ends all tasks of its group."""


async def test_nodes_that_come_and_go_are_told_of_and_those_that_were_there_before_are_not() -> None:
    cluster = Cluster(2)
    async with cluster.running():
        await cluster.api.create(NODES, node("new", heartbeat=cluster.clock.now()))
        await cluster.clock.settle()
        await cluster.api.delete(NODES, "new")
        await cluster.clock.settle()
        assert cluster.told == [
            ("RegisteredNode", "Node new event: Registered Node new in Controller"),
            ("RemovingNode", "Node new event: Removing Node new from Controller"),
        ]


async def test_a_node_is_lost_after_the_grace_period_and_not_before() -> None:
    cluster = Cluster(3, node_monitor_grace_period=5.0)
    async with cluster.running():
        await cluster.live(20)
        assert cluster.lost == set()
        await cluster.live(3, cluster.others("node-0"))
        assert cluster.lost == set()
        await cluster.live(2, cluster.others("node-0"))
        assert cluster.lost == {"node-0"} and cluster.emptied == {"node-0"}
        await cluster.live(20, cluster.others("node-0"))
        assert cluster.lost == {"node-0"}


async def test_a_node_that_is_back_is_lost_again_when_it_falls_silent_again() -> None:
    cluster = Cluster(3)
    async with cluster.running():
        for _ in range(2):
            await cluster.live(7, cluster.others("node-0"))
            assert cluster.emptied == {"node-0"}
            await cluster.report_ready("node-0")
            await cluster.live(1)
            assert cluster.lost == set() and cluster.emptied == set()


async def test_a_lease_renewed_by_a_node_that_says_nothing_else_leaves_it_unknown() -> None:
    cluster = Cluster(3)
    async with cluster.running():
        await cluster.live(7, cluster.others("node-0"))
        await cluster.live(20)
        assert cluster.lost == {"node-0"} and cluster.emptied == {"node-0"}


async def test_nodes_are_emptied_one_after_another_at_the_eviction_rate() -> None:
    cluster = Cluster(8, node_eviction_rate=0.1)
    async with cluster.running():
        await cluster.live(7, cluster.others("node-0", "node-1"))
        assert cluster.lost == {"node-0", "node-1"} and len(cluster.emptied) == 1
        await cluster.live(7, cluster.others("node-0", "node-1"))
        assert len(cluster.emptied) == 1
        await cluster.live(4, cluster.others("node-0", "node-1"))
        assert cluster.emptied == {"node-0", "node-1"}


async def test_when_most_of_a_small_zone_is_lost_no_further_node_is_emptied_until_some_are_back() -> None:
    cluster = Cluster(5)
    async with cluster.running():
        await cluster.live(10, cluster.others("node-0", "node-1"))
        assert cluster.emptied == {"node-0", "node-1"}
        gone = ("node-0", "node-1", "node-2")
        await cluster.live(60, cluster.others(*gone))
        assert cluster.lost == set(gone) and cluster.emptied == {"node-0", "node-1"}
        await cluster.report_ready("node-0")
        await cluster.live(5, cluster.others("node-1", "node-2"))
        assert cluster.emptied == {"node-1", "node-2"}


async def test_when_all_fall_silent_together_nobody_has_to_leave() -> None:
    cluster = Cluster(5)
    async with cluster.running():
        await cluster.live(10)
        await cluster.live(60, [])
        assert cluster.lost == set(cluster.names) and cluster.emptied == set()
        await cluster.report_ready("node-0")
        await cluster.live(4, ["node-0"])
        assert cluster.emptied == set()  # the others have a whole grace period to be back too
        for which in cluster.names[1:4]:
            await cluster.report_ready(which)
        await cluster.live(10, cluster.others("node-4"))
        assert cluster.lost == cluster.emptied == {"node-4"}


async def test_when_the_last_node_falls_silent_no_pod_has_to_leave_any_node() -> None:
    cluster = Cluster(2)
    async with cluster.running():
        await cluster.live(10, ["node-1"])
        assert cluster.emptied == {"node-0"}
        await cluster.live(10, [])
        assert cluster.lost == {"node-0", "node-1"} and cluster.emptied == set()


async def test_a_machine_that_slept_listens_for_a_whole_grace_period_first() -> None:
    cluster = Cluster(3)
    async with cluster.running():
        await cluster.live(10)
        await cluster.live(3, [])
        cluster.clock.slept += 3600
        await cluster.live(4, [])
        assert cluster.lost == set()
        await cluster.live(2, [])
        assert cluster.lost == set(cluster.names)


async def test_a_watch_that_lags_makes_no_node_lost() -> None:
    cluster = Cluster(3)
    async with cluster.running():
        await cluster.live(3)
        cluster.api.hold(LEASES)
        await cluster.live(60)
        assert cluster.lost == set()
        cluster.api.release(LEASES)
        await cluster.live(10)
        assert cluster.lost == set()


async def test_a_node_that_has_never_told_anything_has_longer() -> None:
    cluster = Cluster(2)
    async with cluster.running():
        await cluster.api.create(NODES, node("mute", ready=None))
        await cluster.live(50)
        assert taints.ready_status(cluster.node("mute")) is None
        await cluster.live(15)
        conditions = cluster.node("mute")["status"]["conditions"]
        assert {(c["type"], c["status"]) for c in conditions} >= {("Ready", "Unknown")}
        assert {c["reason"] for c in conditions} == {"NodeStatusNeverUpdated"}


async def test_a_node_that_says_it_is_not_ready_is_emptied_though_it_lives() -> None:
    cluster = Cluster(3)
    async with cluster.running():
        await cluster.live(3)
        status = node(ready="False")["status"]
        await cluster.api.patch(NODES, "node-0", {"metadata": {}, "status": status})
        await cluster.live(2)
        assert taints.NOT_READY in {taint["key"] for taint in taints.no_execute(cluster.node("node-0"))}


async def test_the_pods_of_a_lost_node_are_not_ready_and_no_others() -> None:
    cluster = Cluster(2)
    async with cluster.running():
        for which, where in (("there", "node-0"), ("here", "node-1")):
            made = pod(which, node=where, phase="Running", ready_since=cluster.clock.now())
            await cluster.api.create(PODS, made)
        await cluster.live(7, ["node-1"])
        ready = {name(obj): obj["status"]["conditions"][0]["status"] for obj in cluster.api.objects(PODS)}
        assert ready == {"there": "False", "here": "True"}


async def test_a_living_cluster_costs_no_writes() -> None:
    cluster = Cluster(5)
    async with cluster.running():
        await cluster.live(60)
        assert cluster.api.count("patch", NODES) == 0
