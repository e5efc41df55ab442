"""Being told by the machine's logind that it shuts down, and having it wait until the node's pods have ended.

Source: https://systemd.io/INHIBITOR_LOCKS/
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from apiclient.clock import Clock
from apiclient.logs import kv
from kubelet.node.dbus import BUS, SYSTEM_BUS, Connection

logger = logging.getLogger(__name__)

SERVICE, PATH = "org.freedesktop.login1", "/org/freedesktop/login1"
MANAGER = f"{SERVICE}.Manager"
SIGNAL = "PrepareForShutdown"
RULE = f"type='signal',interface='{MANAGER}',member='{SIGNAL}',path='{PATH}'"
RETRY_SECONDS = 10.0

# Called with True when the machine is about to shut down, with False when that was called off.
Announce = Callable[[bool], Awaitable[None]]


class Logind:
    """Logind's word on a shutdown, and a lock that delays it. Blocks; raises OSError."""

    def __init__(self, bus: Path = SYSTEM_BUS) -> None:
        self.connection = Connection(bus)
        self._lock = -1
        try:
            self.connection.call(*BUS, "AddMatch", "s", RULE)
            self.inhibit()
        except OSError:
            self.close()
            raise

    def inhibit(self) -> None:
        """Have a shutdown wait, as long as logind lets anybody delay one."""
        if self._lock < 0:
            words = ("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")
            answer = self.connection.call(SERVICE, PATH, MANAGER, "Inhibit", "ssss", *words)
            self._lock = answer.fds[0]

    def delay_seconds_max(self) -> float:
        """How long logind lets a shutdown be delayed."""
        properties = "org.freedesktop.DBus.Properties"
        answer = self.connection.call(SERVICE, PATH, properties, "Get", "ss", MANAGER, "InhibitDelayMaxUSec")
        return float(answer.body[0]) / 1e6

    def let_go(self) -> None:
        """Let the shutdown go on."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def announced(self) -> bool | None:
        """Read one message: whether a shutdown is about to begin, or was called off; None if it says neither."""
        message = self.connection.receive()
        for descriptor in message.fds:
            os.close(descriptor)
        return bool(message.body[0]) if message.member == SIGNAL and message.body else None

    def close(self) -> None:
        """End the connection, and let go."""
        self.let_go()
        self.connection.close()


async def follow(announce: Announce, clock: Clock, *, wanted_seconds: float, bus: Path = SYSTEM_BUS) -> None:
    """Call `announce` at every word of logind until cancelled; returns at once on a machine that has none."""
    if not bus.exists():
        logger.info(kv("no logind: a shutdown has to be asked for by SIGPWR", bus=bus))
        return
    while True:
        try:
            logind = await asyncio.to_thread(Logind, bus)
            try:
                await _listen(logind, announce, wanted_seconds)
            finally:
                logind.close()
        except OSError as error:
            logger.warning(kv("logind can't be asked to wait for pods", error=str(error)))
        await clock.sleep(RETRY_SECONDS)


async def _listen(logind: Logind, announce: Announce, wanted_seconds: float) -> None:
    granted = await asyncio.to_thread(logind.delay_seconds_max)
    if granted < wanted_seconds:
        what = "set InhibitDelayMaxSec in logind.conf to what pods are to have"
        logger.warning(
            kv("logind delays a shutdown for too short", seconds=granted, wanted=wanted_seconds, what=what)
        )
    logger.info(kv("a shutdown waits for pods", seconds=min(granted, wanted_seconds)))
    readable = asyncio.Event()
    loop, descriptor = asyncio.get_running_loop(), logind.connection.socket.fileno()
    loop.add_reader(descriptor, readable.set)
    try:
        while True:
            if not logind.connection.has_more:
                await readable.wait()
            readable.clear()
            begins = await asyncio.to_thread(logind.announced)
            if begins is None:
                continue
            await announce(begins)
            await asyncio.to_thread(logind.let_go if begins else logind.inhibit)
    finally:
        loop.remove_reader(descriptor)
