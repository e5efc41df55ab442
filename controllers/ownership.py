"""Which objects belong to a controller: adoption of orphans that its selector matches, release of those it no
longer matches. Ownership is by uid: an owner of the same name that was created again owns nothing of the first.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, controller_of, deletion_requested, labels, owner_reference, uid
from apimachinery.resources import Resource
from apimachinery.selectors import Selector
from controllers.requests import settle_or_raise, unless_gone


@dataclass(slots=True)
class Claims:
    """What an owner has, what it should adopt, and what it should let go."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def plan_claims(owner: Object, selector: Selector, candidates: Iterable[Object]) -> Claims:
    """Sort candidates into those that are owned, to be adopted, or to be released; the rest is another's.

    An owner that is being deleted neither adopts nor releases: the garbage collector needs the references.
    """
    claims = Claims()
    leaving = deletion_requested(owner)
    for candidate in candidates:
        reference = controller_of(candidate)
        matches = selector.matches(labels(candidate))
        if reference is not None:
            if reference["uid"] != uid(owner):
                continue
            if matches:
                claims.owned.append(candidate)
            elif not leaving:
                claims.release.append(candidate)
        elif matches and not leaving and not deletion_requested(candidate):
            claims.adopt.append(candidate)
    return claims


async def claim(
    client: Client,
    *,
    owner_resource: Resource,
    owner: Object,
    resource: Resource,
    claims: Claims,
    finalizer: str | None = None,
) -> list[Object]:
    """Carry claims out; returns what is owned now. Raises ApiError if somebody else was quicker.

    What is adopted gets the `finalizer`, and what is released loses it.
    """
    if not claims.adopt and not claims.release:
        return claims.owned
    if claims.adopt:
        await _confirm(client, owner_resource, owner)
    kind = {"apiVersion": owner_resource.api_version, "kind": owner_resource.kind}
    reference = owner_reference({**owner, **kind})
    await settle_or_raise(_release(client, resource, stranger, uid(owner), finalizer) for stranger in claims.release)
    adopted = await settle_or_raise(_adopt(client, resource, orphan, reference, finalizer) for orphan in claims.adopt)
    return claims.owned + [obj for obj in adopted if obj is not None]


async def _confirm(client: Client, resource: Resource, owner: Object) -> None:
    """An owner from a stale cache must adopt nothing: it may be deleted, or another of the same name."""
    metadata = owner["metadata"]
    fresh = await client.get(resource, metadata["name"], metadata["namespace"])
    if uid(fresh) != uid(owner):
        message = f"{resource.kind} {metadata['name']} is gone: got uid {uid(fresh)}, wanted uid {uid(owner)}"
        raise ApiError(409, "Conflict", message)
    if deletion_requested(fresh):
        raise ApiError(409, "Conflict", f"{resource.kind} {metadata['name']} is being deleted and adopts nothing")


async def _adopt(
    client: Client, resource: Resource, orphan: Object, reference: Object, finalizer: str | None
) -> Object | None:
    changed: Object = {"ownerReferences": [*(orphan["metadata"].get("ownerReferences") or ()), reference]}
    known = orphan["metadata"].get("finalizers") or []
    if finalizer is not None and finalizer not in known:
        changed["finalizers"] = [*known, finalizer]
    return await _change_metadata(client, resource, orphan, changed)


async def _release(
    client: Client, resource: Resource, stranger: Object, owner_uid: str, finalizer: str | None
) -> None:
    references = stranger["metadata"]["ownerReferences"]
    changed: Object = {"ownerReferences": [one for one in references if one["uid"] != owner_uid]}
    known = stranger["metadata"].get("finalizers") or []
    if finalizer in known:
        changed["finalizers"] = [one for one in known if one != finalizer]
    await _change_metadata(client, resource, stranger, changed)


async def _change_metadata(client: Client, resource: Resource, obj: Object, changed: Object) -> Object | None:
    """Change an object's metadata if it is still the version that was looked at; None if it is gone."""
    metadata = obj["metadata"]
    precondition = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    patch = {"metadata": {**precondition, **changed}}
    return await unless_gone(client.patch(resource, metadata["name"], patch, metadata["namespace"]))
