"""Watch: every change after a version, as one JSON document a line, until the client or the time limit ends it.

Without a version (or with "0", or with `sendInitialEvents`) the watch begins with an ADDED event for every object
that there is. To a client that allows bookmarks one tells where these end, and others how far it has come though
nothing has happened to what it watches.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import orjson
from aiohttp import web

from apimachinery.errors import ApiError, not_acceptable
from apimachinery.field import FieldError, forbidden_field, not_supported
from apiserver import chance, encoding, tables
from apiserver.catalog import Catalog
from apiserver.rest import reading, views
from apiserver.rest.call import Call, options_error
from apiserver.rest.event_streams import EventStream, open_stream
from apiserver.rest.negotiation import PARTIAL, PARTIAL_LIST, TABLE, Representation, negotiate
from apiserver.rest.reading import NOT_OLDER_THAN
from apiserver.rest.views import View
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from apiserver.storage.watch import ADDED, Ended, Watcher

BOOKMARK_SECONDS = 60.0
# The last bookmark comes so long before the end, for the client to resume from.
LAST_BOOKMARK_SECONDS = 2.0
EVENTS_PER_WRITE_MAX, BYTES_PER_WRITE_MAX = 256, 1 << 20


async def watch(
    store: Store, catalog: Catalog, call: Call, seconds_min: float, now: Callable[[], float]
) -> web.StreamResponse:
    """Serve a watch to its end. Raises ApiError only before its first line."""
    check_watch_options(call)
    selected = reading.selection(call)
    lines = _Lines(call, negotiate(call.http.headers.get("Accept", ""), stream=True), now)
    bookmarks = bool(call.flag("allowWatchBookmarks"))
    seconds = float(call.number("timeoutSeconds") or seconds_min * chance.between(1.0, 2.0))
    since, with_initial = await _beginning(store, call)
    early = views.early(call, selected)
    known = with_initial or early is not selected
    initial = (await views.select(store, call, selected, revision=since)).entries if known else []
    view = View(catalog, call, selected, initial)
    stream = await open_stream(call)
    watcher: Watcher | None = None
    try:
        watcher = await store.watch(call.key, early, since, call.resource.version)
        stream.when_closed(partial(watcher.end, Ended()))
        for some in _pieces([(ADDED, entry) for entry in initial] if with_initial else []):
            await stream.send([lines.event(kind, entry) for kind, entry in some])
        if with_initial and bookmarks:
            await stream.send([lines.bookmark(since, initial_events_end=True)])
        await _follow(store, watcher, view, stream, lines, seconds, since=since, bookmarks=bookmarks)
    except Ended:
        pass
    except ApiError as error:
        # The status line was sent long ago: what is wrong is told in an event.
        await stream.send([encoding.watch_line("ERROR", orjson.dumps(error.status()))])
    finally:
        if watcher is not None:
            store.unwatch(call.key, watcher)
    return await stream.end()


async def _beginning(store: Store, call: Call) -> tuple[int, bool]:
    """(the version after which changes are sent, whether they come after what there is). Raises ApiError 400, 504."""
    asked = call.query.get("resourceVersion", "")
    since = reading.parse_revision(asked) if asked else 0
    wanted = call.flag("sendInitialEvents")
    if wanted:
        await reading.wait_until_fresh(store, since)
    with_initial = since == 0 if wanted is None else wanted
    return (store.revision if with_initial or since == 0 else since), with_initial


async def _follow(
    store: Store,
    watcher: Watcher,
    view: View,
    stream: EventStream,
    lines: _Lines,
    seconds: float,
    *,
    since: int,
    bookmarks: bool,
) -> None:
    """Send what happens until the time is over. Raises ApiError when the watcher is cut off, or Ended."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    last = max(end - LAST_BOOKMARK_SECONDS, loop.time())
    due = min(loop.time() + BOOKMARK_SECONDS, last) if bookmarks else end
    # One timer until the next bookmark, however many events come before.
    timer = loop.call_at(due, watcher.wake)
    try:
        while True:
            batch = await watcher.next_batch()
            if batch and batch[0][1].revision <= since:
                # The client knows of versions that are still to come: of another server, or of one that was restored.
                batch = [(kind, entry) for kind, entry in batch if entry.revision > since]
            for some in _pieces(await view.events(batch)):
                await stream.send([lines.event(kind, entry) for kind, entry in some])
            moment = loop.time()
            if moment >= end:
                return
            if moment < due or watcher.has_events:
                continue
            # Nothing waits in the buffer: all up to the store's revision has been sent.
            await stream.send([lines.bookmark(max(store.revision, since))])
            due = min(moment + BOOKMARK_SECONDS, last) if moment < last else end
            timer = loop.call_at(due, watcher.wake)
    finally:
        timer.cancel()


