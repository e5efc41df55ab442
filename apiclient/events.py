"""Events: what a component tells people about an object. Recording never blocks and never fails.

What waits is sent in lists, or one by one while the client is busy, so that a burst is told without pushing aside
what matters more. What happens again to an event that waits or is on its way changes that event; it is not sent
twice.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import logging

from apiclient.clock import Clock, SystemClock
from apiclient.event_correlation import Correlator, Reference, Sighting, Told
from apiclient.logs import kv
from apiclient.rest import LISTED_MAX, Client
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError, is_already_exists, is_not_found
from apimachinery.meta import Object
from apimachinery.resources import EVENTS
from apimachinery.time import rfc3339

logger = logging.getLogger(__name__)

WAITING_EVENTS_MAX = 10_000
# Of the requests that a client has under way at once (REQUESTS_MAX of `rest`).
SENDERS = 2
MESSAGE_CHARACTERS_MAX = 1024
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.25, 10.0
TRIES_MAX = 12


class EventRecorder:
    """Records events as one component; `run` sends them."""

    def __init__(self, client: Client, component: str, *, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._correlator = Correlator()
        self._waiting: dict[str, Told] = {}
        self._queue = WorkQueue(self._clock)

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Record an event about an object; dropped when too many wait already, or the object has had too many.

        `field_path` names the part of the object that it is about: `spec.containers{web}`.
        """
        reference = Reference.to(obj, field_path)
        seen = Sighting(reference, type, reason, message[:MESSAGE_CHARACTERS_MAX], self._clock.now())
        told = self._correlator.correlate(seen, self._clock.monotonic())
        if told is None:
            return
        if len(self._waiting) >= WAITING_EVENTS_MAX and told.key not in self._waiting:
            logger.debug(kv("event dropped", reason=reason, object=reference.name))
            return
        self._waiting[told.key] = told
        self._queue.add(told.key)

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(SENDERS):
                    group.create_task(self._work(yields=number > 0))
        finally:
            self._queue.shut_down()

    async def _work(self, *, yields: bool) -> None:
        """Send one after the other; all senders but one give way while the client has more important things to do."""
        while True:
            keys = [await self._queue.get()]
            try:
                if yields:
                    await self._client.calm()
                if self._client.is_calm:
                    keys += self._queue.get_more(LISTED_MAX - 1)
                # What is seen from now on waits anew, and is sent after this.
                await self._send_all([told for key in keys if (told := self._waiting.pop(key, None)) is not None])
            finally:
                for key in keys:
                    self._queue.done(key)

    async def _send_all(self, waiting: list[Told]) -> None:
        """Send those together that are new to a namespace, and the others one by one."""
        new: dict[str, list[Told]] = {}
        for told in waiting:
            new.setdefault("" if told.created else _namespace(told), []).append(told)
        alone = new.pop("", [])
        for namespace, some in new.items():
            if len(some) == 1:
                alone += some
                continue
            answers = await self._client.create_each(EVENTS, [self._event(told) for told in some], namespace)
            for told, answer in zip(some, answers, strict=True):
                if isinstance(answer, ApiError) and not is_already_exists(answer):
                    alone.append(told)
                else:
                    told.created = True
                    self._settled(told)
        for told in alone:
            await self._try(told)

    async def _try(self, told: Told) -> None:
        """A server that is away is asked again; what it refuses is given up, for nobody can do anything about it."""
        delay = RETRY_FIRST_SECONDS
        for _ in range(TRIES_MAX):
            seen = told.seen
            assert seen is not None, "what waits has been seen"
            try:
                await self._send(told, seen)
            except ApiError as error:
                if error.code in (429, 503, 504):
                    await self._clock.sleep(delay)
                    delay = min(2 * delay, RETRY_MAX_SECONDS)
                    continue
                logger.debug(kv("event not sent", reason=seen.reason, error=error.message))
            break
        self._settled(told)

    def _settled(self, told: Told) -> None:
        """Nothing is left of an event but that it has been told, unless it has happened again meanwhile."""
        if told.key not in self._waiting:
            told.seen = None

    async def _send(self, told: Told, seen: Sighting) -> None:
        namespace = _namespace(told)
        if told.created:
            patch = {"count": told.count, "lastTimestamp": rfc3339(seen.at), "message": seen.message}
            try:
                await self._client.patch(EVENTS, told.name, patch, namespace)
                return
            except ApiError as error:
                if not is_not_found(error):
                    raise
        try:
            await self._client.create(EVENTS, self._event(told), namespace)
        except ApiError as error:
            # It is there already if only the answer to an earlier try was lost.
            if not is_already_exists(error):
                raise
        told.created = True

    def _event(self, told: Told) -> Object:
        seen = told.seen
        assert seen is not None, "what waits has been seen"
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": told.name, "namespace": _namespace(told)},
            "involvedObject": seen.reference.document(),
            "type": seen.type,
            "reason": seen.reason,
            "message": seen.message,
            "source": source,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": rfc3339(told.first),
            "lastTimestamp": rfc3339(seen.at),
            "count": told.count,
        }


def _namespace(told: Told) -> str:
    """Where an event is kept: with its object, or for one that is in no namespace in the default one."""
    assert told.seen is not None, "what waits has been seen"
    return told.seen.reference.namespace or "default"
