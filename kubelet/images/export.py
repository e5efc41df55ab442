"""Writes images as an archive that `docker load`, `podman load`, skopeo and `kctl image import` read: an OCI layout
with a manifest.json beside it, in one tar, as Docker itself writes it nowadays.

Layers stand in it uncompressed, under their diff ids: each is put together and written in one go, and whoever reads
the archive has the very same image again.

Sources: https://github.com/opencontainers/image-spec/blob/main/image-layout.md and moby's image spec v1.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import orjson

from kubelet.images import manifest as manifests
from kubelet.images.manifest import Descriptor
from kubelet.images.store import Image, ImageError, ImageStore
from kubelet.images.tar_split import SplitError
from kubelet.images.tar_writer import END, Header, padding


def export_images(store: ImageStore, images: Sequence[Image], out: BinaryIO) -> None:
    """Write an archive. Raises ImageError, OSError."""
    writer = _Archive(out)
    index, listed = [], []
    for image in images:
        if image.binds:
            message = (
                f"{image.names[0] if image.names else image.id} stands on this node's own files: it can't leave it"
            )
            raise ImageError("ImageInspectError", message)
        with store.held(image):
            entries, about = _write_image(store, image, writer)
        index += entries
        listed.append(about)
    writer.file("oci-layout", orjson.dumps({"imageLayoutVersion": "1.0.0"}))
    document = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": index}
    writer.file("index.json", orjson.dumps(document))
    writer.file("manifest.json", orjson.dumps(listed))
    out.write(END)


def _write_image(store: ImageStore, image: Image, writer: _Archive) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    layers = []
    for diff_id in image.diff_ids:
        try:
            size = store.layers.tar_bytes(diff_id)
            writer.blob(diff_id, size, store.layers.tar(diff_id))
        except (SplitError, OSError) as error:
            raise ImageError("ImageInspectError", f"layer {diff_id} can't be packed again: {error}") from error
        layers.append(Descriptor(manifests.OCI_LAYER, diff_id, size))
    config = store.blob(image.id)
    writer.blob(image.id, len(config), iter([config]))
    manifest = manifests.build(Descriptor(manifests.OCI_CONFIG, image.id, len(config)), layers)
    digest = manifests.digest_of(manifest)
    writer.blob(digest, len(manifest), iter([manifest]))
    entry = manifests.written(Descriptor(manifests.OCI_MANIFEST, digest, len(manifest)))
    notes = [
        {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
        for name in image.names
    ]
    entries = [{**entry, "annotations": note} for note in notes] or [entry]
    about = {
        "Config": _path(image.id),
        "RepoTags": [name.removeprefix("docker.io/library/").removeprefix("docker.io/") for name in image.names],
        "Layers": [_path(diff_id) for diff_id in image.diff_ids],
    }
    return entries, about


class _Archive:
    """A tar file that is written from its beginning to its end."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written: set[str] = set()

    def file(self, path: str, data: bytes) -> None:
        """A small file."""
        self._out.write(Header(path, "file", size=len(data)).encode() + data + padding(len(data)))

    def blob(self, digest: str, size: int, pieces: Iterator[bytes]) -> None:
        """A blob, unless it is there already. It must be what its digest says: that is looked at on the way."""
        if digest in self._written:
            return
        self._written.add(digest)
        found, count = hashlib.sha256(), 0
        self._out.write(Header(_path(digest), "file", size=size).encode())
        for piece in pieces:
            found.update(piece)
            count += len(piece)
            self._out.write(piece)
        if count != size or f"sha256:{found.hexdigest()}" != digest:
            raise SplitError("its files have been changed")
        self._out.write(padding(size))


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
