"""`kctl image build`: the command line of a build."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from kubelet.images import platforms, registries
from kubelet.images.actions import credentials
from kubelet.images.building.builder import Builder
from kubelet.images.building.dockerfile import parse
from kubelet.images.building.errors import BuildError
from kubelet.images.building.request import Parts, Wishes
from kubelet.images.manifest import Platform
from kubelet.images.pull import Offer, Puller
from kubelet.images.reference import InvalidReference, normalize
from kubelet.images.reference import parse as parse_reference
from kubelet.images.store import Image, ImageError, ImageStore
from kubelet.images.unpackers import Unpackers


def run_build(args: argparse.Namespace) -> int:
    """Build an image; what is wrong is told with its file and line."""
    with Unpackers() as unpackers:
        store = ImageStore(args.image_dir)
        path = args.file or args.context / "Dockerfile"

        def told(line: str) -> None:
            if not args.quiet:
                print(line, file=sys.stderr, flush=True)

        began = time.monotonic()
        try:
            parts = Parts(
                store=store,
                unpackers=unpackers,
                context=_context(args.context),
                platform=_platform(args.platform),
                base=_Bases(store, unpackers, args).find,
                told=told,
            )
            dockerfile = parse(_text(path))
            with Builder(parts, _wishes(args)) as builder:
                image = builder.build(dockerfile)
        except BuildError as error:
            where = f"{path}:{error.line}: " if error.line else f"{path}: "
            raise ImageError("ImageBuildError", f"{where}{error.message}") from error
    told(f"built {', '.join(image.names) or image.id} in {time.monotonic() - began:.1f}s")
    if args.quiet:
        print(image.id)
    return 0


class _Bases:
    """Base images: those of the store, and what has to be pulled."""

    def __init__(self, store: ImageStore, unpackers: Unpackers, args: argparse.Namespace) -> None:
        self._store, self._unpackers, self._args = store, unpackers, args
        self._asked: set[str] = set()

    def find(self, name: str, platform: str) -> Image:
        """The image of this name. Raises BuildError."""
        try:
            image = self._store.find(name)
            if image is not None and (not self._args.pull or name in self._asked or image.binds):
                return image
            self._asked.add(name)
            wanted = [platforms.parse(platform or self._args.platform)] if platform or self._args.platform else []
            reference = parse_reference(name)
            if reference.registry == "localhost":
                raise BuildError(f"{name}: no such image in this store")
            offers = [Offer(credential) for credential in credentials(self._store, reference, self._args.credentials)]
            puller = Puller(self._store, self._unpackers, registries.load(self._store.root), wanted=wanted)
            return puller.pull(reference, offers or [Offer()]).image
        except (ImageError, InvalidReference, registries.RegistriesError, ValueError) as error:
            raise BuildError(str(error)) from error


def _wishes(args: argparse.Namespace) -> Wishes:
    try:
        names = [normalize(name) for name in args.tag]
    except InvalidReference as error:
        raise BuildError(str(error)) from error
    arguments = {}
    for pair in args.build_arg:
        name, equals, value = pair.partition("=")
        if equals or name in os.environ:
            arguments[name] = value if equals else os.environ[name]
    return Wishes(
        names=names,
        arguments=arguments,
        target=args.target,
        use_cache=not args.no_cache,
        reaches_network=args.network == "host",
        labels=dict(pair.partition("=")[::2] for pair in args.label),
        secrets=dict(_secret(text) for text in args.secret),
    )


def _secret(text: str) -> tuple[str, Path]:
    options = dict(part.partition("=")[::2] for part in text.split(","))
    path = Path(options.get("src") or options.get("source") or "")
    if not options.get("id") or not path.is_file():
        raise BuildError(f"--secret {text!r}: it is id=NAME,src=FILE, and the file must be there")
    return options["id"], path.absolute()


def _context(folder: Path) -> Path:
    if not folder.is_dir():
        raise BuildError(f"the context {folder} is no folder")
    return folder.resolve()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError as error:
        raise BuildError(f"{error.strerror}") from error


def _platform(text: str | None) -> Platform:
    """What the image is said to be for: no variant, unless one is asked for."""
    if text:
        try:
            return platforms.parse(text)
        except ValueError as error:
            raise BuildError(str(error)) from error
    best = platforms.candidates()[0]
    return Platform(best.os, best.architecture, best.variant if best.architecture == "arm" else "")
