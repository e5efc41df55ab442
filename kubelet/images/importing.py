"""Takes in the images of an archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kubelet.images.archive import ArchivedImage, ArchiveError, open_archive
from kubelet.images.intake import taken_in
from kubelet.images.manifest import ManifestError, Platform, parse_config
from kubelet.images.store import HOST_FEATURE, Image, ImageStore
from kubelet.images.unpack import LayerError
from kubelet.images.unpackers import Unpackers


def import_archive(
    store: ImageStore, unpackers: Unpackers, path: Path, *, tag: str | None = None, wanted: Sequence[Platform] = ()
) -> list[Image]:
    """Take in all images of an archive (or of standard input, `-`). Raises ArchiveError or ImageError."""
    with open_archive(path, wanted, scratch=store.root) as archived:
        if tag is not None and len(archived) != 1:
            raise ArchiveError(f"{path}: holds {len(archived)} images, so that a single name can't be given")
        images = [_take_in(store, unpackers, path, image, [tag] if tag else image.names) for image in archived]
    store.make_durable()
    return images


def _take_in(store: ImageStore, unpackers: Unpackers, path: Path, image: ArchivedImage, names: list[str]) -> Image:
    try:
        if HOST_FEATURE in parse_config(image.config).os_features:
            raise ArchiveError(f"{path}: the image stands on the files of the node that it was built on")
        with taken_in(store.layers, unpackers, image.layers):
            return store.add(image.config, names, manifest=image.manifest)
    except (ManifestError, LayerError) as error:
        raise ArchiveError(f"{path}: {error}") from error
