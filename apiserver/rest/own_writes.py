"""What the server itself writes: the objects that a cluster is born with, and the states that it finds out.

Such writes go through the same rules as those of clients, but through no admission; nobody asks for them, so there is
no user either. Whoever writes must be ready for another server of the same database to have been quicker (Conflict).
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from apimachinery.managedfields.entries import Managed
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver import encoding, registry
from apiserver.rest import managers, writing
from apiserver.rest.call import storage_key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store


class OwnWrites:
    """Writes to the store."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The newest version of an object."""
        return self._store.get(storage_key(resource), namespace, name)

    async def create(self, resource: Resource, obj: Object) -> Entry:
        """Write a new object, durable when this returns. Raises ApiError, or Conflict if there is one of the name."""
        made = _complete(resource, obj)
        managed = managers.of_server(resource, made, None, now=self._now())
        writing.prepare_creation(registry.strategy(resource), made, self._now())
        return await self._commit(resource, made, None, managed)

    async def update(self, resource: Resource, old: Entry, obj: Object, *, status: bool = False) -> Entry:
        """Replace a version, or its status. Raises ApiError, or Conflict if it is not the newest any more."""
        made = _complete(resource, obj)
        managed = managers.of_server(resource, made, old, status=status, now=self._now())
        writing.prepare_update(registry.strategy(resource), made, old, status=status)
        return await self._commit(resource, made, old, managed)

    async def delete(self, resource: Resource, old: Entry) -> None:
        """Remove an object at once, whatever its finalizers. Raises Conflict if it has changed."""
        await self._commit(resource, old.obj, old, old.managed, deleted=True)

    async def _commit(
        self, resource: Resource, obj: Object, old: Entry | None, managed: Managed, *, deleted: bool = False
    ) -> Entry:
        metadata = obj["metadata"]
        return await self._store.commit(
            storage_key(resource),
            metadata.get("namespace", ""),
            metadata["name"],
            expected=old.revision if old is not None else 0,
            encode=lambda revision: encoding.encode(resource, obj, revision),
            managed=managed,
            deleted=deleted,
        )


def _complete(resource: Resource, obj: Object) -> Object:
    """A copy that the rules may change, in its full form."""
    made: Object = orjson.loads(orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version, **obj}))
    # Times and quantities need no canonical form: what is written here has it.
    registry.strategy(resource).default(made)
    return made
