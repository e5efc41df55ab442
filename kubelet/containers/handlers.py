"""Asking a container something: a command inside it, an HTTP request or a TCP connection to it.

Probes and lifecycle hooks both do this. Every call has a limit on its time and on what it reads.
Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kubelet.pods.pod_spec import Container
from kubelet.runtime import ExecHandle, ExecIO, Runtime

OUTPUT_BYTES_MAX = 10 * 1024
PROBE_USER_AGENT, HOOK_USER_AGENT = "kube-probe/1.35", "kube-lifecycle/1.35"
REDIRECTS_MAX = 10


class NoAnswer(Exception):
    """The container could not be asked, or did not answer in time; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: an exit code or an HTTP status, and the beginning of the output."""

    code: int
    text: str = ""


async def run_command(
    runtime: Runtime, pod_uid: str, container_id: str, argv: Sequence[str], *, timeout_seconds: float
) -> Answer:
    """Run a command in a container. Raises NoAnswer, after killing it, when it takes too long; RuntimeFailure."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    handle: ExecHandle | None = None
    with closing(_Collector(reader)) as output:
        try:
            async with asyncio.timeout(timeout_seconds):
                try:
                    io = ExecIO(stdout_fd=writer, stderr_fd=writer)
                    handle = await runtime.exec(pod_uid, container_id, argv, io=io)
                finally:
                    os.close(writer)
                code = await handle.wait()
                return Answer(code, await output.text())
        except (TimeoutError, asyncio.CancelledError) as error:
            if handle is not None:
                handle.kill()
            if isinstance(error, TimeoutError):
                raise NoAnswer(f'command "{" ".join(argv)}" timed out') from None
            raise


class _Collector:
    """Reads a pipe as it fills, so that the writer never blocks; keeps only the beginning."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._data += chunk[: OUTPUT_BYTES_MAX - len(self._data)]
        if not chunk:
            self._loop.remove_reader(self._fd)
            if not self._ended.done():
                self._ended.set_result(None)

    async def text(self) -> str:
        """All that was written, once every writer has closed its end (the caller limits the time)."""
        await self._ended
        return self._data.decode(errors="replace")

    def close(self) -> None:
        """Stop reading."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


async def http_get(
    action: Mapping[str, Any], container: Container, *, host: str, timeout_seconds: float, user_agent: str
) -> Answer:
    """An `httpGet` action of a probe or hook; certificates are not looked at. Raises NoAnswer."""
    import aiohttp

    scheme = (action.get("scheme") or "HTTP").lower()
    address = action.get("host") or host
    shown = f"[{address}]" if ":" in address else address
    path = action.get("path") or "/"
    url = f"{scheme}://{shown}:{port_number(action['port'], container)}{path if path.startswith('/') else f'/{path}'}"
    headers = {"User-Agent": user_agent, "Accept": "*/*", "Connection": "close"}
    headers |= {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or ()}
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, headers=headers, max_redirects=REDIRECTS_MAX) as response,
        ):
            body = await response.content.read(OUTPUT_BYTES_MAX)
            return Answer(response.status, body.decode(errors="replace"))
    except TimeoutError:
        message = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise NoAnswer(f'Get "{url}": {message}') from None
    except aiohttp.ClientConnectorError as error:
        raise NoAnswer(f'Get "{url}": {_dial(address, action["port"], container, error.os_error)}') from error
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise NoAnswer(f'Get "{url}": {error}') from error


async def tcp_connect(action: Mapping[str, Any], container: Container, *, host: str, timeout_seconds: float) -> None:
    """A `tcpSocket` action: connect, and hang up. Raises NoAnswer."""
    address = action.get("host") or host
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port_number(action["port"], container))
            writer.close()
    except TimeoutError:
        raise NoAnswer(f"dial tcp {address}:{action['port']}: i/o timeout") from None
    except OSError as error:
        raise NoAnswer(_dial(address, action["port"], container, error)) from error


def port_number(port: int | str, container: Container) -> int:
    """A port by number, or by the name that the container gives it. Raises NoAnswer."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise NoAnswer(f'couldn\'t find port: "{port}" in container {container["name"]}')


def _dial(address: str, port: int | str, container: Container, error: OSError) -> str:
    """A failed connection in the words of Go's net package, which people search for."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {address}:{port_number(port, container)}: connect: {reason}"
