"""Manifests, indexes and configurations of images: pure, from bytes that a stranger wrote to checked values.

Both families of media types are read: OCI's and Docker's schema 2. What has no place in a container (a Helm
chart, a signature, Docker's old schema 1) is refused by name.

Sources: https://github.com/opencontainers/image-spec/blob/main/manifest.md, image-index.md, config.md, and
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubelet.images.reference import DIGEST

MANIFEST_BYTES_MAX = 4 << 20
CONFIG_BYTES_MAX = 8 << 20
# Overlayfs takes 500 at most; builders stop at 127.
LAYERS_MAX = 400
INDEX_ENTRIES_MAX = 1000

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
# What a registry is told that we take, the best first.
ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)


class ManifestError(ValueError):
    """Not the manifest, index or configuration of an image that can run here."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image was made for."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob by its digest; `platform` only in an index, where it may be left out."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, lowest first."""

    config: Descriptor
    layers: Sequence[Descriptor]


@dataclass(frozen=True, slots=True)
class Index:
    """Images of the same name for several platforms."""

    manifests: Sequence[Descriptor]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What of an image's configuration matters here; `run` is how its containers start (`config` in the file)."""

    diff_ids: Sequence[str]
    run: Mapping[str, Any]
    created: str
    platform: Platform
    os_features: Sequence[str] = ()


def digest_of(data: bytes) -> str:
    """The digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def matches(data: bytes, digest: str) -> bool:
    """Whether a blob is what a digest says."""
    algorithm, _, value = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == value


def parse(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; `media_type` is what it was said to be. Raises ManifestError."""
    document = _object(data, "manifest")
    kind = str(document.get("mediaType") or media_type.partition(";")[0].strip())
    if document.get("schemaVersion") == 1:
        raise ManifestError(
            "the image has a manifest of Docker's schema 1, which is no longer supported: push it again"
        )
    if kind in INDEX_TYPES or (kind not in MANIFEST_TYPES and "manifests" in document):
        entries = _list(document, "manifests", INDEX_ENTRIES_MAX)
        return Index([descriptor(entry) for entry in entries])
    if kind not in MANIFEST_TYPES and "layers" not in document:
        raise ManifestError(f"unsupported manifest media type {kind[:100]!r}")
    config = descriptor(document.get("config"))
    if config.media_type not in _CONFIG_TYPES:
        raise ManifestError(f"it is no container image: its configuration is of type {config.media_type[:100]!r}")
    return Manifest(config, [descriptor(entry) for entry in _list(document, "layers", LAYERS_MAX)])


def parse_config(data: bytes) -> ImageConfig:
    """Read an image's configuration. Raises ManifestError."""
    document = _object(data, "image configuration")
    diff_ids = _list(_mapping(document, "rootfs"), "diff_ids", LAYERS_MAX)
    for diff_id in diff_ids:
        if not isinstance(diff_id, str) or not DIGEST.fullmatch(diff_id):
            raise ManifestError(f"damaged image configuration: {str(diff_id)[:100]!r} is no diff id")
    run = _mapping(document, "config")
    _check_run(run)
    features = document.get("os.features") or []
    return ImageConfig(
        diff_ids=diff_ids,
        run=run,
        created=str(document.get("created") or ""),
        platform=Platform(
            str(document.get("os") or "linux"),
            str(document.get("architecture") or ""),
            str(document.get("variant") or ""),
        ),
        os_features=[str(feature) for feature in features] if isinstance(features, list) else [],
    )


def descriptor(entry: Any) -> Descriptor:
    """Read a descriptor. Raises ManifestError."""
    if not isinstance(entry, dict):
        raise ManifestError("damaged manifest: a descriptor is missing")
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ManifestError(f"damaged manifest: {str(digest)[:100]!r} is no digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestError(f"damaged manifest: blob {digest} has the size {str(size)[:100]!r}")
    annotations = entry.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ManifestError("damaged manifest: annotations must be an object")
    return Descriptor(
        media_type=str(entry.get("mediaType") or ""),
        digest=digest,
        size=size,
        platform=_platform(entry.get("platform")),
        annotations={str(key): str(value) for key, value in annotations.items()},
    )


def build(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An OCI manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": written(config),
        "layers": [written(layer) for layer in layers],
    }
    return orjson.dumps(document)


def written(blob: Descriptor) -> dict[str, Any]:
    """A descriptor as it stands in a manifest."""
    entry: dict[str, Any] = {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
    if blob.annotations:
        entry["annotations"] = dict(blob.annotations)
    return entry


def _check_run(run: Mapping[str, Any]) -> None:
    """What a container is started by must be of the right shape: it goes into a process's arguments."""
    for key in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild"):
        value = run.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(word, str) for word in value)):
            raise ManifestError(f"damaged image configuration: {key} must be a list of strings")
    for key in ("User", "WorkingDir", "StopSignal"):
        if run.get(key) is not None and not isinstance(run[key], str):
            raise ManifestError(f"damaged image configuration: {key} must be a string")


def _platform(entry: Any) -> Platform | None:
    if not isinstance(entry, dict):
        return None
    os_name, architecture = entry.get("os") or "linux", entry.get("architecture") or ""
    return Platform(str(os_name), str(architecture), str(entry.get("variant") or ""))


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise ManifestError(f"damaged {what}: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"damaged {what}: it is no JSON object")
    return document


def _mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestError(f"damaged image configuration: {key} must be an object")
    return value


def _list(document: Mapping[str, Any], key: str, length_max: int) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ManifestError(f"damaged metadata: {key} must be a list")
    if len(value) > length_max:
        raise ManifestError(f"too many {key}: {len(value)}, of which {length_max} are allowed")
    return value
