"""What the loop does about a shortage: it tells, cleans up, and ends one pod after another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from apimachinery.meta import Object
from kubelet.eviction import stalls
from kubelet.eviction.figures import storage_figures
from kubelet.eviction.manager import EvictionManager
from kubelet.eviction.pressures import Pressures
from kubelet.eviction.ranking import Figures
from kubelet.eviction.thresholds import Observation, Rule, Settings
from kubelet.node.node_settings import Threshold
from kubelet.pods.pod_status import Verdict
from kubelet.server.stats.disk_usage import PodDisks, Taken
from tests.support.clock import ManualClock
from tests.unit.kubelet.eviction.factories import GIB, MIB, PLENTY, critical, pod

MEMORY = Rule("memory.available", Threshold(amount=100 * MIB))
SOFT = Rule("memory.available", Threshold(amount=GIB), grace_seconds=5.0)
DISK = Rule("imagefs.available", Threshold(share=0.15))


class FakeNode:
    """A machine, its pods, and all that the manager does to them."""

    def __init__(self, *pods: Object) -> None:
        self.found: dict[str, Observation] = dict(PLENTY)
        self.pods = list(pods)
        self.figures: dict[str, Figures] = {}
        self.ended: list[tuple[str, str, float | None]] = []
        self.verdicts: list[Verdict] = []
        self.events: list[tuple[str, ...]] = []
        self.images = 0
        self.counted = 0
        self.gives_back = True

    def short_of_memory(self, free: int = 0) -> None:
        self.found["memory.available"] = Observation(free, 8 * GIB)

    def free(self) -> Mapping[str, Observation]:
        return dict(self.found)

    def shares_a_disk(self) -> bool:
        return True

    async def of_pods(self, pods: Sequence[Object], *, disks: bool) -> Mapping[str, Figures]:
        self.counted += disks
        return {one["metadata"]["uid"]: self.figures.get(one["metadata"]["uid"], Figures()) for one in pods}

    def that_may_end(self) -> Sequence[Object]:
        gone = {uid for uid, _, _ in self.ended}
        return [one for one in self.pods if one["metadata"]["uid"] not in gone]

    def end(self, pod_uid: str, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        self.ended.append((pod_uid, verdict.reason, grace_seconds_max))
        self.verdicts.append(verdict)

    async def wait_ended(self, pod_uids: Sequence[str], seconds: float) -> bool:
        await self.clock.sleep(0.0 if self.gives_back else seconds)
        return self.gives_back or not pod_uids

    async def delete_images(self) -> int:
        self.images += 1
        self.found["imagefs.available"] = Observation(40 * GIB, 100 * GIB)
        return GIB

    def manager(self, clock: ManualClock, *rules: Rule, pod_grace: float = 0.0) -> EvictionManager:
        self.clock = clock
        self.pressures = Pressures(lambda: None)
        return EvictionManager(
            Settings(rules, pod_grace_seconds_max=pod_grace),
            clock,
            node=self,
            pods=self,
            pressures=self.pressures,
            delete_images=self.delete_images,
            tell=lambda *event: self.events.append(event),
            tell_pod=lambda one, reason, message: self.events.append((one["metadata"]["name"], reason)),
        )


async def test_a_node_that_has_enough_does_nothing() -> None:
    node = FakeNode(pod("a"))
    assert await node.manager(ManualClock(), MEMORY).look() == []
    assert (node.ended, node.events, node.counted, node.pressures.conditions) == ([], [], 0, frozenset())


async def test_one_pod_at_a_time_ends_at_once_and_the_critical_one_never() -> None:
    node = FakeNode(critical("core"), pod("small"), pod("large"))
    node.figures = {"core": Figures(9 * GIB), "small": Figures(MIB), "large": Figures(GIB)}
    node.short_of_memory()
    manager = node.manager(ManualClock(), MEMORY)
    assert [await manager.look() for _ in range(3)] == [["large"], ["small"], []]
    assert node.ended == [("large", "Evicted", 1.0), ("small", "Evicted", 1.0)]
    assert node.events[:2] == [
        ("Warning", "EvictionThresholdMet", "Attempting to reclaim memory"),
        ("large", "Evicted"),
    ]
    assert node.verdicts[0].disruption == node.verdicts[0].message
    assert node.pressures.conditions == {"MemoryPressure"}


async def test_a_soft_threshold_leaves_pods_the_time_that_the_node_grants() -> None:
    clock, node = ManualClock(), FakeNode(pod("a"))
    node.short_of_memory(500 * MIB)
    manager = node.manager(clock, SOFT, pod_grace=30.0)
    assert await manager.look() == []
    await clock.advance(5.0)
    assert await manager.look() == ["a"] and node.ended == [("a", "Evicted", 30.0)]


async def test_no_pod_ends_when_it_is_enough_to_remove_images() -> None:
    node = FakeNode(pod("a"))
    node.found["imagefs.available"] = Observation(GIB, 100 * GIB)
    assert await node.manager(ManualClock(), DISK).look() == []
    assert (node.images, node.ended) == (1, [])


async def test_a_pod_that_has_too_much_on_the_disk_ends_for_itself_alone() -> None:
    clock = ManualClock()
    limited = pod("a", volumes=[{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}])
    node = FakeNode(limited, pod("b"))
    manager = node.manager(clock, MEMORY)
    assert await manager.look() == [] and node.counted == 1
    node.figures = {"a": Figures(volumes={"data": 2 * MIB})}
    await clock.advance(1.0)
    assert await manager.look() == ["a"]
    assert node.verdicts == [Verdict("Evicted", 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ')]
    assert node.pressures.conditions == frozenset()


async def test_it_looks_every_ten_seconds_and_again_as_soon_as_a_pod_has_ended() -> None:
    clock, node = ManualClock(), FakeNode(pod("a"), pod("b"), pod("c"))
    task = asyncio.create_task(node.manager(clock, MEMORY).run())
    await clock.settle()
    node.short_of_memory()
    await clock.advance(9.0)
    assert node.ended == []
    await clock.advance(1.0)
    assert len(node.ended) == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nobody_else_ends_for_a_disk_that_an_evicted_pod_has_not_given_back() -> None:
    clock, node = ManualClock(), FakeNode(pod("a"), pod("b"))
    node.found["nodefs.available"] = Observation(GIB, 100 * GIB)
    node.gives_back = False
    rule = Rule("nodefs.available", Threshold(share=0.1))
    node.shares_a_disk = lambda: False  # type: ignore[method-assign]
    task = asyncio.create_task(node.manager(clock, rule).run())
    await clock.advance(120.0)
    assert len(node.ended) == 1
    node.gives_back = True
    await clock.advance(20.0)
    assert len(node.ended) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_what_a_container_has_written_and_logged_counts_for_it() -> None:
    disks = PodDisks(
        logs={"web": Taken(3, 1)},
        layers={"id-1": Taken(10, 2), "id-2": Taken(20, 3)},
        volumes={"data": Taken(100, 4), "ram": Taken(50, 1, whole=(64, 14, 9, 8))},
        files=Taken(1, 1),
    )
    found = storage_figures(disks, {"id-1": "web", "id-2": "web"})
    assert found.container_storage == {"web": 33}
    assert (found.storage_bytes, found.inodes) == (134, 11)
    assert found.volumes == {"data": 100, "ram": 50}


async def test_a_kernel_that_tells_nothing_of_pressure_is_done_without(tmp_path: Path) -> None:
    with stalls.watching(lambda: None, tmp_path / "absent") as told:
        assert not told
    (tmp_path / "refused").touch()
    with stalls.watching(lambda: None, tmp_path / "refused") as told:
        assert not told
