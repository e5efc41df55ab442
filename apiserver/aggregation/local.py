"""The APIServices of what is served here: written and kept by this server, so that clients find all APIs in one list.

A label says how each is kept. `onstart`: as it should be whenever a server starts, for what is built in; somebody may
change it meanwhile. `true`: always, for what CustomResourceDefinitions add. One without the label is somebody
else's, and left alone: by it a group's version is handed over to another server, whatever is defined here.

Source: kube-aggregator/pkg/controllers/autoregister and kubernetes/pkg/controlplane/controller/crdregistration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Literal

from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, get_path, with_condition
from apimachinery.resources import APISERVICES, CUSTOMRESOURCEDEFINITIONS
from apimachinery.time import rfc3339
from apiserver.aggregation import priorities
from apiserver.aggregation.index import KEY, ApiServices, GroupVersion, group_version
from apiserver.aggregation.priorities import Priority
from apiserver.customresources.serving import Serving
from apiserver.logs import kv
from apiserver.rest.call import storage_key
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store
from apiserver.storage.watch import Event

log = logging.getLogger(__name__)

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
RETRY_SECONDS = 1.0
_DEFINITIONS = storage_key(CUSTOMRESOURCEDEFINITIONS)
Action = Literal["create", "update", "delete"]
_LOCAL, _LOCAL_MESSAGE = "Local", "Local APIServices are always available"


def api_service(group: str, version: str, priority: Priority, managed: str) -> Object:
    """The APIService of what is served here."""
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": priority.group,
        "versionPriority": priority.version,
    }
    named = {"name": f"{version}.{group}", "labels": {MANAGED: managed}}
    return {"metadata": named, "spec": {key: value for key, value in spec.items() if value}}


def built_in() -> Iterator[Object]:
    """The APIServices of all that is built in."""
    for (group, version), priority in priorities.BUILT_IN.items():
        yield api_service(group, version, priority, ON_START)


def plan(wanted: Object | None, current: Object | None, *, starting: bool) -> Action | None:
    """What is to be done; `starting`: for the first time since this server runs."""
    if current is None:
        return "create" if wanted is not None else None
    managed = get_path(current, "metadata", "labels", MANAGED, default="")
    if managed != ALWAYS and not (managed == ON_START and starting):
        return None
    if wanted is None:
        return "delete"
    return "update" if current["spec"] != wanted["spec"] else None


class LocalServices:
    """Keeps them."""

    def __init__(
        self, store: Store, services: ApiServices, serving: Serving, own: OwnWrites, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._serving = serving
        self._own = own
        self._now = now
        self._wake = asyncio.Event()
        self._waiting: dict[str, None] = {entry.name: None for entry in store.objects(KEY)}
        for group, version in self._custom():
            self._waiting[f"{version}.{group}"] = None
        store.listen(_DEFINITIONS, self._definition_changed)
        services.listen(self._add)

    def _definition_changed(self, event: Event) -> None:
        for entry in (event.previous, event.entry):
            if entry is not None:
                for name in _names(entry):
                    self._add(name)

    def _add(self, name: str) -> None:
        self._waiting[name] = None
        self._wake.set()

    async def run(self) -> None:
        """Look at what changes until cancelled."""
        starting = True
        while True:
            names, self._waiting = self._waiting, {}
            custom = self._custom()
            for name in names:
                await self._look(name, custom, starting=starting)
            starting = False
            await self._wake.wait()
            self._wake.clear()

    async def _look(self, name: str, custom: set[GroupVersion], *, starting: bool) -> None:
        try:
            await self._keep(name, custom, starting=starting)
        except Conflict:
            self._add(name)  # it has changed in this moment
        except ApiError as error:
            log.error(kv("an APIService could not be written", of=name, error=error))
            if error.code >= 500:  # what is refused for what it says will not get better by itself
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._add, name)

    async def _keep(self, name: str, custom: set[GroupVersion], *, starting: bool) -> None:
        """Raises ApiError, or Conflict."""
        entry = self._own.get(APISERVICES, "", name)
        wanted = _wanted(name, custom)
        match plan(wanted, entry.obj if entry is not None else None, starting=starting):
            case "create" if wanted is not None and wanted["metadata"]["labels"][MANAGED] == ALWAYS:
                await self._own.create(APISERVICES, wanted)
            case "update" if wanted is not None and entry is not None:
                await self._own.update(APISERVICES, entry, {**entry.copy(), "spec": wanted["spec"]})
            case "delete" if entry is not None:
                await self._own.delete(APISERVICES, entry)
            case _ if entry is not None and "service" not in entry.obj["spec"]:
                await self._tell_local(entry)

    async def _tell_local(self, entry: Entry) -> None:
        """One that named a Service before is available all the same."""
        condition = find_condition(entry.obj, "Available")
        if condition is not None and condition.get("reason") == _LOCAL and condition.get("status") == "True":
            return
        told = with_condition(
            get_path(entry.obj, "status", "conditions", default=[]),
            type="Available",
            status="True",
            reason=_LOCAL,
            message=_LOCAL_MESSAGE,
            now=rfc3339(self._now()),
        )
        await self._own.update(APISERVICES, entry, {**entry.copy(), "status": {"conditions": told}}, status=True)

    def _custom(self) -> set[GroupVersion]:
        """What definitions add at this moment."""
        return {
            (definition.group, version.name)
            for definition in self._serving.definitions()
            for version in definition.versions
            if version.served
        }


def _wanted(name: str, custom: set[GroupVersion]) -> Object | None:
    group, version = key = group_version(name)
    if key in priorities.BUILT_IN:
        return api_service(group, version, priorities.BUILT_IN[key], ON_START)
    return api_service(group, version, priorities.CUSTOM, ALWAYS) if key in custom else None


def _names(entry: Entry) -> list[str]:
    """The APIServices that a definition may be about."""
    spec = entry.obj["spec"]
    return [f"{version['name']}.{spec['group']}" for version in spec["versions"]]
