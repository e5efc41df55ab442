"""The objects that a cluster is born with: its namespaces, and the roles of its parts. They are written like any
others, in one transaction, and at a later start only what is missing of them is.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/#initial-namespaces,
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from apimachinery.meta import Object
from apimachinery.resources import NAMESPACES, Resource, by_kind
from apiserver import encoding, registry
from apiserver.rbac import defaults, reconcile
from apiserver.rest import writing
from apiserver.rest.call import storage_key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store

INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def create_initial_objects(store: Store, *, now: Callable[[], float]) -> None:
    """Write what is missing, durable when this returns. Raises ApiError."""
    writes = [
        _write(store, resource, obj, old, now()) for resource, obj, old in (*_namespaces(store), *_roles(store))
    ]
    await asyncio.gather(*writes)


def _namespaces(store: Store) -> Iterator[tuple[Resource, Object, Entry | None]]:
    for name in INITIAL_NAMESPACES:
        if store.get(storage_key(NAMESPACES), "", name) is None:
            yield NAMESPACES, {"metadata": {"name": name}}, None


def _roles(store: Store) -> Iterator[tuple[Resource, Object, Entry | None]]:
    for expected in defaults.objects():
        resource = by_kind(expected["apiVersion"], expected["kind"])
        assert resource is not None
        metadata = expected["metadata"]
        entry = store.get(storage_key(resource), metadata.get("namespace", ""), metadata["name"])
        wanted = reconcile.plan(expected, entry.obj if entry is not None else None)
        if wanted is not None:
            yield resource, wanted, entry


async def _write(store: Store, resource: Resource, obj: Object, old: Entry | None, now: float) -> None:
    strategy = registry.strategy(resource)
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, **obj, "metadata": dict(obj["metadata"])}
    writing.complete(strategy, obj)
    try:
        if old is not None and reconcile.replaces(obj, old.obj):
            await _commit(store, resource, old.obj, old, deleted=True)
            obj["metadata"].pop("resourceVersion", None)
            old = None
        if old is None:
            writing.prepare_creation(strategy, obj, now)
        else:
            writing.prepare_update(strategy, obj, old)
        await _commit(store, resource, obj, old)
    except Conflict:
        pass  # another server of the same database has started in this moment, and written the same


async def _commit(store: Store, resource: Resource, obj: Object, old: Entry | None, *, deleted: bool = False) -> None:
    metadata = obj["metadata"]
    await store.commit(
        storage_key(resource),
        metadata.get("namespace", ""),
        metadata["name"],
        expected=old.revision if old is not None else 0,
        encode=lambda revision: encoding.encode(resource, obj, revision),
        deleted=deleted,
    )
