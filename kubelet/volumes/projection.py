"""What the kinds of volumes have in common that show objects of the API as files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kubelet.runtime import syscalls
from kubelet.volumes import atomic_writer, mounts, nested
from kubelet.volumes.atomic_writer import File, Payload
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

DEFAULT_MODE = 0o644
DIRECTORY_MODE, GROUP_OWNED = 0o777, 0o2000


def select(
    content: Mapping[str, bytes], source: Mapping[str, Any], default_mode: int | None, *, missing: str
) -> dict[str, File]:
    """The files of a source: all keys, or those of its `items` under the paths that these give.

    A key that is not there is a VolumeError beginning with `missing`, unless the source is optional.
    """
    items = source.get("items") or [{"key": key, "path": key} for key in content]
    payload = {}
    for item in items:
        if item["key"] in content:
            payload[item["path"]] = File(content[item["key"]], mode_of(item, default_mode))
        elif not source.get("optional"):
            raise VolumeError(f"{missing}: {item['key']}")
    return payload


def mode_of(item: Mapping[str, Any], default_mode: int | None) -> int:
    """The permissions of an item's file."""
    mode = item.get("mode")
    if mode is None:
        mode = default_mode
    return DEFAULT_MODE if mode is None else int(mode)


async def show(request: Request, payload: Payload, *, in_memory: bool) -> Path:
    """Make the volume's folder, if need be, and have it show exactly these files."""
    places = nested.places(request.pod, request.directory.name)
    await run_blocking(_show, request.directory, payload, request.fs_group, in_memory=in_memory, places=places)
    return request.directory


def _show(
    directory: Path, payload: Payload, fs_group: int | None, *, in_memory: bool, places: Collection[str]
) -> None:
    directory.mkdir(exist_ok=True)
    mode = DIRECTORY_MODE if fs_group is None else DIRECTORY_MODE | GROUP_OWNED
    if in_memory:
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
        mounts.mount_tmpfs(directory, mode=mode, gid=fs_group or 0, flags=flags)
    else:
        atomic_writer.give(directory, mode, fs_group)
    first_steps = {place.partition("/")[0] for place in places}
    atomic_writer.write(directory, payload, fs_group=fs_group, keep=first_steps)
    shown = {path.partition("/")[0] for path in payload}
    for place in places:
        if place.partition("/")[0] not in shown:
            (directory / place).mkdir(mode=0o755, parents=True, exist_ok=True)
