"""What this server serves at this moment: the built-in resources, and those that CustomResourceDefinitions add.

This is the one list that routing, discovery, OpenAPI and everything else that asks "what is there?" goes by. It
changes while the server runs; whatever is made of all of it (a discovery document) is made again once `generation`
has moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from apimachinery import resources
from apimachinery.resources import Resource
from apimachinery.versions import version_order
from apiserver import registry
from apiserver.registry.strategy import Strategy
from apiserver.rest.versions import Versions, built_in_versions

# What everybody is told who still uses these.
_DEPRECATED = {
    resources.COMPONENTSTATUSES.key: "v1 ComponentStatus is deprecated in v1.19+",
    resources.ENDPOINTS.key: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
Published = Mapping[str, Any]
"""A schema as OpenAPI shows it."""


class Endpoint(NamedTuple):
    """A resource in one version, as it is served.

    `versions` brings stored objects into this version and back, None where they are stored as they are served.
    `verbs` are those that may be asked for; the resource's own are those that discovery tells. `schema` gives the
    schema of its objects where no published one says it, with or without what OpenAPI 2 can't say.
    """

    resource: Resource
    strategy: Strategy
    versions: Versions | None = None
    verbs: tuple[str, ...] = resources.STANDARD_VERBS
    warning: str = ""
    terminating: bool = False
    schema: Callable[[bool], Published] | None = None
    # What changes whenever the schema does.
    fingerprint: str = ""


class Catalog:
    """All endpoints."""

    def __init__(self, built_in: Iterable[Resource] = resources.BUILTIN) -> None:
        self._built_in = {(one.group, one.version, one.plural): one for one in built_in}
        self._custom: dict[tuple[str, str, str], Endpoint] = {}
        self._by_definition: dict[str, tuple[Endpoint, ...]] = {}
        self._kinds: dict[tuple[str, str], Resource] = {(one.api_version, one.kind): one for one in built_in}
        self.generation = 0

    def find(self, group: str, version: str, plural: str) -> Endpoint | None:
        """The endpoint of a path; None if nothing is served there."""
        resource = self._built_in.get((group, version, plural))
        if resource is not None:
            return _built_in_endpoint(resource)
        return self._custom.get((group, version, plural))

    def resource(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path; None if nothing is served there."""
        resource = self._built_in.get((group, version, plural))
        if resource is not None:
            return resource
        endpoint = self._custom.get((group, version, plural))
        return endpoint.resource if endpoint is not None else None

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind."""
        return self._kinds.get((api_version, kind))

    def built_in(self) -> Iterator[Resource]:
        """The built-in resources, in the order of their table."""
        return iter(self._built_in.values())

    def custom(self) -> Iterator[Endpoint]:
        """What CustomResourceDefinitions add, of each the most stable version first."""
        for name in sorted(self._by_definition):
            yield from self._by_definition[name]

    def resources(self) -> Iterator[Resource]:
        """All that is served: built-in resources, then custom ones."""
        yield from self.built_in()
        yield from (endpoint.resource for endpoint in self.custom())

    def stored(self) -> Iterator[Resource]:
        """Every kind of object that is kept, once."""
        for resource in self._built_in.values():
            if resource.stored_as is None and "watch" in resource.verbs:
                yield resource
        for _, endpoints in sorted(self._by_definition.items()):
            if endpoints and "watch" in endpoints[0].resource.verbs:
                yield endpoints[0].resource

    def define(self, definition: str, endpoints: Iterable[Endpoint]) -> None:
        """Serve what a definition (by its name) says from now on, and no more than that."""
        for old in self._by_definition.pop(definition, ()):
            resource = old.resource
            del self._custom[resource.group, resource.version, resource.plural]
            del self._kinds[resource.api_version, resource.kind]
        new = tuple(sorted(endpoints, key=lambda one: version_order(one.resource.version)))
        if new:
            self._by_definition[definition] = new
        for endpoint in new:
            resource = endpoint.resource
            self._custom[resource.group, resource.version, resource.plural] = endpoint
            self._kinds[resource.api_version, resource.kind] = resource
        self.generation += 1


@cache
def _built_in_endpoint(resource: Resource) -> Endpoint:
    """Made when it is first asked for: a resource's rules are imported then."""
    rules, versions = registry.strategy(resource), built_in_versions(resource)
    return Endpoint(resource, rules, versions, resource.verbs, _DEPRECATED.get(resource.key, ""))
