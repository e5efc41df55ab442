"""Keeps the status of all definitions, and takes those that go to their end.

Every change of a definition is looked at, of one after the other: a name can be given to one definition only. What
gives up a name makes others of its group look again.

A definition that is deleted first loses its objects, each by the rules of deletion: one that finalizers hold keeps
the definition too. When none is left its own finalizer goes, and with it the definition and the service.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ and
k8s.io/apiextensions-apiserver/pkg/controller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, Resource
from apimachinery.time import rfc3339
from apiserver import encoding
from apiserver.customresources.serving import Serving
from apiserver.logs import kv
from apiserver.registry.customresourcedefinition_conditions import FINALIZER, is_true
from apiserver.registry.strategy import Strategy
from apiserver.rest import deletion
from apiserver.rest.call import storage_key
from apiserver.rest.deletion import DeleteOptions
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store
from apiserver.storage.watch import DELETED, Event, Selection

log = logging.getLogger(__name__)

_KEY = storage_key(CUSTOMRESOURCEDEFINITIONS)
RETRY_SECONDS = 1.0
# So many objects are deleted at once; they share transactions.
DELETED_AT_ONCE = 64


class Keeper:
    """The one loop over all definitions."""

    def __init__(self, store: Store, serving: Serving, own: OwnWrites, now: Callable[[], float]) -> None:
        self._store = store
        self._serving = serving
        self._own = own
        self._now = now
        self._waiting: dict[str, None] = {entry.name: None for entry in store.objects(_KEY)}
        self._wake = asyncio.Event()
        self._going: dict[str, asyncio.Task[None]] = {}
        store.listen(_KEY, self._changed)

    def _changed(self, event: Event) -> None:
        self._add(event.entry.name)
        if event.type == DELETED:
            self._look_again(event.entry.name)

    def _add(self, name: str) -> None:
        self._waiting[name] = None
        self._wake.set()

    def _look_again(self, name: str) -> None:
        """Names may have become free for the other definitions of a group."""
        group = name.partition(".")[2]
        for other in self._serving.of_group(group):
            if other.name != name:
                self._add(other.name)

    async def run(self) -> None:
        """Look at what changes until cancelled."""
        self._wake.set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    name = next(iter(self._waiting))
                    del self._waiting[name]
                    await self._look(name, group)

    async def _look(self, name: str, group: asyncio.TaskGroup) -> None:
        entry = self._store.get(_KEY, "", name)
        if entry is None:
            return
        from apiserver.customresources import acceptance  # not needed where nothing is defined

        try:
            definition = entry.copy()
            if acceptance.is_going(definition):
                if name not in self._going:
                    self._going[name] = group.create_task(self._see_off(name))
                return
            await self._accept(entry, definition)
        except Conflict:
            self._add(name)  # it has changed in this moment
        except ApiError as error:
            log.error(
                kv("the status of a definition could not be written, it will be tried again", of=name, error=error)
            )
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._add, name)

    async def _accept(self, entry: Entry, definition: Object) -> None:
        from apiserver.customresources import acceptance

        group = definition["spec"]["group"]
        others = [other.accepted for other in self._serving.of_group(group) if other.name != entry.name]
        status = acceptance.plan_status(definition, acceptance.taken(others), rfc3339(self._now()))
        if status is None:
            return
        before = acceptance.accepted_names(definition)
        await self._own.update(CUSTOMRESOURCEDEFINITIONS, entry, {**definition, "status": status}, status=True)
        if before and before != status["acceptedNames"]:
            self._look_again(entry.name)

    async def _see_off(self, name: str) -> None:
        """Take a definition to its end, however long that takes."""
        try:
            while True:
                try:
                    await self._empty(name)
                    return
                except Conflict:
                    continue  # it has changed in this moment
                except ApiError as error:
                    told = "objects of a definition could not be deleted, it will be tried again"
                    log.error(kv(told, of=name, error=error))
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._going[name]

    async def _empty(self, name: str) -> None:
        """Delete the objects of a definition, wait for their end, and let it go. Raises ApiError or Conflict."""
        entry = await self._tell(name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        if entry is None:
            return
        definition = entry.obj
        if is_true(definition, "Established"):
            await self._delete_all(*self._serving.stored(name))
            reason, message = "InstanceDeletionCompleted", "removed all instances"
        else:
            reason, message = "NeverEstablished", "resource was never established"
        entry = await self._tell(name, "False", reason, message)
        if entry is None:
            return
        left = entry.copy()
        left["metadata"]["finalizers"] = [one for one in left["metadata"]["finalizers"] if one != FINALIZER]
        if left["metadata"]["finalizers"]:
            await self._own.update(CUSTOMRESOURCEDEFINITIONS, entry, left, status=True)
        else:
            await self._own.delete(CUSTOMRESOURCEDEFINITIONS, entry)

    async def _tell(self, name: str, status: str, reason: str, message: str) -> Entry | None:
        """Write how far the end has come; None if the definition does not wait for its objects any more."""
        from apiserver.customresources import acceptance

        entry = self._store.get(_KEY, "", name)
        if entry is None or not acceptance.is_going(entry.obj):
            return None
        definition = entry.copy()
        told = acceptance.terminating(definition, status, reason, message, rfc3339(self._now()))
        if told == definition.get("status"):
            return entry
        return await self._own.update(CUSTOMRESOURCEDEFINITIONS, entry, {**definition, "status": told}, status=True)

    async def _delete_all(self, resource: Resource, strategy: Strategy) -> None:
        """Delete all objects of a resource, and wait until none is left."""
        key = storage_key(resource)
        watcher = await self._store.watch(key, Selection(), self._store.revision)
        try:
            while entries := self._store.objects(key):
                doomed = [entry for entry in entries if not entry.obj["metadata"].get("deletionTimestamp")]
                for start in range(0, len(doomed), DELETED_AT_ONCE):
                    await self._delete_some(key, resource, strategy, doomed[start : start + DELETED_AT_ONCE])
                if not doomed:
                    await watcher.next_batch()
        finally:
            self._store.unwatch(key, watcher)

    async def _delete_some(self, key: str, resource: Resource, strategy: Strategy, entries: Sequence[Entry]) -> None:
        """Raises ApiError; of an object that has changed meanwhile nothing is said, it is found again."""
        deletions = [self._delete(key, resource, strategy, entry) for entry in entries]
        for result in await asyncio.gather(*deletions, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, Conflict):
                raise result

    async def _delete(self, key: str, resource: Resource, strategy: Strategy, entry: Entry) -> None:
        plan = deletion.plan(strategy, entry.copy(), DeleteOptions(), self._now())
        stored = replace(resource, version=plan.obj["apiVersion"].rpartition("/")[2])
        await self._store.commit(
            key,
            entry.namespace,
            entry.name,
            expected=entry.revision,
            encode=lambda revision: encoding.encode(stored, plan.obj, revision),
            deleted=plan.removed,
        )
