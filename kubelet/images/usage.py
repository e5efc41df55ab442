"""Which pods use which images, on disk, so that no other node agent on the same store removes them.

    DIR/users/HASH      one node agent's: the folder of its node, then a line for each change
                        +UID IMAGE      a pod begins to use an image
                        -UID            a pod is gone, with all that it used

A line is appended before an image is used and costs microseconds. Whoever removes an image takes it out of the index
first and reads these files afterwards (and puts it back if it was in use after all), whoever uses one writes here
first and looks into the index afterwards: one of the two always sees the other.

An agent holds the lock of its file as long as it lives. Of one that is dead only those pods count that its node's
folder still has: its containers run on, and the next agent of that node goes on with the same file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

LOCK_SECONDS_MAX = 10.0
LOCK_PAUSE_SECONDS = 0.01
_COMPACT_LINES = 4096


class ImageUsage:
    """The images that one node agent's pods use."""

    def __init__(self, root: Path, owner: Path) -> None:
        """`root` is the store; `owner` the node's own folder, in which there is a folder pods/UID for each pod."""
        self._folder = root / "users"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = owner.absolute()
        name = hashlib.blake2b(os.fsencode(self._owner), digest_size=8).hexdigest()
        self._path = self._folder / name
        self._descriptor = _open_locked(self._path)
        _, self._used = _read(self._path)
        self._lines = 0
        self._compact()

    def use(self, pod_uid: str, image_id: str) -> None:
        """A pod is about to use an image."""
        images = self._used.setdefault(pod_uid, set())
        if image_id not in images:
            images.add(image_id)
            self._append(f"+{pod_uid} {image_id}\n")

    def uses(self, pod_uid: str, image_id: str) -> bool:
        """Whether a pod is known to use an image."""
        return image_id in self._used.get(pod_uid, ())

    def release(self, pod_uid: str) -> None:
        """A pod is gone."""
        if self._used.pop(pod_uid, None) is not None:
            self._append(f"-{pod_uid}\n")

    def keep_only(self, pod_uids: Iterable[str]) -> None:
        """Release the pods that are not among these: what an earlier agent knew and this one never heard of."""
        for uid in self._used.keys() - set(pod_uids):
            self.release(uid)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _append(self, line: str) -> None:
        data = line.encode()
        before = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, data) != len(data):
            os.ftruncate(self._descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._lines += 1
        if self._lines > _COMPACT_LINES:
            self._compact()

    def _compact(self) -> None:
        """Write the file anew with what holds now; whoever reads meanwhile sees the old file or the new one."""
        lines = [f"{self._owner}\n"]
        lines += [f"+{uid} {image_id}\n" for uid, images in self._used.items() for image_id in sorted(images)]
        temporary = self._path.with_suffix(".new")
        temporary.write_text("".join(lines), errors="surrogateescape")
        descriptor = os.open(temporary, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        temporary.rename(self._path)
        os.close(self._descriptor)
        self._descriptor, self._lines = descriptor, 0


def in_use(root: Path) -> set[str]:
    """The images that any pod of any node agent on this store uses. Forgets agents of whose pods nothing is left."""
    used: set[str] = set()
    folder = root / "users"
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.suffix:  # else a file that is being written anew
            used |= _in_use_by(path)
    return used


def _in_use_by(path: Path) -> set[str]:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return set()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(path, descriptor):
                continue  # it was written anew just now: the lock of the old file says nothing
            owner, known = _read(path)
            left = [images for uid, images in known.items() if (owner / "pods" / uid).exists()]
            if not left:
                path.unlink(missing_ok=True)
            return set().union(*left)
        except BlockingIOError:
            return set().union(*_read(path)[1].values())
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _open_locked(path: Path) -> int:
    """The file of an agent that starts; `in_use` may just be looking at it, and may have removed it."""
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise TimeoutError(f"{path} is in use by another node agent of the same folder") from None
            time.sleep(LOCK_PAUSE_SECONDS)
        os.close(descriptor)


def _read(path: Path) -> tuple[Path, dict[str, set[str]]]:
    """The node's folder, and the images by pod. A last line that was cut off by a crash counts for nothing."""
    used: dict[str, set[str]] = {}
    owner, *lines = path.read_text(errors="surrogateescape").split("\n")
    for line in lines[:-1]:
        uid, _, image_id = line[1:].partition(" ")
        if line.startswith("+"):
            used.setdefault(uid, set()).add(image_id)
        else:
            used.pop(uid, None)
    return Path(owner), used
