"""Objects that are kept for a while only: events, which nobody deletes.

An object is as old as its newest version. How old that is, is told by revisions noted once a minute, so that neither
objects nor their times have to be looked at; after a restart everything counts as new.
Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (--event-ttl)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from apimachinery.errors import ApiError
from apiserver.logs import kv
from apiserver.storage.entry import Entry, at_revision
from apiserver.storage.group_commit import Conflict
from apiserver.storage.store import Store

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 60.0
# So many are deleted in one transaction, at most.
TOGETHER_MAX = 256


class Marks:
    """The revision that a store was at, at some moments of the past."""

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, now: float, revision: int) -> int:
        """Note the present; returns the newest revision that is older than what is to be kept, 0 if none is known."""
        self._marks.append((now, revision))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._keep_seconds:
            self._marks.popleft()
        then, old = self._marks[0]
        return old if then <= now - self._keep_seconds else 0


async def expire_forever(store: Store, resource: str, keep_seconds: float) -> None:
    """Once a minute, delete the objects of a resource that have not been written for so long."""
    marks, loop = Marks(keep_seconds), asyncio.get_running_loop()
    while True:
        old = marks.note(loop.time(), store.revision)
        try:
            await expire(store, resource, old)
        except ApiError as error:
            logger.error(kv("old objects could not be deleted, it will be tried again", of=resource, error=error))
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def expire(store: Store, resource: str, revision: int) -> None:
    """Delete the objects of a resource whose newest version is not newer than a revision."""
    old = [entry for entry in store.objects(resource) if entry.revision <= revision]
    for start in range(0, len(old), TOGETHER_MAX):
        await asyncio.gather(*(_delete(store, resource, entry) for entry in old[start : start + TOGETHER_MAX]))


async def _delete(store: Store, resource: str, entry: Entry) -> None:
    try:
        await store.commit(
            resource,
            entry.namespace,
            entry.name,
            expected=entry.revision,
            encode=lambda revision: at_revision(entry, revision).raw,
            managed=entry.managed,
            deleted=True,
        )
    except Conflict:
        pass  # it was written in this moment, and so is new
