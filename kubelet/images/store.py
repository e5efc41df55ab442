"""The images of a machine: names, configurations, and layers that are unpacked once and shared by all.

    DIR/index.json            every image: id, names, layers, configuration (index.py)
    DIR/layers/, incoming/ …  the layers (layers.py)
    DIR/blobs/sha256/         configurations and manifests, as they came
    DIR/users/                which pods use which images (usage.py)
    DIR/build-cache/          what steps of Dockerfiles have come to (build_cache.py)
    DIR/host/                 the files of `localhost/host`
    DIR/registries.yaml       how registries are reached (registries.py), if the operator has put it there
    DIR/config.json           credentials of the node, likewise

Several node agents and commands may use one store at once: changes are made under a lock that is held for moments,
and the index is replaced in one step, so that readers need no lock.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubelet.images import build_cache, host_image, usage
from kubelet.images import layers as layers_module
from kubelet.images.durability import boot_id, syncfs
from kubelet.images.index import DamagedIndex, Index, PulledWith, Record, Records
from kubelet.images.layers import Layers
from kubelet.images.manifest import ImageConfig, digest_of, parse_config
from kubelet.images.reference import InvalidReference, normalize, repository_of

# What an image says of itself that stands on the node's own files: whoever can't provide these must not run it.
HOST_FEATURE = "wherry.host"
HOST_ID = f"sha256:{hashlib.sha256(b'localhost/host').hexdigest()}"
_REFERENCES_REMEMBERED = 4096


class ImageError(Exception):
    """An image can't be had; `reason` is a container's waiting reason in Kubernetes' words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Image:
    """An image ready to run. `layers` are folders, top first; `binds` are read-only (source, destination).

    Of `names` and `digests` those that fit what was asked for come first.
    """

    id: str
    names: list[str]
    digests: list[str]
    layers: list[Path]
    config: dict[str, Any]
    size_bytes: int
    created: str
    binds: list[tuple[str, str]] = field(default_factory=list)
    diff_ids: Sequence[str] = ()
    manifest: str = ""
    added: float = 0.0
    pulled: dict[str, PulledWith] = field(default_factory=dict)

    @property
    def is_node(self) -> bool:
        """Whether this is `localhost/host`, the node itself, and not an image that was built on it."""
        return self.id == HOST_ID


