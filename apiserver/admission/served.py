"""What admission needs to know of all that the server serves: kinds by name, and the other forms of a resource."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from apimachinery import resources, schemas
from apimachinery.meta import Object
from apimachinery.resources import Resource

if TYPE_CHECKING:
    from apimachinery.managedfields.types import Type


class Served(Protocol):
    """All kinds of objects, in all their versions. It may change while the server runs."""

    @property
    def generation(self) -> int:
        """Another number whenever something has changed."""

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind."""

    def equivalents(self, resource: Resource) -> Iterable[Resource]:
        """The other forms in which the objects of a resource are served."""

    async def converted(self, obj: Object, wanted: Resource) -> Object:
        """An object in another of its forms, itself if it is in this one. Raises ApiError."""

    def type_of(self, kind: Resource) -> Type | None:
        """How the fields of a kind are merged; None if that is not known."""


class BuiltIn:
    """The built-in kinds."""

    generation = 0

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind."""
        return resources.by_kind(api_version, kind)

    def equivalents(self, resource: Resource) -> Iterable[Resource]:
        """Those that are stored as the same kind."""
        return [one for one in resources.BUILTIN if _stored(one) == _stored(resource) and one != resource]

    async def converted(self, obj: Object, wanted: Resource) -> Object:
        """By pure functions."""
        if obj["apiVersion"] == wanted.api_version:
            return obj
        from apiserver.registry.conversion import convert  # needed by few

        return convert(obj, wanted.api_version)

    def type_of(self, kind: Resource) -> Type | None:
        """As the published schemas say."""
        from apimachinery.managedfields.types import builtin  # needed by few

        name = schemas.definition_name(kind.api_version, kind.kind)
        return builtin(name) if name is not None else None


def _stored(resource: Resource) -> tuple[str, str, str]:
    return resource.stored_as or (resource.group, resource.version, resource.kind)
