"""Carries out what has been decided about a pod's claims, and waits until they are bound; only then the pod is.

A volume that is there already is told whose it is to be; a claim that gets a new one is told the node that it is made
for. The binder and the provisioner, among the controllers, do the rest.

Source: kubernetes/pkg/scheduler/framework/plugins/volumebinding/binder.go (BindPodVolumes)
"""

from __future__ import annotations

import asyncio
import logging

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery import meta
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, labels, name, namespace, resource_version, split_key, uid
from apimachinery.persistent_volumes import (
    BOUND_BY_CONTROLLER,
    SELECTED_NODE,
    claim_reference,
    claim_uid,
    is_bound_to,
    is_fully_bound,
    is_reachable,
)
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from scheduler.snapshot import Snapshot
from scheduler.storage import Decision

logger = logging.getLogger(__name__)

FAILED = 'running PreBind plugin "VolumeBinding": '


class NotBound(Exception):
    """Why the claims of a pod have not come to be bound as decided."""


class VolumeBinder:
    """Several decisions are carried out at once, each by who calls `bind`."""

    def __init__(self, client: Client, snapshot: Snapshot, *, clock: Clock) -> None:
        self._client = client
        self._snapshot = snapshot
        self._storage = snapshot.storage
        self._clock = clock
        # By the keys of the claims, and the names of the volumes and nodes, that they wait for.
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def changed(self, *keys: str) -> None:
        """Claims, volumes or nodes have changed: whoever waits for one of them looks again."""
        for key in keys:
            for event in self._waiting.get(key, ()):
                event.set()

    async def bind(self, decision: Decision) -> str:
        """Carry out a decision; returns "" when all claims are bound, else why they are not."""
        try:
            written = await self._write(decision)
            await self._wait(decision, written)
        except NotBound as error:
            return f"{FAILED}binding volumes: {error}"
        except ApiError as error:
            return f"{FAILED}{error.message}"
        return ""

    async def _write(self, decision: Decision) -> dict[str, int]:
        """Write what was decided; returns the versions that came of it. Raises ApiError, NotBound."""
        written = {}
        for key, called in decision.bindings:
            volume = self._storage.volume(called)
            if volume is None:
                raise NotBound(f'pv "{called}" not found')
            written[called] = await self._claim_volume(volume, self._claim(key))
        for key in decision.provisions:
            written[key] = await self._select_node(self._claim(key), decision.node)
        return written

    def _claim(self, key: str) -> Object:
        claim = self._storage.claim(key)
        if claim is None:
            raise NotBound(f'persistentvolumeclaim "{split_key(key)[1]}" not found')
        return claim

    async def _claim_volume(self, volume: Object, claim: Object) -> int:
        if is_bound_to(volume, claim) and claim_uid(volume) == uid(claim):
            return _version(volume)
        metadata: Object = {"uid": uid(volume), "resourceVersion": resource_version(volume)}
        if not is_bound_to(volume, claim):
            metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
        patch = {"metadata": metadata, "spec": {"claimRef": claim_reference(claim)}}
        return _version(await self._client.patch(PERSISTENTVOLUMES, name(volume), patch))

    async def _select_node(self, claim: Object, node: str) -> int:
        if meta.annotations(claim).get(SELECTED_NODE) == node:
            return _version(claim)
        known = {"uid": uid(claim), "resourceVersion": resource_version(claim)}
        patch = {"metadata": {**known, "annotations": {SELECTED_NODE: node}}}
        written = await self._client.patch(PERSISTENTVOLUMECLAIMS, name(claim), patch, namespace(claim))
        return _version(written)

    async def _wait(self, decision: Decision, written: dict[str, int]) -> None:
        changed = asyncio.Event()
        awaited = (decision.node, *decision.claims, *(volume for _, volume in decision.bindings))
        for key in awaited:
            self._waiting.setdefault(key, set()).add(changed)
        alarm = asyncio.ensure_future(self._clock.sleep(decision.timeout_seconds))
        try:
            while not self._is_done(decision, written):
                waits = asyncio.ensure_future(changed.wait())
                await asyncio.wait((waits, alarm), return_when=asyncio.FIRST_COMPLETED)
                waits.cancel()
                if alarm.done():
                    logger.warning(kv("claims not bound in time", node=decision.node, claims=decision.claims))
                    raise NotBound("context deadline exceeded")
                changed.clear()
        finally:
            alarm.cancel()
            for key in awaited:
                self._waiting[key].discard(changed)
                if not self._waiting[key]:
                    del self._waiting[key]

    def _is_done(self, decision: Decision, written: dict[str, int]) -> bool:
        """Whether all claims are bound. Raises NotBound if one of them will not be, as decided."""
        row = self._snapshot.row(decision.node)
        node = self._snapshot.node(row) if row is not None else None
        if node is None:
            raise NotBound(f'node "{decision.node}" not found')
        for _, called in decision.bindings:
            volume = self._storage.volume(called)
            heard = volume is None or _version(volume) >= written[called]
            if heard and get_path(volume, "spec", "claimRef") is None:
                raise NotBound(f'ClaimRef got reset for pv "{called}"')
        for key in decision.provisions:
            claim = self._claim(key)
            heard = _version(claim) >= written[key]
            if heard and meta.annotations(claim).get(SELECTED_NODE) != decision.node:
                raise NotBound(f'provisioning failed for PVC "{name(claim)}"')
        return all([self._is_bound(self._claim(key), node) for key in decision.claims])

    def _is_bound(self, claim: Object, node: Object) -> bool:
        if not is_fully_bound(claim):
            return False
        volume = self._storage.volume(get_path(claim, "spec", "volumeName"))
        if volume is not None and not is_reachable(volume, labels(node)):
            raise NotBound(f'pv "{name(volume)}" node affinity doesn\'t match node "{name(node)}"')
        return volume is not None


def _version(obj: Object) -> int:
    return int(resource_version(obj) or 0)
