"""Files as a tar stream and back, for `kctl cp`. Blocking; meant for a thread.

Source: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_cp/
"""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

COPY_BYTES = 1 << 20


def pack(source: Path, name: str, target: IO[bytes]) -> None:
    """Write a file or folder to a stream, under this name. Raises OSError."""
    with tarfile.open(fileobj=target, mode="w|", dereference=True) as archive:
        archive.add(source, arcname=name)


def unpack(stream: IO[bytes], prefix: str, target: Path) -> list[str]:
    """Write what is in a stream below `prefix` to a file or folder. Returns warnings about what was left out.

    What comes out of a container is not to be trusted: nothing is written outside of the target, and no link is made
    or followed.
    """
    warnings = []
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member, path in _placed(archive, prefix, target):
            if path is None:
                warnings.append(f"warning: file {member.name!r} is outside target destination, skipping")
            elif member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                _write(archive, member, path)
            else:
                warnings.append(f"warning: skipping {member.name!r}: it is neither a file nor a folder")
    return warnings


def _placed(archive: tarfile.TarFile, prefix: str, target: Path) -> Iterator[tuple[tarfile.TarInfo, Path | None]]:
    """Every member, and where it goes; None for one that would lie outside."""
    for member in archive:
        name = posixpath.normpath(member.name.lstrip("/"))
        if name != prefix and not name.startswith(f"{prefix}/"):
            yield member, None
            continue
        rest = name[len(prefix) :].lstrip("/")
        yield member, _inside(target, rest)


def _inside(target: Path, rest: str) -> Path | None:
    """A path below the target; None if it leads out of it, be it by a link that is there already."""
    path = target / rest if rest else target
    if ".." in rest.split("/"):
        return None
    root = target.resolve()
    return path if path.parent.resolve().is_relative_to(root) or path == target else None


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None, "a file has content"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, COPY_BYTES)
    path.chmod(member.mode & 0o777)
