"""What a StatefulSet or DaemonSet once was: its ControllerRevisions, one for each pod template that it has had.

A revision's data is a patch that brings its template back. The revision of the current template carries the highest
number, so that going back to an earlier template (which is all that a rollback is) makes the earlier revision the
newest again. Its name ends in a hash of its data; two templates with the same hash are told apart by a count of
collisions that the owner's status keeps.

Source: https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/#understanding-daemonset-revisions
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from apiclient.rest import Client
from apimachinery import meta
from apimachinery.errors import ApiError, is_already_exists
from apimachinery.meta import Object, get_path, is_controlled_by, name, namespace, owner_reference, uid
from apimachinery.patch import strategic_merge_patch
from apimachinery.resources import CONTROLLERREVISIONS, Resource
from controllers.deployment_revision import template_hash
from controllers.pods import created
from controllers.requests import settle_or_raise, unless_gone

# On pods: the revision that they are of. A StatefulSet's pods carry its name there, a DaemonSet's its hash.
REVISION_LABEL = "controller-revision-hash"
# On the revisions of a StatefulSet: their hash. (Those of a DaemonSet have it in REVISION_LABEL.)
HASH_LABEL = "controller.kubernetes.io/hash"
_NAME_PREFIX_CHARACTERS_MAX = 223
# Names with the same 32-bit hash that are tried in one pass.
COLLISIONS_MAX = 16


def template_data(owner: Object) -> Object:
    """The data of the revision that the owner is at: what brings its pod template back."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def with_revision(resource: Resource, owner: Object, revision: Object) -> Object:
    """The owner as it was at a revision; all but its pod template is as it is now."""
    return strategic_merge_patch(resource, owner, revision["data"])


def in_order(revisions: Iterable[Object]) -> list[Object]:
    """Revisions, oldest first."""
    return sorted(revisions, key=lambda one: (number(one), created(one), name(one)))


def number(revision: Object) -> int:
    """The number of a revision."""
    return int(revision.get("revision") or 0)


def next_number(revisions: Iterable[Object]) -> int:
    """The number of a revision that is newer than all of these."""
    return max(map(number, revisions), default=0) + 1


def equal(revisions: Iterable[Object], data: Object) -> list[Object]:
    """The revisions that hold this data, oldest first."""
    return [one for one in in_order(revisions) if one.get("data") == data]


def twins(revisions: Iterable[Object], current: Object) -> list[Object]:
    """Other revisions of the very same template: somebody made them, or one was adopted after another was made."""
    return [one for one in equal(revisions, current.get("data") or {}) if uid(one) != uid(current)]


def new_revision(
    resource: Resource, owner: Object, *, number: int, collision_count: int = 0, hash_label: str = HASH_LABEL
) -> Object:
    """The revision of the owner's current template: named and labelled by its hash, with the owner's annotations."""
    data = template_data(owner)
    digest = template_hash(data, collision_count)
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    revision: Object = {
        "apiVersion": CONTROLLERREVISIONS.api_version,
        "kind": CONTROLLERREVISIONS.kind,
        "metadata": {
            "name": f"{name(owner)[:_NAME_PREFIX_CHARACTERS_MAX]}-{digest}",
            "namespace": namespace(owner),
            "labels": {**get_path(owner, "spec", "template", "metadata", "labels", default={}), hash_label: digest},
            "ownerReferences": [owner_reference({**owner, **kind})],
        },
        "data": data,
        "revision": number,
    }
    if annotations := meta.annotations(owner):
        revision["metadata"]["annotations"] = dict(annotations)
    return revision


@dataclass(frozen=True, slots=True)
class Newest:
    """The revision of the current template: there already, or to be given a higher number, or to be created."""

    found: Object | None
    number: int

    @property
    def is_renumbered(self) -> bool:
        """True if an earlier revision has become the newest."""
        return self.found is not None and number(self.found) != self.number


def plan_newest(owner: Object, revisions: Sequence[Object]) -> Newest:
    """Which revision the current template is, and its number: higher than those of all other templates."""
    found = equal(revisions, template_data(owner))
    if not found:
        return Newest(None, next_number(revisions))
    newest, last = found[-1], in_order(revisions)[-1]
    return Newest(newest, number(newest) if newest is last else next_number(revisions))


def outlived(revisions: Iterable[Object], live: Collection[str], limit: int) -> list[Object]:
    """The revisions that are not kept, oldest first: beyond the limit, and none whose name is among the live ones."""
    history = [one for one in in_order(revisions) if name(one) not in live]
    return history[: max(0, len(history) - limit)]


async def write_newest(
    client: Client,
    resource: Resource,
    owner: Object,
    revisions: Sequence[Object],
    *,
    collision_count: int,
    hash_label: str = HASH_LABEL,
) -> tuple[Object, int]:
    """Create or renumber the current template's revision where needed; returns it and the count of collisions.

    The count has to be kept in the owner's status. Raises ApiError.
    """
    plan = plan_newest(owner, revisions)
    if plan.found is None:
        return await _create(client, resource, owner, plan.number, collision_count, hash_label)
    if not plan.is_renumbered:
        return plan.found, collision_count
    metadata = plan.found["metadata"]
    precondition = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    patch = {"metadata": precondition, "revision": plan.number}
    return await client.patch(CONTROLLERREVISIONS, metadata["name"], patch, metadata["namespace"]), collision_count


async def _create(
    client: Client, resource: Resource, owner: Object, number: int, collision_count: int, hash_label: str
) -> tuple[Object, int]:
    for count in range(collision_count, collision_count + COLLISIONS_MAX):
        wanted = new_revision(resource, owner, number=number, collision_count=count, hash_label=hash_label)
        try:
            return await client.create(CONTROLLERREVISIONS, wanted), count
        except ApiError as error:
            if not is_already_exists(error):
                raise
        # Either our cache was late, or another template has this hash.
        there = await unless_gone(client.get(CONTROLLERREVISIONS, name(wanted), namespace(wanted)))
        if there is not None and there.get("data") == wanted["data"] and is_controlled_by(there, owner):
            return there, count
    message = f"no free name for a revision of {resource.kind} {name(owner)} after {COLLISIONS_MAX} collisions"
    raise ApiError(409, "AlreadyExists", message)


async def delete_revisions(client: Client, revisions: Iterable[Object]) -> None:
    """Delete these revisions, unless they are gone. Raises ApiError."""
    await settle_or_raise(
        unless_gone(client.delete(CONTROLLERREVISIONS, name(one), namespace(one), uid=uid(one))) for one in revisions
    )
