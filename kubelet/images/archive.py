"""Reads image archives: `docker save` files and OCI layouts, as a tar file (plain or gzip) or a folder.

Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and moby's image spec v1.2.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

METADATA_BYTES_MAX = 4 << 20
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


class ArchiveError(Exception):
    """Not an image archive, or a damaged one."""


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive; `layers` open their (perhaps compressed) tar streams, lowest first."""

    names: list[str]
    config: bytes
    manifest_digest: str | None
    layers: list[Callable[[], BinaryIO]]


Opener = Callable[[str], BinaryIO]


@contextmanager
def open_archive(path: Path) -> Iterator[list[ArchivedImage]]:
    """The images of an archive file or folder; their layers can be opened while the context lasts."""
    if path.is_dir():
        yield _read(lambda name: _open_inside(path, name), str(path))
        return
    try:
        with tarfile.open(path, "r:*") as archive:
            members = {os.path.normpath(member.name): member for member in archive}

            def opener(name: str) -> BinaryIO:
                member = members.get(os.path.normpath(name))
                content = archive.extractfile(member) if member is not None else None
                if content is None:
                    raise FileNotFoundError(name)
                return content  # type: ignore[return-value]

            yield _read(opener, str(path))
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{path}: not a tar archive ({error})") from error


def _open_inside(folder: Path, name: str) -> BinaryIO:
    inside = (folder / name).resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise ArchiveError(f"{folder}: {name} lies outside of it")
    return inside.open("rb")


def _read(opener: Opener, where: str) -> list[ArchivedImage]:
    try:
        try:
            manifest = _json(opener, "manifest.json")
        except FileNotFoundError:
            index = _json(opener, "index.json")
            images = [_oci_image(opener, entry, where) for entry in index["manifests"]]
        else:
            images = [_docker_image(opener, entry) for entry in manifest]
    except FileNotFoundError as error:
        message = f"{where}: neither a `docker save` archive nor an OCI layout ({error.args[0]} is missing)"
        raise ArchiveError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{where}: damaged metadata ({type(error).__name__}: {error})") from error
    if not images:
        raise ArchiveError(f"{where}: holds no image")
    return images


def _docker_image(opener: Opener, entry: dict[str, Any]) -> ArchivedImage:
    return ArchivedImage(
        names=list(entry.get("RepoTags") or []),
        config=_bytes(opener, entry["Config"]),
        manifest_digest=None,
        layers=[_later(opener, name) for name in entry["Layers"]],
    )


def _oci_image(opener: Opener, descriptor: dict[str, Any], where: str) -> ArchivedImage:
    annotations = descriptor.get("annotations") or {}
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
    descriptor = _for_this_platform(opener, descriptor, where)
    manifest = orjson.loads(_blob(opener, descriptor["digest"]))
    return ArchivedImage(
        names=[name] if name else [],
        config=_blob(opener, manifest["config"]["digest"]),
        manifest_digest=descriptor["digest"],
        layers=[_later(opener, _blob_path(layer["digest"])) for layer in manifest["layers"]],
    )


def _for_this_platform(opener: Opener, descriptor: dict[str, Any], where: str) -> dict[str, Any]:
    if descriptor.get("mediaType") not in _INDEX_TYPES:
        return descriptor
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    choices = orjson.loads(_blob(opener, descriptor["digest"]))["manifests"]
    for choice in choices:
        offered = choice.get("platform") or {}
        if offered.get("os", "linux") == "linux" and offered.get("architecture") == architecture:
            return _for_this_platform(opener, choice, where)
    raise ArchiveError(f"{where}: holds no image for linux/{architecture}")


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64:
        raise ValueError(f"unknown digest {digest!r}")
    return f"blobs/sha256/{value}"


def _blob(opener: Opener, digest: str) -> bytes:
    data = _bytes(opener, _blob_path(digest))
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ValueError(f"blob {digest} is not what its digest says")
    return data


def _bytes(opener: Opener, name: str) -> bytes:
    with opener(name) as file:
        data = file.read(METADATA_BYTES_MAX + 1)
    if len(data) > METADATA_BYTES_MAX:
        raise ValueError(f"{name} is larger than {METADATA_BYTES_MAX} bytes")
    return data


def _json(opener: Opener, name: str) -> Any:
    return orjson.loads(_bytes(opener, name))


def _later(opener: Opener, name: str) -> Callable[[], BinaryIO]:
    return lambda: opener(name)
