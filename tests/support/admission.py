"""What admission plugins are given in tests: a cluster of a few objects, and one plugin at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.admission.plugin import Attributes, Chain, Plugin, mutate, validate


class FakeCluster:
    """Objects by resource, namespace and name; those of `soon` appear once somebody waits for them."""

    def __init__(self, *objects: tuple[Resource, Object], soon: tuple[Resource, Object] | None = None) -> None:
        self.objects = list(objects)
        self.soon = soon
        self.waited: list[float] = []
        self.listeners: list[tuple[Resource, Callable[[], None]]] = []

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        for kind, obj in self.objects:
            metadata = obj["metadata"]
            if kind is resource and (metadata.get("namespace", ""), metadata["name"]) == (namespace, name):
                return obj
        return None

    def list(self, resource: Resource, namespace: str) -> Iterable[Object]:
        return [
            obj
            for kind, obj in self.objects
            if kind is resource and namespace in ("", obj["metadata"].get("namespace"))
        ]

    async def wait_for(self, resource: Resource, namespace: str, name: str, *, seconds: float) -> Object | None:
        self.waited.append(seconds)
        await asyncio.sleep(0)
        if self.soon is not None:
            self.objects.append(self.soon)
        return self.get(resource, namespace, name)

    def listen(self, resource: Resource, heard: Callable[[], None]) -> None:
        self.listeners.append((resource, heard))

    def put(self, resource: Resource, obj: Object) -> None:
        """Add or replace an object, and tell those who listen."""
        self.remove(resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        self.objects.append((resource, obj))
        self._tell(resource)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Remove an object, if it is there, and tell those who listen."""
        found = self.get(resource, namespace, name)
        self.objects = [(kind, obj) for kind, obj in self.objects if obj is not found]
        self._tell(resource)

    def _tell(self, resource: Resource) -> None:
        for kind, heard in self.listeners:
            if kind is resource:
                heard()


async def admit(plugin: Plugin, attributes: Attributes, cluster: FakeCluster) -> Attributes:
    """Let a plugin change, and then look at, a write. Raises ApiError."""
    chain = Chain([plugin])
    await mutate(chain, attributes, cluster)
    await validate(chain, attributes, cluster)
    return attributes
