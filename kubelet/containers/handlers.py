"""Asking a container something: a command inside it, or a TCP connection to it; http_action.py asks by HTTP.

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


async def tcp_connect(action: Mapping[str, Any], container: Container, *, host: str, timeout_seconds: float) -> None:
    """A `tcpSocket` action: connect, and hang up. Raises NoAnswer."""
    address, port = action.get("host") or host, port_number(action["port"], container)
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port)
            writer.close()
    except TimeoutError:
        raise NoAnswer(f"dial tcp {joined(address, port)}: i/o timeout") from None
    except OSError as error:
        raise NoAnswer(dial_failure(address, port, error)) from error


def port_number(port: int | str, container: Container) -> int:
    """A port by number, or by the name that the container gives it. Raises NoAnswer."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise NoAnswer(f'couldn\'t find port: "{port}" in container {container["name"]}')


def joined(address: str, port: int) -> str:
    """`ADDRESS:PORT`, or `[ADDRESS]:PORT` for one of IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def dial_failure(address: str, port: int, error: OSError) -> str:
    """A failed connection in the words of Go's net package, which people search for."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {joined(address, port)}: connect: {reason}"
