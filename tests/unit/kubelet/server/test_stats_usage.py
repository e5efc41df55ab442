"""Shares of CPUs come from two samples, which are taken when somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import ContainerState, SandboxSpec, SandboxState
from kubelet.runtime.cgroups import Hierarchies
from kubelet.server.stats import sampler, usage
from kubelet.server.stats.groups import Groups, Usage
from kubelet.server.stats.usage import NODE, ContainerUsage, PodUsage, Sample, newest_at_least, rates
from tests.support.clock import ManualClock

MIB = 1 << 20
SECOND = 1_000_000_000


def used(cpu_seconds: float) -> Usage:
    return Usage(round(cpu_seconds * SECOND), 2 * MIB, MIB, MIB)


def taken(at: float, *containers: tuple[str, float, float], node: float = 0.0) -> Sample:
    """A sample of one pod with these containers: (id, when it started, CPU seconds)."""
    parts = tuple(ContainerUsage(name, name, started, "g", used(cpu)) for name, started, cpu in containers)
    whole = used(sum(cpu for _, _, cpu in containers))
    pods = (PodUsage("default", "web", "u-1", "g", 0, 1, whole, parts),) if containers else ()
    return Sample(at, at, used(node), pods)


def test_the_share_is_what_went_between_two_samples() -> None:
    found = rates(taken(100, ("c", 50, 10.0), node=40), taken(110, ("c", 50, 12.5), node=50))
    assert found.window_seconds == 10
    assert found.nanocores == {"c": SECOND // 4, "u-1": SECOND // 4, NODE: SECOND}


def test_what_began_in_between_counts_from_its_start() -> None:
    found = rates(taken(100), taken(110, ("c", 105, 1.0)))
    assert found.nanocores["c"] == found.nanocores["u-1"] == SECOND // 5


def test_of_what_has_just_begun_nothing_is_said() -> None:
    found = rates(taken(100), taken(110, ("c", 109.9, 1.0)))
    assert found.nanocores == {NODE: 0}


def test_a_restarted_container_is_another_one_and_the_pod_goes_on() -> None:
    found = rates(taken(100, ("c-0", 50, 10.0)), taken(110, ("c-1", 104, 12.0)))
    assert found.nanocores == {"c-1": 2 * SECOND, "u-1": SECOND // 5, NODE: 0}


def test_samples_that_are_too_near_say_nothing() -> None:
    assert rates(taken(100, ("c", 50, 1.0)), taken(100.1, ("c", 50, 1.1))).nanocores == {}


def test_counters_that_went_back_are_no_negative_share() -> None:
    assert rates(taken(100, ("c", 50, 2.0)), taken(110, ("c", 50, 1.0))).nanocores["c"] == 0


def test_the_window_begins_at_a_sample_that_is_old_enough() -> None:
    kept = [taken(10), taken(20), taken(28)]
    assert newest_at_least(kept, 10, 31) is kept[1]
    assert newest_at_least(kept, 10, 12) is kept[0]
    assert newest_at_least([], 10, 12) is None


def test_only_what_runs_is_looked_at() -> None:
    spec = SandboxSpec("u-1", "web", "default", "web", cgroup_parent="burstable/podu-1")
    running = ContainerState("c-1", "main", 0, "running", started_at=5.0)
    sandbox = SandboxState(
        "u-1", 77, "/proc/77/ns/net", True, spec, [running, replace(running, id="c", status="exited")]
    )
    dead = SandboxState("u-2", 0, "", False, replace(spec, pod_uid="u-2"))
    (found,) = usage.targets([sandbox, dead], "wherry/node")
    assert found.group == "wherry/node/burstable/podu-1"
    assert found.containers == (("c-1", "main", 5.0, "wherry/node/burstable/podu-1/c-1"),)
    assert found.network_pid == 77
    (host,) = usage.targets([replace(sandbox, spec=replace(spec, host_network=True))], "wherry/node")
    assert host.network_pid == 0


def test_the_machine_uses_something() -> None:
    found = usage.of_machine()
    assert 0 < found.working_set_bytes <= found.memory_bytes < (found.memory_limit or 0)
    assert found.cpu_nanoseconds > 0 and found.page_faults > 0


class Pods:
    """A runtime with no pods, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def sandboxes(self) -> list[Any]:
        self.asked += 1
        return []


@pytest.fixture
def pods() -> Pods:
    return Pods()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sampled(pods: Pods, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sampler.Sampler:
    monkeypatch.setattr(sampler.cgroups, "present", lambda: Hierarchies(version=2, unified=str(tmp_path)))

    async def at_once(call: Any, *arguments: Any, **more: Any) -> Any:
        return call(*arguments, **more)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    made = sampler.Sampler(pods, "wherry/node", clock)  # type: ignore[arg-type]
    assert isinstance(made.groups, Groups)
    return made


async def test_who_asks_first_gets_the_share_of_half_a_second(sampled: sampler.Sampler, clock: ManualClock) -> None:
    asked = asyncio.create_task(sampled.with_rates())
    await clock.advance(sampler.FIRST_WINDOW_SECONDS)
    _, found = asked.result()
    assert found.window_seconds == sampler.FIRST_WINDOW_SECONDS
    assert NODE in found.nanocores


async def test_who_asks_again_gets_the_share_since_then_at_once(sampled: sampler.Sampler, clock: ManualClock) -> None:
    await sampled.sample()
    await clock.advance(15)
    _, found = await sampled.with_rates()
    assert found.window_seconds == 15
    await clock.advance(15)
    assert (await sampled.with_rates())[1].window_seconds == 15
    await clock.advance(4)
    assert (await sampled.with_rates())[1].window_seconds == 19


async def test_a_sample_of_long_ago_is_no_beginning(sampled: sampler.Sampler, clock: ManualClock) -> None:
    await sampled.sample()
    await clock.advance(sampler.WINDOW_SECONDS_MAX + 1)
    asked = asyncio.create_task(sampled.with_rates())
    await clock.advance(1)
    assert asked.result()[1].window_seconds == sampler.FIRST_WINDOW_SECONDS


async def test_who_asks_at_the_same_time_shares_a_sample(sampled: sampler.Sampler, pods: Pods) -> None:
    await asyncio.gather(sampled.sample(), sampled.sample(), sampled.sample())
    assert pods.asked == 1


async def test_nobody_looks_while_nobody_asks(sampled: sampler.Sampler, pods: Pods, clock: ManualClock) -> None:
    await sampled.sample()
    await clock.advance(3600)
    assert pods.asked == 1
