"""Waiting for files to change without asking again and again: inotify(7) in the event loop.

One descriptor serves everybody, since a user may have few of them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO = 0x2, 0x40, 0x80
IN_CREATE, IN_DELETE, IN_DELETE_SELF = 0x100, 0x200, 0x400
IN_Q_OVERFLOW = 0x4000
_WANTED = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF
_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Calls back when something in a watched folder changes. The descriptor exists while anything is watched."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._callbacks: dict[int, list[Callable[[], None]]] = {}

    @contextmanager
    def watching(self, folder: Path, changed: Callable[[], None]) -> Iterator[None]:
        """Call `changed` at every change of the folder or of a file right in it. Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        try:
            # A folder that is watched already has this very watch: the kernel keeps one a folder.
            watch = _checked(
                _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _WANTED), f"inotify_add_watch {folder}"
            )
            self._callbacks.setdefault(watch, []).append(changed)
            try:
                yield
            finally:
                self._callbacks[watch].remove(changed)
                if not self._callbacks[watch]:
                    del self._callbacks[watch]
                    # Fails harmlessly when the folder is gone, and the watch with it.
                    _libc.inotify_rm_watch(self._descriptor, watch)
        finally:
            if not self._callbacks and self._descriptor >= 0:
                asyncio.get_running_loop().remove_reader(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        offset, changed = 0, set[int]()
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            changed.update(self._callbacks if mask & IN_Q_OVERFLOW else (watch,))
        for watch in changed:
            for callback in self._callbacks.get(watch, ()):
                callback()


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
