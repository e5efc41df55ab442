"""The kubelet's connection to one pod's supervisor: requests, answers, and events as they come."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kubelet.runtime import wire
from kubelet.runtime.api import RuntimeFailure

REQUEST_SECONDS_MAX = 150.0


class Disconnected(Exception):
    """The supervisor is gone, or has let go of this connection."""


class Link:
    """One connection; `on_event` and `on_end` are called on the event loop."""

    def __init__(
        self,
        connection: socket.socket,
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._socket = connection
        self._on_event = on_event
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loop = asyncio.get_running_loop()
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        """True once nothing more comes or goes."""
        return self._socket.fileno() < 0

    async def request(self, op: str, *, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer. RuntimeFailure, Disconnected, TimeoutError."""
        if self.closed:
            raise Disconnected
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                await self._send({"op": op, "id": number, **fields}, fds)
                message = await answer
        finally:
            self._waiting.pop(number, None)
        if "failed" in message:
            raise RuntimeFailure(message["failed"]["reason"], message["failed"]["message"])
        result: dict[str, Any] = message["ok"]
        return result

    def post(self, op: str, **fields: Any) -> None:
        """Ask for something whose answer does not matter, such as a new size of a terminal."""
        if not self.closed:
            try:
                wire.send(self._socket, {"op": op, "id": next(self._numbers), **fields})
            except OSError:
                self.close()

    def close(self) -> None:
        """Let go; whoever waits hears Disconnected."""
        if self.closed:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Disconnected())
        self._on_end()

    async def _send(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        while True:
            try:
                wire.send(self._socket, message, fds)
                return
            except BlockingIOError:
                await self._writable()
            except OSError:
                self.close()
                raise Disconnected from None

    async def _writable(self) -> None:
        ready = asyncio.Event()
        fd = self._socket.fileno()
        self._loop.add_writer(fd, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_writer(fd)

    def _readable(self) -> None:
        while not self.closed:
            try:
                message, fds = wire.receive(self._socket)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                message, fds = None, []
            for fd in fds:
                os.close(fd)
            if message is None:
                self.close()
                return
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            self._on_event(message)
            return
        answer = self._waiting.get(message["id"])
        if answer is not None and not answer.done():
            answer.set_result(message)
        elif "session" in message.get("ok", {}):
            # Whoever asked for this exec or attach has stopped waiting, and will never end it.
            self.post("signal_session", session=message["ok"]["session"], signo=signal.SIGKILL)


def connect(folder: Path) -> socket.socket:
    """A connection to the supervisor of a pod; the path is given through a descriptor, as sun_path is short."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/control")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
