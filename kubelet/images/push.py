"""Pushes an image: what the registry has already is not sent again, what it has not is packed and compressed anew.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kubelet.images import manifest as manifests
from kubelet.images.auth import Credential
from kubelet.images.http import Http
from kubelet.images.manifest import Descriptor, Manifest
from kubelet.images.reference import Reference, parse
from kubelet.images.registries import Registries
from kubelet.images.registry import RegistryError, Repository
from kubelet.images.store import Image, ImageError, ImageStore
from kubelet.images.tar_split import SplitError

PARALLEL_MAX = 3
LEVEL = 6
COPY_BYTES = 1 << 18
GZIP_LAYER = f"{manifests.OCI_LAYER}+gzip"
# Told of each layer: (digest, what becomes of it).
Progress = Callable[[str, str], None]


def push(
    store: ImageStore,
    registries: Registries,
    image: Image,
    target: Reference,
    credential: Credential,
    *,
    progress: Progress = lambda _digest, _words: None,
) -> str:
    """Push an image under a name; returns the manifest's digest. Raises ImageError."""
    if image.binds:
        raise ImageError("ImagePushError", f"{target}: the image stands on this node's own files and can't leave it")
    endpoint = registries.own(target.registry, target.repository)
    sources = _repositories_at(image, target)
    scopes = "".join(f" repository:{source}:pull" for source in sources)
    credential = credential or endpoint.credential or Credential()
    repository = Repository(Http(), endpoint, credential, actions="pull,push", more_scopes=scopes)
    try:
        with store.held(image):
            return _Push(store, repository, image, sources, progress).run(target.tag)
    except (RegistryError, SplitError, OSError) as error:
        raise ImageError("ImagePushError", f'failed to push image "{target}": {error}') from error


class _Push:
    """One image on its way."""

    def __init__(
        self, store: ImageStore, repository: Repository, image: Image, sources: list[str], progress: Progress
    ) -> None:
        self._store, self._repository, self._image = store, repository, image
        self._sources, self._progress = sources, progress

    def run(self, tag: str) -> str:
        """All of it."""
        originals = self._originals()
        # The first request settles which protocol and which authorization it is; only then several at once.
        config = self._store.blob(self._image.id)
        config_blob = Descriptor(manifests.OCI_CONFIG, self._image.id, len(config))
        if not self._repository.has_blob(config_blob.digest):
            self._repository.upload(config_blob, lambda: iter([config]))
        with ThreadPoolExecutor(PARALLEL_MAX) as threads:
            layers = list(threads.map(self._layer, self._image.diff_ids, originals))
        if self._image.manifest and layers == originals:
            # All of it is as it was: so is its manifest, whose digest others may know it by.
            data = self._store.blob(self._image.manifest)
            parsed = manifests.parse(data)
            assert isinstance(parsed, Manifest)
            docker = parsed.config.media_type == manifests.DOCKER_CONFIG
            media_type = manifests.DOCKER_MANIFEST if docker else manifests.OCI_MANIFEST
        else:
            data = manifests.build(config_blob, [layer for layer in layers if layer is not None])
            media_type = manifests.OCI_MANIFEST
        self._repository.put_manifest(tag, data, media_type)
        return manifests.digest_of(data)

    def _originals(self) -> list[Descriptor | None]:
        """The layers as they once came, which the registry may have."""
        if not self._image.manifest:
            return [None] * len(self._image.diff_ids)
        parsed = manifests.parse(self._store.blob(self._image.manifest))
        assert isinstance(parsed, Manifest)
        return list(parsed.layers)

    def _layer(self, diff_id: str, original: Descriptor | None) -> Descriptor:
        if original is not None and self._is_there(original.digest):
            self._progress(original.digest, "exists already")
            return original
        with self._store.layers.incoming() as incoming:
            packed = incoming.path / "blob"
            made = self._compress(diff_id, packed)
            if original is not None and made.digest == original.digest:
                made = original
            if self._is_there(made.digest):
                self._progress(made.digest, "exists already")
                return made
            self._progress(made.digest, f"pushing {made.size} bytes")
            self._repository.upload(made, lambda: _pieces(packed))
            self._progress(made.digest, "pushed")
            return made

    def _is_there(self, digest: str) -> bool:
        if self._repository.has_blob(digest):
            return True
        return any(self._repository.mount(digest, source) for source in self._sources)

    def _compress(self, diff_id: str, path: Path) -> Descriptor:
        """Into a file: its digest has to be known before it can be sent."""
        compressor = zlib.compressobj(LEVEL, wbits=31)
        digest, plain, size = hashlib.sha256(), hashlib.sha256(), 0
        with path.open("wb") as file:
            for piece in self._store.layers.tar(diff_id):
                plain.update(piece)
                data = compressor.compress(piece)
                digest.update(data)
                size += file.write(data)
            data = compressor.flush()
            digest.update(data)
            size += file.write(data)
        if f"sha256:{plain.hexdigest()}" != diff_id:
            raise SplitError(f"layer {diff_id}: its files have been changed")
        return Descriptor(GZIP_LAYER, f"sha256:{digest.hexdigest()}", size)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(COPY_BYTES):
            yield data


def _repositories_at(image: Image, target: Reference) -> list[str]:
    """Other repositories of the same registry that are known to have the image."""
    names = [parse(digest) for digest in image.digests]
    found = {name.repository for name in names if name.registry == target.registry}
    return sorted(found - {target.repository})
