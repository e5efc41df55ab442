"""persistentVolumeClaim and ephemeral: what the volume is that a pod's claim is bound to.

Claim and volume are read when the pod is set up, and the volume is then handed to the kind that it is of. Once it is
there, a link (or a mount) in the pod's folder says so, and nothing is asked again.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#claims-as-volumes and
kubernetes/pkg/kubelet/volumemanager/populator
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, deletion_requested, get_path, labels, name, uid
from apimachinery.persistent_volumes import (
    ONE_POD,
    access_modes,
    claim_uid,
    is_for_pod,
    is_fully_bound,
    is_local_path,
    is_reachable,
    mode,
    not_for_pod,
)
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from kubelet.volumes import host_path, network_file_system, ownership, unavailable
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Claims, Request
from kubelet.volumes.local_path import LocalPath, link_to, users

IN_USE = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
NOT_HERE = "MountVolume.NodeAffinity check failed: no matching NodeSelectorTerms"
# Kinds whose files are the node's own, and are given to no pod's group.
_OF_THE_NODE = ("hostPath",)


@dataclass(frozen=True, slots=True)
class PersistentVolumes:
    """Where claims and volumes are read, and the folders that this node gives as volumes."""

    client: Client
    node: Callable[[], Object | None]
    local: LocalPath

    async def set_up(self, request: Request, claim_name: str, *, own: bool) -> Path:
        """The place of a pod's volume; `own`: it was made for this pod. Raises VolumeError, ApiError, OSError."""
        known = await run_blocking(_known, request.directory)
        if known is not None:
            return known
        claim = await self._claim(request, claim_name, own=own)
        volume = await self._volume(claim)
        node = self.node()
        if node is None or not is_reachable(volume, labels(node)):
            raise VolumeError(NOT_HERE)
        if mode(volume) != "Filesystem":
            raise VolumeError(
                f"volume {name(volume)} has volumeMode {mode(volume)}, but is specified in volumeMounts"
            )
        return await self._provide(request, volume, only_one=ONE_POD in access_modes(claim))

    async def _claim(self, request: Request, claim_name: str, *, own: bool) -> Object:
        whose = f"error processing PVC {request.namespace}/{claim_name}"
        try:
            claim = await self.client.get(PERSISTENTVOLUMECLAIMS, claim_name, request.namespace)
        except ApiError as error:
            raise VolumeError(f"{whose}: failed to fetch PVC from API server: {error.message}") from error
        if own and not is_for_pod(claim, request.pod):
            raise VolumeError(f"{whose}: {not_for_pod(claim, request.pod)}")
        if deletion_requested(claim):
            raise VolumeError(f"{whose}: PVC is being deleted")
        if not is_fully_bound(claim) or get_path(claim, "status", "phase") != "Bound":
            raise VolumeError(f"{whose}: PVC is not bound")
        return claim

    async def _volume(self, claim: Object) -> Object:
        called: str = claim["spec"]["volumeName"]
        try:
            volume = await self.client.get(PERSISTENTVOLUMES, called)
        except ApiError as error:
            raise VolumeError(f"failed to fetch PV {called} from API server: {error.message}") from error
        if claim_uid(volume) != uid(claim):
            wrong = f'spec.claimRef.uid "{claim_uid(volume)}" is not expected "{uid(claim)}"'
            raise VolumeError(f"found PV object {called} with another claim: {wrong}")
        return volume

    async def _provide(self, request: Request, volume: Object, *, only_one: bool) -> Path:
        if is_local_path(volume):
            place = await self.local.provide(name(volume), request.directory)
        else:
            place = await self._by_kind(request, volume["spec"])
        if only_one and await run_blocking(users, request.directory.parent.parent, place) - {uid(request.pod)}:
            await run_blocking(_take_back, request.directory)
            raise VolumeError(IN_USE)
        await self._give_to_group(request, volume, place)
        return place

    async def _by_kind(self, request: Request, spec: Mapping[str, Any]) -> Path:
        kind = next((kind for kind in _KINDS if spec.get(kind) is not None), None)
        if kind is None:
            unknown = next((kind for kind in unavailable.KINDS if spec.get(kind) is not None), "")
            raise VolumeError(unavailable.reason(unknown, replace(request, source=spec.get(unknown) or {})))
        return await _KINDS[kind](replace(request, source=spec[kind]))

    async def _give_to_group(self, request: Request, volume: Object, place: Path) -> None:
        if request.fs_group is None or any(volume["spec"].get(kind) for kind in _OF_THE_NODE):
            return
        policy = get_path(request.pod, "spec", "securityContext", "fsGroupChangePolicy", default="Always")
        await run_blocking(ownership.give_to_group, place, request.fs_group, policy=policy)


async def _host_path(request: Request) -> Path:
    place = await host_path.set_up(request)
    return await run_blocking(link_to, place, request.directory)


async def _local(request: Request) -> Path:
    """A folder that the node's owner has made: it has to be there."""
    source = {"path": request.source["path"], "type": "Directory"}
    return await _host_path(replace(request, source=source))


_KINDS: Mapping[str, Callable[[Request], Awaitable[Path]]] = {
    "hostPath": _host_path,
    "local": _local,
    "nfs": network_file_system.set_up,
}


async def set_up(request: Request) -> Path:
    """The volume of the claim that the pod names."""
    return await _from(request).set_up(request, str(request.source["claimName"]), own=False)


async def set_up_ephemeral(request: Request) -> Path:
    """The volume of the claim that was made for the pod."""
    claim_name = f"{name(request.pod)}-{request.directory.name}"
    return await _from(request).set_up(request, claim_name, own=True)


def _from(request: Request) -> Claims:
    if request.persistent is None:
        raise VolumeError("this node has no access to claims")
    return request.persistent


def _known(directory: Path) -> Path | None:
    """What has been set up already: a place that a link leads to, or a mount."""
    if directory.is_symlink():
        place = directory.readlink()
        return place if place.exists() else None
    return directory if os.path.ismount(directory) else None


def _take_back(directory: Path) -> None:
    if directory.is_symlink():
        directory.unlink()
