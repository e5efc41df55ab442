"""Pulls one image: asks for its manifest, chooses this machine's, and takes its layers in as they arrive.

Everything about registries happens in a process of its own, which ends when it is done (`python -m kubelet.images
pull`): the node agent itself loads none of it.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubelet.images import manifest as manifests
from kubelet.images import platforms
from kubelet.images.auth import ANONYMOUS, Credential
from kubelet.images.http import Http
from kubelet.images.index import PulledWith
from kubelet.images.intake import StreamedLayer, taken_in
from kubelet.images.manifest import Descriptor, ImageConfig, Index, Manifest, ManifestError, Platform
from kubelet.images.reference import Reference
from kubelet.images.registries import Endpoint, Registries, RegistriesError
from kubelet.images.registry import Denied, NotFound, RegistryError, Repository
from kubelet.images.store import Image, ImageError, ImageStore
from kubelet.images.unpack import FREE_BYTES_MIN, LayerError
from kubelet.images.unpackers import Unpackers

INDEX_DEPTH_MAX = 3
# Told of each layer's bytes as they arrive: (digest, received, size).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Offer:
    """A credential to try, and what is noted of an image that was had with it."""

    credential: Credential = ANONYMOUS
    pulled: PulledWith | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of a pull: the image, the digest that its name stands for, whether it was there before, and which of
    the offers it was had with."""

    image: Image
    digest: str
    was_present: bool
    offer: int


class Puller:
    """Pulls images into one store."""

    def __init__(
        self,
        store: ImageStore,
        unpackers: Unpackers,
        registries: Registries,
        *,
        http: Http | None = None,
        wanted: Sequence[Platform] = (),
        progress: Progress = lambda _digest, _received, _size: None,
    ) -> None:
        self._store, self._unpackers, self._registries = store, unpackers, registries
        self._http = http or Http()
        self._wanted = wanted or platforms.candidates()
        self._progress = progress

    def pull(self, reference: Reference, offers: Sequence[Offer]) -> Pulled:
        """Pull an image with the first credential that works. Raises ImageError (ErrImagePull)."""
        problems: list[str] = []
        for position, offer in enumerate(offers or [Offer(pulled={"node": True})]):
            try:
                image, digest, was_present = self._pull(reference, offer)
                return Pulled(image, digest, was_present, position)
            except (RegistryError, ManifestError, LayerError, RegistriesError, OSError) as error:
                if str(error) not in problems:
                    problems.append(str(error))
        why = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise ImageError("ErrImagePull", f'failed to pull and unpack image "{reference}": {why}')

    def _pull(self, reference: Reference, offer: Offer) -> tuple[Image, str, bool]:
        known = self._store.find(str(reference))
        source, digest, data = self._resolve(reference, offer.credential, known)
        if known is not None and not data:
            # The registry has let us see what stands there: that is the same as pulling it again.
            image = self._note(reference, known, offer)
            return image, digest, True
        manifest, manifest_data = source.image_manifest(data, self._wanted)
        config_data = source.small_blob(manifest.config, manifests.CONFIG_BYTES_MAX)
        config = manifests.parse_config(config_data)
        self._check(manifest, config)
        self._check_room(manifest)
        wanted = [
            StreamedLayer(diff_id, self._pieces(source, layer))
            for diff_id, layer in zip(config.diff_ids, manifest.layers, strict=True)
        ]
        with taken_in(self._store.layers, self._unpackers, wanted):
            image = self._store.add(
                config_data,
                [str(reference)],
                manifest=manifest_data,
                repository=reference.name,
                resolved=digest,
                pulled=offer.pulled,
            )
        return image, digest, False

    def _resolve(
        self, reference: Reference, credential: Credential, known: Image | None
    ) -> tuple[_Source, str, bytes]:
        """Where the image is, its digest, and what stands there; nothing of that if it is what we have."""
        problems: list[RegistryError] = []
        endpoints = self._registries.endpoints(reference.registry, reference.repository)
        repositories = [self._repository(endpoint, credential) for endpoint in endpoints]
        for position, repository in enumerate(repositories):
            source = _Source(repositories[position:])
            try:
                if known is not None:
                    digest = repository.digest(reference.version)
                    if f"{reference.name}@{digest}" in known.digests:
                        return source, digest, b""
                data, media_type = repository.manifest(reference.version)
                source.media_type = media_type
                return source, manifests.digest_of(data), data
            except RegistryError as error:
                problems.append(error)
        last = problems[-1]
        why = f"{reference}: not found" if isinstance(last, NotFound) else str(last)
        raise type(last)(f'failed to resolve reference "{reference}": {why}') from last

    def _repository(self, endpoint: Endpoint, credential: Credential) -> Repository:
        # What a pod may show to a registry is none of its mirrors' business.
        own = endpoint.credential or ANONYMOUS
        return Repository(self._http, endpoint, own if endpoint.is_mirror else credential or own)

    def _note(self, reference: Reference, known: Image, offer: Offer) -> Image:
        return self._store.add(
            self._store.blob(known.id),
            [str(reference)],
            manifest=self._store.blob(known.manifest) if known.manifest else b"",
            repository=reference.name,
            resolved=next(d for d in known.digests if d.startswith(f"{reference.name}@")).partition("@")[2],
            pulled=offer.pulled,
        )

    def _check(self, manifest: Manifest, config: ImageConfig) -> None:
        if len(config.diff_ids) != len(manifest.layers):
            counts = f"{len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids"
            raise ManifestError(f"damaged image: it has {counts}")
        if config.os_features:
            raise ManifestError(f"the image needs {', '.join(config.os_features)[:200]} of the machine that runs it")
        if config.platform.os != "linux":
            raise ManifestError(f"no match for platform in manifest: it is for {config.platform}")

    def _check_room(self, manifest: Manifest) -> None:
        """Before anything is downloaded: unpacked it needs no less than this."""
        needed = sum(layer.size for layer in manifest.layers)
        found = os.statvfs(self._store.root)
        if found.f_bavail * found.f_frsize < needed + FREE_BYTES_MIN:
            raise LayerError(f"no space left on device: the image has {needed} bytes of compressed layers")

    def _pieces(self, source: _Source, layer: Descriptor) -> Callable[[], Iterable[bytes]]:
        def pieces() -> Iterator[bytes]:
            received = 0
            self._progress(layer.digest, 0, layer.size)
            for piece in source.blob(layer):
                received += len(piece)
                self._progress(layer.digest, received, layer.size)
                yield piece

        return pieces


