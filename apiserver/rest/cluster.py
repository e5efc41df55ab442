"""What admission plugins may know of the cluster, out of the store's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.rest.call import storage_key
from apiserver.storage.store import Store
from apiserver.storage.watch import Selection


class StoredCluster:
    """`apiserver.admission.Cluster` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""
        entry = self._store.get(storage_key(resource), namespace, name)
        return None if entry is None else entry.obj

    def list(self, resource: Resource, namespace: str) -> Iterator[Object]:
        """All objects of a namespace."""
        return (entry.obj for entry in self._store.objects(storage_key(resource), namespace))

    def listen(self, resource: Resource, heard: Callable[[], None]) -> None:
        """Have every change of a resource's objects told, before its writer is answered."""
        self._store.listen(storage_key(resource), lambda _: heard())

    async def wait_for(self, resource: Resource, namespace: str, name: str, *, seconds: float) -> Object | None:
        """The object as soon as it exists; None if it does not within this time."""
        found = self.get(resource, namespace, name)
        if found is not None:
            return found
        key = storage_key(resource)
        watcher = await self._store.watch(key, Selection(namespace, name), self._store.revision)
        try:
            async with asyncio.timeout(seconds):
                while found is None:
                    await watcher.next_batch()
                    found = self.get(resource, namespace, name)
        except TimeoutError:
            return None
        finally:
            self._store.unwatch(key, watcher)
        return found
