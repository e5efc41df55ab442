"""The objects that a cluster is born with: its namespaces, the roles of its parts, and what its flow control goes by.
They are written like any others, in one transaction, and at a later start only what is missing of them is.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/#initial-namespaces,
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from apimachinery.meta import Object
from apimachinery.resources import NAMESPACES, Resource, by_kind
from apiserver.flowcontrol import defaults as flow_defaults
from apiserver.rbac import defaults, reconcile
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store

INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def create_initial_objects(store: Store, *, now: Callable[[], float]) -> None:
    """Write what is missing, durable when this returns. Raises ApiError."""
    own = OwnWrites(store, now)
    changes = (*_namespaces(own), *_roles(own), *_flows(own))
    await asyncio.gather(*(_write(own, resource, obj, old) for resource, obj, old in changes))


def _namespaces(own: OwnWrites) -> Iterator[tuple[Resource, Object, Entry | None]]:
    for name in INITIAL_NAMESPACES:
        if own.get(NAMESPACES, "", name) is None:
            yield NAMESPACES, {"metadata": {"name": name}}, None


def _roles(own: OwnWrites) -> Iterator[tuple[Resource, Object, Entry | None]]:
    for expected in defaults.objects():
        resource, entry = _existing(own, expected)
        wanted = reconcile.plan(expected, entry.obj if entry is not None else None)
        if wanted is not None:
            yield resource, wanted, entry


def _flows(own: OwnWrites) -> Iterator[tuple[Resource, Object, Entry | None]]:
    for expected in flow_defaults.objects():
        resource, entry = _existing(own, expected)
        wanted = flow_defaults.plan(expected, entry.obj if entry is not None else None)
        if wanted is not None:
            yield resource, wanted, entry


def _existing(own: OwnWrites, expected: Object) -> tuple[Resource, Entry | None]:
    resource = by_kind(expected["apiVersion"], expected["kind"])
    assert resource is not None
    metadata = expected["metadata"]
    return resource, own.get(resource, metadata.get("namespace", ""), metadata["name"])


async def _write(own: OwnWrites, resource: Resource, obj: Object, old: Entry | None) -> None:
    try:
        if old is not None and reconcile.replaces(obj, old.obj):
            await own.delete(resource, old)
            obj, old = {**obj, "metadata": {**obj["metadata"], "resourceVersion": ""}}, None
        if old is None:
            await own.create(resource, obj)
        else:
            await own.update(resource, old, obj)
    except Conflict:
        pass  # another server of the same database has started in this moment, and written the same
