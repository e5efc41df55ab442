"""What a list or watch in one version sees of stored objects.

Where a webhook converts, an object can be selected only once it is converted: then all that is in the namespace is
converted, and a watch remembers of what it has told. Everywhere else the store selects.

A watch outlives changes of a custom resource's definition: what it sees from then on is as the new one says, and it
ends when its version is served no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apiserver.catalog import Catalog
from apiserver.rest import versions
from apiserver.rest.call import Call
from apiserver.storage.collection import Key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Found, Store
from apiserver.storage.watch import ADDED, DELETED, MODIFIED, Ended, Selection

# So many are converted before they are looked at.
LATE_SLICE = 256
Events = list[tuple[str, Entry]]


def early(call: Call, selected: Selection) -> Selection:
    """What the store may select by."""
    if not _is_late(call, selected):
        return selected
    return replace(selected, labels=None, fields=None)


def _is_late(call: Call, selected: Selection) -> bool:
    return call.versions is not None and call.versions.late and selected.filters


async def select(
    store: Store, call: Call, selected: Selection, *, revision: int | None, after: Key | None = None, limit: int = 0
) -> Found:
    """What is selected, as the request's version shows it. Raises ApiError."""
    if not _is_late(call, selected):
        found = await store.select(call.key, selected, revision=revision, after=after, limit=limit)
        return found._replace(entries=await versions.show(call, found.entries))
    candidates = await store.select(call.key, early(call, selected), revision=revision, after=after)
    entries: list[Entry] = []
    for start in range(0, len(candidates.entries), LATE_SLICE):
        shown = await versions.show(call, candidates.entries[start : start + LATE_SLICE])
        entries += filter(selected.selects, shown)
        if limit and len(entries) > limit:
            return Found(entries[:limit], candidates.revision, more=True)
    return Found(entries, candidates.revision)


class View:
    """The events of one watch, as its version shows them."""

    def __init__(self, catalog: Catalog, call: Call, selected: Selection, visible: Sequence[Entry]) -> None:
        """`visible` is what the client knows of at the beginning."""
        self._catalog = catalog
        self._call = call
        self._selected = selected
        self._visible = {(entry.namespace, entry.name) for entry in visible}

    async def events(self, batch: Events) -> Events:
        """What is to be sent of what has happened. Raises ApiError, or Ended if the version is served no more."""
        if self._call.versions is None:
            return batch
        self._refresh()
        shown = await versions.show(self._call, [entry for _, entry in batch])
        told = [(kind, entry) for (kind, _), entry in zip(batch, shown, strict=True)]
        if not _is_late(self._call, self._selected):
            return told
        return [(seen, entry) for kind, entry in told if (seen := self._seen_as(kind, entry)) is not None]

    def _refresh(self) -> None:
        info = self._call.info
        endpoint = self._catalog.find(info.group, info.version, info.resource)
        if endpoint is None:
            raise Ended
        self._call.resource, self._call.strategy = endpoint.resource, endpoint.strategy
        self._call.versions = endpoint.versions

    def _seen_as(self, kind: str, entry: Entry) -> str | None:
        key = (entry.namespace, entry.name)
        before, after = key in self._visible, kind != DELETED and self._selected.selects(entry)
        if after:
            self._visible.add(key)
            return MODIFIED if before else ADDED
        self._visible.discard(key)
        return DELETED if before else None
