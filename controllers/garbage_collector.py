"""Deletes objects whose owners are gone, and carries out the deletion policies Foreground and Orphan.

    background    the owner goes first; its dependents are found absent of owners, and go
    foreground    the owner stays, with the finalizer foregroundDeletion, until no dependent blocks it
    orphan        the owner stays, with the finalizer orphan, until no dependent refers to it

Every event of every resource updates the graph (`controllers.ownership_graph`); an object is enqueued when it might
have to go. Before anything is deleted its owners are asked for at the server, and the deletion is of the version
that was judged: if that has changed, it is judged again.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from apiclient.informer import Informer
from apimachinery.meta import Object, deletion_requested, name, namespace, resource_version, uid
from apimachinery.resources import EVENTS, STORED
from controllers.context import Context
from controllers.custom_resources import Kinds
from controllers.ownership_graph import FOREGROUND, ORPHAN, Item, OwnershipGraph, OwnerState, plan_item
from controllers.requests import settle_or_raise, unless_gone

REMEMBERED_OWNERS, REMEMBERED_DELETIONS = 1000, 10_000
# An owner of thousands that waits for its dependents looks at those that are left this often at most.
GATHER_SECONDS = 0.02
# Nothing owns events, and there are many of them.
COLLECTED = tuple(resource for resource in STORED if resource != EVENTS)

T = TypeVar("T")


class GarbageCollector:
    """One control loop over all objects."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._metadata_client = context.metadata_client
        self._recorder = context.recorder
        custom = context.informers.custom
        self.informers = tuple(context.informers.of(resource) for resource in COLLECTED)
        self.queue = context.queue()
        self._by_kind = custom.by_kind
        self._graph = OwnershipGraph(custom.by_kind)
        self._absent: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._deleted: OrderedDict[str, None] = OrderedDict()
        for informer in self.informers:
            self._follow(informer)
        custom.follow(self._follow, self._graph.remove, self._new_kinds)

    def _follow(self, informer: Informer) -> None:
        self._graph.add(informer)
        informer.add_handler(partial(self._changed, informer))

    def _new_kinds(self, kinds: Kinds) -> None:
        """Owners of kinds that nobody knew until now can be looked up."""
        for item in self._graph.with_owners_of(kinds):
            if self._matters(item):
                self.queue.add(item.key)

    def _changed(self, informer: Informer, kind: str, old: Object | None, new: Object | None) -> None:
        resource = informer.resource
        if new is None:
            assert old is not None
            self._owner_deleted(uid(old))
        if old is not None and (new is None or old["metadata"].get("ownerReferences") != _references(new)):
            self._wake_owners(Item(resource, old))
        if new is not None and self._matters(item := Item(resource, new)):
            self.queue.add(item.key)

    def _owner_deleted(self, owner_uid: str) -> None:
        dependents = [dependent.key for dependent in self._graph.dependents(owner_uid)]
        for key in dependents:
            self.queue.add(key)
        if dependents:
            # Its kind may be served no more when these are looked at.
            _remember(self._deleted, owner_uid, REMEMBERED_DELETIONS)

    def _wake_owners(self, item: Item) -> None:
        """An owner that waits for its dependents must hear that one is gone or blocks it no more."""
        for reference in item.references:
            owner = self._graph.owner(item, reference)
            if owner is not None and owner.waits_for_dependents:
                others = next(self._graph.dependents(reference["uid"]), None)
                self.queue.add_after(owner.key, 0 if others is None else GATHER_SECONDS)

    def _matters(self, item: Item) -> bool:
        """False for the many objects with which nothing is wrong."""
        if deletion_requested(item.obj):
            return FOREGROUND in item.finalizers or ORPHAN in item.finalizers
        owners = (self._graph.owner(item, reference) for reference in item.references)
        return any(owner is None or owner.waits_for_dependents for owner in owners)

    async def reconcile(self, key: str) -> None:
        """Delete the object, take absent owners from it, or get its own deletion on."""
        item = self._graph.find(key)
        if item is None:
            return
        if deletion_requested(item.obj):
            await self._get_on_with_deletion(item)
            return
        states = {r["uid"]: await self._state(item, r) for r in item.references}
        plan = plan_item(item, states, self._graph.dependents(uid(item.obj)))
        if plan.references is not None:
            await self._set_metadata(item, ownerReferences=plan.references)
        elif plan.policy is not None:
            await self._delete(item, plan.policy)

    async def _state(self, item: Item, reference: Mapping[str, Any]) -> OwnerState:
        owner = self._graph.owner(item, reference)
        if owner is not None:
            return OwnerState.WAITING if owner.waits_for_dependents else OwnerState.SOLID
        resource = self._by_kind(reference["apiVersion"], reference["kind"])
        scope = namespace(item.obj)
        if resource is not None and resource.namespaced and not scope:
            self._tell_if_elsewhere(item, reference)
            return OwnerState.SOLID  # in no namespace, it can't have such an owner, whether there is one or was
        if reference["uid"] in self._deleted:
            return OwnerState.ABSENT
        if resource is None:
            return OwnerState.SOLID  # not to be found out: better kept than lost
        wanted = (scope, *(str(reference[key]) for key in ("apiVersion", "kind", "name", "uid")))
        if wanted in self._absent:
            return OwnerState.ABSENT
        place = scope if resource.namespaced else None
        found = await unless_gone(self._metadata_client.get(resource, reference["name"], place))
        if found is not None and uid(found) == reference["uid"]:
            waits = Item(resource, found).waits_for_dependents
            return OwnerState.WAITING if waits else OwnerState.SOLID
        _remember(self._absent, wanted, REMEMBERED_OWNERS)
        self._tell_if_elsewhere(item, reference)
        return OwnerState.ABSENT

    def _tell_if_elsewhere(self, item: Item, reference: Mapping[str, Any]) -> None:
        if self._graph.elsewhere(reference) is None:
            return
        scope = namespace(item.obj)
        subject = f"[{reference['apiVersion']}/{reference['kind']}, namespace: {scope}, name: {reference['name']}, "
        subject += f"uid: {reference['uid']}]"
        kind = {"apiVersion": item.resource.api_version, "kind": item.resource.kind}
        message = f'ownerRef {subject} does not exist in namespace "{scope}"'
        self._recorder.event({**item.obj, **kind}, "Warning", "OwnerRefInvalidNamespace", message)

    async def _get_on_with_deletion(self, item: Item) -> None:
        dependents = list(self._graph.dependents(uid(item.obj)))
        if ORPHAN in item.finalizers:
            await settle_or_raise(self._disown(dependent, uid(item.obj)) for dependent in dependents)
            await self._set_metadata(item, finalizers=_without(item.finalizers, ORPHAN))
        elif FOREGROUND in item.finalizers:
            blocking = [dependent for dependent in dependents if dependent.blocks(uid(item.obj))]
            if not blocking:
                await self._set_metadata(item, finalizers=_without(item.finalizers, FOREGROUND))
            for dependent in blocking:
                if not deletion_requested(dependent.obj):
                    self.queue.add(dependent.key)

    async def _disown(self, dependent: Item, owner_uid: str) -> None:
        left = [reference for reference in dependent.references if reference["uid"] != owner_uid]
        await self._set_metadata(dependent, ownerReferences=left)

    async def _set_metadata(self, item: Item, **fields: Any) -> None:
        """Write parts of the metadata of the version that was judged. Raises ApiError 409 if there is a newer one."""
        precondition = {"uid": uid(item.obj), "resourceVersion": resource_version(item.obj)}
        patch = {"metadata": {**precondition, **fields}}
        await unless_gone(self._client.patch(item.resource, name(item.obj), patch, namespace(item.obj)))

    async def _delete(self, item: Item, policy: str) -> None:
        deletion = self._client.delete(
            item.resource,
            name(item.obj),
            namespace(item.obj),
            propagation_policy=policy,
            uid=uid(item.obj),
            resource_version=resource_version(item.obj),
        )
        await unless_gone(deletion)


def _remember(known: OrderedDict[T, None], what: T, most: int) -> None:
    known[what] = None
    if len(known) > most:
        known.popitem(last=False)


def _references(obj: Object) -> Any:
    return obj["metadata"].get("ownerReferences")


def _without(finalizers: Iterable[str], finalizer: str) -> list[str]:
    return [one for one in finalizers if one != finalizer]
