"""An informer keeps a local copy of a collection: one list, then a watch that is resumed whenever it breaks.

A watch that ends is resumed from the last version seen, so that nothing is missed or repeated. Only when the
server no longer keeps that version (410) is the collection listed again, and handlers are told the difference.
Handlers run inside the loop and must only enqueue keys; objects from the cache must never be changed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from apiclient.clock import Clock, SystemClock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError, is_gone
from apimachinery.meta import Object, namespaced_key
from apimachinery.resources import Resource

logger = logging.getLogger(__name__)

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
PAGE_OBJECTS = 500
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.05, 5.0
TELL_AFTER_FAILURES = 5
# A server that ends watches at once, without a word, is not asked again at once.
SHORT_WATCH_SECONDS = 1.0

Handler = Callable[[str, Object | None, Object | None], None]
Indexer = Callable[[Object], Iterable[str]]
Transform = Callable[[Object], Object]


class Informer:
    """A local, indexed copy of a collection. Keys are `namespace/name`, or `name`."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`transform` gives what is kept of each object; it must leave name, namespace, uid and resourceVersion."""
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._transform = transform
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._objects: dict[str, Object] = {}
        self._indexers: dict[str, Indexer] = {}
        self._indexes: dict[str, dict[str, dict[str, Object]]] = {}
        self._handlers: list[Handler] = []
        self._version = ""
        self._synced = asyncio.Event()
        self._observing_since: float | None = None

    @property
    def has_synced(self) -> bool:
        """True once the first list is in the cache."""
        return self._synced.is_set()

    @property
    def version(self) -> int:
        """The resourceVersion that the cache has reached; every change up to it has been seen. 0: none yet."""
        return int(self._version or 0)

    @property
    def observing_since(self) -> float | None:
        """Since when (monotonic clock) nothing that the server sends is missed; None while it can't be heard.

        Whoever concludes something from silence must have listened for all of it.
        """
        return self._observing_since

    async def wait_synced(self, timeout_seconds: float | None = None) -> None:
        """Wait for the first list. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await self._synced.wait()

    def add_handler(self, handler: Handler) -> None:
        """Call `handler(type, old, new)` at every change; it must only enqueue."""
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(ADDED, None, obj)

    def add_index(self, name: str, indexer: Indexer) -> None:
        """Keep the objects also by the values that `indexer` gives for each."""
        if name in self._indexers:
            return
        self._indexers[name] = indexer
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._index(name, key, obj)

    def get(self, key: str) -> Object | None:
        """The object of this key, as last seen."""
        return self._objects.get(key)

    def list(self) -> list[Object]:
        """All objects."""
        return list(self._objects.values())

    def keys(self) -> Iterable[str]:
        """All keys."""
        return self._objects.keys()

    def by_index(self, name: str, value: str) -> Iterable[Object]:
        """The objects that the index has under a value."""
        return tuple(self._indexes[name].get(value, {}).values())

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            began, heard = self._clock.monotonic(), False
            try:
                if not self._version:
                    await self._list()
                    self._observing_since = self._clock.monotonic()
                async for kind, obj in self._client.watch(
                    self.resource,
                    self._namespace,
                    resource_version=self._version,
                    label_selector=self._label_selector,
                    field_selector=self._field_selector,
                ):
                    self._apply(kind, obj)
                    if self._observing_since is None:
                        self._observing_since = self._clock.monotonic()
                    failures, heard = 0, True
                if heard or self._clock.monotonic() - began >= SHORT_WATCH_SECONDS:
                    continue  # the server ends every watch after a while: go on where it stopped
                failures += 1
                self._observing_since = None
            except ApiError as error:
                self._observing_since = None
                failures += 1
                if is_gone(error):
                    self._version = ""
                    if failures == 1:
                        continue
                if failures == TELL_AFTER_FAILURES:
                    logger.warning(kv("watch fails", resource=self.resource.group_resource, error=error.message))
            delay = min(RETRY_FIRST_SECONDS * 2 ** min(failures, 10), RETRY_MAX_SECONDS)
            await self._clock.sleep(delay * self._rng.uniform(0.5, 1.0))

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        token: str | None = None
        while True:
            page = await self._client.list(
                self.resource,
                self._namespace,
                limit=PAGE_OBJECTS,
                continue_=token,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
            )
            kind = {"apiVersion": self.resource.api_version, "kind": self.resource.kind}
            for item in page.get("items") or ():
                found[namespaced_key(item)] = item if "kind" in item else {**kind, **item}
            metadata = page.get("metadata") or {}
            token = metadata.get("continue")
            if not token:
                break
        if not metadata.get("resourceVersion"):
            raise ApiError(500, "InternalError", "the server's list has no resourceVersion to watch from")
        for key in [key for key in self._objects if key not in found]:
            self._forget(key, self._objects[key])
        for key, obj in found.items():
            old = self._objects.get(key)
            if old is not None and old["metadata"]["uid"] != obj["metadata"]["uid"]:
                self._forget(key, old)
            self._store(key, obj)
        self._version = metadata["resourceVersion"]
        self._synced.set()

    def _apply(self, kind: str, obj: Object) -> None:
        if kind in (ADDED, MODIFIED):
            self._store(namespaced_key(obj), obj)
        elif kind == DELETED:
            self._forget(namespaced_key(obj), obj)
        self._version = obj["metadata"]["resourceVersion"]

    def _store(self, key: str, obj: Object) -> None:
        if self._transform is not None:
            obj = self._transform(obj)
        old = self._objects.get(key)
        if old is not None and old["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]:
            return
        for name in self._indexers:
            if old is not None:
                self._unindex(name, key, old)
            self._index(name, key, obj)
        self._objects[key] = obj
        self._tell(ADDED if old is None else MODIFIED, old, obj)

    def _forget(self, key: str, last: Object) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        for name in self._indexers:
            self._unindex(name, key, old)
        self._tell(DELETED, last, None)

    def _tell(self, kind: str, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            handler(kind, old, new)

    def _index(self, name: str, key: str, obj: Object) -> None:
        for value in self._indexers[name](obj):
            self._indexes[name].setdefault(value, {})[key] = obj

    def _unindex(self, name: str, key: str, obj: Object) -> None:
        for value in self._indexers[name](obj):
            entries = self._indexes[name].get(value)
            if entries is not None:
                entries.pop(key, None)
                if not entries:
                    del self._indexes[name][value]


class InformerFactory:
    """One informer a collection, shared by all who ask."""

    def __init__(
        self,
        client: Client,
        *,
        transform: Transform | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._transform = transform
        self._clock = clock
        self._rng = rng
        self._informers: dict[tuple[Resource, str | None, str | None], Informer] = {}

    def informer(
        self, resource: Resource, *, label_selector: str | None = None, field_selector: str | None = None
    ) -> Informer:
        """The shared informer of a collection; made at the first call, which must come before `run`."""
        key = (resource, label_selector, field_selector)
        if key not in self._informers:
            self._informers[key] = Informer(
                self._client,
                resource,
                label_selector=label_selector,
                field_selector=field_selector,
                transform=self._transform,
                clock=self._clock,
                rng=self._rng,
            )
        return self._informers[key]

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run all informers as tasks of this group."""
        for informer in self._informers.values():
            group.create_task(informer.run())

    async def wait_synced(self) -> None:
        """Wait until every informer has its first list."""
        for informer in self._informers.values():
            await informer.wait_synced()
