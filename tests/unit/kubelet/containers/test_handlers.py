"""Asking containers by commands and over TCP, with a limit on the time and in the words that people know."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pytest

from kubelet.containers import handlers
from kubelet.containers.handlers import NoAnswer
from tests.support.pods import container

SECONDS = 5.0


class Shell:
    """A runtime whose every command prints a text and ends with a code, or never ends."""

    def __init__(self, text: bytes = b"", code: int | None = 0) -> None:
        self.text = text
        self.code = code
        self.killed = False

    async def exec(self, pod_uid: str, container_id: str, argv: Sequence[str], *, io: Any, **how: Any) -> Any:
        self.written = asyncio.ensure_future(asyncio.to_thread(_write, os.dup(io.stdout_fd), self.text))
        return self

    async def wait(self) -> int:
        if self.code is None:
            await asyncio.get_running_loop().create_future()
        await self.written
        return self.code or 0

    def kill(self, signo: int = 9) -> None:
        self.killed = True


def _write(fd: int, text: bytes) -> None:
    with open(fd, "wb") as file:
        file.write(text)


async def run(shell: Any, *, seconds: float = SECONDS) -> handlers.Answer:
    return await handlers.run_command(shell, "uid", "id", ["check", "it"], timeout_seconds=seconds)


async def test_a_command_gives_its_code_and_what_it_printed() -> None:
    assert await run(Shell(b"all well\n", 3)) == handlers.Answer(3, "all well\n")


async def test_of_a_long_output_only_the_beginning_is_kept_and_the_command_never_blocks() -> None:
    answer = await run(Shell(b"x" * 1_000_000))
    assert answer.text == "x" * handlers.OUTPUT_BYTES_MAX


async def test_a_command_that_takes_too_long_is_killed() -> None:
    shell = Shell(code=None)
    with pytest.raises(NoAnswer, match='command "check it" timed out'):
        await run(shell, seconds=0.01)
    assert shell.killed


async def test_a_command_that_is_called_off_is_killed() -> None:
    shell = Shell(code=None)
    task = asyncio.ensure_future(run(shell))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shell.killed


async def connect(port: int | str) -> None:
    await handlers.tcp_connect({"port": port}, container(), host="127.0.0.1", timeout_seconds=SECONDS)


async def test_a_connection_is_enough_and_one_that_is_refused_is_told_in_the_words_of_go() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await connect(port)
    with pytest.raises(NoAnswer, match=f"dial tcp 127.0.0.1:{port}: connect: connection refused"):
        await connect(port)


async def test_a_port_that_has_no_such_name_is_an_error() -> None:
    with pytest.raises(NoAnswer, match='couldn\'t find port: "admin" in container web'):
        await connect("admin")