class ImageStore:
    """The store in one folder; made at first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = Layers(root)
        self._index = Index(root)
        self._found: dict[str, Image | None] = {}
        self._found_version = -1
        self._host: Image | None = None

    def find(self, reference: str) -> Image | None:
        """The image of this name, digest or id; None when the store has none. Raises ImageError.

        On the way of every container's start: what was found once costs a stat(2).
        """
        records = self._records()
        if self._found_version != self._index.version or len(self._found) > _REFERENCES_REMEMBERED:
            self._found, self._found_version = {}, self._index.version
        elif reference in self._found:
            return self._found[reference]
        image = self._found[reference] = self._find(reference, records)
        return image

    def images(self) -> list[Image]:
        """Every image, in the order of their names."""
        images = [self._image(image_id, record) for image_id, record in self._records().items()]
        return sorted([self.host_image(), *images], key=lambda image: image.names or [image.id])

    def add(
        self,
        config: bytes,
        names: Iterable[str],
        *,
        manifest: bytes = b"",
        repository: str = "",
        resolved: str = "",
        pulled: PulledWith | None = None,
    ) -> Image:
        """Take an image in whose layers are there, and are held by the caller. Its names are taken from others.

        `repository` is where a manifest was had from, `resolved` the digest of what stood there (an index, perhaps,
        of which it is one manifest): together one more name. Raises ManifestError, ImageError.
        """
        about = parse_config(config)
        image_id, manifest_digest = digest_of(config), digest_of(manifest) if manifest else ""
        full_names = [_normalized(name) for name in names]
        repositories = {repository_of(name) for name in full_names if "@" not in name} if manifest else set()
        digest = resolved or manifest_digest
        digests = {f"{name}@{digest}" for name in {*repositories, repository} if name and digest}
        tags = {name for name in full_names if "@" not in name}
        for blob in filter(None, (config, manifest)):
            self._keep_blob(blob)
        size = sum(self.layers.size(diff_id) for diff_id in about.diff_ids)
        with self._index.changing():
            records = _without_names(self._records(), tags, but=image_id)
            known: Record = records.get(image_id, {})
            record: Record = {
                "names": sorted({*known.get("names", ()), *tags}),
                "digests": sorted({*known.get("digests", ()), *digests}),
                "layers": list(about.diff_ids),
                "config": dict(about.run),
                "created": about.created,
                "size_bytes": size,
                "manifest": manifest_digest or known.get("manifest", ""),
                "added": known.get("added") or time.time(),
                "on_host": HOST_FEATURE in about.os_features,
                "pulled": _merged(known, repository, pulled),
                "boot": "" if all(self.layers.is_durable(diff_id) for diff_id in about.diff_ids) else boot_id(),
            }
            if record != known or records != self._records():
                self._index.write({**records, image_id: record})
            return self._image(image_id, record)

    def make_durable(self) -> None:
        """Have all images outlive a crash of the whole machine; takes as long as the disk does.

        Until then a new one counts only as long as the machine has not started anew: files whose data never reached
        the disk look as if they were there, and are empty.
        """
        pending = {image_id: record for image_id, record in self._records().items() if record.get("boot")}
        if not pending:
            return
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(descriptor)
        finally:
            os.close(descriptor)
        for record in pending.values():
            for diff_id in record["layers"]:
                self.layers.note_durable(diff_id)
        with self._index.changing():
            records = dict(self._records())
            for image_id, before in pending.items():
                # One whose layers have changed meanwhile has others that are still on their way.
                if image_id in records and records[image_id] == before:
                    records[image_id] = {**before, "boot": ""}
            self._index.write(records)

    def tag(self, reference: str, name: str) -> Image:
        """Give an image one more name. Raises ImageError."""
        full_name = _normalized(name)
        if full_name == host_image.NAME or "@" in full_name:
            raise ImageError("InvalidImageName", f"{name!r} can't be given to another image")
        with self._index.changing():
            image = self._existing(reference)
            if image.is_node:
                raise ImageError("InvalidImageName", f"{reference} is the node itself and can have no other name")
            records = _without_names(self._records(), {full_name}, but=image.id)
            record = records[image.id]
            changed: Record = {**record, "names": sorted({*record["names"], full_name})}
            self._index.write({**records, image.id: changed})
        return image

    def remove(self, reference: str) -> list[str]:
        """Take a name away, and with its last name the image; returns what went. Raises ImageError."""
        with self._index.changing():
            image = self._existing(reference)
            if image.is_node:
                raise ImageError("InvalidImageName", f"{reference} is the node itself and can't be removed")
            name, records = _normalized(reference), dict(self._records())
            record = records[image.id]
            key = "digests" if name in record["digests"] else "names"
            others = [other for other in record[key] if other != name]  # type: ignore[literal-required]
            if name in (*record["names"], *record["digests"]) and (others or (key == "digests" and record["names"])):
                records[image.id] = {**record, key: others}  # type: ignore[misc]
                self._index.write(records)
                return [name]
            if image.id in usage.in_use(self.root):
                raise _in_use(reference)
        gone, _ = self.remove_images([image.id])
        if not gone:
            raise _in_use(reference)
        return [*record["names"], image.id]

    def remove_images(self, image_ids: Iterable[str]) -> tuple[list[str], int]:
        """Remove images, but for those that pods use; returns the ids that went and the bytes freed."""
        with self._index.changing():
            records = dict(self._records())
            doomed = {image_id: records.pop(image_id) for image_id in image_ids if image_id in records}
            if doomed:
                self._index.write(records)
            # Looked at after the index was written, for the reason that usage.py gives.
            saved = doomed.keys() & usage.in_use(self.root)
            if saved:
                self._index.write({**records, **{image_id: doomed[image_id] for image_id in saved}})
            freed, leftovers = self._sweep()
        layers_module.discard(leftovers)
        return [image_id for image_id in doomed if image_id not in saved], freed

    def sweep(self) -> int:
        """Remove what belongs to no image: the traces of processes that were killed. Returns the bytes of layers."""
        with self._index.changing():
            freed, leftovers = self._sweep()
        layers_module.discard(leftovers)
        return freed

    def forget_name(self, name: str) -> None:
        """Take a name from whatever image has it; the image stays."""
        with self._index.changing():
            records = self._records()
            left = _without_names(records, {name}, but="")
            if left != records:
                self._index.write(left)

    def blob(self, digest: str) -> bytes:
        """A configuration or manifest as it came. Raises ImageError."""
        try:
            return self._blob_path(digest).read_bytes()
        except FileNotFoundError as error:
            raise ImageError("ImageInspectError", f"blob {digest} is not in this store") from error

    def about(self, image: Image) -> ImageConfig:
        """An image's configuration."""
        return parse_config(self.blob(image.id))

    def last_used(self, image_id: str) -> float:
        """When the image was last used or added, in unix seconds; 0.0 if it is gone."""
        try:
            return self._blob_path(image_id).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def note_used(self, image_id: str) -> None:
        """The image is being used, or was until now."""
        try:
            os.utime(self._blob_path(image_id))
        except FileNotFoundError:
            pass  # the node's own image has no configuration of that kind

    @contextmanager
    def held(self, image: Image) -> Iterator[None]:
        """Keep an image's layers from being removed while they are read."""
        with ExitStack() as stack:
            for diff_id in image.diff_ids:
                if not stack.enter_context(self.layers.held(diff_id)):
                    raise ImageError("ImageInspectError", f"layer {diff_id} of {image.id} is gone")
            yield

    def _find(self, reference: str, records: Records) -> Image | None:
        name = _normalized(reference)
        if name == host_image.NAME:
            return self.host_image()
        for image_id, record in records.items():
            if name in record["names"] or name in record["digests"] or reference in (image_id, image_id[7:]):
                return self._image(image_id, record, asked=name)
        short = [image_id for image_id in records if len(reference) >= 6 and image_id[7:].startswith(reference)]
        return self._image(short[0], records[short[0]]) if len(short) == 1 else None

    def _existing(self, reference: str) -> Image:
        image = self._find(reference, self._records())
        if image is None:
            raise ImageError("InvalidImageName", f"no image {reference!r} in this store")
        return image

    def _sweep(self) -> tuple[int, list[layers_module.Incoming]]:
        records = self._records()
        used = {diff_id for record in records.values() for diff_id in record["layers"]}
        used |= build_cache.layers(self.root)
        blobs = {*records, *(record.get("manifest", "") for record in records.values())}
        folder = self.root / "blobs" / "sha256"
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # one on its way, which has got its name meanwhile
                # Not one that was written just now for an image to come.
                if f"sha256:{path.name}" not in blobs and time.time() - path.stat().st_mtime > 3600:
                    path.unlink()
        return self.layers.sweep(used, mounted=layers_module.mounted_names())

    def _keep_blob(self, data: bytes) -> None:
        path = self._blob_path(digest_of(data))
        if path.exists():
            os.utime(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)

    def _blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def host_image(self) -> Image:
        """The node itself."""
        folder = self.root / "host"
        if self._host is None:
            if not folder.exists():
                with self._index.changing():
                    self._build_host_image(folder)
            self._host = Image(
                id=HOST_ID,
                names=[host_image.NAME],
                digests=[],
                layers=[folder],
                config=host_image.config(),
                size_bytes=0,
                created="",
                binds=host_image.binds(folder),
            )
        return self._host

    def _build_host_image(self, folder: Path) -> None:
        if folder.exists():
            return  # another process made it while this one waited for the lock
        temporary = Path(tempfile.mkdtemp(prefix="host-", dir=self.root))
        host_image.build(temporary)
        temporary.rename(folder)

    def _image(self, image_id: str, record: Record, *, asked: str = "") -> Image:
        image = Image(
            id=image_id,
            names=_first(record["names"], asked),
            digests=_first(record["digests"], repository_of(asked)),
            layers=[self.layers.path(diff_id) for diff_id in reversed(record["layers"])],
            config=record["config"],
            size_bytes=record["size_bytes"],
            created=record["created"],
            diff_ids=record["layers"],
            manifest=record.get("manifest", ""),
            added=record.get("added", 0.0),
            pulled=record.get("pulled", {}),
        )
        if not record.get("on_host"):
            return image
        host = self.host_image()
        return replace(image, layers=[*image.layers, *host.layers], binds=host.binds)

    def _records(self) -> Records:
        try:
            return self._index.records()
        except DamagedIndex as error:
            raise ImageError("ImageInspectError", str(error)) from error


