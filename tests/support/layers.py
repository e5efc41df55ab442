"""Tars, layers and images for tests, made by hand: also such as no sane program makes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(name: str, content: bytes | None = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A file; without content, a folder; `link=` and `hard=` make links."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if content is None else 0o644
    if content is None:
        info.type = tarfile.DIRTYPE
    if "link" in attributes:
        info.type, info.linkname = tarfile.SYMTYPE, attributes.pop("link")
    if "hard" in attributes:
        info.type, info.linkname = tarfile.LNKTYPE, attributes.pop("hard")
    for key, value in attributes.items():
        setattr(info, key, value)
    data = content if content is not None and info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


def tar(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(data: bytes) -> str:
    """A digest as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(slots=True)
class MadeImage:
    """An image as a registry has it: blobs by digest, and its manifest."""

    manifest: bytes
    blobs: dict[str, bytes] = field(default_factory=dict)
    media_type: str = OCI_MANIFEST

    @property
    def digest(self) -> str:
        """The manifest's."""
        return digest(self.manifest)


def image(
    layers: Sequence[bytes],
    *,
    run: Mapping[str, Any] | None = None,
    pack: Callable[[bytes], bytes] = lambda layer: gzip.compress(layer, mtime=0),
    diff_ids: Sequence[str] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    **platform: str,
) -> MadeImage:
    """An OCI image of these (uncompressed) layers."""
    config = {
        "history": list(history),
        "architecture": "amd64",
        "os": "linux",
        **platform,
        "config": dict(run or {}),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(digest, layers))},
    }
    blobs = {}

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put(json.dumps(config).encode(), OCI_CONFIG),
        "layers": [put(pack(layer), OCI_LAYER) for layer in layers],
    }
    return MadeImage(json.dumps(manifest).encode(), blobs)


def index(*images: tuple[MadeImage, Mapping[str, str]]) -> MadeImage:
    """An index of images for several platforms."""
    entries, blobs = [], {}
    for made, platform in images:
        blobs.update({**made.blobs, made.digest: made.manifest})
        size = len(made.manifest)
        entries.append({"mediaType": OCI_MANIFEST, "digest": made.digest, "size": size, "platform": dict(platform)})
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return MadeImage(json.dumps(document).encode(), blobs, OCI_INDEX)


def oci_layout(folder: Path, made: MadeImage, name: str = "") -> Path:
    """An image as an OCI layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for key, data in {**made.blobs, made.digest: made.manifest}.items():
        (blobs / key.removeprefix("sha256:")).write_bytes(data)
    about: dict[str, Any] = {"mediaType": made.media_type, "digest": made.digest, "size": len(made.manifest)}
    if name:
        about["annotations"] = {"org.opencontainers.image.ref.name": name}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [about]}))
    return folder


def docker_archive(path: Path, layers: Sequence[bytes], tags: Sequence[str], **config: Any) -> Path:
    """What `docker save` writes."""
    about = {"config": config.pop("run", {}), "rootfs": {"diff_ids": list(map(digest, layers))}, **config}
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
    files = [("manifest.json", json.dumps(manifest).encode()), ("config.json", json.dumps(about).encode())]
    path.write_bytes(tar(*(entry(name, data) for name, data in (*files, *zip(names, layers, strict=True)))))
    return path
