"""Control loops inside of the API server, for what must not leave its folder: keys.

A loop is shown every object and then every change, and may be shown again what it has seen. What it can't do now is
tried again a little later; what another server of the same database has done meanwhile comes back as a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from apimachinery.errors import ApiError
from apimachinery.resources import Resource
from apiserver.logs import kv
from apiserver.rest.call import storage_key
from apiserver.storage.collection import Key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store
from apiserver.storage.watch import DELETED, Ended, Selection, Watcher

RETRY_SECONDS = 5.0
EVERYTHING = Selection()

log = logging.getLogger(__name__)

# (the object, whether it is gone). Raises ApiError, or Conflict.
Handle = Callable[[Entry, bool], Awaitable[None]]


async def follow(store: Store, resource: Resource, handle: Handle, selection: Selection = EVERYTHING) -> None:
    """Show `handle` all objects of a resource, or those selected, and all changes, until the server stops."""
    key = storage_key(resource)
    while True:
        watcher = await store.watch(key, selection, store.revision)
        try:
            await _follow(store, key, watcher, handle)
        except Ended:
            return
        except ApiError as error:
            # The watch was too slow: everything is looked at again.
            log.warning(kv("changes were missed", of=key, error=error))
        finally:
            store.unwatch(key, watcher)


async def _follow(store: Store, key: str, watcher: Watcher, handle: Handle) -> None:
    batch = [("", entry) for entry in store.objects(key) if watcher.selection.selects(entry)]
    waiting: set[Key] = set()
    while True:
        for kind, entry in batch:
            waiting.discard((entry.namespace, entry.name))
            if not await _attempt(key, entry, handle, gone=kind == DELETED):
                waiting.add((entry.namespace, entry.name))
        try:
            async with asyncio.timeout(RETRY_SECONDS if waiting else None):
                batch = await watcher.next_batch()
        except TimeoutError:
            found = (store.get(key, *place) for place in waiting)
            batch = [("", entry) for entry in found if entry is not None]
            waiting.clear()


async def _attempt(key: str, entry: Entry, handle: Handle, *, gone: bool) -> bool:
    """Whether nothing is left to be done for this version."""
    try:
        await handle(entry, gone)
    except Conflict:
        return True  # whoever was quicker has made a new version, which comes as a change
    except ApiError as error:
        log.warning(kv("failed", of=key, namespace=entry.namespace, name=entry.name, error=error))
        # What is refused for what it says will not get better by itself.
        return error.code < 500
    return True
