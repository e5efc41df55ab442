"""Whom a node ends for a pod that it can't do without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import find_condition
from kubelet.pods import preemption
from kubelet.pods.admission import Shortage
from kubelet.pods.preemption import Refused, is_critical, victims
from tests.support.fake_node import FakeNode, fake_node
from tests.support.pods import container, pod

CRITICAL = 2_000_000_000


def named(name: str, kind: str, cpu: str = "", *, priority: int = 0) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu}} if cpu else {}
    made = pod(container(resources=resources), name=name, uid=name, priority=priority)
    made["status"]["qosClass"] = kind
    return made


def ended(short_of: dict[str, int], *others: dict[str, Any], priority: int = CRITICAL) -> list[str]:
    wanted = [Shortage(name, amount, 0, 0) for name, amount in short_of.items()]
    chosen = victims(named("critical", "Guaranteed", "1", priority=priority), list(others), wanted)
    return [one["metadata"]["name"] for one in chosen]


def test_pods_of_the_highest_priorities_and_static_pods_are_critical() -> None:
    assert is_critical(named("a", "BestEffort", priority=CRITICAL))
    assert not is_critical(named("a", "BestEffort", priority=CRITICAL - 1))
    for key, value in (("kubernetes.io/config.source", "file"), ("kubernetes.io/config.mirror", "x")):
        static = named("a", "BestEffort")
        static["metadata"]["annotations"] = {key: value}
        assert is_critical(static)


def test_as_few_as_will_do_are_ended_and_of_the_lowest_class_that_will() -> None:
    low, middle, high = (
        named("low", "BestEffort"),
        named("middle", "Burstable", "1"),
        named("high", "Guaranteed", "1"),
    )
    assert ended({"cpu": 500}, high, middle, low) == ["middle"]
    assert ended({"cpu": 1500}, high, middle, low) == ["middle", "high"]
    assert ended({"pods": 1}, high, middle, low) == ["low"]


def test_the_one_that_asks_for_the_least_of_those_that_suffice_is_ended() -> None:
    sizes = [named(f"of-{cpu}", "Burstable", cpu) for cpu in ("4", "1", "2")]
    assert ended({"cpu": 900}, *sizes) == ["of-1"]
    assert ended({"cpu": 1900}, *sizes) == ["of-2"]
    assert ended({"cpu": 5500}, *sizes) == ["of-4", "of-2"]


def test_critical_pods_are_ended_only_for_those_of_higher_priority() -> None:
    other = named("other", "Burstable", "1", priority=CRITICAL)
    with pytest.raises(Refused, match=r"\[\(res: cpu, q: 500\), \]"):
        ended({"cpu": 500}, other)
    assert ended({"cpu": 500}, other, priority=CRITICAL + 1000) == ["other"]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path) as made:
        yield made


async def test_a_critical_pod_starts_when_those_that_it_preempts_have_ended(node: FakeNode) -> None:
    node.api.put(named("big", "Burstable", "3"))
    node.api.put(named("small", "Burstable", "500m"))
    await node.settle()
    node.runtime.stubborn.add("web")
    node.api.put(named("critical", "Burstable", "3", priority=CRITICAL))
    await node.settle()
    assert node.runtime.started[-1][0] == "web" and len(node.runtime.started) == 2
    await node.pass_(31)
    status = node.status("big")
    assert (status["phase"], status["reason"], status["message"]) == (
        "Failed",
        preemption.PREEMPTED.reason,
        "Preempted in order to admit critical pod",
    )
    disruption = find_condition({"status": dict(status)}, "DisruptionTarget") or {}
    assert disruption["reason"] == "TerminationByKubelet"
    assert disruption["message"] == "Pod was preempted by Kubelet to accommodate a critical pod."
    assert ("Preempting", "Preempted in order to admit critical pod") in node.recorder.events
    assert node.status("critical")["phase"] == node.status("small")["phase"] == "Running"


async def test_a_critical_pod_for_which_no_room_can_be_made_is_refused(node: FakeNode) -> None:
    node.api.put(named("other", "Burstable", "3", priority=CRITICAL))
    await node.settle()
    node.api.put(named("critical", "Burstable", "2", priority=CRITICAL))
    await node.settle()
    status = node.status("critical")
    assert (status["phase"], status["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert "no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]" in status["message"]
    assert node.status("other")["phase"] == "Running"
