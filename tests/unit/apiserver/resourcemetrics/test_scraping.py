"""Node agents are asked when somebody wants to know, no more often than needed, and none holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError, internal
from apimachinery.meta import Object
from apimachinery.resources import NODES, Resource
from apiserver.pod_streams import Location
from apiserver.resourcemetrics import scraping
from apiserver.resourcemetrics.scraping import Scraping
from apiserver.resourcemetrics.serving import ResourceMetrics

GOOD = {"node": {"cpu": {"time": "t", "usageNanoCores": 5}, "memory": {"workingSetBytes": 1024}}, "pods": []}


class Answer:
    """What an agent answers."""

    def __init__(self, document: Any) -> None:
        self.headers = {"X-Sample-Window-Seconds": "12"}
        self._document = document

    async def read(self) -> bytes:
        return orjson.dumps(self._document)


class Agents:
    """Agents of nodes by what they do: a document, an error, or None for one that never answers."""

    def __init__(self, **nodes: Any) -> None:
        self.nodes = nodes
        self.asked: list[str] = []

    @asynccontextmanager
    async def get(self, location: Location) -> AsyncIterator[Answer]:
        assert (location.path, location.params) == ("/stats/summary", (("only_cpu_and_memory", "true"),))
        self.asked.append(location.node)
        await asyncio.sleep(0)
        does = self.nodes[location.node]
        if isinstance(does, Exception):
            raise does
        if does is None:
            await asyncio.Event().wait()
        yield Answer(does)

    async def close(self) -> None:
        pass


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def scraped(agents: Agents, time: Time | None = None) -> Scraping:
    return Scraping(agents, time or Time())  # type: ignore[arg-type]


async def test_each_agent_is_asked_once_in_a_while() -> None:
    agents, time = Agents(a=GOOD, b=GOOD), Time()
    some = scraped(agents, time)
    assert (await some.reports(["a", "b"])).keys() == {"a", "b"}
    time.now += scraping.GOOD_SECONDS - 1
    assert (await some.reports(["a"]))["a"].window_seconds == 12
    assert sorted(agents.asked) == ["a", "b"]
    time.now += 1
    await some.reports(["a"])
    assert sorted(agents.asked) == ["a", "a", "b"]


async def test_who_asks_at_the_same_time_shares_an_answer() -> None:
    agents = Agents(a=GOOD)
    some = scraped(agents)
    await asyncio.gather(some.reports(["a"]), some.reports(["a"]))
    assert agents.asked == ["a"]


async def test_agents_that_fail_only_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "ANSWER_SECONDS_MAX", 0.05)
    agents = Agents(good=GOOD, away=internal("refused"), hangs=None, odd=[1], other={"node": {}, "pods": []})
    found = await scraped(agents).reports(agents.nodes)
    assert found.keys() == {"good", "other"}
    assert found["other"].node is None


async def test_a_failure_is_remembered_as_long_as_an_answer() -> None:
    agents = Agents(away=internal("refused"))
    some = scraped(agents)
    assert await some.reports(["away"]) == {} == await some.reports(["away"])
    assert agents.asked == ["away"]


async def test_a_client_that_goes_does_not_spoil_the_answer_for_others() -> None:
    agents = Agents(a=GOOD)
    some = scraped(agents)
    first = asyncio.create_task(some.reports(["a"]))
    second = asyncio.create_task(some.reports(["a"]))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).keys() == {"a"}


async def test_its_end_ends_what_is_being_asked() -> None:
    agents = Agents(hangs=None)
    some = scraped(agents)
    asking = asyncio.create_task(some.reports(["hangs"]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert agents.asked
    await some.close()
    assert await asyncio.wait_for(asking, 5) == {}


class Stored:
    """A cluster of these nodes and pods."""

    def __init__(self, *nodes: Object, pods: list[Object] | None = None) -> None:
        self.nodes = nodes
        self.pods = pods or []

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return next((one for one in self.list(resource, namespace) if one["metadata"]["name"] == name), None)

    def list(self, resource: Resource, namespace: str) -> Iterator[Object]:
        return iter(self.nodes if resource is NODES else self.pods)


def node(name: str, ready: str) -> Object:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


async def test_nodes_that_are_lost_are_not_asked() -> None:
    metrics = ResourceMetrics(Stored(node("a", "True"), node("lost", "Unknown")), None, lambda: 0.0)  # type: ignore[arg-type]
    agents = Agents(a=GOOD, lost=None)
    metrics._scraping = scraped(agents)
    find = metrics.found_out()["metrics.k8s.io", "nodes"]
    assert [found["metadata"]["name"] for found in await find("", "")] == ["a"]
    assert agents.asked == ["a"]
    with pytest.raises(ApiError, match='nodemetrics.metrics.k8s.io "lost" not found'):
        await find("", "lost")
    with pytest.raises(ApiError, match='nodes "none" not found'):
        await find("", "none")


def pod(number: int, node_name: str = "a", phase: str = "Running") -> Object:
    metadata = {"name": f"p-{number}", "namespace": "default", "uid": f"u-{number}"}
    return {"metadata": metadata, "spec": {"nodeName": node_name}, "status": {"phase": phase}}


def told(*numbers: int) -> Object:
    """What an agent says of these pods."""
    container = {"name": "main", "cpu": {"time": "t", "usageNanoCores": 1}, "memory": {"workingSetBytes": 1024}}
    return {**GOOD, "pods": [{"podRef": {"uid": f"u-{number}"}, "containers": [container]} for number in numbers]}


async def test_pods_are_found_among_thousands() -> None:
    pods = [pod(number, "a" if number % 2 else "b") for number in range(1000)]
    stored = Stored(node("a", "True"), node("b", "True"), node("idle", "True"), pods=pods)
    metrics = ResourceMetrics(stored, None, lambda: 0.0)  # type: ignore[arg-type]
    agents = Agents(a=told(*range(1, 1000, 2)), b=told(0), idle=GOOD)
    metrics._scraping = scraped(agents)
    find = metrics.found_out()["metrics.k8s.io", "pods"]
    assert len(await find("default", "")) == 501
    # Where no pod runs, nobody is asked.
    assert sorted(agents.asked) == ["a", "b"]


async def test_only_the_node_of_a_pod_is_asked_for_it() -> None:
    stored = Stored(node("a", "True"), node("b", "True"), pods=[pod(1, "a"), pod(2, "b"), pod(3, "a", "Succeeded")])
    metrics = ResourceMetrics(stored, None, lambda: 0.0)  # type: ignore[arg-type]
    agents = Agents(a=told(1), b=told(2))
    metrics._scraping = scraped(agents)
    find = metrics.found_out()["metrics.k8s.io", "pods"]
    assert [found["metadata"]["name"] for found in await find("default", "p-2")] == ["p-2"]
    assert agents.asked == ["b"]
    with pytest.raises(ApiError, match='podmetrics.metrics.k8s.io "default/p-3" not found'):
        await find("default", "p-3")
    with pytest.raises(ApiError, match='pods "p-4" not found'):
        await find("default", "p-4")
