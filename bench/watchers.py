"""Many watches of one collection, in a process of their own, until each has seen so many updates of objects.

    python -m bench.watchers --port 6443 --token T --path /api/v1/… --watchers 100 --events 1000

Each update has an annotation `sent` that tells when it was sent (`bench.load`). Prints `ready` once all are there,
then one line of JSON: the seconds from the first event to the last, and how long events took to come, in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import statistics
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

TIMEOUT_SECONDS = 120.0
SENT = re.compile(rb'"sent":"([0-9]{19})"')


@dataclass
class Run:
    """What the watches share."""

    request: bytes
    events: int
    first: float = 0.0
    delays_ms: list[float] = field(default_factory=list)


class Watch(asyncio.Protocol):
    """Counts updates."""

    def __init__(self, run: Run, connected: asyncio.Future[None], done: asyncio.Future[None]) -> None:
        self._run = run
        self._connected = connected
        self._done = done
        self._seen = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the watch."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        """Note when events were sent; the end of what has arrived may be the middle of one."""
        if not self._connected.done():
            self._connected.set_result(None)
        lines, _, self._tail = (self._tail + data).rpartition(b"\n")
        now = time.perf_counter_ns()
        delays = [(now - int(sent)) / 1e6 for sent in SENT.findall(lines)]
        if delays and not self._run.first:
            self._run.first = time.perf_counter()
        self._run.delays_ms += delays
        self._seen += len(delays)
        if self._seen >= self._run.events and not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The server must not end a watch before all is seen."""
        for future in (self._connected, self._done):
            if not future.done():
                future.set_exception(error or ConnectionError("the server ended the watch"))


async def follow(port: int, run: Run, watchers: int) -> float:
    """Watch until all have seen all; returns the seconds from the first event to the last."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the server is our own, on this machine
    loop = asyncio.get_running_loop()
    connected = [loop.create_future() for _ in range(watchers)]
    done = [loop.create_future() for _ in range(watchers)]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for made, seen in zip(connected, done, strict=True):
            await loop.create_connection(lambda m=made, s=seen: Watch(run, m, s), "127.0.0.1", port, ssl=tls)  # type: ignore[misc]
        await asyncio.gather(*connected)
        print("ready", flush=True)
        await asyncio.gather(*done)
    return time.perf_counter() - run.first


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--watchers", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    found = parser.parse_args()
    # Only what is made from now on: no version, and no initial events.
    query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    head = f"GET {found.path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {found.token}\r\n\r\n"
    run = Run(head.encode(), found.events)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seconds = runner.run(follow(found.port, run, found.watchers))
    cuts = statistics.quantiles(run.delays_ms, n=100)
    print(json.dumps({"seconds": seconds, "p50_ms": cuts[49], "p99_ms": cuts[98]}))


if __name__ == "__main__":
    main()
