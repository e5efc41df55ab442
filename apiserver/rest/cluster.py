"""What admission plugins may know of the cluster, out of the store's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.rest.call import storage_key
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, Selection


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

    async def wait_for(self, resource: Resource, namespace: str, name: str, *, seconds: float) -> Object | None:
        """The object as soon as it exists; None if it does not within this time."""
        key, selection = storage_key(resource), Selection(namespace, name)
        watcher = await self._store.watch(key, selection, self._store.revision)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            while True:
                found = self.get(resource, namespace, name)
                remaining = deadline - asyncio.get_running_loop().time()
                if found is not None or remaining <= 0:
                    return found
                events = await watcher.next_batch(remaining)
                if events and events[-1][0] != DELETED:
                    return events[-1][1].obj
        finally:
            self._store.unwatch(key, watcher)
