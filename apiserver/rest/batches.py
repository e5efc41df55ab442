"""Many objects created by one request: a List, posted to where its items could be posted one by one.

    POST …/bindings   {"kind":"List","apiVersion":"v1","items":[BINDING, …]}
    201               {"kind":"List","apiVersion":"v1","metadata":{},"items":[STATUS, …]}

Every item is decoded, admitted, checked and written on its own, and has a Status of its own in the same place, with
the name and the version of what is written: what became of one says nothing of another. What they share is the way
here (a connection's turn, authentication, authorization, flow control) and a commit. An addition to Kubernetes' API,
whose server refuses a List with 400.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from apimachinery.errors import ApiError, bad_request, internal
from apimachinery.meta import Object
from apiserver.logs import kv
from apiserver.rest import decode
from apiserver.rest.call import Call
from apiserver.rest.subresources import CREATED
from apiserver.storage.entry import Entry

log = logging.getLogger(__name__)

ITEMS_MAX = 256
# So many are begun before other requests get a turn.
ITEMS_PER_TURN = 8
_BEGINNING_BYTES = 128

# Does with one item what would be done with it if it were posted alone; returns the version written.
Create = Callable[[bytes], Awaitable[Entry]]


async def items(call: Call, body: bytes) -> list[Any] | None:
    """What a List holds that was sent; None for a body that is none. Raises ApiError 400."""
    if b'"List"' not in body[:_BEGINNING_BYTES] or decode.media_type(call.http) != decode.JSON:
        return None
    document, twice = await decode.parse_json_apart(body)
    if not isinstance(document, dict) or (document.get("kind"), document.get("apiVersion")) != ("List", "v1"):
        return None
    found = document.get("items")
    if not isinstance(found, list) or twice:
        raise bad_request("a List must have items, and no field of it twice")
    if len(found) > ITEMS_MAX:
        raise bad_request(f"a List that is posted may have {ITEMS_MAX} items, not {len(found)}")
    return found


async def create_each(listed: list[Any], create: Create) -> Object:
    """The List of what became of each item."""
    tasks = []
    async with asyncio.TaskGroup() as group:
        for number, item in enumerate(listed):
            tasks.append(group.create_task(_create(orjson.dumps(item), create)))
            if number % ITEMS_PER_TURN == ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)
    return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": [task.result() for task in tasks]}


async def _create(body: bytes, create: Create) -> Object:
    try:
        entry = await create(body)
    except ApiError as error:
        return error.status()
    except Exception as error:
        log.exception(kv("an item of a list failed"))
        return internal(type(error).__name__).status()
    return {**CREATED, "metadata": {"resourceVersion": str(entry.revision)}, "details": {"name": entry.name}}
