"""In which order and time pods end before their machine goes down."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.node.shutdown import CRITICAL_PRIORITY, NodeShutdown, Period, Periods, groups, parse_periods, periods
from kubelet.pods.pod_status import Verdict
from tests.support.clock import ManualClock


def pod(name: str, priority: int | None = None) -> Object:
    spec = {} if priority is None else {"priority": priority}
    return {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": spec}


def given(**flags: Any) -> Namespace:
    none = {
        "shutdown_grace_period": 0.0,
        "shutdown_grace_period_critical_pods": 0.0,
        "shutdown_grace_period_by_pod_priority": (),
    }
    return Namespace(**none | flags)


def grouped(pods: Sequence[Object], of: Periods) -> list[tuple[float, list[str]]]:
    return [(period.seconds, [one["metadata"]["name"] for one in found]) for period, found in groups(pods, of)]


def test_critical_pods_end_last_in_their_part_of_the_whole_time() -> None:
    times = periods(given(shutdown_grace_period=30.0, shutdown_grace_period_critical_pods=10.0))
    pods = [pod("core", CRITICAL_PRIORITY), pod("web"), pod("batch", -5), pod("node", CRITICAL_PRIORITY + 1000)]
    assert grouped(pods, times) == [(20.0, ["web", "batch"]), (10.0, ["core", "node"])]


def test_a_pod_has_the_period_of_the_highest_priority_that_is_not_above_its_own() -> None:
    times = parse_periods("1000=1m,0=30s,10000=2m")
    pods = [pod("below", -1), pod("zero", 0), pod("between", 999), pod("at", 1000), pod("above", 99999)]
    assert grouped(pods, times) == [(30.0, ["below", "zero", "between"]), (60.0, ["at"]), (120.0, ["above"])]


def test_without_flags_there_are_no_periods_and_nonsense_is_refused() -> None:
    assert periods(given()) == ()
    assert periods(given(shutdown_grace_period_by_pod_priority=parse_periods("0=5s"))) == (Period(0, 5.0),)
    with pytest.raises(ValueError, match="must not be longer than"):
        periods(given(shutdown_grace_period=5.0, shutdown_grace_period_critical_pods=10.0))
    with pytest.raises(ValueError, match="can't be given together"):
        periods(given(shutdown_grace_period=5.0, shutdown_grace_period_by_pod_priority=parse_periods("0=5s")))
    for text in ("5s", "a=5s", "0=5s,0=6s", "0=5"):
        with pytest.raises(ValueError):
            parse_periods(text)


class FakePods:
    """Pods that end when a test lets them."""

    def __init__(self, *pods: Object) -> None:
        self.pods = pods
        self.ended: list[tuple[str, str, float | None]] = []
        self.waits: list[float] = []
        self.gone = asyncio.Semaphore(0)

    def that_may_end(self) -> Sequence[Object]:
        return self.pods

    def end(self, pod_uid: str, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        self.ended.append((pod_uid, verdict.reason, grace_seconds_max))

    async def wait_ended(self, pod_uids: Sequence[str], seconds: float) -> bool:
        self.waits.append(seconds)
        await self.gone.acquire()
        return True


async def test_a_node_that_is_asked_says_so_refuses_pods_and_ends_group_after_group(tmp_path: Path) -> None:
    told: list[str] = []
    clock, pods = ManualClock(), FakePods(pod("web"), pod("core", CRITICAL_PRIORITY))
    shutdown = NodeShutdown(
        (Period(0, 20.0), Period(CRITICAL_PRIORITY, 10.0)),
        clock,
        begins=lambda: told.append("begins"),
        called_off=lambda: told.append("called off"),
        bus=tmp_path / "absent",
    )
    shutdown.end_by(pods)
    task = asyncio.create_task(shutdown.run())
    await clock.settle()
    assert shutdown.refusal(pod("x")) is None and pods.ended == []
    shutdown.ask()
    await clock.settle()
    assert told == ["begins"] and pods.ended == [("web", "Terminated", 20.0)]
    refused = shutdown.refusal(pod("x"))
    assert refused == Verdict("NodeShutdown", "Pod was rejected as the node is shutting down.")
    pods.gone.release()
    await clock.settle()
    assert pods.ended[1:] == [("core", "Terminated", 10.0)] and pods.waits == [20.0, 10.0]
    pods.gone.release()
    await asyncio.wait_for(task, 5.0)
