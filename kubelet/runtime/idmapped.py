"""The root, the volumes and the devices of a container whose pod has users of its own.

What lies on the node's disk belongs to ids of the node's. An idmapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP)
shows it as the pod's: 0 on the disk is 0 in the container, though the pod's 0 is 196608 to the node. So images and
volumes serve any pod as they are, and nothing has to be chowned.

Mounts of what the node keeps are made with the node's rights, detached, and attached when the process is root among
the pod's users. /proc is one of them as it belongs to a pid namespace, which is the node's.
"""

from __future__ import annotations

import errno
import os

from kubelet.runtime import mounts
from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Made with the node's rights: a pod that has no full view of these already may not mount them by itself.
KERNELS_OWN = ("proc", "sysfs", "mqueue")
_ATTRIBUTES = sc.MOUNT_ATTR_RDONLY | sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC


def mount_overlay(lower_dirs: Sequence[str], directory: str, users_fd: int) -> int:
    """Mount the image's layers, each idmapped, under a fresh upper directory that belongs to the pod's users.

    Overlayfs itself knows nothing of this: it takes the layers as they are shown to it (Linux 5.19), and what it
    copies up belongs to the pod's users on the disk as well.
    """
    os.mkdir(f"{directory}/layers", 0o700)
    places = []
    for number, layer in enumerate(lower_dirs):
        places.append(f"{directory}/layers/{number}")
        os.mkdir(places[-1], 0o700)
        _mount_mapped(layer, places[-1], users_fd)
    return mounts.mount_overlay(places, directory)


def bind_root(path: str, directory: str, users_fd: int) -> int:
    """Use a ready directory as the root."""
    _mount_mapped(path, directory, users_fd)
    return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount_mapped(source: str, place: str, users_fd: int) -> None:
    tree = sc.open_tree(sc.AT_FDCWD, source, sc.OPEN_TREE_CLONE)
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        map_ids(tree, users_fd, must=True)
        sc.move_mount(tree, fd)
    finally:
        os.close(tree)
        os.close(fd)


def prepare_tree(tree: int, entry: dict[str, Any], users_fd: int) -> int:
    """A detached mount of a volume or another file of the node's; `tree` is one that is there already, or -1."""
    if tree < 0:
        tree = mounts.clone_tree(entry)
    map_ids(tree, users_fd, must=entry["must_map"])
    mounts.configure_tree(tree, entry)
    return tree


def map_ids(tree: int, users_fd: int, *, must: bool) -> None:
    """Show a detached mount's files as the pod's users'; not those of what may be mounted inside of it.

    Where the file system can't do that all files are strangers', which is good enough for the programs of an image.
    """
    try:
        sc.mount_setattr(tree, set_=sc.MOUNT_ATTR_IDMAP, userns_fd=users_fd)
    except OSError as error:
        if must or error.errno != errno.EINVAL:
            text = "its file system can't be shown to a pod's own users (idmapped mounts, hostUsers: false)"
            raise OSError(error.errno, f"{text}: {os.strerror(error.errno or 0)}") from None


def prepare_filesystem(entry: dict[str, Any]) -> int:
    """A detached mount of a file system of the kernel's (fsopen(2), fsmount(2)), with the flags as attributes."""
    context = sc.fsopen(entry["type"])
    try:
        sc.fsconfig_create(context)
        return sc.fsmount(context, entry["flags"] & _ATTRIBUTES)
    finally:
        os.close(context)


def own_root() -> int:
    """Mount the working directory on itself, and return its descriptor.

    What came along from the node's mount table is locked in its place (mount_namespaces(7)), and no root to pivot to.
    """
    tree = sc.open_tree(sc.AT_FDCWD, ".", sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE)
    below = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sc.move_mount(tree, below)
    os.close(below)
    os.chdir("/")
    return tree


def attach_devices(root_fd: int, devices: Sequence[dict[str, Any]], trees: Sequence[int]) -> None:
    """Bind the node's devices to empty files of the same names."""
    for device, tree in zip(devices, trees, strict=True):
        fd = mounts.open_mount_point(root_fd, device["path"], directory=False)
        sc.move_mount(tree, fd)
        os.close(fd)
        os.close(tree)
    mounts.link_devices(root_fd)