class _Source:
    """Where an image comes from: the repository that had its manifest, and those to fall back on for blobs."""

    def __init__(self, repositories: Sequence[Repository]) -> None:
        self._repositories = repositories
        self.media_type = ""

    def image_manifest(self, data: bytes, wanted: Sequence[Platform]) -> tuple[Manifest, bytes]:
        """The manifest for this machine, through indexes if need be."""
        media_type = self.media_type
        for _ in range(INDEX_DEPTH_MAX):
            parsed = manifests.parse(data, media_type)
            if isinstance(parsed, Manifest):
                return parsed, data
            chosen = _chosen(parsed, wanted)
            data, media_type = self._repositories[0].manifest(chosen.digest)
        raise ManifestError("the image's indexes do not come to an end")

    def small_blob(self, blob: Descriptor, bytes_max: int) -> bytes:
        """The image's configuration."""
        if blob.size > bytes_max:
            raise RegistryError(f"blob {blob.digest} of {blob.size} bytes is larger than {bytes_max}")
        return b"".join(self.blob(blob))

    def blob(self, blob: Descriptor) -> Iterator[bytes]:
        """A blob from the first repository that has it."""
        *others, last = self._repositories
        for repository in others:
            try:
                yield from repository.blob(blob)
                return
            except (NotFound, Denied):
                continue
        yield from last.blob(blob)


def _chosen(index: Index, wanted: Sequence[Platform]) -> Descriptor:
    chosen = platforms.choose(index.manifests, wanted)
    if chosen is None:
        offered = ", ".join(sorted({str(entry.platform) for entry in index.manifests if entry.platform})) or "none"
        raise ManifestError(f"no match for platform {wanted[0]} in manifest: it has {offered[:300]}")
    return chosen
