"""Asks node agents what their nodes and pods use: when somebody wants to know, and no agent more often than needed.

Who asks while an agent is being asked waits for the same answer. An agent that is away or slow only lacks in the
answer; it is left alone for as long as its answer would have been good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import aiohttp
import orjson

from apimachinery.errors import ApiError
from apiserver.logs import kv
from apiserver.pod_streams import Location
from apiserver.proxying.agents import Agents
from apiserver.resourcemetrics import report
from apiserver.resourcemetrics.report import Report

log = logging.getLogger(__name__)

GOOD_SECONDS = 15.0
ANSWER_SECONDS_MAX = 5.0
AT_ONCE_MAX = 64
PATH, PARAMS = "/stats/summary", (("only_cpu_and_memory", "true"),)


class Scraping:
    """The last answer of each node's agent."""

    def __init__(self, agents: Agents, monotonic: Callable[[], float]) -> None:
        self._agents = agents
        self._monotonic = monotonic
        # By node: when it was asked, and what it said.
        self._known: dict[str, tuple[float, Report | None]] = {}
        self._asking: dict[str, asyncio.Task[Report | None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def reports(self, nodes: Iterable[str]) -> dict[str, Report]:
        """What these nodes say, without those that say nothing."""
        names = list(nodes)
        tasks = {name: task for name in names if (task := self._task(name)) is not None}
        if tasks:
            await asyncio.wait(tasks.values())
        found = {name: self._known[name][1] for name in names if name in self._known}
        return {name: said for name, said in found.items() if said is not None}

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._agents.close()

    def _task(self, node: str) -> asyncio.Task[Report | None] | None:
        """Who asks a node, if it has to be asked."""
        known = self._known.get(node)
        if known is not None and self._monotonic() - known[0] < GOOD_SECONDS:
            return None
        if node not in self._asking:
            self._asking[node] = asyncio.create_task(self._ask(node))
        return self._asking[node]

    async def _ask(self, node: str) -> Report | None:
        said = None
        try:
            async with (
                self._turns,
                asyncio.timeout(ANSWER_SECONDS_MAX),
                self._agents.get(Location(node, PATH, PARAMS)) as answer,
            ):
                body = await answer.read()
                said = report.read(orjson.loads(body), answer.headers.get(report.WINDOW_HEADER, ""))
        except (ApiError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info(kv("a node does not say what it uses", node=node, error=str(error) or type(error).__name__))
        finally:
            self._known[node] = (self._monotonic(), said)
            del self._asking[node]
        return said

    def forget_all_but(self, nodes: set[str]) -> None:
        """Keep nothing of nodes that are gone."""
        for name in self._known.keys() - nodes:
            del self._known[name]
