"""Runs the pods of files, and shows each in the API by a mirror: an object that looks like it and commands nothing.

Which pods run is decided by the files alone, with the API server or without it. A file that changes is another pod of
the same name: the old one ends first. A mirror is made when its pod runs here, made again when somebody deletes it or
when it shows an earlier version, and taken away when its pod has ended for good. One loop keeps it so, by levels.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/,
kubernetes/pkg/kubelet/pod/mirror_client.go
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.informer import ADDED, DELETED, MODIFIED, Informer
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery import errors, meta
from apimachinery.errors import ApiError
from apimachinery.meta import Object, namespaced_key, uid
from apimachinery.resources import PODS
from apimachinery.time import rfc3339
from kubelet.pods import pod_spec
from kubelet.static_pods.folder import ManifestFolder
from kubelet.static_pods.identity import HASH, MIRROR, SEEN, is_mirror, mirrors

RETRY_SECONDS_MAX = 30.0

Handler = Callable[[str, Object | None, Object | None], None]


class Statuses(Protocol):
    """Who writes statuses, by way of the mirrors."""

    def shown_by(self, pod: Object, mirror: Object) -> None:
        """A static pod has got a mirror."""

    def forget_mirror(self, mirror: Object) -> None:
        """A mirror is gone."""


class Step(Enum):
    """What is to be done about a mirror."""

    CREATE = "create"
    DELETE = "delete"
    NOTHING = "nothing"


def next_step(pod: Object | None, there: Object | None) -> Step:
    """What to do about the API's pod of a name where this static pod runs, or none. Pure."""
    if there is None:
        return Step.NOTHING if pod is None else Step.CREATE
    if not is_mirror(there):
        return Step.NOTHING  # somebody's pod of the same name: it is in the way, and stays
    if pod is None or there["metadata"].get("deletionTimestamp") or not mirrors(there, pod):
        return Step.DELETE
    return Step.NOTHING


def mirror_of(pod: Object, node: Object) -> Object:
    """The object that shows a static pod of a node, which it goes with. Pure."""
    kept = ("name", "namespace", "labels")
    metadata: dict[str, Any] = {key: value for key, value in pod["metadata"].items() if key in kept}
    metadata["annotations"] = {**meta.annotations(pod), MIRROR: meta.annotations(pod)[HASH]}
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": uid(node)}
    metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


class StaticPods:
    """The static pods of one node; also all of its pods as one collection, in which no mirror stands for its pod.

    `begin` comes before the pods of the API are heard of.
    """

    def __init__(
        self,
        path: Path | None,
        node_name: str,
        *,
        client: Client,
        clock: Clock,
        pods: Informer,
        node: Callable[[], Awaitable[Object]],
    ) -> None:
        self._folder = ManifestFolder(path, node_name, clock) if path is not None else None
        self._client = client
        self._clock = clock
        self._api = pods
        self._node = node
        self._wanted: dict[str, Object] = {}
        self._active: dict[str, Object] = {}
        self._queue = WorkQueue(clock, max_delay_seconds=RETRY_SECONDS_MAX)
        self._workers: Handler | None = None
        self._statuses: Statuses | None = None

    def begin(self, workers: Handler, statuses: Statuses) -> None:
        """Have the pods of the files run by `workers`, who are told of pods as an informer tells of them."""
        self._workers, self._statuses = workers, statuses
        if self._folder is not None:
            self._files_changed(self._folder.scan())

    async def run(self) -> None:
        """Follow the files, and keep the mirrors, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_workers(self._queue, self._reconcile, name="static pods", workers=1))
            if self._folder is not None:
                group.create_task(self._folder.run(self._files_changed))

    # What the node agent is told, and asks.

    def pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """The informer's handler: mirrors are kept from the workers."""
        assert self._workers is not None and self._statuses is not None
        changed = new or old
        assert changed is not None
        key = namespaced_key(changed)
        if not is_mirror(changed):
            self._workers(kind, old, new)
            if key in self._active:
                self._queue.add(key)
            return
        pod = self._active.get(key)
        if new is None:
            self._statuses.forget_mirror(changed)
        elif pod is not None and mirrors(new, pod):
            self._statuses.shown_by(pod, new)
            if not pod_spec.has_ended(new):
                # What has ended is told by the worker, which may have begun anew meanwhile.
                self._workers(MODIFIED, None, {**pod, "status": new.get("status") or {}})
        self._queue.add(key)

    def worker_gone(self, pod: Object) -> None:
        """Nothing is left of a pod on this node: one of the same name may begin."""
        key = namespaced_key(pod)
        if key in self._active and uid(self._active[key]) == uid(pod):
            del self._active[key]
            self._queue.add(key)
            self._settle(key)

    def mirror(self, pod_uid: str) -> Object | None:
        """The mirror of a static pod, if it is there and up to date."""
        for key, pod in self._active.items():
            if uid(pod) == pod_uid:
                there = self._api.get(key)
                return there if there is not None and is_mirror(there) and mirrors(there, pod) else None
        return None

    def get(self, key: str) -> Object | None:
        """A pod of this node: a static one as it runs here, with the status that its mirror shows."""
        pod, there = self._active.get(key), self._api.get(key)
        if pod is None:
            return there
        if there is None or not is_mirror(there):
            return pod
        return {**pod, "status": there.get("status") or pod["status"]}

    def list(self) -> list[Object]:
        """All pods of this node."""
        others = [pod for pod in self._api.list() if namespaced_key(pod) not in self._active]
        return [*others, *(pod for key in self._active if (pod := self.get(key)) is not None)]

    # Files to pods.

    def _files_changed(self, pods: Sequence[Object]) -> None:
        before, self._wanted = self._wanted, {namespaced_key(pod): pod for pod in pods}
        for key in before.keys() | self._wanted.keys():
            self._settle(key)

    def _settle(self, key: str) -> None:
        """Have the pod of this name run that the files describe, once no other one does."""
        assert self._workers is not None
        wanted, active = self._wanted.get(key), self._active.get(key)
        if active is not None:
            if wanted is None or uid(wanted) != uid(active):
                self._workers(DELETED, active, None)
        elif wanted is not None:
            metadata = wanted["metadata"]
            seen = {**meta.annotations(wanted), SEEN: rfc3339(self._clock.now())}
            pod = {**wanted, "metadata": {**metadata, "annotations": seen}}
            self._active[key] = pod
            self._workers(ADDED, None, pod)
            self._queue.add(key)

    # Pods to mirrors.

    async def _reconcile(self, key: str) -> None:
        """Take the one step that brings the mirror closer to its pod; the next one follows with what it changes."""
        pod, there = self._active.get(key), self._api.get(key)
        match next_step(pod, there):
            case Step.CREATE:
                assert pod is not None
                await self._create(pod)
            case Step.DELETE:
                assert there is not None
                await self._delete(there)

    async def _create(self, pod: Object) -> None:
        mirror = mirror_of(pod, await self._node())
        try:
            await self._client.create(PODS, mirror, pod["metadata"]["namespace"])
        except ApiError as error:
            # One that is there already, and not heard of yet, is looked at when it is.
            if not errors.is_already_exists(error):
                raise

    async def _delete(self, mirror: Object) -> None:
        metadata = mirror["metadata"]
        try:
            await self._client.delete(
                PODS, metadata["name"], metadata["namespace"], grace_period_seconds=0, uid=metadata["uid"]
            )
        except ApiError as error:
            if not errors.is_not_found(error) and not errors.is_conflict(error):
                raise
