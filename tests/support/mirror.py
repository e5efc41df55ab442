"""A copy of a collection, kept as client-go's reflector keeps its own: list (in pages, or streamed), then watch.

It goes on from the last version that it has seen when the server goes away, and begins anew when that version is not
kept any more. Every step on the way is remembered, so that a test can look at all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError, is_gone
from apimachinery.meta import Object
from apimachinery.resources import Resource
from tests.support.apiserver import ApiServerProcess

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
Key = tuple[str, str]
# (the version up to which it is, the version of each object by its key)
Step = tuple[int, dict[Key, int]]


@dataclass
class Mirror:
    """What one client knows. `limit` cuts its lists into pages, `streamed` has them come as events of a watch."""

    server: ApiServerProcess
    resource: Resource
    selectors: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    limit: int = 0
    streamed: bool = False
    objects: dict[Key, Object] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    lists: int = 0
    version: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, up: asyncio.Event) -> None:
        """Follow the server for ever; `up` is set while it runs."""
        while True:
            await up.wait()
            try:
                async with await self.server.client() as client:
                    await self._follow(client)
            except (ApiUnavailable, OSError):
                await asyncio.sleep(0)  # it went away; `up` is cleared by who has ended it
            except ApiError as error:
                if not is_gone(error):
                    raise
                self.version = ""

    async def until(self, key: Key, version: int) -> None:
        """Wait until it knows of this version of an object."""
        async with self.changed:
            await self.changed.wait_for(lambda: _version(self.objects.get(key)) >= version)

    async def _follow(self, client: Client) -> None:
        while True:
            params = {"watch": "1", "allowWatchBookmarks": "1", **self.selectors}
            if self.version:
                params["resourceVersion"] = self.version
            elif self.streamed:
                params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            else:
                await self._list(client)
                continue
            await self._watch(client, params)

    async def _list(self, client: Client) -> None:
        found: dict[Key, Object] = {}
        params = {"limit": str(self.limit)} if self.limit else {"resourceVersion": "0"}
        while True:
            path = self.resource.path(self.namespace)
            _, _, body = await client.request("GET", path, params={**params, **self.selectors})
            page = orjson.loads(body)
            found |= {_key(item): item for item in page["items"]}
            if not page["metadata"].get("continue"):
                break
            params["continue"] = page["metadata"]["continue"]
        await self._begin(found, page["metadata"]["resourceVersion"])

    async def _begin(self, found: dict[Key, Object], version: str) -> None:
        self.lists += 1
        self.objects = found
        await self._step(version)

    async def _step(self, version: str) -> None:
        self.version = version
        self.steps.append((int(version), {key: _version(obj) for key, obj in self.objects.items()}))
        async with self.changed:
            self.changed.notify_all()

    async def _watch(self, client: Client, params: dict[str, str]) -> None:
        initial: dict[Key, Object] | None = {} if "sendInitialEvents" in params else None
        async for kind, obj in _events(client, self.resource.path(self.namespace), params):
            metadata = obj["metadata"]
            if kind == "BOOKMARK":
                if INITIAL_EVENTS_END in metadata.get("annotations", {}):
                    assert initial is not None
                    await self._begin(initial, metadata["resourceVersion"])
                    initial = None
                else:
                    await self._step(metadata["resourceVersion"])
            elif initial is not None:
                assert kind == "ADDED", kind
                initial[_key(obj)] = obj
            else:
                self._take(kind, obj)
                await self._step(metadata["resourceVersion"])

    def _take(self, kind: str, obj: Object) -> None:
        """Change what is known. Raises AssertionError for an event that can't come after the ones before."""
        key = _key(obj)
        known = _version(self.objects.get(key))
        assert (known == 0) == (kind == "ADDED"), (kind, key, known)
        assert _version(obj) > max(known, int(self.version)), (kind, obj, known, self.version)
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = obj


async def _events(client: Client, path: str, params: dict[str, str]) -> AsyncIterator[tuple[str, Object]]:
    rest = b""
    async for piece in client.stream(path, params):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            event: dict[str, Any] = orjson.loads(line)
            if event["type"] == "ERROR":
                raise ApiError.from_status(event["object"])
            yield event["type"], event["object"]


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _version(obj: Object | None) -> int:
    return int(obj["metadata"]["resourceVersion"]) if obj is not None else 0
