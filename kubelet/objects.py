"""The ConfigMaps and Secrets that this node's pods use, each watched on its own and kept fresh while in use.

A node may read only what its pods refer to, so there is no watch of whole collections: every object in use has a
list + watch that names it (`metadata.name=…`). The list is the one round trip that a pod's start waits for; what
another pod of this node uses already is there at once. Kubernetes calls this the watch-based manager.

What is marked immutable can't change: its watch ends as soon as it has been seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from apiclient.informer import Informer
from apiclient.rest import Client
from apimachinery import errors
from apimachinery.meta import Object, namespace, uid
from apimachinery.resources import CONFIGMAPS, SECRETS, Resource

SYNC_TIMEOUT_SECONDS = 10.0


class Objects(Protocol):
    """Where ConfigMaps and Secrets come from; None is one that does not exist."""

    async def config_map(self, namespace: str, name: str) -> Object | None:
        """The ConfigMap. Raises ApiError."""

    async def secret(self, namespace: str, name: str) -> Object | None:
        """The Secret. Raises ApiError."""


class ObjectKey(NamedTuple):
    """Which object: its resource, namespace and name."""

    resource: Resource
    namespace: str
    name: str


Listener = Callable[[ObjectKey], None]


@dataclass(slots=True)
class _Watched:
    informer: Informer
    users: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class ObjectCache:
    """The objects that registered pods refer to. `run` keeps the watches; without it every read is a GET."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watched: dict[ObjectKey, _Watched] = {}
        self._listeners: list[Listener] = []
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Hold the watches of all objects in use, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for key, watched in self._watched.items():
                    self._start(key, watched)
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None

    def add_listener(self, listener: Listener) -> None:
        """Call `listener(key)` whenever an object in use appears, changes or goes; it must only enqueue."""
        self._listeners.append(listener)

    def register(self, pod: Object) -> None:
        """Have everything that a pod refers to fetched now and watched until `unregister`. Safe to repeat."""
        user, wanted = uid(pod), references(pod)
        for key in [key for key, watched in self._watched.items() if user in watched.users and key not in wanted]:
            self._drop(key, user)
        for key in wanted:
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = _Watched(self._informer(key))
                self._start(key, watched)
            watched.users.add(user)

    def unregister(self, pod_uid: str) -> None:
        """A pod is gone: stop watching what no other pod uses."""
        for key in [key for key, watched in self._watched.items() if pod_uid in watched.users]:
            self._drop(key, pod_uid)

    async def config_map(self, namespace: str, name: str) -> Object | None:
        """The ConfigMap, or None if there is none. Raises ApiError."""
        return await self._get(ObjectKey(CONFIGMAPS, namespace, name))

    async def secret(self, namespace: str, name: str) -> Object | None:
        """The Secret, or None if there is none. Raises ApiError."""
        return await self._get(ObjectKey(SECRETS, namespace, name))

    async def _get(self, key: ObjectKey) -> Object | None:
        if not key.name:
            return None
        watched = self._watched.get(key)
        if watched is None or watched.task is None:
            return await self._fetch(key)
        try:
            await watched.informer.wait_synced(SYNC_TIMEOUT_SECONDS)
        except TimeoutError as error:
            word = key.resource.singular
            raise errors.timeout(f"failed to sync {word} cache: timed out waiting for the condition") from error
        return watched.informer.get(f"{key.namespace}/{key.name}")

    async def _fetch(self, key: ObjectKey) -> Object | None:
        try:
            return await self._client.get(key.resource, key.name, key.namespace)
        except errors.ApiError as error:
            if errors.is_not_found(error):
                return None
            raise

    def _informer(self, key: ObjectKey) -> Informer:
        informer = Informer(
            self._client, key.resource, namespace=key.namespace, field_selector=f"metadata.name={key.name}"
        )
        informer.add_handler(lambda _kind, _old, new: self._changed(key, new))
        return informer

    def _start(self, key: ObjectKey, watched: _Watched) -> None:
        if self._group is not None:
            watched.task = self._group.create_task(watched.informer.run())

    def _drop(self, key: ObjectKey, user: str) -> None:
        watched = self._watched[key]
        watched.users.discard(user)
        if not watched.users:
            del self._watched[key]
            if watched.task is not None:
                watched.task.cancel()

    def _changed(self, key: ObjectKey, new: Object | None) -> None:
        for listener in self._listeners:
            listener(key)
        watched = self._watched.get(key)
        if new is not None and new.get("immutable") and watched is not None and watched.task is not None:
            watched.task.cancel()


def references(pod: Object) -> set[ObjectKey]:
    """Every ConfigMap and Secret that a pod's volumes and environments name."""
    spec, scope = pod["spec"], namespace(pod)
    found: set[ObjectKey] = set()
    for volume in spec.get("volumes") or ():
        found.update(volume_references(volume, scope))
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for entry in container.get("envFrom") or ():
                found.update(_keys(scope, entry.get("configMapRef"), entry.get("secretRef")))
            for entry in container.get("env") or ():
                source = entry.get("valueFrom") or {}
                found.update(_keys(scope, source.get("configMapKeyRef"), source.get("secretKeyRef")))
    return found


def volume_references(volume: Object, scope: str) -> set[ObjectKey]:
    """What a single volume of a pod in namespace `scope` shows."""
    found: set[ObjectKey] = set()
    found.update(_keys(scope, volume.get("configMap"), None))
    if secret := volume.get("secret"):
        found.update(_keys(scope, None, {"name": secret.get("secretName")}))
    for source in (volume.get("projected") or {}).get("sources") or ():
        found.update(_keys(scope, source.get("configMap"), source.get("secret")))
    return found


def _keys(scope: str, config_map: dict[str, Any] | None, secret: dict[str, Any] | None) -> Iterable[ObjectKey]:
    if config_map and config_map.get("name"):
        yield ObjectKey(CONFIGMAPS, scope, config_map["name"])
    if secret and secret.get("name"):
        yield ObjectKey(SECRETS, scope, secret["name"])
