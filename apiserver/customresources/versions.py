"""Stored custom resources in the version that is asked for, and back.

What is stored may be older than the schema, and in another version. It is shown as Kubernetes does: pruned and
defaulted by the schema of the version in which it is stored, then converted, then pruned by the schema of the
version that is asked for. Most often nothing of this changes anything; that is found out once for each stored
version, and then its bytes are what is sent.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver (customresource_handler.go)
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from apimachinery.errors import ApiError
from apimachinery.managedfields.kinds import Kind, converted_apart, unconverted
from apimachinery.managedfields.types import Type
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver import encoding
from apiserver.customresources import conversion
from apiserver.customresources.conversion import ConversionError
from apiserver.customresources.definition import Fields
from apiserver.customresources.schema import Schemas, VersionSchema
from apiserver.storage.entry import Entry
from apiserver.webhook_client import WebhookClient, WebhookError

CONVERT_SECONDS = 30.0
# So much is asked of a webhook at once.
OBJECTS_PER_REVIEW_MAX, BYTES_PER_REVIEW_MAX = 256, 2 << 20
# What may be a whole number that was written with a point, and how large such a number can be.
_POINT, WHOLE_MAX = re.compile(rb"\d\.0[,}\]]"), 2**53


class Converter:
    """Converts through a webhook."""

    def __init__(self, config: Fields, client: WebhookClient) -> None:
        """`config` is the `webhook` of a definition's conversion."""
        self._config = config
        self._client = client

    async def convert(self, objects: Sequence[Object], api_version: str) -> list[Object]:
        """The objects in another version. Raises ApiError."""
        identity = str(uuid.uuid4())
        try:
            version = conversion.review_version(self._config.get("conversionReviewVersions") or ())
            asked = conversion.question(version, identity, objects, api_version)
            answer = await self._client.ask(self._config["clientConfig"], asked, seconds=CONVERT_SECONDS)
            return conversion.converted(version, identity, objects, api_version, answer)
        except WebhookError as error:
            kind = conversion.described(objects[0])
            raise ApiError(500, "", f"conversion webhook for {kind} failed: {error}") from error
        except ConversionError as error:
            raise ApiError(500, "", str(error)) from error


