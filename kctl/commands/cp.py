"""`kctl cp`: copies files and folders to and from containers, which need `tar` for that.

kctl cp ./folder web:/srv          kctl cp web:/var/log/app.log ./app.log
kctl cp ./file team/web:/tmp -c sidecar
"""

from __future__ import annotations

import argparse
import asyncio
import os
import posixpath
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from apiclient.rest import Client
from kctl import archive, remote
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError


@dataclass(frozen=True, slots=True)
class Place:
    """A path here, or in a pod."""

    path: str
    pod: str = ""
    namespace: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl cp`."""
    parser.add_argument("-c", "--container", help="default: the first")
    parser.add_argument("--no-preserve", action="store_true", help="leave owners and permissions to the container")
    parser.add_argument("source", metavar="SOURCE", help="PATH, or [NAMESPACE/]POD:PATH")
    parser.add_argument("target", metavar="TARGET", help="PATH, or [NAMESPACE/]POD:PATH")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Copy."""
    client, namespace = await connect(args)
    source, target = place(args.source, namespace), place(args.target, namespace)
    if bool(source.pod) == bool(target.pod):
        raise CommandError("one of the two must be in a pod, as in `kctl cp ./file POD:/path`", exit_status=2)
    async with client:
        if target.pod:
            return await _upload(client, Path(source.path), target, args.container, preserve=not args.no_preserve)
        return await _download(client, source, Path(target.path), args.container)


def place(text: str, namespace: str) -> Place:
    """Read `PATH` or `[NAMESPACE/]POD:PATH`. Raises CommandError."""
    pod, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        return Place(text)
    own, _, name = pod.rpartition("/")
    if not name or not path or "/" in own:
        raise CommandError(f"{text!r} is neither a path nor of the form [NAMESPACE/]POD:PATH", exit_status=2)
    return Place(path, name, own or namespace)


async def _upload(client: Client, source: Path, target: Place, container: str | None, *, preserve: bool) -> int:
    if not source.exists():
        raise CommandError(f"{source} doesn't exist here")
    path = target.path.rstrip("/") or "/"
    if target.path.endswith("/") or await _is_folder(client, target, container):
        path = posixpath.join(path, source.resolve().name)
    folder, name = posixpath.split(path)
    how = [] if preserve else ["--no-same-permissions", "--no-same-owner"]
    command = ("tar", *how, "-xmf", "-", *(["-C", folder] if folder else []))
    asked = remote.Asked(target.namespace, target.pod, container, command, stdin=True)
    async with _Pipe() as pipe:
        packing = asyncio.create_task(asyncio.to_thread(_pack, source, name, pipe.write_fd))
        try:
            return await remote.converse(client, asked, pipe.pieces(), remote.outputs())
        finally:
            pipe.close_reader()  # which ends the packing, if the container has not taken all of it
            try:
                await packing
            except BrokenPipeError:
                pass  # the container has said why


def _pack(source: Path, name: str, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as target:
        archive.pack(source, name, target)


async def _is_folder(client: Client, target: Place, container: str | None) -> bool:
    asked = remote.Asked(target.namespace, target.pod, container, ("test", "-d", target.path))
    return await remote.converse(client, asked, None, {}) == 0


async def _download(client: Client, source: Place, target: Path, container: str | None) -> int:
    path = posixpath.normpath(source.path)
    if target.is_dir():
        target = target / posixpath.basename(path)
    asked = remote.Asked(source.namespace, source.pod, container, ("tar", "cf", "-", path))
    read_fd, write_fd = os.pipe()
    unpacking = asyncio.create_task(asyncio.to_thread(_unpack, read_fd, path.lstrip("/"), target))
    try:
        status = await remote.converse(client, asked, None, {**remote.outputs(), remote.STDOUT: _writer(write_fd)})
    finally:
        os.close(write_fd)
        warnings = await unpacking
    for warning in warnings:
        print(warning, file=sys.stderr)
    return status


def _writer(descriptor: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write


def _unpack(descriptor: int, prefix: str, target: Path) -> list[str]:
    with os.fdopen(descriptor, "rb") as stream:
        warnings = archive.unpack(stream, prefix, target)
        while stream.read(archive.COPY_BYTES):
            pass  # the padding after the end; whoever writes it must not find nobody reading
        return warnings


class _Pipe:
    """A pipe that a thread writes to, and whose other end is read without blocking."""

    async def __aenter__(self) -> _Pipe:
        self._reader = asyncio.StreamReader()
        read_fd, self.write_fd = os.pipe()
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), os.fdopen(read_fd, "rb")
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close_reader()

    def close_reader(self) -> None:
        """Whoever writes on is told that nobody reads any more."""
        self._transport.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is written, until the end."""
        while data := await self._reader.read(remote.READ_BYTES):
            yield data
