"""`kctl exec`: runs a command in a container, with a terminal if asked for.

Speaks Kubernetes' remote command protocol over WebSocket: each message begins with a byte that names its
channel (0 standard input, 1 output, 2 error, 3 the outcome as a Status, 4 terminal size, 255 end of a channel).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and k8s.io/apimachinery's remotecommand
constants.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from apiclient.websocket import WebSocket
from apimachinery.resources import PODS
from kctl.commands.logs import pod_of
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError

STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
READ_BYTES = 32 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl exec`."""
    parser.add_argument("-c", "--container")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("what", metavar="POD | TYPE/NAME")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Run the command; its exit status becomes ours."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise CommandError("say what to run, as in `kctl exec POD -- ls /`", exit_status=2)
    if args.tty and not sys.stdin.isatty():
        print("Unable to use a TTY - input is not a terminal", file=sys.stderr)
        args.tty = False
    client, namespace = await connect(args)
    async with client:
        name = await pod_of(client, args.what, namespace)
        params: list[tuple[str, str]] = [("command", word) for word in command]
        params += [("stdout", "true"), ("stderr", "false" if args.tty else "true")]
        params += [("stdin", "true")] if args.stdin else []
        params += [("tty", "true")] if args.tty else []
        params += [("container", args.container)] if args.container else []
        socket = await client.websocket(PODS.path(namespace, name, "exec"), params, PROTOCOLS)
        with _raw_terminal(args.tty and args.stdin):
            return await _converse(socket, send_stdin=args.stdin, tty=args.tty)


async def _converse(socket: WebSocket, *, send_stdin: bool, tty: bool) -> int:
    sender = asyncio.create_task(_send_stdin(socket)) if send_stdin else None
    if tty:
        await _send_size(socket)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, lambda: asyncio.ensure_future(_send_size(socket)))
    try:
        outputs = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
        async for message in socket:
            if not message:
                continue
            channel, data = message[0], message[1:]
            if channel in outputs:
                outputs[channel].write(data)
                outputs[channel].flush()
            elif channel == OUTCOME:
                return _exit_status(orjson.loads(data))
        raise CommandError("the connection ended before the command did")
    finally:
        if sender is not None:
            sender.cancel()
        await socket.close()


def _exit_status(outcome: dict[str, Any]) -> int:
    if outcome.get("status") == "Success":
        return 0
    for cause in (outcome.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise CommandError(outcome.get("message") or "the command could not be run")


async def _send_stdin(socket: WebSocket) -> None:
    async for data in _stdin_chunks():
        await socket.send_bytes(bytes([STDIN]) + data)
    if socket.protocol == PROTOCOLS[0]:
        await socket.send_bytes(bytes([CLOSE, STDIN]))


async def _stdin_chunks() -> AsyncIterator[bytes]:
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
def _raw_terminal(wanted: bool) -> Iterator[None]:
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
