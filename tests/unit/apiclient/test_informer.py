"""An informer's cache, and what it says of how far it has seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from apiclient.clock import SystemClock
from apiclient.informer import Informer
from apiclient.rest import ApiUnavailable
from apimachinery.meta import Object
from apimachinery.resources import PODS


class ScriptedClient:
    """Answers one list, and then each watch with the next script: events, or an error."""

    def __init__(self, items: list[Object], *scripts: list[Any]) -> None:
        self.items = items
        self.scripts = list(scripts)
        self.idle = asyncio.Event()

    async def list(self, *_: Any, **__: Any) -> Object:
        return {"items": self.items, "metadata": {"resourceVersion": "5"}}

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[tuple[str, Object]]:
        if not self.scripts:
            self.idle.set()
            await asyncio.Event().wait()
        for step in self.scripts.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


class TickingClock(SystemClock):
    """Every look at it is a second later, and nobody has to wait."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        self.time += 1
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def pod(name: str, version: int) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": name, "resourceVersion": str(version)}
    return {"kind": "Pod", "metadata": {**metadata, "managedFields": [{}]}, "spec": {"nodeName": "n"}}


async def run_until_idle(informer: Informer, client: ScriptedClient) -> None:
    async with asyncio.timeout(10):
        task = asyncio.create_task(informer.run())
        await client.idle.wait()
        task.cancel()


def unavailable() -> ApiUnavailable:
    return ApiUnavailable("https://server", OSError("refused"))


async def test_an_informer_keeps_only_what_its_transform_leaves() -> None:
    client = ScriptedClient([pod("a", 3)], [("ADDED", pod("b", 6))])
    informer = Informer(client, PODS, transform=lambda obj: {"metadata": obj["metadata"]})  # type: ignore[arg-type]
    await run_until_idle(informer, client)
    assert [set(obj) for obj in informer.list()] == [{"metadata"}, {"metadata"}]


async def test_an_informer_says_up_to_which_version_it_has_seen_everything() -> None:
    client = ScriptedClient([pod("a", 3)], [("ADDED", pod("b", 6)), ("BOOKMARK", pod("", 9))])
    informer = Informer(client, PODS)  # type: ignore[arg-type]
    assert informer.version == 0
    await run_until_idle(informer, client)
    assert informer.version == 9
    assert set(informer.keys()) == {"default/a", "default/b"}


async def test_an_informer_that_can_not_hear_the_server_observes_nothing() -> None:
    client = ScriptedClient([], [("ADDED", pod("b", 6))], [unavailable()])
    informer = Informer(client, PODS, clock=TickingClock())  # type: ignore[arg-type]
    assert informer.observing_since is None
    await run_until_idle(informer, client)
    assert informer.observing_since is None


async def test_observation_starts_afresh_when_the_server_is_heard_again() -> None:
    client = ScriptedClient([], [unavailable()], [("ADDED", pod("b", 6))])
    informer = Informer(client, PODS, clock=TickingClock())  # type: ignore[arg-type]
    await run_until_idle(informer, client)
    # Two looks at the first try and its list, one at the second try, and then the event.
    assert informer.observing_since == 4
