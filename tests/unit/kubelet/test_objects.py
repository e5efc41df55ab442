"""Objects that pods use: one round trip, watched while in use, no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apimachinery.errors import ApiError, forbidden
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, SECRETS, Resource
from kubelet import objects as module
from kubelet.objects import ObjectCache, ObjectKey, references


def config_map(name: str, version: int = 1, **more: Any) -> Object:
    metadata = {"namespace": "default", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **more}


def pod(uid: str, *config_maps: str) -> Object:
    volumes = [{"name": name, "configMap": {"name": name}} for name in config_maps]
    return {"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {"volumes": volumes}}


class Server:
    """The API as the cache uses it: lists, watches and GETs of single objects, all of them written down."""

    def __init__(self, *stored: Object) -> None:
        self.stored = {obj["metadata"]["name"]: obj for obj in stored}
        self.requests: list[str] = []
        self.watches: dict[str, asyncio.Queue[tuple[str, Object]]] = {}
        self.watches_changed = asyncio.Event()
        self.refusing: ApiError | None = None

    async def get(self, resource: Resource, name: str, namespace: str) -> Object:
        self.requests.append(f"get {name}")
        if name not in self.stored:
            raise ApiError(404, "NotFound", "not found")
        return self.stored[name]

    async def list(self, resource: Resource, namespace: str, *, field_selector: str, **_: Any) -> Object:
        name = field_selector.removeprefix("metadata.name=")
        self.requests.append(f"list {name}")
        if self.refusing:
            raise self.refusing
        items = [self.stored[name]] if name in self.stored else []
        return {"metadata": {"resourceVersion": "10"}, "items": items}

    async def watch(
        self, resource: Resource, namespace: str, *, field_selector: str, resource_version: str, **_: Any
    ) -> AsyncIterator[tuple[str, Object]]:
        name = field_selector.removeprefix("metadata.name=")
        self.requests.append(f"watch {name} from {resource_version}")
        queue = self.watches[name] = asyncio.Queue()
        self.watches_changed.set()
        try:
            while True:
                yield await queue.get()
        finally:
            del self.watches[name]
            self.watches_changed.set()

    async def watching(self, *names: str) -> None:
        """Wait until exactly these are watched."""
        async with asyncio.timeout(5):
            while set(self.watches) != set(names):
                self.watches_changed.clear()
                await self.watches_changed.wait()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[ObjectCache]:
    cache = ObjectCache(server)  # type: ignore[arg-type]
    task = asyncio.create_task(cache.run())
    await asyncio.sleep(0)
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_object_costs_one_round_trip_however_many_pods_use_it() -> None:
    server = Server(config_map("c"))
    async with running(server) as cache:
        for uid in ("a", "b"):
            cache.register(pod(uid, "c"))
            assert await cache.config_map("default", "c") == config_map("c")
        await server.watching("c")
    assert server.requests == ["list c", "watch c from 10"]


async def test_what_nobody_registered_is_fetched_at_every_read() -> None:
    server = Server(config_map("c"))
    async with running(server) as cache:
        assert await cache.config_map("default", "c") == config_map("c")
        assert await cache.config_map("default", "none") is None
        assert await cache.config_map("default", "") is None
    assert server.requests == ["get c", "get none"]


async def test_changes_are_seen_and_told() -> None:
    server = Server()
    async with running(server) as cache:
        told: list[ObjectKey] = []
        cache.register(pod("a", "c"))
        assert await cache.config_map("default", "c") is None
        await server.watching("c")
        changed = asyncio.Event()
        cache.add_listener(lambda key: (told.append(key), changed.set()))  # type: ignore[func-returns-value]
        server.watches["c"].put_nowait(("ADDED", config_map("c", 11)))
        await asyncio.wait_for(changed.wait(), 5)
        assert await cache.config_map("default", "c") == config_map("c", 11)
        changed.clear()
        server.watches["c"].put_nowait(("DELETED", config_map("c", 12)))
        await asyncio.wait_for(changed.wait(), 5)
        assert await cache.config_map("default", "c") is None
    assert told == [ObjectKey(CONFIGMAPS, "default", "c")] * 2


async def test_a_watch_ends_with_the_last_pod_that_uses_the_object() -> None:
    server = Server(config_map("c"), config_map("d"))
    async with running(server) as cache:
        cache.register(pod("a", "c", "d"))
        cache.register(pod("b", "c"))
        await server.watching("c", "d")
        cache.register(pod("a", "c"))
        await server.watching("c")
        cache.unregister("a")
        cache.unregister("a")
        await server.watching("c")
        cache.unregister("b")
        await server.watching()


async def test_what_is_immutable_is_read_once_and_watched_no_longer() -> None:
    server = Server(config_map("c", immutable=True))
    async with running(server) as cache:
        cache.register(pod("a", "c"))
        for _ in range(2):
            assert (await cache.config_map("default", "c") or {})["immutable"]
            await asyncio.sleep(0)
        await server.watching()
    assert server.requests.count("list c") == 1


async def test_pods_that_were_registered_before_the_cache_runs_are_watched_once_it_does() -> None:
    server = Server(config_map("c"))
    cache = ObjectCache(server)  # type: ignore[arg-type]
    cache.register(pod("a", "c"))
    assert await cache.config_map("default", "c") == config_map("c")
    task = asyncio.create_task(cache.run())
    await server.watching("c")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_refuses_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYNC_TIMEOUT_SECONDS", 0.05)
    server = Server()
    server.refusing = forbidden("no")
    async with running(server) as cache:
        cache.register(pod("a", "c"))
        with pytest.raises(ApiError, match="failed to sync configmap cache: timed out waiting for the condition"):
            await cache.config_map("default", "c")


def test_everything_that_a_pod_names_is_found() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}},
        {"name": "C", "value": "x"},
    ]
    env_from = [{"configMapRef": {"name": "c2"}}, {"secretRef": {"name": "s2"}}]
    sources = [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}}, {"downwardAPI": {"items": []}}]
    spec = {
        "initContainers": [{"name": "i", "env": env}],
        "containers": [{"name": "c", "envFrom": env_from}],
        "ephemeralContainers": [{"name": "e", "envFrom": [{"secretRef": {"name": "s5"}}]}],
        "volumes": [
            {"name": "v1", "configMap": {"name": "c3"}},
            {"name": "v2", "secret": {"secretName": "s3"}},
            {"name": "v3", "projected": {"sources": sources}},
            {"name": "v4", "emptyDir": {}},
        ],
    }
    found = references({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})
    assert found == {ObjectKey(CONFIGMAPS, "n", f"c{i}") for i in (1, 2, 3, 4)} | {
        ObjectKey(SECRETS, "n", f"s{i}") for i in (1, 2, 3, 4, 5)
    }
