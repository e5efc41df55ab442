"""image: the files of an image as a volume, read-only, and none of them a program.

The kernel lays the image's layers over one another (overlayfs without an upper directory) in the volume's folder, and
the containers bind that. The image itself is had when a container starts that mounts it, as the container's own is:
see containers/image_volumes.py.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#image
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kubelet.images import Image
from kubelet.runtime import mounts as container_mounts
from kubelet.runtime import syscalls
from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.kind import Request

_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_ATTRIBUTES = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
)


async def set_up(request: Request) -> Path:
    """The place for the image."""
    await run_blocking(request.directory.mkdir, exist_ok=True)
    return request.directory


def mount(directory: Path, image: Image) -> None:
    """Show an image in a folder, unless it is shown there already. Raises OSError."""
    if os.path.ismount(directory):
        return
    _mount_layers(directory, image.layers)
    if not image.binds:
        return
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for source, destination in image.binds:
            container_mounts.bind_mount(root, _bind(source, destination))
    finally:
        os.close(root)


def _mount_layers(directory: Path, layers: Sequence[Path]) -> None:
    """Every layer is named by a descriptor: hundreds of paths would not fit the page that mount(2) reads.

    The folder itself, which is empty, lies below them all, for an overlay without an upper directory takes two.
    """
    opened = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in (*layers, directory)]
    try:
        lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
        syscalls.mount("overlay", str(directory), "overlay", _FLAGS, f"lowerdir={lower}")
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _bind(source: str, destination: str) -> dict[str, object]:
    return {
        "source": source,
        "destination": destination,
        "recursive": True,
        "recursive_attributes": True,
        "set": _ATTRIBUTES,
        "clear": 0,
        "propagation": syscalls.MS_PRIVATE,
    }
