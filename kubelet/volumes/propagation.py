"""Whether mounts that are made in a volume are seen on both sides: the node's and the containers'.

The kernel hands mounts on between the members of a peer group (mount_namespaces(7)). A container's copy of a volume
is one if what it was copied from is: so a volume in the node agent's folder is made a mount of its own, and a shared
one, as soon as a container asks for propagation. A mount of the node's is left as its owner has made it.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#mount-propagation
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kubelet.runtime import syscalls
from kubelet.volumes import mounts
from kubelet.volumes.failure import VolumeError

NONE, FROM_NODE, BOTH_WAYS = "None", "HostToContainer", "Bidirectional"
_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)


def prepare(volume: Path, mode: str, *, root: Path, shared: Path) -> Path:
    """Have mounts in a volume propagate; returns what to mount. Raises VolumeError, OSError.

    A volume of this pod alone lies in the folder above `shared`, and is shared where it is. One that lies elsewhere
    in the node agent's folder `root`, and may be other pods' too, is bound to `shared`, which goes with the pod.
    """
    if mode == NONE:
        return volume
    if volume.is_relative_to(shared.parent.parent.resolve()):
        _share(volume)
        return volume
    if volume.is_relative_to(root.resolve()):
        shared.mkdir(parents=True, exist_ok=True)
        shared = shared.resolve()
        if _mount_of(shared)[0] != str(shared):
            syscalls.mount(str(volume), str(shared), None, syscalls.MS_BIND | syscalls.MS_REC)
        _share(shared)
        return shared
    place, kinds = _mount_of(volume)
    if mode == BOTH_WAYS and "shared" not in kinds:
        raise VolumeError(f'path "{volume}" is mounted on "{place}" but it is not a shared mount')
    if not kinds & {"shared", "master"}:
        raise VolumeError(f'path "{volume}" is mounted on "{place}" but it is not a shared or slave mount')
    return volume


def _share(volume: Path) -> None:
    # os.path.ismount() knows only of mounts of other file systems.
    place, kinds = _mount_of(volume)
    if place != str(volume):
        syscalls.mount(str(volume), str(volume), None, syscalls.MS_BIND)
    if place != str(volume) or "shared" not in kinds:
        syscalls.mount(None, str(volume), None, syscalls.MS_SHARED)


def _mount_of(path: Path) -> tuple[str, set[str]]:
    """Where the mount that a path lies on begins, and which kinds of propagation it takes part in."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{descriptor}").read_bytes())
    finally:
        os.close(descriptor)
    wanted = found[1] if found is not None else b""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if fields[0] == wanted:
            optional = fields[6 : fields.index(b"-")]
            return mounts.unescaped(fields[4]), {field.partition(b":")[0].decode() for field in optional}
    raise VolumeError(f'path "{path}" lies on a mount that is not known here')
