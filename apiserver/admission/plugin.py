"""The one shape of admission: a plugin looks at a write between authorization and storage, to change or refuse it.

First every plugin's `mutate` runs, in the order of the table, then the object is validated, then every plugin's
`validate` runs. A plugin refuses by raising an ApiError, mostly `refused(...)`. What comes from outside (policies,
webhooks) may have changed the object after others had looked at it: it then asks for a second round of `mutate`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from apimachinery.errors import ApiError
from apimachinery.managedfields.entries import Managed
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.logs import kv
from apiserver.request_info import User
from apiserver.storage.group_commit import Also

log = logging.getLogger(__name__)

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
ANYTHING = (CREATE, UPDATE, DELETE, CONNECT)
ANY_SUBRESOURCE = ("*",)


class Cluster(Protocol):
    """What plugins may know of the cluster: served from memory, and never to be changed."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The newest version of an object."""

    def list(self, resource: Resource, namespace: str) -> Iterable[Object]:
        """All objects of a namespace."""

    async def wait_for(self, resource: Resource, namespace: str, name: str, *, seconds: float) -> Object | None:
        """The object as soon as it exists; None if it does not within this time."""

    def listen(self, resource: Resource, heard: Callable[[], None]) -> None:
        """Have every change of a resource's objects told, before its writer is answered."""


@dataclass(slots=True)
class Attributes:
    """A write that is to be admitted.

    `obj` is what is to be written (None for a deletion), `old` what is there (None for a creation); `name` is
    empty while it is still to be generated. With a subresource, as `pods/binding`, `obj` is what was sent to it, of
    kind `sent_as`. `options` tells those of the request, as a CreateOptions or the like.
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
    sent_as: Resource | None = None
    options: Callable[[], Object | None] | None = None
    # Who manages which fields of both objects, which is kept beside them.
    managed: Managed = ()
    old_managed: Managed = ()
    # Checks what others have made of `obj`, and brings it into its full form. Raises ApiError.
    complete: Callable[[Object], Object] | None = None
    # What the client is told besides the answer; what an operator is told; what is written along with the object.
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] | None = None
    also: Also | None = None
    # 1 in the second round of `mutate`; there is one if somebody has set `again`. `notes` last through both.
    round: int = 0
    again: bool = False
    notes: dict[str, Any] | None = None

    @property
    def kind(self) -> Resource:
        """What kind of object `obj` is."""
        return self.sent_as or self.resource

    def warn(self, text: str) -> None:
        """Have the client told something."""
        self.warnings.append(text)

    def annotate(self, key: str, value: str) -> None:
        """Have the operator told something; of a key the first word counts."""
        if self.annotations is None:
            self.annotations = {}
        self.annotations.setdefault(key, value)


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
            and (
                not attributes.subresource
                or attributes.subresource in self.subresources
                or self.subresources == ANY_SUBRESOURCE
            )
        )


class Chain:
    """All plugins in their order, and for each kind of write those steps that have anything to do with it."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._plans: dict[tuple[str, str, str, str], tuple[tuple[Step, ...], tuple[Step, ...]]] = {}

    def steps(self, attributes: Attributes) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """(those that may change a write, those that look at the result)."""
        resource = attributes.resource
        key = (attributes.operation, resource.group, resource.plural, attributes.subresource)
        found = self._plans.get(key)
        if found is None:
            handling = [plugin for plugin in self.plugins if plugin.handles(attributes)]
            mutating = tuple(plugin.mutate for plugin in handling if plugin.mutate is not None)
            validating = tuple(plugin.validate for plugin in handling if plugin.validate is not None)
            found = self._plans[key] = (mutating, validating)
        return found


async def mutate(chain: Chain, attributes: Attributes, cluster: Cluster) -> None:
    """Let every plugin change (or refuse) what is to be written, in place. Raises ApiError."""
    steps, _ = chain.steps(attributes)
    for step in steps:
        await step(attributes, cluster)
    if attributes.again:
        attributes.round = 1
        for step in steps:
            await step(attributes, cluster)


async def validate(chain: Chain, attributes: Attributes, cluster: Cluster) -> None:
    """Let every plugin look at what will be written. Raises ApiError."""
    _, steps = chain.steps(attributes)
    try:
        for step in steps:
            await step(attributes, cluster)
    finally:
        if attributes.annotations is not None:
            _tell(attributes, attributes.annotations)


def _tell(attributes: Attributes, annotations: Mapping[str, str]) -> None:
    """Have an operator told what plugins had to tell of a write."""
    resource = attributes.resource.group_resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    place = {"namespace": attributes.namespace, "name": attributes.name, "user": attributes.user.name}
    for key, value in annotations.items():
        log.info(
            kv("audit annotation", operation=attributes.operation, resource=resource, **place, key=key, value=value)
        )


def refused(attributes: Attributes, why: str, causes: Sequence[dict[str, str]] = ()) -> ApiError:
    """403: `pods "web" is forbidden: WHY`."""
    resource, name = attributes.resource, attributes.name
    if not name and attributes.obj is not None:
        # So it is told which of several was refused whose names were still to be generated.
        name = (attributes.obj.get("metadata") or {}).get("generateName") or ""
    details: dict[str, Any] = {"name": name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    if causes:
        details["causes"] = list(causes)
    named = f'{resource.group_resource} "{name}"' if name else resource.group_resource
    return ApiError(403, "Forbidden", f"{named} is forbidden: {why}", details)