class CustomVersions:
    """How custom resources are served in one version; it never changes: another schema makes another of these."""

    def __init__(
        self, resource: Resource, stored: Resource, schemas: Schemas, converter: Converter | None, since: int
    ) -> None:
        """`since` is a revision at which the schemas were as they are."""
        self._resource = resource
        self._stored = stored
        self._schemas = schemas
        self._converter = converter
        self._since = since
        self._prefix = encoding.kind_prefix(resource.kind, resource.api_version)
        self._slot = f"in {resource.version}"
        # With one version, whatever has been stored since the schemas are as they are has gone through them.
        self._only = len(schemas) == 1
        # What a later definition says instead of this.
        self.replaced_by: CustomVersions | None = None

    @property
    def schema(self) -> VersionSchema:
        """The schema of this version."""
        return self._schemas[self._resource.version]

    @property
    def late(self) -> bool:
        """Whether objects have to be converted by a webhook."""
        return self._converter is not None and not self._only

    def shown(self, entry: Entry) -> Entry | None:
        """A stored version in this version; None if a webhook must be asked. Raises ApiError."""
        if entry.settled is self or self._is_settled(entry):
            return entry
        kept = (entry.encodings or {}).get(self._slot)
        if kept is not None and kept[0] is self:
            found: Entry = kept[1]
            return found
        obj = entry.copy()
        changed = self._freshen(obj)
        if obj["apiVersion"] == self._resource.api_version:
            if not changed:
                entry.settled = self
                return entry
            return self._keep(entry, obj)
        return None if self._converter is not None else self._keep(entry, self._converted(obj))

    def _is_settled(self, entry: Entry) -> bool:
        return self._only and entry.revision > self._since and entry.raw.startswith(self._prefix)

    def _freshen(self, obj: Object) -> bool:
        """Bring what is stored into the shape of the version in which it is stored; returns whether it was not."""
        version = obj["apiVersion"].rpartition("/")[2]
        schema = self._schemas.get(version)
        if schema is None:
            told = f"request to convert CR from an invalid group/version: {obj['apiVersion']}"
            raise ApiError(500, "", told)
        return schema.freshen(obj)

    def _converted(self, obj: Object) -> Object:
        """What needs no webhook: the same fields in another version, as far as it has them."""
        obj["apiVersion"] = self._resource.api_version
        self.schema.coerce(obj)
        return obj

    def _keep(self, entry: Entry, obj: Object) -> Entry:
        raw = encoding.encode(self._resource, obj, entry.revision)
        shown = Entry(entry.namespace, entry.name, entry.revision, raw, entry.managed)
        if entry.encodings is None:
            entry.encodings = {}
        entry.encodings[self._slot] = (self, shown)
        return shown

    async def show(self, entries: Sequence[Entry]) -> list[Entry]:
        """Stored versions in this version; of what a webhook must convert, much at once. Raises ApiError."""
        found = [self.shown(entry) for entry in entries]
        waiting = [number for number, shown in enumerate(found) if shown is None]
        while waiting:
            some: list[int] = []
            size = 0
            while waiting and len(some) < OBJECTS_PER_REVIEW_MAX and size < BYTES_PER_REVIEW_MAX:
                some.append(waiting.pop(0))
                size += len(entries[some[-1]].raw)
            objects = [entries[number].copy() for number in some]
            for obj in objects:
                self._freshen(obj)
            for number, obj in zip(some, await self._ask(objects), strict=True):
                self.schema.coerce(obj)
                found[number] = self._keep(entries[number], obj)
        return [entry for entry in found if entry is not None]

    async def _ask(self, objects: Sequence[Object]) -> list[Object]:
        assert self._converter is not None, "without a webhook everything is shown at once"
        return await self._converter.convert(objects, self._resource.api_version)

    def judged(self, entry: Entry, shown: Entry) -> Entry:
        """The version that is asked for has rules of its own."""
        return shown

    def taken(self, obj: Object) -> Object:
        """What was sent is of this version."""
        return obj

    async def to_store(self, obj: Object) -> Object:
        """What has passed the rules of this version, in the storage version. Raises ApiError."""
        api_version = self._stored.api_version
        if obj["apiVersion"] == api_version:
            return obj
        if self._converter is not None:
            obj = (await self._converter.convert([obj], api_version))[0]
        obj = {**obj, "apiVersion": api_version}
        self._schemas[self._stored.version].coerce(obj)
        return obj

    def encode(self, obj: Object, revision: int) -> bytes:
        """The bytes of a stored version.

        If the definition has changed since the object was judged, it is brought into the shape that is right now:
        of what is stored from here on everybody goes by that.
        """
        newest: CustomVersions | None = self
        while newest is not None and newest.replaced_by is not None:
            newest = newest.replaced_by
        if newest is not None and newest is not self and newest._stored.api_version == self._stored.api_version:
            newest._freshen(obj)
        raw = encoding.encode(self._stored, obj, revision)
        return encoding.encode(self._stored, _plain(obj), revision) if _POINT.search(raw) else raw

    @cached_property
    def kind(self) -> Kind:
        """All versions of it; their types are made when they are needed."""
        types = _Types(self._resource.group, self._schemas)
        return Kind(types, unconverted if self._converter is None else converted_apart, changes=True)

    async def convert(self, obj: Object, api_version: str) -> Object:
        """An object in another version. Raises ApiError."""
        assert self._converter is not None, "without a webhook everything is converted at once"
        return (await self._converter.convert([obj], api_version))[0]


def _plain(value: Any) -> Any:
    """A value with whole numbers as such, whatever they were written as: what Go reads as 1.0 it writes as 1."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_MAX else value


class _Types(Mapping[str, Type]):
    """The types of all versions, by their apiVersion."""

    def __init__(self, group: str, schemas: Schemas) -> None:
        self._schemas = {f"{group}/{version}": schema for version, schema in schemas.items()}

    def __getitem__(self, api_version: str) -> Type:
        return self._schemas[api_version].type

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)

    def __contains__(self, api_version: object) -> bool:
        return api_version in self._schemas
