"""What of the store has reached the disk: a machine that loses power must not run files that are half there.

Waiting for the disk before an image may be used would make every pull as slow as the disk. Instead what is new is
marked with the machine's present start (its boot id), and the mark is taken away once all data has been written:
after another start, whatever still has a mark counts as absent.

Source: syncfs(2), random(4) (boot_id)
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def boot_id() -> str:
    """The name of this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def syncfs(descriptor: int) -> None:
    """Wait until all that has been written to a file system is on its disk."""
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
