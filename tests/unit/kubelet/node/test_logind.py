"""A machine's logind announces a shutdown, and waits until the node lets it go on."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiclient.clock import SystemClock
from kubelet.node import logind
from kubelet.node.dbus import BUS, METHOD_RETURN, SIGNAL, BusError, Connection, Message, decode, encode

CONFIG = """<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>"""
WAIT_SECONDS = 10.0
needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Path]:
    """A real message bus of the test's own."""
    path, config = tmp_path / "bus", tmp_path / "bus.conf"
    config.write_text(CONFIG.format(path))
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield path
        finally:
            process.terminate()


class FakeLogind(threading.Thread):
    """Grants locks for shutdowns, and tells when one has been given back."""

    def __init__(self, bus: Path, delay_seconds: float = 30.0) -> None:
        super().__init__(daemon=True)
        self._connection = Connection(bus, seconds=WAIT_SECONDS)
        self._delay = delay_seconds
        self.inhibited = threading.Event()
        self.lock = -1
        assert self._connection.call(*BUS, "RequestName", "su", logind.SERVICE, 0).body == (1,)

    def run(self) -> None:
        while True:
            try:
                call = self._connection.receive()
            except OSError:
                return
            to = {5: call.serial, 6: call.fields.get(7, "")}
            if call.member == "Inhibit":
                self.lock, theirs = os.pipe()
                self._connection.send(Message(METHOD_RETURN, 0, to, (0,)), "h", (theirs,))
                os.close(theirs)
                self.inhibited.set()
            elif call.member == "Get":
                self._connection.send(Message(METHOD_RETURN, 0, to, (round(self._delay * 1e6),)), "t")

    def announce(self, *, begins: bool) -> None:
        fields = {1: logind.PATH, 2: logind.MANAGER, 3: logind.SIGNAL}
        self._connection.send(Message(SIGNAL, 0, fields, (begins,)), "b")

    def released(self) -> bool:
        """Wait until the lock has been given back."""
        return os.read(self.lock, 1) == b""


@needs_bus
async def test_a_shutdown_waits_until_pods_have_ended(bus: Path) -> None:
    machine = FakeLogind(bus)
    machine.start()
    said: list[bool] = []
    heard, ended = asyncio.Event(), asyncio.Event()

    async def announce(begins: bool) -> None:
        said.append(begins)
        heard.set()
        await ended.wait()

    task = asyncio.create_task(logind.follow(announce, SystemClock(), wanted_seconds=10.0, bus=bus))
    try:
        assert await asyncio.to_thread(machine.inhibited.wait, WAIT_SECONDS)
        lock = asyncio.create_task(asyncio.to_thread(machine.released))
        machine.announce(begins=True)
        await asyncio.wait_for(heard.wait(), WAIT_SECONDS)
        assert said == [True] and not lock.done()
        machine.inhibited.clear()
        ended.set()
        assert await asyncio.wait_for(lock, WAIT_SECONDS)
        heard.clear()
        machine.announce(begins=False)
        await asyncio.wait_for(heard.wait(), WAIT_SECONDS)
        assert said == [True, False] and await asyncio.to_thread(machine.inhibited.wait, WAIT_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@needs_bus
async def test_a_bus_without_logind_says_so(bus: Path) -> None:
    with pytest.raises(BusError, match="Inhibit: org.freedesktop.DBus.Error.ServiceUnknown"):
        logind.Logind(bus)


async def test_a_machine_without_a_bus_is_done_without(tmp_path: Path) -> None:
    async def announce(begins: bool) -> None:
        raise AssertionError(begins)

    await logind.follow(announce, SystemClock(), wanted_seconds=10.0, bus=tmp_path / "absent")


def test_a_message_is_read_as_it_was_written_and_only_when_all_of_it_is_there() -> None:
    sent = Message(METHOD_RETURN, 7, {5: 3, 6: ":1.5"}, ("text", 1 << 40, True))
    data = encode(sent, "stb")
    assert all(decode(data[:size]) is None for size in range(len(data)))
    found = decode(data + b"l\x01")
    assert found is not None and found[1] == len(data)
    assert (found[0].serial, found[0].body, found[0].fields[6]) == (7, ("text", 1 << 40, True), ":1.5")


@pytest.mark.parametrize("data", [b"B" + bytes(15), b"l\x02\x00\x01" + b"\xff\xff\xff\x7f" + bytes(8)])
def test_what_is_no_message_of_this_kind_ends_the_conversation(data: bytes) -> None:
    with pytest.raises(BusError):
        decode(data)
