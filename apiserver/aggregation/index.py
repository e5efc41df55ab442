"""What the stored APIServices say: who serves which version of which group, and in which order clients are told.

It follows each write before its writer is answered. What an extension server was last seen to serve is kept here
too, by `upkeep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from apimachinery.meta import Object, find_condition
from apimachinery.resources import APISERVICES
from apiserver.aggregation import priorities
from apiserver.aggregation.priorities import Priority
from apiserver.request_info import RequestInfo
from apiserver.rest.call import storage_key
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, Event

KEY = storage_key(APISERVICES)
GroupVersion = tuple[str, str]


class Where(NamedTuple):
    """How an extension server is reached, and by what it is known: `bundle` is base64, as in the APIService."""

    namespace: str
    name: str
    port: int
    bundle: str
    insecure: bool

    @property
    def host(self) -> str:
        """The name that its certificate must be for."""
        return f"{self.name}.{self.namespace}.svc"


class Schemas(NamedTuple):
    """What an extension server says of its schemas."""

    # Where its own OpenAPI 3 document is, None if it has none and ours is made of `version_2`.
    own_version_3: str | None = None
    # The part of its OpenAPI 2 document that is about this version of the group, as JSON.
    version_2: bytes = b""


class Extension:
    """One version of a group that an extension server serves."""

    __slots__ = (
        *("available", "fresh", "group", "name", "resources", "running"),
        *("schemas", "version", "where"),
    )

    def __init__(self, name: str, where: Where, *, available: bool) -> None:
        self.name = name
        self.group, self.version = group_version(name)
        self.where = where
        self.available = available
        # As aggregated discovery tells them; `fresh`: it has told so when it was last asked.
        self.resources: list[dict[str, Any]] = []
        self.fresh = False
        self.schemas = Schemas()
        # How many requests of users it is answering.
        self.running = 0

    @property
    def path(self) -> str:
        """Where it serves."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


class ApiServices:
    """All APIServices. `generation` is another number whenever something that clients are told has changed."""

    def __init__(self, store: Store) -> None:
        self.extensions: dict[GroupVersion, Extension] = {}
        self.generation = 0
        # How often each has become unavailable, by reason.
        self.losses: Counter[tuple[str, str]] = Counter()
        self._priorities: dict[GroupVersion, Priority] = {}
        self._listeners: list[Callable[[str], None]] = []
        for entry in store.objects(KEY):
            self._take(entry.obj)
        store.listen(KEY, self._changed)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have the name of each APIService told that has changed or is gone."""
        self._listeners.append(listener)

    def find(self, info: RequestInfo) -> Extension | None:
        """Who answers a request in this server's place; mostly nobody."""
        if not self.extensions:
            return None
        if info.version:
            return self.extensions.get((info.group, info.version))
        match info.path.strip("/").split("/"):
            case ["apis", group, version]:
                return self.extensions.get((group, version))
            case ["api", version]:
                return self.extensions.get(("", version))
            case ["openapi", "v3", "apis", group, version]:
                found = self.extensions.get((group, version))
                return found if found is not None and found.schemas.own_version_3 is not None else None
        return None

    def priority(self, group: str, version: str) -> Priority:
        """Where clients are told of a version of a group: the higher first."""
        return self._priorities.get((group, version)) or priorities.default(group, version)

    def known(self) -> list[Extension]:
        """All that extension servers serve."""
        return list(self.extensions.values())

    def moved(self) -> None:
        """What an extension server is known to serve has changed."""
        self.generation += 1

    def _changed(self, event: Event) -> None:
        if event.type == DELETED:
            self._forget(event.entry.name)
        else:
            self._take(event.entry.obj)
        for listener in self._listeners:
            listener(event.entry.name)

    def _take(self, api_service: Object) -> None:
        name, spec = api_service["metadata"]["name"], api_service["spec"]
        key = group_version(name)
        priority = Priority(spec["groupPriorityMinimum"], spec["versionPriority"])
        if self._priorities.get(key) != priority:
            self._priorities[key] = priority
            self.generation += 1
        where = read_where(spec)
        # By the group of APIServices one takes back what was handed over: it stays here.
        if where is None or key[0] == priorities.OWN_GROUP:
            if self.extensions.pop(key, None) is not None:
                self.generation += 1
            return
        condition = find_condition(api_service, "Available")
        # That it was available as long as it was served here says nothing of whoever serves it now.
        here = condition is not None and condition.get("reason") == "Local"
        available = condition is not None and condition.get("status") == "True" and not here
        found = self.extensions.get(key)
        if found is None:
            self.extensions[key] = Extension(name, where, available=available)
            self.generation += 1
            return
        found.where, found.available = where, available

    def _forget(self, name: str) -> None:
        key = group_version(name)
        self._priorities.pop(key, None)
        self.extensions.pop(key, None)
        for one in [one for one in self.losses if one[0] == name]:
            del self.losses[one]
        self.generation += 1


def group_version(name: str) -> GroupVersion:
    """The group and version that an APIService is named for."""
    version, _, group = name.partition(".")
    return group, version


def read_where(spec: Object) -> Where | None:
    """Where the server of an APIService is; None if it is this one."""
    service = spec.get("service")
    if service is None:
        return None
    return Where(
        service["namespace"],
        service["name"],
        service["port"],
        spec.get("caBundle") or "",
        bool(spec.get("insecureSkipTLSVerify")),
    )
