"""Sets up the volumes of pods, keeps what they show fresh while their pods run, and leaves nothing behind.

    ROOT/volumes/POD UID/VOLUME NAME/

What is set up is on the disk and in the mount table alone: an agent that was killed finds it again, and a volume
that is there already is kept as it is. Setting up, refreshing and tearing down one pod's volumes never overlap.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from apiclient.clock import Clock, SystemClock
from apiclient.controller import run_workers
from apiclient.logs import kv
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError
from apimachinery.meta import Object, namespace, namespaced_key, uid
from kubelet.objects import ObjectCache, ObjectKey, volume_references
from kubelet.paths import subpaths_dir, volumes_dir
from kubelet.tokens import Tokens
from kubelet.volumes import (
    config_map,
    downward_api,
    empty_dir,
    host_path,
    image,
    mounts,
    network_file_system,
    persistent,
    projected,
    removal,
    secret,
    unavailable,
)
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError, VolumeFailure
from kubelet.volumes.kind import Request, VolumeKind
from kubelet.volumes.persistent import PersistentVolumes

logger = logging.getLogger(__name__)

KINDS: Mapping[str, VolumeKind] = {
    "emptyDir": VolumeKind(empty_dir.set_up),
    "hostPath": VolumeKind(host_path.set_up),
    "configMap": VolumeKind(config_map.set_up, shows_objects=True),
    "secret": VolumeKind(secret.set_up, shows_objects=True),
    "downwardAPI": VolumeKind(downward_api.set_up, shows_objects=True),
    "projected": VolumeKind(projected.set_up, shows_objects=True),
    "image": VolumeKind(image.set_up, read_only=True),
    "nfs": VolumeKind(network_file_system.set_up),
    "persistentVolumeClaim": VolumeKind(persistent.set_up),
    "ephemeral": VolumeKind(persistent.set_up_ephemeral),
    **{kind: VolumeKind(unavailable.refusing(kind)) for kind in unavailable.KINDS},
}
FAILED_MOUNT = "FailedMount"
REFRESH_WORKERS = 2
REFRESH_RETRY_SECONDS = 60.0
# For how long volumes may fail until it is said which of them the pod waits for.
PATIENCE_SECONDS = 123.0
_ONE_STEP = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?")


def is_read_only(volume: Object) -> bool:
    """Whether containers get this volume of a pod read-only, whatever their mount of it says."""
    name, source = _kind_of(volume)
    kind = KINDS.get(name)
    return bool(source.get("readOnly")) or (kind is not None and (kind.shows_objects or kind.read_only))


def _shows_objects(volume: Object) -> bool:
    name, _ = _kind_of(volume)
    return name in KINDS and KINDS[name].shows_objects


class VolumeManager:
    """The volumes of this node's pods. `run` follows the changes of the objects that they show, and renews tokens."""

    def __init__(
        self,
        root_dir: Path,
        objects: ObjectCache,
        tokens: Tokens,
        allocatable: Callable[[], Mapping[str, str]] = dict,
        *,
        clock: Clock | None = None,
        persistent_volumes: PersistentVolumes | None = None,
        tell: Callable[[Object, VolumeFailure], None] = lambda pod, failure: None,
    ) -> None:
        """`tell` has people know of a failure that nobody else tells of."""
        self._root_dir = root_dir
        self._root = volumes_dir(root_dir).resolve()
        self._objects = objects
        self._tokens = tokens
        self._allocatable = allocatable
        self._persistent = persistent_volumes
        self._pods: dict[str, Object] = {}
        # A pod's lock lives for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._clock = clock or SystemClock()
        self._tell = tell
        self._failing_since: dict[str, float] = {}
        self._stale = WorkQueue(self._clock)
        objects.add_listener(self._object_changed)

    async def run(self) -> None:
        """Write the files of volumes again whenever what they show has changed or is about to end."""
        await run_workers(self._stale, self._refresh, name="volumes", workers=REFRESH_WORKERS)

    def refresh_all(self) -> None:
        """Have all volumes written again that show objects or tokens."""
        for pod_uid in self._pods:
            self._stale.add(pod_uid)

    async def set_up(self, pod: Object) -> dict[str, Path]:
        """Set up all volumes of a pod; returns what to bind into its containers, by the volumes' names.

        May be repeated; what is there is kept. Raises VolumeFailure.
        """
        async with self._lock(uid(pod)):
            self._pods[uid(pod)] = pod
            volumes = pod["spec"].get("volumes") or []
            if not volumes:
                return {}
            folder = self._folder(uid(pod))
            await run_blocking(_make_folder, folder, subpaths_dir(self._root_dir, uid(pod)))
            # One after the other they would add up their round trips to the API server.
            done = await asyncio.gather(
                *(self._set_up(pod, volume, folder) for volume in volumes), return_exceptions=True
            )
            paths = {
                volume["name"]: path for volume, path in zip(volumes, done, strict=True) if isinstance(path, Path)
            }
            self._raise_failures(pod, [outcome for outcome in done if isinstance(outcome, BaseException)], paths)
            return paths

    def pod_changed(self, pod: Object) -> None:
        """A pod whose volumes were set up, or are just being, has changed in what they may show."""
        if uid(pod) in self._pods:
            self._pods[uid(pod)] = pod
            self._stale.add(uid(pod))

    async def tear_down(self, pod_uid: str) -> None:
        """Unmount and remove all volumes of a pod; harmless when there are none. Raises VolumeFailure."""
        async with self._lock(pod_uid):
            self._pods.pop(pod_uid, None)
            self._stale.cancel(pod_uid)
            self._failing_since.pop(pod_uid, None)
            self._tokens.forget(pod_uid)
            folder = self._folder(pod_uid)
            try:
                await run_blocking(_remove_folder, folder)
            except OSError as error:
                raise VolumeFailure(
                    "FailedUnMount", f"UnmountVolume.TearDown failed for pod {pod_uid}: {error}"
                ) from error
            if self._persistent is not None:
                self._persistent.local.pod_gone()

    async def reconcile(self, live_pod_uids: Iterable[str]) -> None:
        """Remove the volumes of all pods but these: what a crash may have left behind."""
        live = set(live_pod_uids)
        for pod_uid in await run_blocking(_folder_names, self._root):
            if pod_uid in live:
                continue
            try:
                await self.tear_down(pod_uid)
                logger.info(kv("removed the volumes of a pod that is gone", pod_uid=pod_uid))
            except VolumeFailure as failure:
                # One folder that can't be removed must not keep the others; the next start tries again.
                logger.warning(kv("volumes left behind", pod_uid=pod_uid, error=failure.message))

    async def _set_up(self, pod: Object, volume: Object, folder: Path) -> Path:
        name = volume["name"]
        kind, source = _kind_of(volume)
        try:
            if not _ONE_STEP.fullmatch(name):
                raise VolumeError("its name is no folder's name")
            if kind not in KINDS:
                raise VolumeError(f"volumes of the kind {kind} are not available on this node")
            again_after = partial(self._stale.add_after, uid(pod))
            where, known = folder / name, self._allocatable()
            request = Request(pod, source, where, self._objects, self._tokens, known, again_after, self._persistent)
            return await KINDS[kind].set_up(request)
        except (VolumeError, ApiError, OSError, ValueError) as error:
            message = f'MountVolume.SetUp failed for volume "{name}" : {error}'
            raise VolumeFailure(FAILED_MOUNT, message) from error

    def _raise_failures(self, pod: Object, failures: Sequence[BaseException], done: Mapping[str, Path]) -> None:
        """Raise the first failure, having told of the others: each volume that is missing is worth knowing."""
        if not failures:
            self._failing_since.pop(uid(pod), None)
            return
        for failure in failures[1:]:
            if isinstance(failure, VolumeFailure):
                self._tell(pod, failure)
        now = self._clock.monotonic()
        if now - self._failing_since.setdefault(uid(pod), now) >= PATIENCE_SECONDS:
            self._failing_since[uid(pod)] = now
            names = [volume["name"] for volume in pod["spec"]["volumes"] if volume["name"] not in done]
            words = f"unmounted volumes=[{' '.join(sorted(names))}], unattached volumes=[], "
            words += "failed to process volumes=[]: context deadline exceeded"
            self._tell(pod, VolumeFailure(FAILED_MOUNT, f"Unable to attach or mount volumes: {words}"))
        raise failures[0]

    async def _refresh(self, pod_uid: str) -> None:
        async with self._lock(pod_uid):
            pod = self._pods.get(pod_uid)
            if pod is None or pod_uid in self._failing_since:
                return  # whoever sets it up tries again, and tells why it fails
            for volume in pod["spec"].get("volumes") or ():
                if not _shows_objects(volume):
                    continue
                try:
                    await self._set_up(pod, volume, self._folder(pod_uid))
                except VolumeFailure as failure:
                    # The pod goes on with what it has, as when its ConfigMap is deleted.
                    logger.warning(kv("volume not refreshed", pod=namespaced_key(pod), error=failure.message))
                    self._tell(pod, failure)
                    self._stale.add_after(pod_uid, REFRESH_RETRY_SECONDS)

    def _object_changed(self, key: ObjectKey) -> None:
        for pod_uid, pod in self._pods.items():
            if namespace(pod) == key.namespace and any(
                key in volume_references(volume, key.namespace) for volume in pod["spec"].get("volumes") or ()
            ):
                self._stale.add(pod_uid)

    def _lock(self, pod_uid: str) -> asyncio.Lock:
        return self._locks.setdefault(pod_uid, asyncio.Lock())

    def _folder(self, pod_uid: str) -> Path:
        if not _ONE_STEP.fullmatch(pod_uid):
            raise VolumeFailure(FAILED_MOUNT, f"{pod_uid!r} is no pod's uid")
        return self._root / pod_uid


def _kind_of(volume: Object) -> tuple[str, Mapping[str, Any]]:
    """A volume's kind and what it says of it; one that says nothing is an emptyDir."""
    for key, source in volume.items():
        if key != "name" and source is not None:
            return key, source
    return "emptyDir", {}


def _make_folder(folder: Path, parts: Path) -> None:
    """Make a pod's folder; nobody but root may look in from outside of the pod's containers.

    Where it was made by an agent that was killed, so may have been mounts of parts, for containers that have started.
    """
    try:
        folder.mkdir(mode=0o750, parents=True)
    except FileExistsError:
        if parts.is_dir():
            mounts.unmount_below(parts.resolve())


def _remove_folder(folder: Path) -> None:
    mounts.unmount_below(folder)
    removal.remove(folder.parent, folder.name)


def _folder_names(root: Path) -> list[str]:
    try:
        return [path.name for path in root.iterdir()]
    except FileNotFoundError:
        return []
