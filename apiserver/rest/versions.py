"""Objects are stored in one form, and may be served in several versions of it.

A version shows stored objects as it has them, and gives what is written its stored form. What it has made of a
stored version is kept with that, so that it is made once.

The rules of built-in resources are said of the stored form: what is sent in another version is brought into that
form before anything else is done with it. Those of custom resources are said of each version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from apimachinery.managedfields.custom import custom
from apimachinery.managedfields.kinds import Kind
from apimachinery.managedfields.types import Type, builtin
from apimachinery.meta import Object
from apimachinery.resources import BUILTIN, Resource, by_kind
from apimachinery.schemas import definition_name
from apiserver import encoding
from apiserver.storage.entry import Entry


class Versions(Protocol):
    """How a resource is served in one version."""

    @property
    def late(self) -> bool:
        """Whether it takes a while to show objects, so that they are selected only once they are shown."""

    def shown(self, entry: Entry) -> Entry | None:
        """A stored version as this version has it; None if that takes a while. Raises ApiError."""

    async def show(self, entries: Sequence[Entry]) -> list[Entry]:
        """The same for many. Raises ApiError."""

    def judged(self, entry: Entry, shown: Entry) -> Entry:
        """Which of the two the rules are said of."""

    def taken(self, obj: Object) -> Object:
        """What was sent, in the form that the rules are said of."""

    async def to_store(self, obj: Object) -> Object:
        """What has passed the rules, in the form that is stored. Raises ApiError."""

    def encode(self, obj: Object, revision: int) -> bytes:
        """The bytes of what is stored."""

    @property
    def kind(self) -> Kind:
        """What must be known of its versions to say who manages what."""

    async def convert(self, obj: Object, api_version: str) -> Object:
        """An object in another version, where `kind.convert` can't do it at once. Raises ApiError."""


class Versioned(Protocol):
    """A request, as far as it matters here."""

    @property
    def resource(self) -> Resource:
        """What is asked for."""

    @property
    def versions(self) -> Versions | None:
        """How it is shown; None: as it is stored."""


async def show(call: Versioned, entries: list[Entry]) -> list[Entry]:
    """Stored versions as a request wants them. Raises ApiError."""
    return entries if call.versions is None else await call.versions.show(entries)


async def show_one(call: Versioned, entry: Entry) -> Entry:
    """A stored version as a request wants it. Raises ApiError."""
    if call.versions is None:
        return entry
    shown = call.versions.shown(entry)
    return shown if shown is not None else (await call.versions.show([entry]))[0]


def judged(call: Versioned, stored: Entry, shown: Entry) -> Entry:
    """What the rules are said of."""
    return stored if call.versions is None else call.versions.judged(stored, shown)


def taken(call: Versioned, obj: Object) -> Object:
    """What was sent, in the form that the rules are said of."""
    return obj if call.versions is None else call.versions.taken(obj)


async def to_store(call: Versioned, obj: Object) -> Object:
    """What has passed the rules, in the form that is stored. Raises ApiError."""
    return obj if call.versions is None else await call.versions.to_store(obj)


def kind(call: Versioned) -> Kind:
    """What must be known of a resource's versions to say who manages what."""
    return built_in_kind(call.resource) if call.versions is None else call.versions.kind


async def convert(call: Versioned, obj: Object, api_version: str) -> Object:
    """An object in another version, where it takes a while. Raises ApiError."""
    assert call.versions is not None, "what is stored as it is served has but one version"
    return await call.versions.convert(obj, api_version)


def encode(call: Versioned, obj: Object, revision: int) -> bytes:
    """The bytes of what is stored."""
    if call.versions is None:
        return encoding.encode(call.resource, obj, revision)
    return call.versions.encode(obj, revision)


class BuiltInVersions:
    """A built-in kind under its second name: pure conversions there and back."""

    late = False

    def __init__(self, resource: Resource, stored: Resource) -> None:
        self._resource = resource
        self._stored = stored

    def shown(self, entry: Entry) -> Entry:
        """The converted version, made once."""
        made: Entry = entry.encoding(f"in {self._resource.api_version}", self._convert)
        return made

    def _convert(self, entry: Entry) -> Entry:
        from apiserver.registry.conversion import convert  # needed by few

        obj = convert(entry.obj, self._resource.api_version)
        raw = encoding.encode(self._resource, obj, entry.revision)
        return Entry(entry.namespace, entry.name, entry.revision, raw, entry.managed)

    async def show(self, entries: Sequence[Entry]) -> list[Entry]:
        """The converted versions."""
        return [self.shown(entry) for entry in entries]

    def judged(self, entry: Entry, shown: Entry) -> Entry:
        """The stored form."""
        return entry

    def taken(self, obj: Object) -> Object:
        """The stored form."""
        from apiserver.registry.conversion import convert

        return convert(obj, self._stored.api_version)

    async def to_store(self, obj: Object) -> Object:
        """It is in the stored form already."""
        return obj

    def encode(self, obj: Object, revision: int) -> bytes:
        """The bytes of the stored form."""
        return encoding.encode(self._stored, obj, revision)

    @property
    def kind(self) -> Kind:
        """All versions of it."""
        return built_in_kind(self._stored)

    async def convert(self, obj: Object, api_version: str) -> Object:
        """Never needed."""
        return self.kind.convert(obj, api_version)


_kinds: dict[tuple[str, str, str], Kind] = {}


def built_in_kind(stored: Resource) -> Kind:
    """A built-in kind in all versions that it is served in."""
    key = (stored.group, stored.version, stored.kind)
    found = _kinds.get(key)
    if found is None:
        found = _kinds[key] = _built_in_kind(stored)
    return found


def _built_in_kind(stored: Resource) -> Kind:
    named = (stored.group, stored.version, stored.kind)
    served = [stored, *(other for other in BUILTIN if other.stored_as == named)]
    if len(served) == 1:
        return Kind({stored.api_version: _type(stored)})
    from apiserver.registry.conversion import convert

    return Kind({resource.api_version: _type(resource) for resource in served}, convert)


def _type(resource: Resource) -> Type:
    name = definition_name(resource.api_version, resource.kind)
    return builtin(name) if name is not None else custom(None)


def built_in_versions(resource: Resource) -> Versions | None:
    """How a built-in resource is served; None if its objects are stored as they are served."""
    if resource.stored_as is None:
        return None
    group, version, kind = resource.stored_as
    stored = by_kind(f"{group}/{version}" if group else version, kind)
    assert stored is not None, resource
    return BuiltInVersions(resource, stored)
