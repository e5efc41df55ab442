"""Ends the pods of a node before its machine goes down, so that they have their time, and others hear of it.

The node says that it is not ready and takes no pods any more; then its pods end in groups, those of the lowest
priority first, each group within its own period. This begins when logind announces a shutdown, for which it is made
to wait, or when the agent is sent SIGPWR, the signal of a power failure, by whoever takes the machine down without
logind:

    kill -PWR PID       (of the agent; it goes on, so that what has become of the pods is told)

SIGTERM is another thing: it ends the agent alone, and the pods outlive it. An agent that is started again after all
takes the node back.

Source: https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/,
kubernetes/pkg/kubelet/nodeshutdown
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key, uid
from kubelet.images.collector import parse_duration
from kubelet.node import logind
from kubelet.node.dbus import SYSTEM_BUS
from kubelet.pods.pod_status import Verdict

logger = logging.getLogger(__name__)

CRITICAL_PRIORITY = 2_000_000_000
PROBLEM, WORDS = "shutdown", "node is shutting down"
REFUSED = Verdict("NodeShutdown", "Pod was rejected as the node is shutting down.")
_MESSAGE = "Pod was terminated in response to imminent node shutdown."
TERMINATED = Verdict("Terminated", _MESSAGE, disruption=_MESSAGE)


@dataclass(frozen=True, slots=True)
class Period:
    """What pods from this priority on, and below the next one's, have to end."""

    priority: int
    seconds: float


# What pods have when a shutdown is asked for and no periods are set; logind is then not made to wait.
DEFAULT_PERIODS = (Period(0, 20.0), Period(CRITICAL_PRIORITY, 10.0))
Periods = Sequence[Period]


class Pods(Protocol):
    """The pods of this node; their workers."""

    def that_may_end(self) -> Sequence[Object]:
        """Those that run and that nobody has decided to end."""

    def end(self, pod_uid: str, verdict: Verdict, grace_seconds_max: float | None = None) -> None:
        """End one."""

    async def wait_ended(self, pod_uids: Sequence[str], seconds: float) -> bool:
        """Wait until some have given back what they had."""


def groups(pods: Sequence[Object], periods: Periods) -> list[tuple[Period, list[Object]]]:
    """The pods in the groups in which they end, those of the lowest priority first. Pure.

    Below the lowest priority that has a period, that one's counts.
    """
    ordered = sorted(periods, key=lambda period: period.priority)
    bounds = [period.priority for period in ordered]
    found: list[tuple[Period, list[Object]]] = [(period, []) for period in ordered]
    for pod in pods:
        place = bisect_right(bounds, pod["spec"].get("priority") or 0) - 1
        found[max(place, 0)][1].append(pod)
    return [(period, members) for period, members in found if members]


class NodeShutdown:
    """One node's shutdown; `begins` and `called_off` change what it says of itself."""

    def __init__(
        self,
        periods: Periods,
        clock: Clock,
        *,
        begins: Callable[[], None],
        called_off: Callable[[], None],
        bus: Path = SYSTEM_BUS,
    ) -> None:
        self._periods = periods
        self._clock = clock
        self._begins, self._called_off = begins, called_off
        self._bus = bus
        self._pods: Pods | None = None
        self._asked = asyncio.Event()
        self.is_under_way = False

    def refusal(self, _pod: Object) -> Verdict | None:
        """Why a pod is not taken on any more; None if it is."""
        return REFUSED if self.is_under_way else None

    def ask(self) -> None:
        """Begin, if it has not begun."""
        self._asked.set()

    def end_by(self, pods: Pods) -> None:
        """Have these be the pods to end."""
        self._pods = pods

    async def run(self) -> None:
        """Wait for a shutdown, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._periods:
                total = sum(period.seconds for period in self._periods)
                group.create_task(logind.follow(self._announced, self._clock, wanted_seconds=total, bus=self._bus))
            await self._asked.wait()
            await self._announced(True)

    async def _announced(self, begins: bool) -> None:
        if not begins:
            logger.info(kv("node shutdown called off"))
            self.is_under_way = False
            self._called_off()
        elif not self.is_under_way:
            self.is_under_way = True
            self._begins()
            await self._end_pods()

    async def _end_pods(self) -> None:
        assert self._pods is not None
        pods = self._pods.that_may_end()
        logger.info(kv("node shuts down", pods=len(pods)))
        for period, members in groups(pods, self._periods or DEFAULT_PERIODS):
            for pod in members:
                self._pods.end(uid(pod), TERMINATED, period.seconds)
            if not await self._pods.wait_ended([uid(pod) for pod in members], period.seconds):
                names = ",".join(map(namespaced_key, members))
                logger.warning(kv("pods have not ended in time", seconds=period.seconds, pods=names))
        logger.info(kv("node has shut down: its pods have ended", pods=len(pods)))


# Flags.


def add_flags(parser: argparse.ArgumentParser, checked: Callable[[Callable[[str], Any]], Any]) -> None:
    """Add the flags; `checked` makes a parser of a value whose complaint is shown as it is."""
    rest = "of --shutdown-grace-period, what critical pods have, after all others"
    flags: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
        ("--shutdown-grace-period", parse_duration, "0", "what pods have to end when the machine shuts down"),
        ("--shutdown-grace-period-critical-pods", parse_duration, "0", rest),
        ("--shutdown-grace-period-by-pod-priority", parse_periods, "", "0=30s,1000=1m,…: instead of these two"),
    )
    for flag, parse, default, words in flags:
        parser.add_argument(flag, type=checked(parse), default=default, help=words)


def periods(given: argparse.Namespace) -> Periods:
    """The periods that were given, none by default. Raises ValueError."""
    total, critical = given.shutdown_grace_period, given.shutdown_grace_period_critical_pods
    by_priority: Periods = given.shutdown_grace_period_by_pod_priority
    if by_priority and (total or critical):
        raise ValueError(
            "--shutdown-grace-period-by-pod-priority can't be given together with --shutdown-grace-period "
            "or --shutdown-grace-period-critical-pods"
        )
    if critical > total:
        raise ValueError(
            "--shutdown-grace-period-critical-pods must not be longer than --shutdown-grace-period, "
            "of which it is a part"
        )
    if not total:
        return by_priority
    return (Period(0, total - critical), Period(CRITICAL_PRIORITY, critical))


def parse_periods(text: str) -> Periods:
    """--shutdown-grace-period-by-pod-priority: `0=30s,100000=1m`. Raises ValueError."""
    found: dict[int, Period] = {}
    for term in filter(None, text.split(",")):
        priority, equals, seconds = term.partition("=")
        if not equals or not priority.removeprefix("-").isdigit():
            raise ValueError(f"{term!r} is no priority and its period, such as 1000=30s")
        if int(priority) in found:
            raise ValueError(f"priority {priority} is given twice")
        found[int(priority)] = Period(int(priority), parse_duration(seconds))
    return tuple(sorted(found.values(), key=lambda period: period.priority))
