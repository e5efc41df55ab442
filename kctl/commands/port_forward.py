"""`kctl port-forward`: ports of this machine that lead into a pod.

    kctl port-forward web 8080:80          kctl port-forward service/web :http

Every connection is a WebSocket of its own. Its messages begin with a byte that names the channel (0 the bytes, 1 what
has gone wrong, 255 the end of a channel), and each channel with the number of the port.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from apiclient.rest import Client
from apiclient.websocket import WebSocket
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path
from apimachinery.resources import PODS, SERVICES
from kctl.commands.logs import pod_of
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError
from kctl.resources import targets

DATA, ERROR, CLOSE = 0, 1, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
READ_BYTES = 32 * 1024
_PORT_BYTES = 2


@dataclass(frozen=True, slots=True)
class Forward:
    """A port here (0: any that is free) and one of the pod."""

    local: int
    remote: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl port-forward`."""
    parser.add_argument("--address", default="localhost", metavar="ADDRESS,…", help="where to listen (%(default)s)")
    parser.add_argument("what", metavar="POD | TYPE/NAME", help="a pod, or deployment/web for one of its pods")
    parser.add_argument("ports", nargs="+", metavar="[LOCAL:]REMOTE", help="of a service, its port's number or name")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Forward until interrupted."""
    client, namespace = await connect(args)
    async with client:
        name = await pod_of(client, args.what, namespace)
        pod = await client.get(PODS, name, namespace)
        phase = get_path(pod, "status", "phase", default="Unknown")
        if phase != "Running":
            raise CommandError(f"unable to forward port because pod is not running. Current status={phase}")
        service = await _service(client, args.what, namespace)
        forwards = [parse_forward(text, pod, service) for text in args.ports]
        path = PODS.path(namespace, name, "portforward")
        await _serve(client, path, forwards, args.address)


async def _service(client: Client, what: str, namespace: str) -> Object | None:
    """The service that is meant, if it is one."""
    if "/" not in what:
        return None
    [(resource, [name])] = await targets(client, [what])
    return await client.get(resource, name, namespace) if resource == SERVICES else None


def parse_forward(text: str, pod: Object, service: Object | None) -> Forward:
    """Read `REMOTE`, `LOCAL:REMOTE` or `:REMOTE`. Raises CommandError."""
    local, colon, remote = text.rpartition(":")
    number = _pod_port(remote, pod, service)
    if not colon:
        return Forward(int(remote) if remote.isdecimal() else number, number)
    if local and not (local.isascii() and local.isdigit() and int(local) < 1 << 16):
        raise CommandError(f"{text!r} is not of the form [LOCAL:]REMOTE", exit_status=2)
    return Forward(int(local or 0), number)


def _pod_port(word: str, pod: Object, service: Object | None) -> int:
    """The number of a pod's port, that of a service's port if it is one."""
    if service is not None:
        ports: list[dict[str, Any]] = service["spec"].get("ports") or []
        found = next((port for port in ports if word in (str(port["port"]), port.get("name"))), None)
        if found is None:
            raise CommandError(f"service {service['metadata']['name']} has no port {word}")
        word = str(
            found["port"] if service["spec"].get("clusterIP") == "None" else found.get("targetPort", found["port"])
        )
    if word.isascii() and word.isdigit():
        if not 0 < int(word) < 1 << 16:
            raise CommandError(f"{word} is no port (1 to 65535)", exit_status=2)
        return int(word)
    declared = [port for one in pod["spec"]["containers"] for port in one.get("ports") or ()]
    named = next((port["containerPort"] for port in declared if port.get("name") == word), None)
    if named is None:
        raise CommandError(f"pod {pod['metadata']['name']} has no port named {word}")
    return int(named)


async def _serve(client: Client, path: str, forwards: Sequence[Forward], address: str) -> None:
    async with AsyncExitStack() as open_ports:
        for forward in forwards:
            for host in ("127.0.0.1", "::1") if address == "localhost" else address.split(","):
                connection = _Connections(client, path, forward.remote)
                try:
                    server = await asyncio.start_server(connection.serve, host, forward.local)
                except OSError as error:
                    if host == "::1":
                        continue  # there is no IPv6 here
                    raise CommandError(f"unable to listen on port {forward.local}: {error.strerror}") from error
                await open_ports.enter_async_context(server)
                local = server.sockets[0].getsockname()[1]
                shown = f"[{host}]" if ":" in host else host
                print(f"Forwarding from {shown}:{local} -> {forward.remote}", flush=True)
                if forward.local == 0:
                    break  # the next address would get another port
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class _Connections:
    """The connections to one port."""

    client: Client
    path: str
    port: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead one into the pod."""
        print(f"Handling connection for {writer.get_extra_info('sockname')[1]}", flush=True)
        try:
            socket = await self.client.websocket(self.path, [("ports", str(self.port))], PROTOCOLS)
            up = asyncio.create_task(_send(reader, socket))
            try:
                await _receive(socket, writer)
            finally:
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
                await socket.close()
        except (ApiError, OSError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        finally:
            writer.close()


async def _send(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    while data := await reader.read(READ_BYTES):
        await socket.send_bytes(bytes([DATA]) + data)
    if socket.protocol == PROTOCOLS[0]:
        await socket.send_bytes(bytes([CLOSE, DATA]))


async def _receive(socket: WebSocket, writer: asyncio.StreamWriter) -> None:
    begun = set[int]()
    async for message in socket:
        if not message:
            continue
        channel, data = message[0], message[1:]
        if channel not in begun:
            begun.add(channel)
            data = data[_PORT_BYTES:]
        if channel == DATA and data:
            writer.write(data)
            await writer.drain()
        elif channel == ERROR and data:
            print(f"error: {data.decode(errors='replace')}", file=sys.stderr, flush=True)
