"""Follows one object: what it is now and then every change, across ended watches and a restarted API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError, is_gone
from apimachinery.meta import Object
from apimachinery.resources import Resource

RETRY_SECONDS = 0.2


async def follow(
    client: Client, resource: Resource, name: str, scope: str | None
) -> AsyncGenerator[Object | None, None]:
    """The object of this name (None: there is none), again whenever it changes; never ends by itself.

    The caller sets the time limit. Raises ApiError for what will not pass, as for a user who may not look.
    """
    field = f"metadata.name={name}"
    version = ""
    while True:
        try:
            if not version:
                listing = await client.list(resource, scope, field_selector=field)
                version = listing["metadata"]["resourceVersion"]
                yield _with_kind(resource, listing["items"][0]) if listing["items"] else None
            changes = client.watch(resource, scope, resource_version=version, field_selector=field)
            async for kind, item in changes:
                version = item["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    yield None if kind == "DELETED" else item
        except ApiUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        except ApiError as error:
            if not is_gone(error):
                raise
            version = ""


def _with_kind(resource: Resource, item: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **item}
