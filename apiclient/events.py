"""Events: what a component tells people about an object. Recording never blocks and never fails.

The same event about the same object is sent once and then counted on, as client-go's recorder does.
Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from apiclient.clock import Clock, SystemClock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, namespaced_key
from apimachinery.resources import EVENTS
from apimachinery.time import rfc3339

logger = logging.getLogger(__name__)

BUFFER_EVENTS = 1000
REMEMBERED_EVENTS = 4096
# An object may have this many events at once, and then one more every five minutes: a ReplicaSet of a thousand
# pods must not make a thousand of them. The figures are client-go's.
BURST_EVENTS = 25
SECONDS_PER_EVENT = 300.0
MESSAGE_CHARACTERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class _Sighting:
    identity: tuple[str, ...]
    reference: dict[str, Any]
    type: str
    reason: str
    message: str
    at: float


class EventRecorder:
    """Records events as one component; `run` sends them."""

    def __init__(self, client: Client, component: str, *, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._queue: asyncio.Queue[_Sighting] = asyncio.Queue(BUFFER_EVENTS)
        self._sent: OrderedDict[tuple[str, ...], tuple[str, str, int]] = OrderedDict()
        # By object: (events that it may still have, as of when).
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Record an event about an object; dropped when a thousand wait already, or the object has had too many.

        `field_path` names the part of the object that it is about: `spec.containers{web}`.
        """
        metadata = obj["metadata"]
        reference = {
            "apiVersion": obj.get("apiVersion", "v1"),
            "kind": obj["kind"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
        }
        for key in ("namespace", "resourceVersion"):
            if metadata.get(key):
                reference[key] = metadata[key]
        if field_path:
            reference["fieldPath"] = field_path
        if not self._within_budget(f"{reference['kind']}/{namespaced_key(obj)}/{reference['uid']}/{field_path}"):
            return
        message = message[:MESSAGE_CHARACTERS_MAX]
        identity: tuple[str, ...] = (reference["kind"], metadata.get("namespace", ""), metadata["name"])
        identity += (reference["uid"], field_path, type, reason, message)
        try:
            self._queue.put_nowait(_Sighting(identity, reference, type, reason, message, self._clock.now()))
        except asyncio.QueueFull:
            logger.debug(kv("event dropped", reason=reason, object=metadata["name"]))

    def _within_budget(self, subject: str) -> bool:
        now = self._clock.monotonic()
        left, at = self._budgets.pop(subject, (float(BURST_EVENTS), now))
        left = min(float(BURST_EVENTS), left + (now - at) / SECONDS_PER_EVENT)
        self._budgets[subject] = (left - 1 if left >= 1 else left, now)
        if len(self._budgets) > REMEMBERED_EVENTS:
            self._budgets.popitem(last=False)
        return left >= 1

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        while True:
            sighting = await self._queue.get()
            try:
                await self._send(sighting)
            except ApiError as error:
                logger.debug(kv("event not sent", reason=sighting.reason, error=error.message))

    async def _send(self, sighting: _Sighting) -> None:
        namespace = sighting.reference.get("namespace", "default")
        known = self._sent.get(sighting.identity)
        if known is not None:
            _, name, count = known
            patch = {"count": count + 1, "lastTimestamp": rfc3339(sighting.at)}
            try:
                await self._client.patch(EVENTS, name, patch, namespace)
                self._remember(sighting.identity, (namespace, name, count + 1))
                return
            except ApiError as error:
                if not is_not_found(error):
                    raise
        name = f"{sighting.reference['name']}.{int(sighting.at * 1e9):x}"
        stamp = rfc3339(sighting.at)
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": sighting.reference,
            "type": sighting.type,
            "reason": sighting.reason,
            "message": sighting.message,
            "source": source,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        await self._client.create(EVENTS, event, namespace)
        self._remember(sighting.identity, (namespace, name, 1))

    def _remember(self, identity: tuple[str, ...], sent: tuple[str, str, int]) -> None:
        self._sent[identity] = sent
        self._sent.move_to_end(identity)
        if len(self._sent) > REMEMBERED_EVENTS:
            self._sent.popitem(last=False)
