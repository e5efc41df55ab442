"""An API server in memory whose watches can be held back: controllers see the past for as long as a test likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from itertools import count
from typing import Any

import orjson

from apimachinery.errors import MODIFIED, ApiError, already_exists, conflict, not_found, path_not_found
from apimachinery.meta import Object, get_path, name, namespaced_key
from apimachinery.patch import merge_patch
from apimachinery.resources import Resource


class StagedApi:
    """Stands in for `apiclient.rest.Client`: as much of it as control loops use."""

    def __init__(self) -> None:
        self._version = count(1)
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._events: dict[Resource, asyncio.Queue[tuple[str, Object]]] = {}
        self._held: dict[Resource, list[tuple[str, Object]]] = {}
        self.calls: list[tuple[str, str]] = []
        # What discovery tells of besides the built-in resources.
        self.custom: list[Resource] = []

    def count(self, verb: str, resource: Resource) -> int:
        """How often a verb was called on a resource."""
        return self.calls.count((verb, resource.plural))

    def objects(self, resource: Resource) -> list[Object]:
        """All objects of a resource, as they are now."""
        return list(self._stored(resource).values())

    def hold(self, resource: Resource) -> None:
        """Tell watchers of this resource nothing until `release`."""
        self._held[resource] = []

    def release(self, resource: Resource) -> None:
        """Tell watchers what they have missed."""
        for event in self._held.pop(resource):
            self._queue(resource).put_nowait(event)

    async def request(self, method: str, path: str, **_: Any) -> tuple[int, dict[str, str], bytes]:
        """Discovery of what is served."""
        assert (method, path) == ("GET", "/apis")
        groups: dict[str, dict[str, list[Object]]] = {}
        for one in self.custom:
            told: Object = {"resource": one.plural, "responseKind": {"kind": one.kind}, "verbs": one.verbs}
            told["scope"] = "Namespaced" if one.namespaced else "Cluster"
            told["subresources"] = [{"subresource": part} for part in one.subresources]
            groups.setdefault(one.group, {}).setdefault(one.version, []).append(told)
        items = [
            {
                "metadata": {"name": group},
                "versions": [{"version": name, "resources": of_version} for name, of_version in versions.items()],
            }
            for group, versions in groups.items()
        ]
        return 200, {}, orjson.dumps({"kind": "APIGroupDiscoveryList", "items": items})

    async def create_each(
        self, resource: Resource, objects: Sequence[Object], namespace: str | None = None
    ) -> list[Object | ApiError]:
        """Store new objects, each as if it came alone."""
        tasks = (self._attempt(self.create(resource, obj, namespace)) for obj in objects)
        return await asyncio.gather(*tasks)

    async def _attempt(self, call: Awaitable[Object]) -> Object | ApiError:
        try:
            return await call
        except ApiError as error:
            return error

    async def list(self, resource: Resource, namespace: str | None = None, **_: Any) -> Object:
        """The whole collection."""
        return {"items": self.objects(resource), "metadata": {"resourceVersion": str(next(self._version))}}

    async def watch(self, resource: Resource, namespace: str | None = None, **_: Any) -> AsyncIterator[Any]:
        """Every change from now on, unless held back."""
        while True:
            yield await self._queue(resource).get()

    async def get(self, resource: Resource, which: str, namespace: str | None = None, **_: Any) -> Object:
        """One object."""
        return self._find(resource, which, namespace)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **_: Any) -> Object:
        """Store a new object."""
        self.calls.append(("create", resource.plural))
        number = next(self._version)
        metadata = {"name": obj["metadata"].get("generateName", "") + str(number), **obj["metadata"]}
        made = {**obj, "metadata": {**metadata, "uid": f"uid-{number}", "generation": 1}}
        if namespaced_key(made) in self._stored(resource):
            raise already_exists(resource.group_resource, name(made))
        return self._write(resource, "ADDED", made)

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        """Replace an object (or its status)."""
        self.calls.append(("update", resource.plural))
        known = self._find(resource, name(obj), obj["metadata"].get("namespace"))
        self._check(resource, known, obj["metadata"])
        return self._write(resource, "MODIFIED", {**known, "status": obj["status"]} if subresource else obj)

    async def patch(
        self, resource: Resource, which: str, patch: Object, namespace: str | None = None, **_: Any
    ) -> Object:
        """Merge-patch an object."""
        self.calls.append(("patch", resource.plural))
        known = self._find(resource, which, namespace)
        self._check(resource, known, patch["metadata"])
        return self._write(resource, "MODIFIED", merge_patch(known, patch))

    async def delete(self, resource: Resource, which: str, namespace: str | None = None, **_: Any) -> Object:
        """Remove an object at once."""
        self.calls.append(("delete", resource.plural))
        known = self._find(resource, which, namespace)
        return self._write(resource, "DELETED", known)

    def _write(self, resource: Resource, kind: str, obj: Object) -> Object:
        written = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next(self._version))}}
        if kind == "DELETED":
            del self._stored(resource)[namespaced_key(obj)]
        else:
            self._stored(resource)[namespaced_key(obj)] = written
        if resource in self._held:
            self._held[resource].append((kind, written))
        else:
            self._queue(resource).put_nowait((kind, written))
        return written

    def _find(self, resource: Resource, which: str, namespace: str | None) -> Object:
        found = self._stored(resource).get(f"{namespace}/{which}" if namespace else which)
        if found is None:
            raise not_found(resource.group_resource, which)
        return found

    def _check(self, resource: Resource, known: Object, metadata: Object) -> None:
        expected = metadata.get("resourceVersion")
        if expected is not None and expected != get_path(known, "metadata", "resourceVersion"):
            raise conflict(resource.group_resource, name(known), MODIFIED)

    def _stored(self, resource: Resource) -> dict[str, Object]:
        return self._objects.setdefault(resource, {})

    def _queue(self, resource: Resource) -> asyncio.Queue[tuple[str, Object]]:
        return self._events.setdefault(resource, asyncio.Queue())


class RefusingApi(StagedApi):
    """One that refuses to create anything of some resources."""

    def __init__(self, *refused: Resource) -> None:
        super().__init__()
        self.refused = set(refused)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **more: Any) -> Object:
        """Refuse, or store."""
        if resource in self.refused:
            self.calls.append(("create", resource.plural))
            raise ApiError(403, "Forbidden", "exceeded quota")
        return await super().create(resource, obj, namespace, **more)


class NarrowApi(StagedApi):
    """One that does not serve some resources."""

    def __init__(self, *unserved: Resource) -> None:
        super().__init__()
        self.unserved = set(unserved)

    async def list(self, resource: Resource, namespace: str | None = None, **more: Any) -> Object:
        """404 for the path, or the collection."""
        if resource in self.unserved:
            raise path_not_found()
        return await super().list(resource, namespace, **more)

    async def get(self, resource: Resource, which: str, namespace: str | None = None, **more: Any) -> Object:
        """404 for the path, or the object."""
        if resource in self.unserved:
            raise path_not_found()
        return await super().get(resource, which, namespace, **more)