def _in_use(reference: str) -> ImageError:
    return ImageError("ImageInUse", f"image {reference} is used by a running container")


def _normalized(reference: str) -> str:
    if reference.startswith("sha256:"):
        return reference
    try:
        return normalize(reference)
    except InvalidReference as error:
        raise ImageError("InvalidImageName", f'Failed to apply default image tag "{reference}": {error}') from error


def _without_names(records: Records, names: set[str], *, but: str) -> dict[str, Record]:
    """A name means one image: giving it to another moves it."""
    changed = {}
    for image_id, record in records.items():
        if image_id != but and names & set(record["names"]):
            record = {**record, "names": [name for name in record["names"] if name not in names]}
        changed[image_id] = record
    return changed


def _first(names: list[str], wanted: str) -> list[str]:
    """Those that begin with what was asked for before the others."""
    if not wanted:
        return list(names)
    return sorted(names, key=lambda name: not (name == wanted or name.startswith(f"{wanted}@")))


def _merged(known: Record, repository: str, pulled: PulledWith | None) -> dict[str, PulledWith]:
    """Who may use the image: whoever could before, and whoever has pulled it now."""
    merged = dict(known.get("pulled") or {})
    if known and not merged:
        return {}  # it was brought here by hand before: it is everybody's
    if pulled is None:
        return {}
    before = merged.get(repository, {})
    secrets = [*before.get("secrets", [])]
    secrets += [secret for secret in pulled.get("secrets", []) if secret not in secrets]
    merged[repository] = {"node": bool(before.get("node") or pulled.get("node")), "secrets": secrets}
    return merged
