"""The folders of this node that are persistent volumes: made when a pod first needs one, removed when nobody may.

    ROOT/local-volumes/VOLUME/data/     what a volume's pods see
    ROOT/volumes/POD UID/NAME -> data   which pods use it; the link goes with the pod's other volumes

The volume in the API carries a finalizer for as long as the folder may be there: it is set before the folder is made,
and taken away after it is removed, so a kill in between leaves neither a folder that nobody knows of nor a volume
that nobody will let go. Where a folder is follows from its volume's name alone, which is no path; nothing that an
object says can lead elsewhere, and no two volumes share a folder.

What a volume may hold is not limited but by the node's disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, deletion_requested, get_path, labels, name, resource_version, uid
from apimachinery.persistent_volumes import LOCAL_PATH_FINALIZER, LOCAL_PATH_NODE_LABEL, is_local_path
from apimachinery.resources import PERSISTENTVOLUMES
from kubelet.paths import local_volumes_dir, volumes_dir
from kubelet.volumes import removal
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError

logger = logging.getLogger(__name__)

# Whoever a pod runs as may write: the node's other users can't get through to it, for its parent is root's alone.
MODE, PARENT_MODE = 0o777, 0o700
WORKERS = 2
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class LocalPath:
    """The folders of one node. `run` removes them; nothing is watched before there is one."""

    def __init__(self, client: Client, root_dir: Path, node: str, *, clock: Clock) -> None:
        self._client = client
        self._root = local_volumes_dir(root_dir).resolve()
        self._users_root = volumes_dir(root_dir).resolve()
        self._node = node
        # A volume is not made ready for one pod while it is removed for want of others.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._queue = WorkQueue(clock)
        self._any = asyncio.Event()
        self._volumes = Informer(
            client, PERSISTENTVOLUMES, label_selector=f"{LOCAL_PATH_NODE_LABEL}={node}", clock=clock
        )
        self._volumes.add_handler(self._changed)

    async def run(self) -> None:
        """Remove the folders of volumes that are being deleted, until cancelled."""
        known = await run_blocking(_names, self._root)
        if known:
            self._any.set()
        await self._any.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._volumes.run())
            await self._volumes.wait_synced()
            for called in known:
                self._queue.add(called)
            group.create_task(run_workers(self._queue, self._reclaim, name="local-volumes", workers=WORKERS))

    def pod_gone(self) -> None:
        """A pod uses its volumes no more: one of them may have been waiting to be removed."""
        for volume in self._volumes.list():
            if deletion_requested(volume):
                self._queue.add(name(volume))

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None or deletion_requested(new):
            volume = new or old
            assert volume is not None
            self._queue.add(name(volume))

    async def provide(self, called: str, link: Path) -> Path:
        """The folder of a volume, for a pod that says by `link` that it uses it.

        Raises VolumeError, ApiError, OSError.
        """
        if not _NAME.fullmatch(called):
            raise VolumeError(f"{called!r} is no volume's name")
        async with self._lock(called):
            # Not what whoever asks has seen: since then it may have been deleted, and its folder removed.
            volume = await self._get(called)
            if volume is None or deletion_requested(volume):
                raise VolumeError(f"the volume {called} is being deleted")
            if get_path(volume, "spec", "csi", "volumeHandle") != called:
                raise VolumeError(f"the volumeHandle of a volume of this driver has to be its name, {called}")
            if labels(volume).get(LOCAL_PATH_NODE_LABEL) != self._node:
                raise VolumeError(f"the data of {called} is not on this node")
            await run_blocking(_make_parents, self._root, called)
            self._any.set()
            if LOCAL_PATH_FINALIZER not in _finalizers(volume):
                await self._set_finalizers(volume, [*_finalizers(volume), LOCAL_PATH_FINALIZER])
            return await run_blocking(_make, self._root / called, link)

    async def _reclaim(self, called: str) -> None:
        """Remove a folder if its volume is being deleted, is nobody's, and no pod of this node has it still."""
        async with self._lock(called):
            folder = self._root / called
            volume = self._volumes.get(called)
            if volume is None:
                if await run_blocking(_forget, folder):
                    logger.warning(kv("kept the data of a volume that is gone", volume=called, folder=folder))
                return
            if not (is_local_path(volume) and deletion_requested(volume) and _is_nobodys(volume)):
                return
            if await run_blocking(lambda: any(_links_to(self._users_root, folder / "data"))):
                return
            if get_path(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete":
                await run_blocking(removal.remove, folder, "data")
                logger.info(kv("removed a local volume", volume=called))
            rest = [one for one in _finalizers(volume) if one != LOCAL_PATH_FINALIZER]
            if len(rest) != len(_finalizers(volume)):
                await self._set_finalizers(volume, rest)
            await run_blocking(_forget, folder)

    async def _get(self, called: str) -> Object | None:
        try:
            return await self._client.get(PERSISTENTVOLUMES, called)
        except ApiError as error:
            if is_not_found(error):
                return None
            raise

    async def _set_finalizers(self, volume: Object, wanted: list[str]) -> None:
        metadata = {"uid": uid(volume), "resourceVersion": resource_version(volume), "finalizers": wanted}
        try:
            await self._client.patch(PERSISTENTVOLUMES, name(volume), {"metadata": metadata})
        except ApiError as error:
            if not is_not_found(error) or LOCAL_PATH_FINALIZER in wanted:
                raise

    def _lock(self, called: str) -> asyncio.Lock:
        return self._locks.setdefault(called, asyncio.Lock())


def users(volumes: Path, data: Path) -> set[str]:
    """The uids of the pods of this node that use what is at a place."""
    return {link.parent.name for link in _links_to(volumes, data)}


def _links_to(volumes: Path, data: Path) -> Iterator[Path]:
    for pod in _folders(volumes):
        for entry in _entries(pod):
            if entry.is_symlink() and entry.readlink() == data:
                yield entry


def link_to(place: Path, link: Path) -> Path:
    """Say that a pod uses a place, in a way that no kill leaves half done; returns the place."""
    if not link.is_symlink():
        link.symlink_to(place)
    elif link.readlink() != place:
        raise VolumeError(f"{link} leads to {link.readlink()} already")
    return place


def _finalizers(volume: Object) -> list[str]:
    found: list[str] = volume["metadata"].get("finalizers") or []
    return found


def _is_nobodys(volume: Object) -> bool:
    """Whether no claim has a volume, as far as the binder has come: its protection goes with the phase Bound."""
    return get_path(volume, "status", "phase") not in ("Bound", "Pending")


def _make_parents(root: Path, called: str) -> None:
    root.mkdir(mode=PARENT_MODE, parents=True, exist_ok=True)
    (root / called).mkdir(mode=PARENT_MODE, exist_ok=True)


def _make(folder: Path, link: Path) -> Path:
    data = folder / "data"
    if not data.is_dir():
        # Made under another name first: a kill never leaves a folder that is there but has other permissions.
        removal.remove(folder, ".new")
        (folder / ".new").mkdir()
        (folder / ".new").chmod(MODE)
        (folder / ".new").rename(data)
    return link_to(data, link)


def _forget(folder: Path) -> bool:
    """Remove what held a volume's data, unless that is still there: then True."""
    if (folder / "data").exists():
        return True
    removal.remove(folder.parent, folder.name)
    return False


def _names(root: Path) -> list[str]:
    return [path.name for path in _folders(root)]


def _folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir() and not path.is_symlink()]


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
