"""The images of a machine: names, configurations, and layers that are unpacked once and shared by all.

    DIR/index.json            every image: id, names, layers, configuration
    DIR/layers/sha256-…/      an unpacked layer, used as it is by overlayfs
    DIR/host/                 the files of `localhost/host`
    DIR/lock                  held by whoever changes the store

Several node agents and commands may use one store at once: changes are made under the lock, and the index is
replaced in one step, so that readers need no lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from kubelet.images import host_image
from kubelet.images.archive import ArchivedImage, ArchiveError, open_archive
from kubelet.images.reference import InvalidReference, normalize

UNPACK_TIMEOUT_SECONDS = 1800
COPY_BYTES = 1 << 20


class ImageError(Exception):
    """An image can't be had; `reason` is a container's waiting reason in Kubernetes' words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Image:
    """An image ready to run. `layers` are folders, top first; `binds` are read-only (source, destination)."""

    id: str
    names: list[str]
    digests: list[str]
    layers: list[Path]
    config: dict[str, Any]
    size_bytes: int
    created: str
    binds: list[tuple[str, str]] = field(default_factory=list)


class ImageStore:
    """The store in one folder; made at first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "layers").mkdir(parents=True, exist_ok=True)
        self._index_seen: tuple[int, int] | None = None
        self._index: dict[str, dict[str, Any]] = {}
        self._host: Image | None = None

    def find(self, reference: str) -> Image | None:
        """The image of this name, digest or id; None when the store has none. Raises ImageError."""
        name = _normalized(reference)
        if name == host_image.NAME:
            return self._host_image()
        for image_id, record in self._records().items():
            if name in record["names"] or name in record["digests"] or reference in (image_id, image_id[7:]):
                return self._image(image_id, record)
        return None

    async def ensure(self, reference: str, pull_policy: str) -> Image:
        """The image, ready to run. Raises ImageError with the reason for the container's status."""
        image = self.find(reference)
        if image is not None:
            return image
        if pull_policy == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            raise ImageError("ErrImageNeverPull", message)
        message = (
            f'failed to pull and unpack image "{_normalized(reference)}": it is not in this node\'s store; '
            "import it with `kctl image import FILE`"
        )
        raise ImageError("ErrImagePull", message)

    def images(self) -> list[Image]:
        """Every image, in the order of their names."""
        images = [self._image(image_id, record) for image_id, record in self._records().items()]
        return sorted([self._host_image(), *images], key=lambda image: image.names or [image.id])

    def import_archive(self, path: Path, tag: str | None = None) -> list[Image]:
        """Take in all images of an archive (or of standard input, `-`). Raises ArchiveError or ImageError."""
        if str(path) == "-":
            with tempfile.TemporaryFile(dir=self.root) as spool:
                shutil.copyfileobj(sys.stdin.buffer, spool, COPY_BYTES)
                spool.seek(0)
                return self.import_archive(Path(f"/proc/self/fd/{spool.fileno()}"), tag)
        with self._changing(), open_archive(path) as images:
            if tag is not None and len(images) != 1:
                raise ArchiveError(f"{path}: holds {len(images)} images, so that a single name can't be given")
            return [self._add(image, [tag] if tag else image.names) for image in images]

    def remove(self, reference: str) -> list[str]:
        """Take a name away, and with its last name the image; returns what went. Raises ImageError."""
        name = _normalized(reference)
        if name == host_image.NAME:
            raise ImageError("InvalidImageName", f"{reference} is the node itself and can't be removed")
        with self._changing():
            index = self._records()
            for image_id, record in index.items():
                by_id = reference in (image_id, image_id[7:])
                if not by_id and name not in record["names"]:
                    continue
                names = [] if by_id else [other for other in record["names"] if other != name]
                if names:
                    self._write_index({**index, image_id: {**record, "names": names}})
                    return [name]
                self._refuse_if_in_use(reference, record)
                self._write_index({key: value for key, value in index.items() if key != image_id})
                self._sweep()
                return [*record["names"], image_id]
        raise ImageError("InvalidImageName", f"no image {reference!r} in this store")

    def _add(self, archived: ArchivedImage, names: list[str]) -> Image:
        image_id = f"sha256:{hashlib.sha256(archived.config).hexdigest()}"
        try:
            config = orjson.loads(archived.config)
            diff_ids: list[str] = config["rootfs"]["diff_ids"]
            if len(diff_ids) != len(archived.layers):
                raise ValueError(f"{len(archived.layers)} layers, but {len(diff_ids)} diff ids")
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"damaged image configuration: {error}") from error
        full_names = [_normalized(name) for name in names]
        for diff_id, opener in zip(diff_ids, archived.layers, strict=True):
            if not self._layer(diff_id).exists():
                with opener() as stream:
                    self._unpack(stream, diff_id)
        repositories = {name.partition("@")[0].rpartition(":")[0] for name in full_names}
        digests = [f"{repo}@{archived.manifest_digest}" for repo in repositories if archived.manifest_digest]
        index = dict(self._records())
        for other_id, record in index.items():
            # A name means one image: importing it again moves the name.
            index[other_id] = {**record, "names": [n for n in record["names"] if n not in full_names]}
        known = index.get(image_id, {"names": [], "digests": []})
        index[image_id] = {
            "names": sorted({*known["names"], *full_names}),
            "digests": sorted({*known["digests"], *digests}),
            "layers": diff_ids,
            "config": config.get("config") or {},
            "created": config.get("created") or "",
            "size_bytes": sum(_tree_size(self._layer(diff_id)) for diff_id in diff_ids),
        }
        self._write_index(index)
        return self._image(image_id, index[image_id])

    def _unpack(self, stream: BinaryIO, diff_id: str) -> None:
        """Unpack beside its place and move it there whole, so that no reader sees half a layer."""
        folder = Path(tempfile.mkdtemp(prefix="unpacking-", dir=self.root / "layers"))
        try:
            folder.chmod(0o755)
            command = [sys.executable, "-m", "kubelet.images.unpack", str(folder)]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as child:
                assert child.stdin is not None
                try:
                    shutil.copyfileobj(stream, child.stdin, COPY_BYTES)
                except BrokenPipeError:
                    pass  # the child has said why on its standard error
                out, problem = child.communicate(timeout=UNPACK_TIMEOUT_SECONDS)
            if child.returncode != 0:
                raise ArchiveError(f"layer {diff_id}: {problem.decode(errors='replace').strip()}")
            found = out.decode().strip()
            if found != diff_id:
                raise ArchiveError(f"layer {diff_id}: its content has the digest {found}")
            folder.rename(self._layer(diff_id))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse_if_in_use(self, reference: str, record: dict[str, Any]) -> None:
        marks = [self._layer(diff_id).name for diff_id in record["layers"]]
        for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
            try:
                text = mounts.read_text(errors="replace")
            except OSError:
                continue  # the process ended meanwhile
            if any(mark in text for mark in marks):
                raise ImageError("ImageInUse", f"image {reference} is used by a running container")

    def _sweep(self) -> None:
        used = {self._layer(diff_id) for record in self._records().values() for diff_id in record["layers"]}
        for folder in (self.root / "layers").iterdir():
            if folder not in used:
                shutil.rmtree(folder)

    def _host_image(self) -> Image:
        folder = self.root / "host"
        if self._host is None:
            if not folder.exists():
                with self._changing():
                    self._build_host_image(folder)
            self._host = Image(
                id=f"sha256:{hashlib.sha256(b'localhost/host').hexdigest()}",
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

    def _image(self, image_id: str, record: dict[str, Any]) -> Image:
        return Image(
            id=image_id,
            names=list(record["names"]),
            digests=list(record["digests"]),
            layers=[self._layer(diff_id) for diff_id in reversed(record["layers"])],
            config=record["config"],
            size_bytes=record["size_bytes"],
            created=record["created"],
        )

    def _layer(self, diff_id: str) -> Path:
        return self.root / "layers" / diff_id.replace(":", "-")

    def _records(self) -> dict[str, dict[str, Any]]:
        path = self.root / "index.json"
        try:
            found = path.stat()
            if self._index_seen != (found.st_ino, found.st_mtime_ns):
                self._index = orjson.loads(path.read_bytes())
                self._index_seen = (found.st_ino, found.st_mtime_ns)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ImageError("ErrImagePull", f"{path} is damaged: {error}") from error
        return self._index

    def _write_index(self, index: dict[str, dict[str, Any]]) -> None:
        path = self.root / "index.json"
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(orjson.dumps(index))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _normalized(reference: str) -> str:
    if reference.startswith("sha256:"):
        return reference
    try:
        return normalize(reference)
    except InvalidReference as error:
        raise ImageError("InvalidImageName", f'Failed to apply default image tag "{reference}": {error}') from error


def _tree_size(folder: Path) -> int:
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)
