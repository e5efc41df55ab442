"""Converses with a process in a container, as `kctl exec`, `attach` and `cp` do.

Speaks Kubernetes' remote command protocol over WebSocket: each message begins with a byte that names its
channel (0 standard input, 1 output, 2 error, 3 the outcome as a Status, 4 terminal size, 255 end of a channel).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and k8s.io/apimachinery's remotecommand
constants.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from apiclient.rest import Client
from apiclient.websocket import WebSocket
from apimachinery.resources import PODS
from kctl.errors import CommandError

STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
READ_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What to converse with: a new command, or what runs already if there is none."""

    namespace: str
    pod: str
    container: str | None
    command: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False

    @property
    def subresource(self) -> str:
        """`exec` or `attach`."""
        return "exec" if self.command else "attach"

    def params(self) -> list[tuple[str, str]]:
        """The query."""
        flags = {"stdin": self.stdin, "stdout": True, "stderr": not self.tty, "tty": self.tty}
        params = [("command", word) for word in self.command]
        params += [(name, "true") for name, wanted in flags.items() if wanted]
        return [*params, ("container", self.container)] if self.container else params


def outputs() -> dict[int, Callable[[bytes], None]]:
    """Where output goes: to our own."""

    def writer(stream: Any) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            stream.write(data)
            stream.flush()

        return write

    return {STDOUT: writer(sys.stdout.buffer), STDERR: writer(sys.stderr.buffer)}


async def converse(
    client: Client,
    asked: Asked,
    stdin: AsyncIterator[bytes] | None,
    outputs: dict[int, Callable[[bytes], None]],
) -> int:
    """Converse to the end; returns the exit status. Raises ApiError, or CommandError if it ends too early."""
    path = PODS.path(asked.namespace, asked.pod, asked.subresource)
    socket = await client.websocket(path, asked.params(), PROTOCOLS)
    sender = asyncio.create_task(_send(socket, stdin)) if stdin is not None else None
    try:
        if asked.tty:
            await _send_size(socket)
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGWINCH, lambda: asyncio.ensure_future(_send_size(socket)))
        return await _receive(socket, outputs)
    finally:
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        await socket.close()


async def _receive(socket: WebSocket, outputs: dict[int, Callable[[bytes], None]]) -> int:
    async for message in socket:
        if not message:
            continue
        channel, data = message[0], message[1:]
        if channel == OUTCOME and data:
            return _exit_status(orjson.loads(data))
        if channel in outputs and data:
            outputs[channel](data)
    raise CommandError("the connection ended before the command did")


def _exit_status(outcome: dict[str, Any]) -> int:
    if outcome.get("status") == "Success":
        return 0
    for cause in (outcome.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise CommandError(outcome.get("message") or "the command could not be run")


async def _send(socket: WebSocket, stdin: AsyncIterator[bytes]) -> None:
    async for data in stdin:
        await socket.send_bytes(bytes([STDIN]) + data)
    if socket.protocol == PROTOCOLS[0]:
        await socket.send_bytes(bytes([CLOSE, STDIN]))


async def own_stdin() -> AsyncIterator[bytes]:
    """A pipe or terminal is read without a thread, so that nothing is left waiting when the command has ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except ValueError:
        # A regular file can't be polled, but never blocks for long either.
        while data := sys.stdin.buffer.read(READ_BYTES):
            yield data
        return
    while data := await reader.read(READ_BYTES):
        yield data


async def _send_size(socket: WebSocket) -> None:
    size = shutil.get_terminal_size()
    await socket.send_bytes(bytes([RESIZE]) + orjson.dumps({"Width": size.columns, "Height": size.lines}))


@contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """Keys go to the command, not to this terminal's line editing; always put back."""
    if not wanted:
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        # What was typed ahead is kept: it is meant for the command.
        tty.setraw(terminal, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def refuse_false_terminal(wanted: bool) -> bool:
    """Whether a terminal can be used that is wanted; says so if it can't."""
    if wanted and not sys.stdin.isatty():
        print("Unable to use a TTY - input is not a terminal", file=sys.stderr)
        return False
    return wanted
