"""Definitions become endpoints the moment that they are written, before their writers are answered.

Endpoints of a definition are made anew whenever it says something else about what is served; requests that are
under way go on with what they have begun with. Watches go on too, in whatever their version has become; those of a
version that is served no more end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, Resource
from apiserver.catalog import Catalog
from apiserver.registry.strategy import Strategy
from apiserver.rest.call import storage_key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, Event
from apiserver.webhook_client import WebhookClient

if TYPE_CHECKING:
    from apiserver.customresources.definition import Definition
    from apiserver.customresources.versions import CustomVersions

_KEY = storage_key(CUSTOMRESOURCEDEFINITIONS)


class Serving:
    """Keeps the catalog as the stored definitions say."""

    def __init__(self, store: Store, catalog: Catalog, webhooks: WebhookClient) -> None:
        self._store = store
        self._catalog = catalog
        self._webhooks = webhooks
        self._definitions: dict[str, Definition] = {}
        self._versions: dict[str, dict[str, CustomVersions]] = {}
        for entry in store.objects(_KEY):
            self._define(_read(entry))
        store.listen(_KEY, self._changed)

    def definitions(self) -> Iterator[Definition]:
        """All definitions, as they are at this moment."""
        return iter(self._definitions.values())

    def of_group(self, group: str) -> Iterator[Definition]:
        """All definitions of a group, as they are at this moment."""
        return (one for one in self._definitions.values() if one.group == group)

    def stored(self, name: str) -> tuple[Resource, Strategy]:
        """The resource of a definition in the version in which its objects are stored, and that version's rules."""
        from apiserver.customresources import endpoints

        return endpoints.stored(self._definitions[name], self._versions[name])

    def _changed(self, event: Event) -> None:
        if event.type == DELETED:
            old = self._definitions.pop(event.entry.name)
            self._versions.pop(old.name, None)
            self._catalog.define(old.name, ())
            self._store.end_watches_of(old.key)
            return
        new = _read(event.entry)
        old_one = self._definitions.get(new.name)
        if old_one is not None and old_one.same_service(new):
            old_one.source.entry = new.source.entry
            return
        self._define(new)
        if old_one is not None:
            self._end_watches(old_one, new)

    def _end_watches(self, old: Definition, new: Definition) -> None:
        served = {version.name for version in new.versions if version.served} if new.established else set()
        for version in old.versions:
            if version.name not in served:
                self._store.end_watches_of(old.key, version.name)

    def _define(self, definition: Definition) -> None:
        self._definitions[definition.name] = definition
        if not definition.established:
            self._catalog.define(definition.name, ())
            return
        from apiserver.customresources import endpoints  # not needed where nothing is defined

        versions = endpoints.versions(definition, self._webhooks)
        for name, old in self._versions.get(definition.name, {}).items():
            old.replaced_by = versions.get(name)
        self._versions[definition.name] = versions
        self._catalog.define(definition.name, endpoints.served(definition, versions))


def _read(entry: Entry) -> Definition:
    from apiserver.customresources.definition import read  # not needed where nothing is defined

    return read(entry)
