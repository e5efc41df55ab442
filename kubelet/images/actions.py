"""What `kctl image` does with a store, one function an action."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from kubelet.images import build_cache, keyring, platforms, registries
from kubelet.images import manifest as manifests
from kubelet.images.auth import ANONYMOUS, Credential
from kubelet.images.keyring import Key
from kubelet.images.reference import InvalidReference, Reference, parse
from kubelet.images.store import Image, ImageError, ImageStore

ID_DIGITS = 12
SHOW_SECONDS = 1.0


def run_pull(args: argparse.Namespace) -> int:
    """Pull images, for all pods. Nobody waits for the disk: what a crash takes away can be pulled again."""
    from kubelet.images.pull import Offer, Puller
    from kubelet.images.unpackers import Unpackers

    with Unpackers() as unpackers:
        store = ImageStore(args.image_dir)
        shown = _Shown(quiet=args.quiet)
        puller = Puller(store, unpackers, _registries(store), wanted=_platform(args), progress=shown.layer)
        for name in args.image:
            reference = _reference(name)
            offers = [Offer(credential) for credential in credentials(store, reference, args.credentials)]
            pulled = puller.pull(reference, offers or [Offer()])
            shown.line(f"{reference}: {'up to date' if pulled.was_present else 'pulled'} ({pulled.digest})")
            if args.quiet:
                print(pulled.image.id)
    return 0


def run_push(args: argparse.Namespace) -> int:
    """Push an image."""
    from kubelet.images.push import push

    store = ImageStore(args.image_dir)
    image = _existing(store, args.image)
    target = _reference(args.target or args.image)
    shown = _Shown(quiet=args.quiet)
    offers = credentials(store, target, args.credentials)
    digest = push(
        store,
        _registries(store),
        image,
        target,
        offers[0] if offers else ANONYMOUS,
        progress=lambda layer, words: shown.line(f"  {_short(layer)}: {words}"),
    )
    print(f"{target.name}@{digest}" if args.quiet else f"{target}: pushed ({digest})")
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Take in archives."""
    from kubelet.images.archive import ArchiveError
    from kubelet.images.importing import import_archive
    from kubelet.images.unpackers import Unpackers

    with Unpackers() as unpackers:
        store = ImageStore(args.image_dir)
        for archive in args.archive:
            try:
                images = import_archive(store, unpackers, archive, tag=args.tag, wanted=_platform(args))
            except ArchiveError as error:
                raise ImageError("ImageImportError", str(error)) from error
            for image in images:
                print(f"imported {', '.join(image.names) or image.id}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write an archive."""
    from kubelet.images.export import export_images

    store = ImageStore(args.image_dir)
    images = [_existing(store, name) for name in args.image]
    if str(args.output) == "-":
        if sys.stdout.isatty():
            raise ImageError("ImageExportError", "an archive is nothing for a terminal: name a file with -o")
        export_images(store, images, sys.stdout.buffer)
        return 0
    temporary = args.output.with_name(f".{args.output.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            export_images(store, images, file)
        temporary.replace(args.output)
    finally:
        temporary.unlink(missing_ok=True)
    return 0


def run_ls(args: argparse.Namespace) -> int:
    """One line an image and name, as wide as needed."""
    images = ImageStore(args.image_dir).images()
    if args.quiet:
        print("\n".join(image.id for image in images))
        return 0
    rows = [("IMAGE", "ID", "SIZE", "LAYERS")]
    for image in images:
        size = "the node's" if image.is_node else f"{image.size_bytes / 1e6:.1f}MB"
        layers = len(image.diff_ids) or len(image.layers)
        for name in image.names or image.digests[:1] or ["<none>"]:
            rows.append((name, image.id[7 : 7 + ID_DIGITS], size, str(layers)))
    _print_table(rows)
    return 0


def run_rm(args: argparse.Namespace) -> int:
    """Remove images."""
    store = ImageStore(args.image_dir)
    for reference in args.image:
        for gone in store.remove(reference):
            print(f"removed {gone}")
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Remove images that have no name (or, if wanted, all that no pod uses), and what is left of anything else."""
    store = ImageStore(args.image_dir)
    images = [image for image in store.images() if not image.is_node]
    doomed = [image.id for image in images if args.all or not image.names]
    build_cache.prune(store.root, **({"unused_seconds": 0.0} if args.all else {}))
    gone, freed = store.remove_images(doomed)
    for image_id in gone:
        print(f"removed {image_id}")
    print(f"freed {freed / 1e6:.1f}MB")
    return 0


def run_tag(args: argparse.Namespace) -> int:
    """Give an image one more name."""
    ImageStore(args.image_dir).tag(args.image, args.name)
    return 0


def run_inspect(args: argparse.Namespace) -> int:
    """Show images as JSON."""
    store = ImageStore(args.image_dir)
    shown = [_described(store, _existing(store, name)) for name in args.image]
    print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
    return 0


def credentials(store: ImageStore, reference: Reference, file: Path | None) -> list[Credential]:
    """What whoever runs the command may show to a registry: the file given, else the store's and the user's own."""
    keys: list[Key] = []
    for path in [file] if file else _credential_files(store.root):
        if file is None and not path.is_file():
            continue
        try:
            keys += keyring.of_config(path.read_bytes())
        except keyring.KeyringError as error:
            raise ImageError("ErrImagePull", f"{path}: {error}") from error
    return [
        Credential(key.username, key.password, key.identity_token, key.registry_token)
        for key in keyring.lookup(keys, reference)
    ]


def _credential_files(root: Path) -> Iterable[Path]:
    yield root / "config.json"
    home = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    yield home / "config.json"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"


def _described(store: ImageStore, image: Image) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": image.id,
        "names": image.names,
        "digests": image.digests,
        "created": image.created,
        "sizeBytes": image.size_bytes,
        "config": image.config,
        "layers": [
            {"diffId": diff_id, "sizeBytes": store.layers.size(diff_id), "path": str(store.layers.path(diff_id))}
            for diff_id in image.diff_ids
        ],
    }
    if image.binds:
        described["node"] = [source for source, _ in image.binds]
    if not image.is_node:
        document = orjson.loads(store.blob(image.id))
        about = manifests.parse_config(store.blob(image.id))
        described["platform"] = str(about.platform)
        described["history"] = document.get("history") or []
    return described


def _existing(store: ImageStore, name: str) -> Image:
    image = store.find(name)
    if image is None:
        raise ImageError("InvalidImageName", f"no image {name!r} in this store")
    return image


def _reference(name: str) -> Reference:
    try:
        return parse(name)
    except InvalidReference as error:
        raise ImageError("InvalidImageName", str(error)) from error


def _registries(store: ImageStore) -> registries.Registries:
    try:
        return registries.load(store.root)
    except registries.RegistriesError as error:
        raise ImageError("ErrImagePull", str(error)) from error


def _platform(args: argparse.Namespace) -> list[manifests.Platform]:
    try:
        return [platforms.parse(args.platform)] if args.platform else []
    except ValueError as error:
        raise ImageError("InvalidImageName", str(error)) from error


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _short(digest: str) -> str:
    return digest.partition(":")[2][:ID_DIGITS]


class _Shown:
    """What is going on, on standard error: a line a layer when it begins and when it is there, and each second."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """A line."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def layer(self, digest: str, received: int, size: int) -> None:
        """How far a layer is."""
        if self._quiet:
            return
        with self._lock:
            now = time.monotonic()
            if received < size and now < self._told.get(digest, 0.0) + SHOW_SECONDS:
                return
            self._told[digest] = now
            words = "done" if received >= size else f"{received / 1e6:.1f} of {size / 1e6:.1f}MB"
            self.line(f"  {_short(digest)}: {words}")
