"""Reading a small file of an image that is not mounted anywhere, layer by layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from kubelet.runtime import syscalls

FILE_BYTES_MAX = 1 << 20


def read(layers: Iterable[Path], path: str) -> str:
    """The text of a file as a container would see it, "" where there is none; `layers` are top first.

    Nothing in a layer leads out of it, and nothing but a regular file is read.
    """
    for layer in layers:
        root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = syscalls.openat2(root, path.lstrip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            if _is_opaque(root, path):
                return ""
            continue
        except OSError:
            return ""  # a whiteout (overlayfs: a device without a driver), or nothing that can be read
        finally:
            os.close(root)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return file.read(FILE_BYTES_MAX).decode(errors="replace")
    return ""


def _is_opaque(root: int, path: str) -> bool:
    """True if this layer hides the folder of the layers below (overlayfs: trusted.overlay.opaque)."""
    try:
        folder = syscalls.openat2(root, path.rpartition("/")[0].lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return os.getxattr(f"/proc/self/fd/{folder}", "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
    finally:
        os.close(folder)
