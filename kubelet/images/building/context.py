"""Where COPY and ADD copy from: finds what their patterns mean and what it is (a digest), and never leaves a folder.

A symbolic link that a source names is followed as if the folder were the root; one inside of a folder that is copied
is copied as a link.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence

from kubelet.images.building.errors import BuildError
from kubelet.images.building.ignore import Ignore
from kubelet.runtime import syscalls

READ_BYTES = 1 << 18
_MAGIC = frozenset("*?[")


class Tree:
    """A folder that is copied from, less what is ignored in it."""

    def __init__(self, folder: str, ignore: Ignore = Ignore()) -> None:  # noqa: B008 - it never changes
        self.ignore = ignore
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.descriptor)

    def find(self, pattern: str) -> list[str]:
        """The paths that a source means, in order; "" is the folder itself. Raises BuildError if there are none."""
        clean = posixpath.normpath(f"/{pattern}").lstrip("/")
        if not _MAGIC & set(clean):
            found = [clean] if self._is_there(clean) else []
        else:
            found = sorted(self._matching("", clean.split("/")))
        if not found:
            raise BuildError(f'"/{clean}": not found')
        return found

    def digest(self, path: str) -> str:
        """What is at a path: changes with every name, content and mode, and not with times."""
        digest = hashlib.sha256()
        descriptor = self.open(path)
        try:
            self._add(digest, descriptor, "", path)
        finally:
            os.close(descriptor)
        return digest.hexdigest()

    def open(self, path: str) -> int:
        """What a source names, its links followed within the folder. Raises OSError."""
        return syscalls.openat2(self.descriptor, path or ".", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def entries(self, descriptor: int, path: str) -> Iterator[tuple[str, str]]:
        """(name, path) of what is in an open folder and not ignored, in order."""
        for name in sorted(os.listdir(descriptor)):
            inner = f"{path}/{name}" if path else name
            if not self.ignore.excludes(inner) or self._may_hold_exceptions(descriptor, name):
                yield name, inner

    def _may_hold_exceptions(self, descriptor: int, name: str) -> bool:
        if not self.ignore.has_exceptions:
            return False
        return stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)

    def _is_there(self, path: str) -> bool:
        if path and self.ignore.excludes(path) and not self.ignore.has_exceptions:
            return False
        try:
            os.close(syscalls.openat2(self.descriptor, path or ".", os.O_PATH))
        except OSError:
            return False
        return True

    def _matching(self, folder: str, parts: Sequence[str]) -> Iterator[str]:
        try:
            descriptor = self.open(folder)
        except OSError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                return
            for name, inner in self.entries(descriptor, folder):
                if not fnmatch.fnmatchcase(name, parts[0]):
                    continue
                if len(parts) > 1:
                    yield from self._matching(inner, parts[1:])
                elif not self.ignore.excludes(inner) or self.ignore.has_exceptions:
                    yield inner
        finally:
            os.close(descriptor)

    def _add(self, digest: hashlib._Hash, descriptor: int, shown: str, path: str) -> None:
        found = os.fstat(descriptor)
        kind = stat.S_IFMT(found.st_mode)
        digest.update(
            f"{len(shown)}:{shown}:{kind}:{stat.S_IMODE(found.st_mode)}:".encode("utf-8", "surrogateescape")
        )
        if stat.S_ISREG(found.st_mode):
            while data := os.read(descriptor, READ_BYTES):
                digest.update(data)
            digest.update(b"%d" % found.st_size)
            return
        if not stat.S_ISDIR(found.st_mode):
            return
        for name, inner in self.entries(descriptor, path):
            entry = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(entry.st_mode):
                aim = os.readlink(name, dir_fd=descriptor)
                digest.update(f"{len(name)}:{name}->{aim}".encode("utf-8", "surrogateescape"))
            elif stat.S_ISREG(entry.st_mode) or stat.S_ISDIR(entry.st_mode):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                child = os.open(name, flags, dir_fd=descriptor)
                try:
                    self._add(digest, child, f"{shown}/{name}", inner)
                finally:
                    os.close(child)
