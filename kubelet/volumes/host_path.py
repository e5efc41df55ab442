"""hostPath: a file or folder of the node itself, checked to be what the pod expects.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#hostpath
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

Check = Callable[[int], bool]
_TYPES: dict[str, tuple[str, Check]] = {
    "Directory": ("directory", stat.S_ISDIR),
    "File": ("file", stat.S_ISREG),
    "Socket": ("socket file", stat.S_ISSOCK),
    "CharDevice": ("character device", stat.S_ISCHR),
    "BlockDevice": ("block device", stat.S_ISBLK),
}
_CREATED = {"DirectoryOrCreate": "Directory", "FileOrCreate": "File"}


async def set_up(request: Request) -> Path:
    """The path itself, once it is known to be there and of the right type."""
    path = str(request.source["path"])
    if ".." in path.split("/"):
        raise VolumeError(f"invalid HostPath `{path}`: must not contain '..'")
    await run_blocking(_check, Path(path), request.source.get("type") or "")
    return Path(path)


def _check(path: Path, kind: str) -> None:
    if kind == "":
        # Nothing is checked; container runtimes make the folder that a bind mount can't do without.
        if not path.exists():
            path.mkdir(mode=0o755, parents=True)
        return
    if kind in _CREATED:
        if not path.exists():
            _create(path, kind)
        kind = _CREATED[kind]
    if kind not in _TYPES:
        raise VolumeError(f"{kind} is an invalid volume type")
    described, is_right = _TYPES[kind]
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    if not is_right(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not a {described}")


def _create(path: Path, kind: str) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    else:
        # Its folder is not made along with it: Kubernetes wants that to be there.
        path.touch(mode=0o644)
