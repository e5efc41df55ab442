"""Connects to a port of a pod as its own processes would: at 127.0.0.1 inside of its network namespace.

A socket belongs for good to the namespace that it was made in, wherever it is used afterwards. So only the making of
it happens inside, on a thread of its own, which is back in its own namespace when it has made it: no other thread
ever leaves it. Connecting is done by the event loop.

Source: setns(2), network_namespaces(7).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000
CONNECT_SECONDS = 10.0
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_libc = ctypes.CDLL(None, use_errno=True)


class Dialer:
    """Makes connections into pods; its thread is there as soon as it is needed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dialer")

    async def connect(self, netns_path: str, port: int) -> socket.socket:
        """A connected socket; `netns_path` is "" for a pod that uses the node's network.

        Raises OSError: of both families if neither answers the first one's.
        """
        refused: OSError | None = None
        for family, address in _LOOPBACKS:
            try:
                return await self._connect(netns_path, family, address, port)
            except OSError as error:
                refused = refused or error
        assert refused is not None
        raise refused

    async def _connect(self, netns_path: str, family: int, address: str, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._thread, _socket_inside, netns_path, family)
        where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(made, (address, port))
        except OSError as error:
            made.close()
            raise OSError(error.errno, f"dial tcp {where}: connect: {_reason(error)}") from error
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _reason(error: OSError) -> str:
    """What went wrong, as the system calls it."""
    return os.strerror(error.errno).lower() if error.errno else "i/o timeout"


def _socket_inside(netns_path: str, family: int) -> socket.socket:
    if not netns_path:
        return _socket(family)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pod = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(pod)
        finally:
            os.close(pod)
        try:
            return _socket(family)
        finally:
            _setns(home)
    finally:
        os.close(home)


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _setns(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
