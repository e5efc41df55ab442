"""What admission needs to know of all that the server serves: kinds by name, and the other forms of a resource."""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.managedfields.kinds import Unconverted
from apimachinery.managedfields.types import Type, builtin
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.schemas import definition_name
from apiserver.catalog import Catalog


class Served:
    """All kinds of objects, in all their versions. It changes while the server runs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @property
    def generation(self) -> int:
        """Another number whenever something has changed."""
        return self._catalog.generation

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind."""
        return self._catalog.by_kind(api_version, kind)

    def equivalents(self, resource: Resource) -> Sequence[Resource]:
        """The other forms in which the objects of a resource are served."""
        return [
            one
            for one in self._catalog.resources()
            if one is not resource and (_stored(one) == _stored(resource) or one.key == resource.key)
        ]

    async def converted(self, obj: Object, wanted: Resource) -> Object:
        """An object in another of its forms, itself if it is in this one. Raises ApiError."""
        if obj["apiVersion"] == wanted.api_version:
            return obj
        endpoint = self._catalog.find(wanted.group, wanted.version, wanted.plural)
        versions = endpoint.versions if endpoint is not None else None
        if versions is None:
            from apiserver.registry.conversion import convert  # needed by few

            return convert(obj, wanted.api_version)
        try:
            return versions.kind.convert(obj, wanted.api_version)
        except Unconverted:
            return await versions.convert(obj, wanted.api_version)

    def type_of(self, kind: Resource) -> Type | None:
        """How the fields of a kind are merged; None if that is not known."""
        endpoint = self._catalog.find(kind.group, kind.version, kind.plural)
        if endpoint is not None and endpoint.versions is not None:
            return endpoint.versions.kind.types.get(kind.api_version)
        name = definition_name(kind.api_version, kind.kind)
        return builtin(name) if name is not None else None


def _stored(resource: Resource) -> tuple[str, str, str]:
    return resource.stored_as or (resource.group, resource.version, resource.kind)
