"""The objects that a cluster is born with: its namespaces. They are written like any others, and at a later start
only what is missing is.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/#initial-namespaces
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from apimachinery.meta import Object
from apimachinery.resources import NAMESPACES, Resource
from apiserver import encoding, registry
from apiserver.rest import writing
from apiserver.rest.call import storage_key
from apiserver.storage.store import Store

INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def create_initial_objects(store: Store, *, now: Callable[[], float]) -> None:
    """Write what is missing, durable when this returns. Raises ApiError."""
    missing = [name for name in INITIAL_NAMESPACES if store.get(storage_key(NAMESPACES), "", name) is None]
    await asyncio.gather(*(_create(store, NAMESPACES, {"metadata": {"name": name}}, now()) for name in missing))


async def _create(store: Store, resource: Resource, obj: Object, now: float) -> None:
    strategy = registry.strategy(resource)
    obj = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    writing.complete(strategy, obj)
    writing.prepare_creation(strategy, obj, now)
    metadata = obj["metadata"]
    await store.commit(
        storage_key(resource),
        metadata.get("namespace", ""),
        metadata["name"],
        expected=0,
        encode=lambda revision: encoding.encode(resource, obj, revision),
    )
