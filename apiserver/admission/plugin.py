"""The one shape of admission: a plugin looks at a write between authorization and storage, to change or refuse it.

First every plugin's `mutate` runs, in the order of the table, then the object is validated, then every plugin's
`validate` runs. A plugin refuses by raising an ApiError, mostly `refused(...)`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.request_info import User

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Cluster(Protocol):
    """What plugins may know of the cluster: served from memory, and never to be changed."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""

    def list(self, resource: Resource, namespace: str) -> Iterable[Object]:
        """All objects of a namespace."""

    async def wait_for(self, resource: Resource, namespace: str, name: str, *, seconds: float) -> Object | None:
        """The object as soon as it exists; None if it does not within this time."""


@dataclass(slots=True)
class Attributes:
    """A write that is to be admitted.

    `obj` is what is to be written (None for a deletion), `old` what is there (None for a creation); `name` is
    empty while it is still to be generated. With a subresource, as `pods/binding`, `obj` is what was sent to it.
    """

    operation: str
    resource: Resource
    namespace: str
    name: str
    user: User
    obj: Object | None = None
    old: Object | None = None
    subresource: str = ""
    dry_run: bool = False


Step = Callable[[Attributes, Cluster], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin: what it is for, and what it does there.

    `resources` are (group, plural), empty for all; `subresources` names those it looks at besides the object itself.
    """

    name: str
    operations: tuple[str, ...]
    mutate: Step | None = None
    validate: Step | None = None
    resources: tuple[tuple[str, str], ...] = ()
    subresources: tuple[str, ...] = ()

    def handles(self, attributes: Attributes) -> bool:
        """Whether the plugin has anything to do with this write."""
        return (
            attributes.operation in self.operations
            and (not self.resources or attributes.resource.key in self.resources)
            and (not attributes.subresource or attributes.subresource in self.subresources)
        )


async def mutate(plugins: Sequence[Plugin], attributes: Attributes, cluster: Cluster) -> None:
    """Let every plugin change (or refuse) what is to be written, in place. Raises ApiError."""
    for plugin in plugins:
        if plugin.mutate is not None and plugin.handles(attributes):
            await plugin.mutate(attributes, cluster)


async def validate(plugins: Sequence[Plugin], attributes: Attributes, cluster: Cluster) -> None:
    """Let every plugin look at what will be written. Raises ApiError."""
    for plugin in plugins:
        if plugin.validate is not None and plugin.handles(attributes):
            await plugin.validate(attributes, cluster)


def refused(attributes: Attributes, why: str, causes: Sequence[dict[str, str]] = ()) -> ApiError:
    """403: `pods "web" is forbidden: WHY`."""
    resource = attributes.resource
    details: dict[str, Any] = {"name": attributes.name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    if causes:
        details["causes"] = list(causes)
    named = f'{resource.group_resource} "{attributes.name}"' if attributes.name else resource.group_resource
    return ApiError(403, "Forbidden", f"{named} is forbidden: {why}", details)
