"""Many requests at once, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from apiclient.rest import LISTED_MAX, Client
from apimachinery.errors import ApiError, is_already_exists, is_not_found
from apimachinery.meta import Object, name, namespace, resource_version, uid
from apimachinery.resources import Resource

T = TypeVar("T")


async def settle(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | ApiError]:
    """Run all calls at once and wait for all; an ApiError is a result like any other, in its place."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_attempt(call)) for call in calls]
    return [task.result() for task in tasks]


async def settle_or_raise(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all calls at once and wait for all; then raise the first ApiError, if there was one."""
    done: list[T] = []
    for result in await settle(calls):
        if isinstance(result, ApiError):
            raise result
        done.append(result)
    return done


async def _attempt(call: Coroutine[Any, Any, T]) -> T | ApiError:
    try:
        return await call
    except ApiError as error:
        return error


async def create_all(client: Client, resource: Resource, objects: Sequence[Object]) -> list[Object | ApiError]:
    """Create objects of one namespace: of each at least its `metadata`, or the error, in its place."""
    parts = [objects[first : first + LISTED_MAX] for first in range(0, len(objects), LISTED_MAX)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.create_each(resource, part, namespace(part[0]))) for part in parts]
    return [result for task in tasks for result in task.result()]


async def unless_gone(call: Coroutine[Any, Any, T]) -> T | None:
    """What the call answers; None if its object does not exist (any more).

    A server that does not serve the kind at all says 404 too, but names no object: that is an error, since nothing
    follows from it for the object.
    """
    try:
        return await call
    except ApiError as error:
        if is_not_found(error) and (error.details or {}).get("name"):
            return None
        raise


def outcome_unknown(error: ApiError) -> bool:
    """True if what was asked for may have been done: the connection broke, or the server gave up waiting."""
    return error.code in (503, 504)


async def create_if_absent(client: Client, resource: Resource, obj: Object) -> None:
    """Create an object of a namespace, unless it is there or its namespace is going."""
    try:
        await unless_gone(client.create(resource, obj))
    except ApiError as error:
        if not (is_already_exists(error) or namespace_terminating(error)):
            raise


def namespace_terminating(error: ApiError) -> bool:
    """True if a creation was refused because its namespace is being deleted: nothing is wrong then."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


async def write_status(client: Client, resource: Resource, obj: Object, status: Object) -> None:
    """Write an object's status if it says anything new. Raises ApiError 409 if `obj` is not the latest version."""
    known = obj.get("status") or {}
    if _told(status) == _told(known):
        return
    precondition = {"uid": uid(obj), "resourceVersion": resource_version(obj)}
    patch = {"metadata": precondition, "status": replacing(known, status)}
    await client.patch(resource, name(obj), patch, namespace(obj), subresource="status")


def replacing(known: Object, wanted: Object) -> Object:
    """The merge patch that turns one mapping into the other, mappings in them too."""
    pairs = ((key, known.get(key), value) for key, value in wanted.items())
    told = {k: replacing(a, b) if isinstance(a, dict) and isinstance(b, dict) else b for k, a, b in pairs}
    return {**{key: None for key in known if key not in wanted}, **told}


def _told(status: Object) -> Object:
    """What a status says: a count of 0 and an empty list say the same as nothing."""
    return {key: value for key, value in status.items() if value}