def _pieces(events: list[tuple[str, Entry]]) -> Iterator[list[tuple[str, Entry]]]:
    """As many events as are sent at a time: few if they are large, since each watcher has them copied."""
    some: list[tuple[str, Entry]] = []
    size = 0
    for event in events:
        some.append(event)
        size += len(event[1].raw)
        if len(some) >= EVENTS_PER_WRITE_MAX or size >= BYTES_PER_WRITE_MAX:
            yield some
            some, size = [], 0
    if some:
        yield some


class _Lines:
    """The lines of one watch in the representation that its client wants."""

    def __init__(self, call: Call, wanted: Representation, now: Callable[[], float]) -> None:
        if wanted.kind == PARTIAL_LIST:
            raise not_acceptable("you requested PartialObjectMetadataList, but a watch sends single objects")
        self._call = call
        self._wanted = wanted
        self._now = now
        self._included = tables.include(call.query.get("includeObject", "")) if wanted.kind == TABLE else ""
        self._headers = True

    def event(self, kind: str, entry: Entry) -> bytes:
        """The line of an event."""
        if self._wanted.kind == TABLE:
            version, managers = self._wanted.api_version, self._wanted.managers
            row = tables.row(self._call.strategy, entry, version, self._included, self._now(), managers=managers)
            return encoding.watch_line(kind, self._table(row, entry.revision))
        managers = self._wanted.managers
        if self._wanted.kind == PARTIAL:
            return encoding.watch_line(kind, encoding.partial(entry, self._wanted.api_version, managers=managers))
        return encoding.watch_line(kind, encoding.version(entry, managers=managers))

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        """The line of a bookmark."""
        kind, version = self._call.resource.kind, self._call.resource.api_version
        if self._wanted.kind:
            kind, version = PARTIAL, self._wanted.api_version
        made = encoding.bookmark(kind, version, revision, initial_events_end=initial_events_end)
        if self._wanted.kind == TABLE:
            made = self._table({"cells": [], "object": orjson.Fragment(made)}, revision)
        return encoding.watch_line("BOOKMARK", made)

    def _table(self, row: dict[str, object], revision: int) -> bytes:
        metadata = {"resourceVersion": str(revision)}
        version = self._wanted.api_version
        made = tables.table(self._call.strategy, [row], metadata, version, headers=self._headers)
        self._headers = False  # only the first table of a watch defines its columns
        return made


def check_watch_options(call: Call) -> None:
    """Refuse combinations that mean nothing. Raises ApiError 422."""
    query = call.query
    match, path = query.get("resourceVersionMatch"), "resourceVersionMatch"
    causes: list[FieldError] = []
    initial = "sendInitialEvents" in query
    if initial and match != NOT_OLDER_THAN:
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(forbidden_field(path, why))
    if match:
        if not initial:
            why = f"{path} is forbidden for watch unless sendInitialEvents is provided"
            causes.append(forbidden_field(path, why))
        if match != NOT_OLDER_THAN:
            causes.append(not_supported(path, match, [NOT_OLDER_THAN]))
        if query.get("continue"):
            causes.append(forbidden_field(path, f"{path} is forbidden when continue is provided"))
    if causes:
        raise options_error("watch", causes)
