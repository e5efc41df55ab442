"""Keeps, for each extension server, whether it is available and what it says it serves: one loop a server, so that
one that hangs keeps nobody waiting.

It is looked at whenever its APIService, its Service or the endpoints of that change, when a request could not be
passed on, and every half minute; what has failed is tried again soon, and ever later. What it serves is read when it
has become available, and every minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from apimachinery.errors import ApiError
from apimachinery.meta import find_condition
from apimachinery.resources import APISERVICES, ENDPOINTS, ENDPOINTSLICES, SERVICES
from apimachinery.time import rfc3339
from apiserver.admission.plugin import Cluster
from apiserver.aggregation import availability, discovery_documents, openapi_documents
from apiserver.aggregation.asking import AGGREGATOR, READER_OF_SCHEMAS, Answer, Asking, Unanswered
from apiserver.aggregation.availability import Verdict
from apiserver.aggregation.index import ApiServices, Extension, Schemas, Where, group_version
from apiserver.logs import kv
from apiserver.rest.call import storage_key
from apiserver.rest.own_writes import OwnWrites
from apiserver.service_resolver import SERVICE_NAME
from apiserver.storage.store import Conflict, Store
from apiserver.storage.watch import Event

log = logging.getLogger(__name__)

CHECK_SECONDS, DISCOVERY_SECONDS, SCHEMAS_SECONDS = 5.0, 5.0, 30.0
GATHER_SECONDS, AGAIN_SECONDS = 0.1, 30.0
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.1, 30.0
READ_AGAIN_SECONDS = 60.0
# So many endpoints are asked at once; one that answers is enough.
ENDPOINTS_ASKED = 5
WRITES_MAX = 5


@dataclass(slots=True)
class _Loop:
    """What a loop knows of its server between two looks."""

    name: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    # What has been looked at last, and when it was read what that serves (of the event loop's clock).
    seen: tuple[Extension, Where] | None = None
    read_at: float | None = None
    discovery_etag: str = ""
    schemas_etag: str = ""


class Upkeep:
    """All these loops."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        services: ApiServices,
        own: OwnWrites,
        asking: Asking,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._services = services
        self._own = own
        self._asking = asking
        self._now = now
        self._loops: dict[str, _Loop] = {}
        self._changed = asyncio.Event()
        services.listen(self._service_changed)
        store.listen(storage_key(SERVICES), lambda event: self._moved(event, event.entry.name))
        store.listen(storage_key(ENDPOINTS), lambda event: self._moved(event, event.entry.name))
        store.listen(
            storage_key(ENDPOINTSLICES), lambda event: self._moved(event, event.entry.labels.get(SERVICE_NAME))
        )

    def doubt(self, extension: Extension) -> None:
        """A request could not be passed on: look at once whether others can."""
        loop = self._loops.get(extension.name)
        if loop is not None:
            loop.wake.set()

    def _service_changed(self, name: str) -> None:
        extension, loop = self._services.extensions.get(group_version(name)), self._loops.get(name)
        if extension is not None and loop is not None and loop.seen == (extension, extension.where):
            return  # it is its status that has changed
        if loop is not None:
            loop.wake.set()
        self._changed.set()

    def _moved(self, event: Event, service: str | None) -> None:
        for extension in self._services.extensions.values():
            where = extension.where
            if (where.namespace, where.name) == (event.entry.namespace, service):
                self.doubt(extension)

    async def run(self) -> None:
        """Have a loop for each extension server until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for extension in self._services.known():
                    if extension.name not in self._loops:
                        loop = self._loops[extension.name] = _Loop(extension.name)
                        group.create_task(self._tend(loop))
                await self._changed.wait()
                self._changed.clear()

    async def _tend(self, loop: _Loop) -> None:
        """Look at one server as long as an APIService names it."""
        failures = 0
        while (extension := self._find(loop)) is not None:
            loop.wake.clear()
            try:
                good = await self._look(loop, extension)
            except Exception:
                # Whatever a server answers, and whatever we make of it: the others are served all the same.
                log.exception(kv("an extension server could not be looked at", of=loop.name))
                good = False
            failures = 0 if good else failures + 1
            pause = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2**failures) if failures else AGAIN_SECONDS
            # Requests that fail one after another don't have it asked again and again.
            await asyncio.sleep(GATHER_SECONDS)
            try:
                async with asyncio.timeout(pause - GATHER_SECONDS):
                    await loop.wake.wait()
            except TimeoutError:
                pass
        del self._loops[loop.name]

    async def _look(self, loop: _Loop, extension: Extension) -> bool:
        """Whether a server is available; what it serves is read if it is time for that."""
        if loop.seen != (extension, extension.where):
            loop.seen, loop.read_at = (extension, extension.where), None
            loop.discovery_etag = loop.schemas_etag = ""
        verdict = await self._check(extension)
        now = asyncio.get_running_loop().time()
        reads = verdict.good and (loop.read_at is None or now - loop.read_at >= READ_AGAIN_SECONDS)
        if reads:
            # Before it is told that it is available: whoever waits for that finds what it serves.
            await self._read(loop, extension)
        await self._tell(loop.name, verdict)
        if reads and extension.fresh:
            await self._read_schemas(loop, extension)
        elif not verdict.good:
            loop.read_at = None
            self._set_stale(extension)
        return verdict.good

    def _find(self, loop: _Loop) -> Extension | None:
        return self._services.extensions.get(group_version(loop.name))

    async def _check(self, extension: Extension) -> Verdict:
        where = extension.where
        verdict = availability.judge(
            where,
            self._cluster.get(SERVICES, where.namespace, where.name),
            [
                one
                for one in self._cluster.list(ENDPOINTSLICES, where.namespace)
                if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == where.name
            ],
            self._cluster.get(ENDPOINTS, where.namespace, where.name),
        )
        return verdict if verdict is not None else await self._ask_whether(extension)

    async def _ask_whether(self, extension: Extension) -> Verdict:
        """Ask several endpoints; the first that answers decides."""
        try:
            places = self._asking.places(extension.where, many=ENDPOINTS_ASKED)
        except ApiError as error:
            return availability.failed_discovery(error.message)
        why = ""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._probe(extension, place)) for place in places]
            for next_one in asyncio.as_completed(asked):
                why = await next_one
                if not why:
                    break
            for task in asked:
                task.cancel()
        return availability.failed_discovery(why) if why else availability.PASSED

    async def _probe(self, extension: Extension, place: tuple[str, int]) -> str:
        """Why an endpoint does not answer; "" if it does."""
        # Whether its certificate is right is for those to find out who get something from it.
        try:
            answer = await self._asking.get(
                extension.where, extension.path, user=AGGREGATOR, seconds=CHECK_SECONDS, place=place, verify=False
            )
        except Unanswered as error:
            return f"failing or missing response from {_url(place, extension)}: {error}"
        if not 200 <= answer.status < 300:
            url = _url(place, extension)
            return f"failing or missing response from {url}: bad status from {url}: {answer.status}"
        return ""

    async def _tell(self, name: str, verdict: Verdict) -> None:
        """Write the condition, if it is not there already."""
        for _ in range(WRITES_MAX):
            entry = self._own.get(APISERVICES, "", name)
            if entry is None or "service" not in entry.obj["spec"]:
                return
            wanted = availability.told(entry.copy(), verdict, rfc3339(self._now()))
            if wanted is None:
                return
            before = find_condition(entry.obj, availability.AVAILABLE)
            try:
                await self._own.update(APISERVICES, entry, wanted, status=True)
            except Conflict:
                continue
            except ApiError as error:
                # It is looked at again after a while.
                log.error(kv("the status of an APIService could not be written", of=name, error=error))
                return
            if before is None or before.get("status") != verdict.status:
                log.info(kv("availability changed", of=name, available=verdict.status, reason=verdict.reason))
                if not verdict.good:
                    self._services.losses[name, verdict.reason] += 1
            return

    def _set_stale(self, extension: Extension) -> None:
        if extension.fresh:
            extension.fresh = False
            self._services.moved()

    async def _read(self, loop: _Loop, extension: Extension) -> None:
        """Read what a server serves; what it has said before stays if it says nothing now."""
        loop.read_at = asyncio.get_running_loop().time()
        try:
            resources = await self._resources(loop, extension)
        except (Unanswered, ValueError) as error:
            log.warning(kv("what an extension server serves could not be read", of=extension.name, error=error))
            loop.read_at = None
            self._set_stale(extension)
            return
        if resources != extension.resources or not extension.fresh:
            extension.resources, extension.fresh = resources, True
            self._services.moved()

    async def _read_schemas(self, loop: _Loop, extension: Extension) -> None:
        """Read a server's schemas, in the same way."""
        try:
            schemas = await self._schemas(loop, extension)
        except (Unanswered, ValueError) as error:
            log.warning(kv("the schemas of an extension server could not be read", of=extension.name, error=error))
            return
        if schemas != extension.schemas:
            extension.schemas = schemas
            self._services.moved()

    async def _resources(self, loop: _Loop, extension: Extension) -> list[discovery_documents.Entry]:
        """Raises Unanswered and ValueError."""
        where, seconds = extension.where, DISCOVERY_SECONDS
        answer = await self._asking.get(
            where,
            "/apis" if extension.group else "/api",
            user=AGGREGATOR,
            seconds=seconds,
            accept=f"{discovery_documents.ACCEPT},application/json;q=0.9",
            etag=loop.discovery_etag if extension.fresh else "",
        )
        if answer.status == 304:
            return extension.resources
        if answer.status == 200:
            document = orjson.loads(answer.body)
            if isinstance(document, dict) and document.get("kind") == discovery_documents.LIST_KIND:
                found = discovery_documents.read_aggregated(document, extension.group, extension.version)
                loop.discovery_etag = answer.etag
                return found
        loop.discovery_etag = ""
        answer = await self._asking.get(where, extension.path, user=AGGREGATOR, seconds=seconds)
        if answer.status != 200:
            raise Unanswered(f"{extension.path} was answered with status {answer.status}")
        return discovery_documents.read_legacy(orjson.loads(answer.body), extension.group, extension.version)

    async def _schemas(self, loop: _Loop, extension: Extension) -> Schemas:
        """Raises Unanswered and ValueError."""
        index = await self._asking.get(
            extension.where, "/openapi/v3", user=READER_OF_SCHEMAS, seconds=SCHEMAS_SECONDS
        )
        own = (
            openapi_documents.own_version_3(orjson.loads(index.body), extension.path) if index.status == 200 else None
        )
        answer = await self._asking.get(
            extension.where,
            "/openapi/v2",
            user=READER_OF_SCHEMAS,
            seconds=SCHEMAS_SECONDS,
            etag=loop.schemas_etag,
        )
        if answer.status == 304:
            return Schemas(own, extension.schemas.version_2)
        loop.schemas_etag = ""
        if answer.status != 200:
            return Schemas(own)
        # A document may have megabytes: read it where nobody waits for this thread.
        part = await asyncio.to_thread(_part_of, answer, extension.path)
        loop.schemas_etag = answer.etag
        return Schemas(own, part)


def _part_of(answer: Answer, path: str) -> bytes:
    return orjson.dumps(openapi_documents.part_of(orjson.loads(answer.body), path))


def _url(place: tuple[str, int], extension: Extension) -> str:
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    return f"https://{host}:{place[1]}{extension.path}"
