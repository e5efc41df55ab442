"""emptyDir: a folder that lives as long as its pod, on the node's disk or in memory.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet.volumes import mounts, removal
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

MODE = 0o777
GROUP_OWNED = 0o2000


async def set_up(request: Request) -> Path:
    """Make the folder; one that is there already is left as it is, with all that the pod has put into it."""
    medium = request.source.get("medium") or ""
    if medium == "":
        await run_blocking(_on_disk, request.directory, request.fs_group)
    elif medium == "Memory":
        size = memory_size(request.source, request.pod, request.allocatable)
        await run_blocking(_in_memory, request.directory, request.fs_group, size)
    else:
        raise VolumeError(f'storage medium "{medium}" is not available on this node')
    return request.directory


def memory_size(source: Mapping[str, Any], pod: Object, allocatable: Mapping[str, str]) -> int:
    """How many bytes a volume in memory may hold: the least of its own, its pod's and the node's limit; 0: any.

    Source: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir (SizeMemoryBackedVolumes)
    """
    limits = [quantity.value(source.get("sizeLimit") or "0"), _memory_limit(pod)]
    limits.append(quantity.value(allocatable.get("memory", "0")))
    return min((limit for limit in limits if limit > 0), default=0)


def _memory_limit(pod: Object) -> int:
    """What all containers together may use; 0 as soon as one of them has no limit."""
    if of_pod := get_path(pod, "spec", "resources", "limits", "memory"):
        return quantity.value(of_pod)
    limits = [get_path(c, "resources", "limits", "memory") for c in get_path(pod, "spec", "containers", default=[])]
    return 0 if None in limits else sum(quantity.value(limit) for limit in limits)


def _on_disk(directory: Path, fs_group: int | None) -> None:
    if directory.is_dir():
        return
    # Made under another name first: a crash never leaves a folder that is there but has other permissions.
    fresh = directory.with_name(f".new-{directory.name}")
    removal.remove(fresh.parent, fresh.name)
    fresh.mkdir()
    if fs_group is not None:
        os.chown(fresh, -1, fs_group)
    fresh.chmod(MODE if fs_group is None else MODE | GROUP_OWNED)
    fresh.rename(directory)


def _in_memory(directory: Path, fs_group: int | None, size_bytes: int) -> None:
    directory.mkdir(exist_ok=True)
    mode = MODE if fs_group is None else MODE | GROUP_OWNED
    mounts.mount_tmpfs(directory, mode=mode, gid=fs_group or 0, size_bytes=size_bytes)
