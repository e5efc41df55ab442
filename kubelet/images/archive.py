"""Reads image archives: `docker save` files and OCI layouts, as a tar file (plain or compressed) or a folder.

Nothing of an archive is copied: a layer is told by where it lies in the file.

Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and moby's image spec v1.2.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from kubelet.images import manifest as manifests
from kubelet.images import platforms
from kubelet.images.decompress import CompressionError, Stream
from kubelet.images.intake import StoredLayer
from kubelet.images.manifest import Descriptor, Index, ManifestError, Platform

METADATA_BYTES_MAX = manifests.CONFIG_BYTES_MAX
MEMBERS_MAX = 100_000
LINKS_MAX = 16
COPY_BYTES = 1 << 20


class ArchiveError(Exception):
    """Not an image archive, or a damaged one."""


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive, its layers lowest first; `manifest` is empty where there is none."""

    names: list[str]
    config: bytes
    manifest: bytes
    layers: list[StoredLayer]


class Container(Protocol):
    """What an archive is in: a folder or a tar file."""

    def place(self, name: str) -> tuple[str, int, int]:
        """Where a file lies: path, offset and length. Raises FileNotFoundError, ArchiveError."""


@contextmanager
def open_archive(
    path: Path, wanted: Sequence[Platform] = (), *, scratch: Path | None = None
) -> Iterator[list[ArchivedImage]]:
    """The images of an archive file, a folder, or standard input (`-`); usable while the context lasts.

    What can't be read at any place (a pipe, a compressed file) is written to `scratch` first.
    """
    wanted = wanted or platforms.candidates()
    if path.is_dir():
        yield _read(_Folder(path), str(path), wanted)
        return
    with _seekable(path, scratch) as file:
        yield _read(_TarFile(file, str(path)), str(path), wanted)


class _Folder:
    """An OCI layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, name: str) -> tuple[str, int, int]:
        inside = (self._folder / name).resolve()
        if not inside.is_relative_to(self._folder.resolve()):
            raise ArchiveError(f"{self._folder}: {name} lies outside of it")
        if not inside.is_file():
            raise FileNotFoundError(name)
        return str(inside), 0, inside.stat().st_size


class _TarFile:
    """A tar file that can be read at any place."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._path = f"/proc/self/fd/{file.fileno()}"
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    self._members[_clean(member.name)] = member
                    if len(self._members) > MEMBERS_MAX:
                        raise ArchiveError(f"{where}: it has more than {MEMBERS_MAX} members")
        except (tarfile.TarError, EOFError) as error:
            raise ArchiveError(f"{where}: not a tar archive ({error})") from error

    def place(self, name: str) -> tuple[str, int, int]:
        path = _clean(name)
        for _ in range(LINKS_MAX):
            member = self._members.get(path)
            if member is None:
                raise FileNotFoundError(name)
            if member.issym():  # `docker save` writes layers that several images share as links
                path = _clean(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.islnk():
                path = _clean(member.linkname)
            elif member.isreg():
                return self._path, member.offset_data, member.size
            else:
                raise FileNotFoundError(name)
        raise ArchiveError(f"{name}: too many links")


def _clean(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")


@contextmanager
def _seekable(path: Path, scratch: Path | None) -> Iterator[BinaryIO]:
    with open(0 if str(path) == "-" else path, "rb", closefd=str(path) != "-") as file:
        stream = Stream(file.read)
        if not stream.kind and file.seekable():
            file.seek(0)
            yield file
            return
        with tempfile.TemporaryFile(dir=scratch) as spool:
            try:
                while data := stream.read(COPY_BYTES):
                    spool.write(data)
            except CompressionError as error:
                raise ArchiveError(f"{path}: {error}") from error
            spool.seek(0)
            yield spool


def _read(container: Container, where: str, wanted: Sequence[Platform]) -> list[ArchivedImage]:
    try:
        try:
            entries = _json(container, "manifest.json")
        except FileNotFoundError:
            index = _json(container, "index.json")
            images = [_oci_image(container, entry, where, wanted) for entry in index["manifests"]]
        else:
            images = [_docker_image(container, entry, where) for entry in entries]
    except FileNotFoundError as error:
        message = f"{where}: neither a `docker save` archive nor an OCI layout ({error.args[0]} is missing)"
        raise ArchiveError(message) from error
    except ManifestError as error:
        raise ArchiveError(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{where}: damaged metadata ({type(error).__name__}: {error})") from error
    if not images:
        raise ArchiveError(f"{where}: holds no image")
    return images


def _docker_image(container: Container, entry: Mapping[str, Any], where: str) -> ArchivedImage:
    config = _bytes(container, entry["Config"])
    layers = _layers(container, config, list(entry["Layers"]), where)
    return ArchivedImage(list(entry.get("RepoTags") or []), config, b"", layers)


def _oci_image(
    container: Container, entry: Mapping[str, Any], where: str, wanted: Sequence[Platform]
) -> ArchivedImage:
    descriptor = manifests.descriptor(dict(entry))
    notes = descriptor.annotations
    name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
    manifest_data = _blob(container, descriptor)
    parsed = manifests.parse(manifest_data, descriptor.media_type)
    while isinstance(parsed, Index):
        chosen = platforms.choose(parsed.manifests, wanted)
        if chosen is None:
            raise ArchiveError(f"{where}: holds no image for {wanted[0]}")
        manifest_data = _blob(container, chosen)
        parsed = manifests.parse(manifest_data, chosen.media_type)
    config = _blob(container, parsed.config)
    layers = _layers(container, config, [_blob_path(layer.digest) for layer in parsed.layers], where)
    return ArchivedImage([name] if name else [], config, manifest_data, layers)


def _layers(container: Container, config: bytes, names: Sequence[str], where: str) -> list[StoredLayer]:
    diff_ids = manifests.parse_config(config).diff_ids
    if len(diff_ids) != len(names):
        raise ArchiveError(f"{where}: damaged image: it has {len(names)} layers, but {len(diff_ids)} diff ids")
    return [StoredLayer(diff_id, *container.place(name)) for diff_id, name in zip(diff_ids, names, strict=True)]


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _blob(container: Container, descriptor: Descriptor) -> bytes:
    data = _bytes(container, _blob_path(descriptor.digest))
    if not manifests.matches(data, descriptor.digest):
        raise ValueError(f"blob {descriptor.digest} is not what its digest says")
    return data


def _bytes(container: Container, name: str) -> bytes:
    path, offset, length = container.place(name)
    if length > METADATA_BYTES_MAX:
        raise ValueError(f"{name} is larger than {METADATA_BYTES_MAX} bytes")
    with open(path, "rb") as file:
        return os.pread(file.fileno(), length, offset)


def _json(container: Container, name: str) -> Any:
    return orjson.loads(_bytes(container, name))
