"""emptyDir: a folder that lives as long as its pod, on the node's disk or in memory, huge pages of it too.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apimachinery import pod_resources as totals
from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet.containers.resources import pod_limits
from kubelet.pods import pod_spec
from kubelet.volumes import mounts, removal
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

MODE = 0o777
GROUP_OWNED = 0o2000
HUGE_PAGES = "HugePages"


async def set_up(request: Request) -> Path:
    """Make the folder; one that is there already is left as it is, with all that the pod has put into it."""
    medium = request.source.get("medium") or ""
    if medium == "":
        await run_blocking(_on_disk, request.directory, request.fs_group)
    elif medium == "Memory":
        size = memory_size(request.source, request.pod, request.allocatable)
        await run_blocking(_in_memory, request.directory, request.fs_group, size)
    elif medium.startswith(HUGE_PAGES):
        page_bytes = huge_page_bytes(medium, request.pod)
        await run_blocking(_in_huge_pages, request.directory, request.fs_group, page_bytes)
    else:
        raise VolumeError(f'unknown storage medium "{medium}"')
    return request.directory


def memory_size(source: Mapping[str, Any], pod: Object, allocatable: Mapping[str, str]) -> int:
    """How many bytes a volume in memory may hold: the least of its own, its pod's and the node's limit; 0: any.

    Source: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir (SizeMemoryBackedVolumes)
    """
    limits = [quantity.value(source.get("sizeLimit") or "0"), pod_limits(pod).get("memory", 0)]
    limits.append(quantity.value(allocatable.get("memory", "0")))
    return min((limit for limit in limits if limit > 0), default=0)


def huge_page_bytes(medium: str, pod: Object) -> int:
    """The size of a volume's pages: what the medium says (`HugePages-2Mi`), or else the pod's only one.

    The pod has to request pages of that size. Raises VolumeError.
    """
    listed = [entry.get("resources") or {} for entry in pod_spec.all_containers(pod)]
    listed.append(get_path(pod, "spec", "resources", default={}))
    names = {name for entry in listed for name in entry.get("requests") or {} if totals.is_huge_pages(name)}
    asked = {quantity.value(name.removeprefix(totals.HUGE_PAGES)) for name in names}
    _, _, size = medium.partition("-")
    fitting = asked & {quantity.value(size)} if size else asked
    if len(fitting) > 1:
        raise VolumeError(f"medium: {medium} can't be used if container requests multiple huge page sizes")
    if not fitting:
        words = "hugePages storage requested, but there is no resource request for huge pages"
        raise VolumeError(f"medium {medium}: {words}")
    return fitting.pop()


def _on_disk(directory: Path, fs_group: int | None) -> None:
    if directory.is_dir():
        return
    # Made under another name first: a crash never leaves a folder that is there but has other permissions.
    fresh = directory.with_name(f".new-{directory.name}")
    removal.remove(fresh.parent, fresh.name)
    fresh.mkdir()
    if fs_group is not None:
        os.chown(fresh, -1, fs_group)
    fresh.chmod(_mode(fs_group))
    fresh.rename(directory)


def _in_memory(directory: Path, fs_group: int | None, size_bytes: int) -> None:
    directory.mkdir(exist_ok=True)
    mounts.mount_tmpfs(directory, mode=_mode(fs_group), gid=fs_group or 0, size_bytes=size_bytes)


def _in_huge_pages(directory: Path, fs_group: int | None, page_bytes: int) -> None:
    directory.mkdir(exist_ok=True)
    mounts.mount_huge_pages(directory, mode=_mode(fs_group), gid=fs_group or 0, page_bytes=page_bytes)


def _mode(fs_group: int | None) -> int:
    return MODE if fs_group is None else MODE | GROUP_OWNED
