"""Empties each namespace that is being deleted, and lets it go when nothing is left in it.

Pods go first, and only when none is left everything else, so that what pods need outlives them. Every deletion of an
object in such a namespace enqueues the namespace; what is left is then asked for at the server, and told in the
namespace's conditions. New objects are refused meanwhile by the API server.

Source: https://kubernetes.io/docs/tasks/administer-cluster/namespaces/#deleting-a-namespace
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from apiclient.logs import kv
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import (
    Object,
    deletion_requested,
    find_condition,
    get_path,
    name,
    namespace,
    with_condition,
)
from apimachinery.resources import APISERVICES, EVENTS, NAMESPACES, PODS, STORED, Resource
from apimachinery.time import rfc3339
from controllers.context import Context
from controllers.requests import settle, settle_or_raise, unless_gone, write_status

logger = logging.getLogger(__name__)

CONTENT = tuple(resource for resource in STORED if resource.namespaced)
FINALIZER = "kubernetes"
# Many objects leave at about the same time: one look at what is left serves them all.
GATHER_SECONDS = 0.05
# How soon a namespace is looked at again even if no event asks for it.
RETRY_SECONDS = 15.0

# What is left in a namespace, without the resources of which nothing is.
Remaining = Mapping[Resource, list[Object]]


def plan_deletions(remaining: Remaining) -> list[Resource]:
    """Which collections to delete now: pods as long as there are any, then all others at once."""
    stage = [PODS] if PODS in remaining else list(remaining)
    return [resource for resource in stage if not all(map(deletion_requested, remaining[resource]))]


def conditions(
    known: list[dict[str, Any]],
    remaining: Remaining,
    errors: list[str],
    now: float,
    stale: Collection[str] = (),
) -> list[dict[str, Any]]:
    """What the deletion of a namespace still waits for, in Kubernetes' conditions.

    Of the `stale` versions of groups it is not known what is left.
    """
    each = ", ".join(f"{one}: stale GroupVersion discovery: {one}" for one in sorted(stale))
    unknown = f"Discovery failed for some groups, {len(stale)} failing: unable to retrieve the complete list of "
    unknown += f"server APIs: {each}"
    counts = {f"{r.plural}.{r.group}": len(objects) for r, objects in remaining.items()}
    finalizers = Counter(
        one for objects in remaining.values() for obj in objects for one in obj["metadata"].get("finalizers") or ()
    )
    left = ", ".join(f"{plural} has {count} resource instances" for plural, count in sorted(counts.items()))
    held = ", ".join(f"{one} in {count} resource instances" for one, count in sorted(finalizers.items()))
    failed = f"Failed to delete all resource types, {len(errors)} remaining: {', '.join(sorted(errors))}"
    done = "All content successfully deleted, may be waiting on finalization"
    removed = "All content successfully removed"
    told: list[tuple[str, bool, tuple[str, str], tuple[str, str]]] = [
        (
            "DiscoveryFailure",
            bool(stale),
            ("DiscoveryFailed", unknown),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "GroupVersionParsingFailure",
            False,
            ("", ""),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        ("ContentFailure", bool(errors), ("ContentDeletionFailed", failed), ("ContentDeleted", done)),
        (
            "NamespaceContentRemaining",
            bool(counts),
            ("SomeResourcesRemain", f"Some resources are remaining: {left}"),
            ("ContentRemoved", removed),
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {held}"),
            ("ContentRemoved", removed),
        ),
    ]
    for kind, wrong, bad, good in told:
        reason, message = bad if wrong else good
        full = kind if kind.startswith("Namespace") else f"NamespaceDeletion{kind}"
        old = find_condition(known, full)
        status = "True" if wrong else "False"
        if old is None or (old["status"], old["reason"], old["message"]) != (status, reason, message):
            known = with_condition(known, type=full, status=status, reason=reason, message=message, now=rfc3339(now))
    return known


class NamespaceController:
    """One control loop over the namespaces that are being deleted."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._metadata_client = context.metadata_client
        self._clock = context.clock
        self._namespaces = context.informers.of(NAMESPACES)
        self.informers = (self._namespaces,)
        self.queue = context.queue()
        self._namespaces.add_handler(self._namespace_changed)
        self._custom = context.informers.custom
        for resource in CONTENT:
            if resource != EVENTS:
                context.informers.of(resource).add_handler(self._content_changed)
        self._custom.follow(lambda informer: informer.add_handler(self._content_changed))
        context.informers.of(APISERVICES).add_handler(self._api_service_changed)

    def _namespace_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and deletion_requested(new):
            self.queue.add_after(name(new), GATHER_SECONDS if old is not None and deletion_requested(old) else 0)

    def _api_service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """What was not to be found out may be now."""
        for scope in self._namespaces.list():
            if deletion_requested(scope):
                self.queue.add_after(name(scope), GATHER_SECONDS)

    def _content_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            scope = self._namespaces.get(namespace(old))
            if scope is not None and deletion_requested(scope):
                self.queue.add_after(name(scope), GATHER_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Delete what is left in the namespace, tell of it, and finalize the namespace when nothing is."""
        scope = self._namespaces.get(key)
        if scope is None or not deletion_requested(scope):
            return
        if FINALIZER not in get_path(scope, "spec", "finalizers", default=[]):
            return
        await self._custom.refresh()
        # As it is at this moment: others ask anew meanwhile.
        stale = self._custom.stale
        known = [one for one in self._custom.namespaced() if one.api_version not in stale]
        remaining, errors = await self._empty(key, known)
        if remaining or errors or stale:
            await self._tell(scope, remaining, errors, stale)
            self.queue.add_after(key, RETRY_SECONDS)
            return
        await self._finalize(scope)

    async def _empty(self, key: str, custom: Sequence[Resource]) -> tuple[Remaining, list[str]]:
        """Delete whatever may be deleted now, until nothing more can be; returns what is left, and what failed."""
        remaining, unknown = await self._remaining(key, [*CONTENT, *custom])
        while doomed := plan_deletions(remaining):
            results = await settle(self._delete(resource, key, remaining[resource]) for resource in doomed)
            errors = [one.message for one in results if isinstance(one, ApiError) and not is_not_found(one)]
            others = {resource: objects for resource, objects in remaining.items() if resource not in doomed}
            left, more = await self._remaining(key, doomed)
            remaining, errors = {**others, **left}, [*errors, *more]
            if errors or any(resource in plan_deletions(remaining) for resource in doomed):
                return remaining, [*unknown, *errors]
        return remaining, unknown

    async def _delete(self, resource: Resource, key: str, objects: list[Object]) -> None:
        """Delete a whole collection, or one by one what can't be deleted otherwise."""
        if "deletecollection" in resource.verbs:
            await self._client.delete_collection(resource, key)
        elif "delete" in resource.verbs:
            calls = (self._client.delete(resource, name(obj), key) for obj in objects if not deletion_requested(obj))
            await settle_or_raise(map(unless_gone, calls))

    async def _remaining(self, key: str, resources: Sequence[Resource]) -> tuple[Remaining, list[str]]:
        """What is left, and what could not be found out: one server that does not answer for its own resources must
        not keep all others. Raises ApiError if it is about built-in ones.
        """
        found, errors = {}, []
        lists = await settle(self._list(resource, key) for resource in resources)
        for resource, items in zip(resources, lists, strict=True):
            if not isinstance(items, ApiError):
                found[resource] = items
            elif resource in CONTENT:
                raise items
            else:
                errors.append(f"{resource.group_resource}: {items.message}")
        return {resource: items for resource, items in found.items() if items}, errors

    async def _list(self, resource: Resource, key: str) -> list[Object]:
        try:
            items: list[Object] = (await self._metadata_client.list(resource, key))["items"]
        except ApiError as error:
            if is_not_found(error) and resource not in CONTENT:
                return []  # it is served no more: its definition has taken its objects along
            raise
        return items

    async def _tell(self, scope: Object, remaining: Remaining, errors: list[str], stale: Collection[str]) -> None:
        known = get_path(scope, "status", "conditions", default=[])
        told = conditions(known, remaining, errors, self._clock.now(), stale)
        status = {**(scope.get("status") or {}), "phase": "Terminating", "conditions": told}
        await write_status(self._client, NAMESPACES, scope, status)

    async def _finalize(self, scope: Object) -> None:
        left = [one for one in scope["spec"]["finalizers"] if one != FINALIZER]
        finalized = {**scope, "spec": {**scope["spec"], "finalizers": left}}
        await unless_gone(self._client.update(NAMESPACES, finalized, subresource="finalize"))
        logger.info(kv("namespace emptied", namespace=name(scope)))
