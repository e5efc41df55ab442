"""Tells the API server what has become of the pods: only changes, one request a pod at a time, the newest state last.

A pod that changes while its status is on the way is written once more afterwards, however often it changed. A
write that fails is repeated until it succeeds or the pod is gone; what is on the way when the node agent dies is
found out anew by the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError, is_conflict, is_not_found
from apimachinery.meta import Object, find_condition, namespaced_key
from apimachinery.resources import PODS
from kubelet.pods.pod_status import RESIZE_CONDITIONS

logger = logging.getLogger(__name__)

RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.1, 5.0
TELL_AFTER_FAILURES = 5
REFUSED = (400, 405, 413, 415, 422)
OWN_FIELDS = (
    "phase",
    "reason",
    "message",
    "startTime",
    "qosClass",
    "observedGeneration",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
)
# Lists that a strategic merge patch would merge with what is there; ours replace it.
_MERGED_FIELDS = ("hostIPs", "podIPs")

Status = dict[str, Any]
Latest = Callable[[str], Object | None]


@dataclass(slots=True)
class _Record:
    pod: Object
    wanted: Status
    task: asyncio.Task[None] | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class StatusWriter:
    """Writes pods' statuses; `latest` gives a pod by UID as the informer last saw it, None when it is gone."""

    def __init__(self, client: Client, latest: Latest, group: asyncio.TaskGroup, clock: Clock) -> None:
        self._client = client
        self._latest = latest
        self._group = group
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def set(self, pod: Object, status: Status) -> None:
        """Have this be the pod's status in the API; returns at once."""
        uid = pod["metadata"]["uid"]
        record = self._records.get(uid)
        if record is None:
            record = self._records[uid] = _Record(pod, status)
        record.wanted = steady(status, record.wanted)
        if record.task is None and self._patch(uid, record) is not None:
            record.idle.clear()
            record.task = self._group.create_task(self._write(uid, record))
        elif record.task is None:
            record.idle.set()

    def last(self, uid: str) -> Status | None:
        """The status that was last asked to be written."""
        record = self._records.get(uid)
        return record.wanted if record is not None else None

    async def settled(self, uid: str) -> None:
        """Wait until the status that was last set is in the API, or the pod is gone from there."""
        record = self._records.get(uid)
        if record is not None:
            await record.idle.wait()

    def forget(self, uid: str) -> None:
        """The pod is gone: nothing of it is to be written any more."""
        record = self._records.pop(uid, None)
        if record is not None:
            if record.task is not None:
                record.task.cancel()
            record.idle.set()

    async def delete(self, pod: Object) -> None:
        """Take the pod object itself away: this very one, and at once. Raises ApiError, unless it is gone already."""
        metadata = pod["metadata"]
        try:
            await self._client.delete(
                PODS, metadata["name"], metadata["namespace"], grace_period_seconds=0, uid=metadata["uid"]
            )
        except ApiError as error:
            if not self._is_gone(error, metadata["uid"]):
                raise

    def _is_gone(self, error: ApiError, uid: str) -> bool:
        """Whether an error means that the pod is no more; a conflict does once another one has its name."""
        return is_not_found(error) or (is_conflict(error) and self._latest(uid) is None)

    def _patch(self, uid: str, record: _Record) -> Status | None:
        """The patch that is still missing, against the newest version known here."""
        seen = self._latest(uid)
        if seen is not None and _version(seen) >= _version(record.pod):
            record.pod = seen
        return patch_for(record.pod.get("status") or {}, record.wanted)

    async def _write(self, uid: str, record: _Record) -> None:
        failures = 0
        written: Status | None = None
        # A server that does not take a status as it is would else be sent the same one for ever.
        while (patch := self._patch(uid, record)) is not None and patch != written:
            metadata = record.pod["metadata"]
            # The uid makes it a conflict if the name belongs to another pod by now.
            body = {"metadata": {"uid": uid}, "status": patch}
            name, namespace = metadata["name"], metadata["namespace"]
            try:
                record.pod = await self._client.patch(
                    PODS, name, body, namespace, kind="strategic", subresource="status"
                )
                failures, written = 0, patch
            except ApiError as error:
                if self._is_gone(error, uid):
                    break
                failures += 1
                key = namespaced_key(record.pod)
                if error.code in REFUSED:
                    # The same again would be refused again, and the pod must not wait for it for ever.
                    logger.error(kv("pod status is refused", pod=key, error=error.message))
                    break
                if failures == TELL_AFTER_FAILURES:
                    logger.warning(kv("pod status can't be written", pod=key, error=error.message))
                await self._clock.sleep(min(RETRY_FIRST_SECONDS * 2.0 ** min(failures, 10), RETRY_MAX_SECONDS))
        record.task = None
        record.idle.set()


def steady(status: Status, before: Status) -> Status:
    """A status whose conditions keep their times from the one before, which the API may still lack."""
    conditions = []
    for condition in status.get("conditions") or ():
        known = find_condition(before.get("conditions") or [], condition["type"])
        if known is not None and known["status"] == condition["status"]:
            condition = {**condition, "lastTransitionTime": known["lastTransitionTime"]}
        conditions.append(condition)
    return {**status, "conditions": conditions} if conditions else status


def patch_for(old: Status, new: Status) -> Status | None:
    """The strategic merge patch that makes `old` into `new`; None when nothing has changed.

    Conditions of others are left alone, and fields that only others write are never touched. What is said of a resize
    is taken away once it is over.
    """
    patch: Status = {}
    for key in OWN_FIELDS:
        value = new.get(key)
        if value == old.get(key):
            continue
        if key in _MERGED_FIELDS and value and old.get(key):
            value = [{"$patch": "replace"}, *value]
        patch[key] = value
    conditions = []
    for condition in new.get("conditions") or ():
        known = find_condition(old.get("conditions") or [], condition["type"]) or {}
        if any(value != known.get(key) for key, value in {**dict.fromkeys(known), **condition}.items()):
            # Conditions are merged: what is not to stay has to be named.
            conditions.append({**dict.fromkeys(known), **condition})
    told = {condition["type"] for condition in new.get("conditions") or ()}
    conditions += [
        {"$patch": "delete", "type": condition["type"]}
        for condition in old.get("conditions") or ()
        if condition["type"] in RESIZE_CONDITIONS and condition["type"] not in told
    ]
    if conditions:
        patch["conditions"] = conditions
    return patch or None


def _version(pod: Object) -> int:
    """Resource versions of one collection can be compared as numbers since Kubernetes 1.35 (KEP-5504)."""
    return int(pod["metadata"].get("resourceVersion") or 0)
