"""Makes a layer of what a step of a build has written: the upper side of an overlay, as it is.

Nothing is copied. The folder is read once, for the digest of its tar and for what makes that tar again, and moved to
its place among the layers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from kubelet.images.building.errors import BuildError
from kubelet.images.layers import Incoming, Layers
from kubelet.images.tar_split import Writer
from kubelet.images.tar_writer import pack
from kubelet.images.unpack import OPAQUE_ATTRIBUTE, Unpacked

_OVERLAY_PREFIX = "trusted.overlay."
# What overlayfs notes for itself in an upper layer, and what means nothing in a lower one.
_NOTES = frozenset(f"{_OVERLAY_PREFIX}{name}" for name in ("origin", "impure", "nlink", "uuid", "upper"))


def commit(layers: Layers, incoming: Incoming, upper: Path) -> str:
    """The diff id of the layer made of `upper`, "" if there is nothing in it. Raises BuildError, OSError."""
    if not any(upper.iterdir()):
        return ""
    _strip(upper)
    with (incoming.path / "split").open("wb", buffering=1 << 16) as file:
        made = pack(upper, Writer(file))
    upper.rename(incoming.path / "fs")
    _place(layers, incoming, made)
    return made.diff_id


def remove_stubs(upper: Path, lowers: Sequence[str], destinations: Iterable[str]) -> None:
    """Remove what was only made so that something could be mounted there, and is not of the image."""
    for destination in sorted(set(destinations), key=len, reverse=True):
        path = destination.strip("/")
        while path:
            _remove_stub(upper / path, [Path(lower) / path for lower in lowers])
            path = path.rpartition("/")[0]


def _remove_stub(path: Path, below: Sequence[Path]) -> None:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(found.st_mode):
        if any(path.iterdir()) or _attribute(path, OPAQUE_ATTRIBUTE):
            return
        # A folder that is there below with the same attributes is only a copy that overlayfs made.
        same = next((_same_folder(lower, found) for lower in below if os.path.lexists(lower)), True)
        if same:
            path.rmdir()
    elif stat.S_ISREG(found.st_mode) and not found.st_size and not any(os.path.lexists(lower) for lower in below):
        path.unlink()


def _same_folder(lower: Path, found: os.stat_result) -> bool:
    other = lower.lstat()
    return (other.st_mode, other.st_uid, other.st_gid) == (found.st_mode, found.st_uid, found.st_gid)


def _strip(upper: Path) -> None:
    for folder, _, files in os.walk(upper):
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            for name in os.listxattr(path, follow_symlinks=False):
                if name in _NOTES:
                    os.removexattr(path, name, follow_symlinks=False)
                elif name.startswith(_OVERLAY_PREFIX) and name != OPAQUE_ATTRIBUTE:
                    # Redirects and the like: a layer that is sent elsewhere could not say it.
                    raise BuildError(f"{path}: this node's overlayfs makes layers that can't be packed ({name})")


def _attribute(path: Path, name: str) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return b""


def _place(layers: Layers, incoming: Incoming, made: Unpacked) -> None:
    while True:
        with layers.held(made.diff_id) as is_there:
            if is_there:
                return
            layers.place(incoming, made)
