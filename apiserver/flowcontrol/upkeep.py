"""Keeps the objects of flow control: what must be there is, and every FlowSchema says whether its level exists.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#maintenance-of-the-mandatory-and-suggested-configuration-objects
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition
from apimachinery.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS, by_kind
from apimachinery.time import rfc3339
from apiserver.flowcontrol import defaults, rules
from apiserver.logs import kv
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.store import Conflict

logger = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
DANGLING = "Dangling"


class Upkeep:
    """Looks at all objects whenever one of them has changed."""

    def __init__(
        self, own: OwnWrites, schemas: Callable[[], Iterable[Object]], levels: Callable[[], Iterable[Object]]
    ) -> None:
        self._own = own
        self._schemas = schemas
        self._levels = levels
        self._changed = asyncio.Event()
        self._changed.set()

    def objects_changed(self) -> None:
        """Some object has changed."""
        self._changed.set()

    async def run(self, now: Callable[[], float]) -> None:
        """Run until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.look(now())
            except (ApiError, Conflict) as error:
                if isinstance(error, ApiError):
                    logger.warning(kv("flow control's objects not written, tried again later", error=error))
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def look(self, now: float) -> None:
        """Write what is not as it should be. Raises ApiError, or Conflict if another server was quicker."""
        for expected in defaults.objects():
            resource = by_kind(expected["apiVersion"], expected["kind"])
            assert resource is not None
            entry = self._own.get(resource, "", expected["metadata"]["name"])
            wanted = defaults.plan(expected, entry.obj if entry is not None else None)
            if wanted is None:
                continue
            if entry is None:
                await self._own.create(resource, wanted)
            else:
                await self._own.update(resource, entry, wanted)
        levels = {level["metadata"]["name"] for level in self._levels()}
        for name in [schema["metadata"]["name"] for schema in self._schemas()]:
            entry = self._own.get(FLOWSCHEMAS, "", name)
            changed = with_dangling(entry.obj, levels, now) if entry is not None else None
            if entry is not None and changed is not None:
                await self._own.update(FLOWSCHEMAS, entry, changed, status=True)


def with_dangling(schema: Object, levels: Iterable[str], now: float) -> Object | None:
    """A FlowSchema with the condition that tells whether its level exists; None if it tells so. Pure."""
    name = rules.level_of(schema)
    about = f"This FlowSchema references the {PRIORITYLEVELCONFIGURATIONS.kind} object named {name!r}".replace(
        "'", '"'
    )
    if name in levels:
        wanted = {"status": "False", "reason": "Found", "message": f"{about} and it exists"}
    else:
        wanted = {"status": "True", "reason": "NotFound", "message": f"{about} but there is no such object"}
    known = find_condition(schema, DANGLING) or {}
    if all(known.get(field) == value for field, value in wanted.items()):
        return None
    others = [one for one in (schema.get("status") or {}).get("conditions") or () if one.get("type") != DANGLING]
    condition = {"type": DANGLING, "lastTransitionTime": rfc3339(now), **wanted}
    return {**schema, "status": {**(schema.get("status") or {}), "conditions": [*others, condition]}}
