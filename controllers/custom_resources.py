"""What the server serves beyond the built-in resources, and the caches of it.

Definitions and APIServices are watched, though only to hear that one has changed: what follows from that the server
is asked for.
Then informers of what is new are started, one after another, and those of what is served no more are stopped a
little later, once the last events have come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from apiclient.clock import Clock
from apiclient.discovery import discover_all
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery import resources
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource

logger = logging.getLogger(__name__)

# An operator brings many definitions along, each of which changes twice.
GATHER_SECONDS = 0.05
RETRY_SECONDS = 2.0
# How long an informer goes on after its resource is served no more.
LINGER_SECONDS = 2.0
# How long the first list of one resource may keep the next from being asked for.
TURN_SECONDS_MAX = 1.0

Kinds = frozenset[tuple[str, str]]
"""apiVersions and kinds."""
_BUILT_IN = {(one.group, one.plural) for one in resources.BUILTIN}


class CustomResources:
    """All custom resources at this moment."""

    def __init__(
        self, client: Client, sources: Sequence[Informer], make: Callable[[Resource], Informer], clock: Clock
    ) -> None:
        """`sources` change whenever what is served does; `make` makes the informer of a resource."""
        self._client = client
        self._sources = sources
        self._make = make
        self._clock = clock
        self._changed = asyncio.Event()
        self._asking = asyncio.Lock()
        self._served: dict[str, list[Resource]] = {}
        self._kinds: dict[tuple[str, str], Resource] = {}
        # Versions of groups (`example.com/v1`) whose servers can't be asked now what they hold.
        self.stale: frozenset[str] = frozenset()
        self._informers: dict[str, tuple[Informer, asyncio.Task[None]]] = {}
        self._started: list[Callable[[Informer], None]] = []
        self._stopped: list[Callable[[Informer], None]] = []
        self._new_kinds: list[Callable[[Kinds], None]] = []
        self._told: Kinds = frozenset()
        for source in sources:
            source.add_handler(self._heard)

    def _heard(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._changed.set()

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind, built-in ones included."""
        return resources.by_kind(api_version, kind) or self._kinds.get((api_version, kind))

    def by_group_kind(self, group: str, kind: str) -> Resource | None:
        """The resource of a kind in the version that its group prefers, of what is not built in."""
        preferred = (versions[0] for versions in self._served.values())
        return next((one for one in preferred if (one.group, one.kind) == (group, kind)), None)

    def namespaced(self) -> list[Resource]:
        """Those whose objects are in namespaces."""
        return [versions[0] for versions in self._served.values() if versions[0].namespaced]

    def follow(
        self,
        started: Callable[[Informer], None],
        stopped: Callable[[Informer], None] | None = None,
        new_kinds: Callable[[Kinds], None] | None = None,
    ) -> None:
        """Have informers kept, and be told of each before it lists anything, and after its end; and of kinds that
        were not known before, once their informers have listed them.
        """
        self._started.append(started)
        if stopped is not None:
            self._stopped.append(stopped)
        if new_kinds is not None:
            self._new_kinds.append(new_kinds)

    async def refresh(self) -> None:
        """Ask the server what it serves now. Raises ApiError."""
        async with self._asking:
            found, self.stale = await discover_all(self._client)
        served: dict[str, list[Resource]] = {}
        for resource in found:
            if (resource.group, resource.plural) not in _BUILT_IN and {"list", "watch"} <= set(resource.verbs):
                served.setdefault(resource.group_resource, []).append(resource)
        self._served = served
        self._kinds = {(one.api_version, one.kind): one for versions in served.values() for one in versions}

    async def run(self) -> None:
        """Follow what is served until cancelled."""
        for source in self._sources:
            await source.wait_synced()
        self._changed.set()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self.refresh()
                except ApiError as error:
                    logger.warning(kv("custom resources could not be discovered", error=error.message))
                    group.create_task(self._try_again())
                if self._started:
                    await self._adapt(group)
                await self._clock.sleep(GATHER_SECONDS)

    async def _try_again(self) -> None:
        await self._clock.sleep(RETRY_SECONDS)
        self._changed.set()

    async def _adapt(self, group: asyncio.TaskGroup) -> None:
        """Start and stop informers as it follows from what is served."""
        for name, (informer, _) in list(self._informers.items()):
            versions = self._served.get(name, [])
            if not versions:
                group.create_task(self._stop_later(name, informer))
            elif not _same_place(informer.resource, versions[0]):
                self._stop(name)
            elif all(one.version != informer.resource.version for one in versions):
                informer.resource = versions[0]  # its watch has ended, and goes on in the other version
        kinds = frozenset(self._kinds)
        for name, versions in list(self._served.items()):
            if name not in self._informers:
                informer = self._make(versions[0])
                for started in self._started:
                    started(informer)
                self._informers[name] = informer, group.create_task(informer.run())
                await _synced_within(TURN_SECONDS_MAX, informer)
        if new := kinds - self._told:
            for known in self._new_kinds:
                known(new)
        self._told = kinds

    async def _stop_later(self, name: str, informer: Informer) -> None:
        await self._clock.sleep(LINGER_SECONDS)
        known = self._informers.get(name)
        if known is not None and known[0] is informer and name not in self._served:
            self._stop(name)

    def _stop(self, name: str) -> None:
        informer, task = self._informers.pop(name)
        task.cancel()
        for tell in self._stopped:
            tell(informer)


def _same_place(one: Resource, other: Resource) -> bool:
    return (one.kind, one.namespaced) == (other.kind, other.namespaced)


async def _synced_within(seconds: float, informer: Informer) -> None:
    try:
        await informer.wait_synced(seconds)
    except TimeoutError:
        pass  # it goes on in the background
