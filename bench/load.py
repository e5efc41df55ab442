"""A load generator: some connections, each sending one request after the other, in a process of its own.

    python -m bench.load --port 6443 --token T --path /api/v1/… --connections 64 --requests 10000 [--body FILE]

It speaks just enough HTTP/1.1 to keep connections open and to find the end of an answer, so that what is measured is
the server. A body is posted, or with `--patch` merged into the object; a `STAMP` in it becomes the moment at which it
is sent. Prints one line of JSON: seconds, requests, failures (statuses of 300 and more), latencies in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

TIMEOUT_SECONDS = 900.0
# Stands for nanoseconds of the monotonic clock, which is one for all processes of a machine.
STAMP = b"0" * 19


@dataclass
class Run:
    """What the connections share: the request, how many are still to be sent, and what came of them."""

    request: bytes
    left: int
    latencies: list[float] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)
    received: int = 0


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is complete."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self._run = run
        self._done = done
        self._pending = b""
        self._missing = -1  # bytes of the body that are still to come; -1: the head is not complete
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first request."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._next()

    def _next(self) -> None:
        if self._run.left <= 0:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._run.left -= 1
        self._sent = time.perf_counter()
        self._transport.write(self._run.request.replace(STAMP, b"%019d" % time.perf_counter_ns()))

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer."""
        self._run.received += len(data)
        if self._missing < 0:
            self._pending += data
            head, end, rest = self._pending.partition(b"\r\n\r\n")
            if not end:
                return
            status = int(head[9:12])
            if status >= 300:
                self._run.failures[status] += 1
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._missing = int(length) - len(rest)
            self._pending = b""
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._missing = -1
            self._run.latencies.append(time.perf_counter() - self._sent)
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """The server must not close before all is done."""
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))


async def load(port: int, run: Run, connections: int) -> float:
    """Run to the end; returns the seconds that it took."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the server is our own, on this machine
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    done = [loop.create_future() for _ in range(connections)]
    for future in done:
        await loop.create_connection(lambda f=future: Connection(run, f), "127.0.0.1", port, ssl=tls)  # type: ignore[misc]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*done)
    return time.perf_counter() - started


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--body", type=Path)
    parser.add_argument("--patch", action="store_true")
    found = parser.parse_args()
    body = found.body.read_bytes() if found.body else b""
    method = "PATCH" if found.patch else "POST" if found.body else "GET"
    head = f"{method} {found.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    head += f"Authorization: Bearer {found.token}\r\n"
    if body:
        kind = "merge-patch+json" if found.patch else "json"
        head += f"Content-Type: application/{kind}\r\nContent-Length: {len(body)}\r\n"
    run = Run(f"{head}\r\n".encode() + body, found.requests)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seconds = runner.run(load(found.port, run, found.connections))
    cuts = statistics.quantiles(run.latencies, n=100) if len(run.latencies) > 1 else run.latencies * 99
    print(
        json.dumps(
            {
                "seconds": seconds,
                "requests": len(run.latencies),
                "failures": dict(run.failures),
                "bytes": run.received,
                "p50_ms": cuts[49] * 1000,
                "p99_ms": cuts[98] * 1000,
                "min_ms": min(run.latencies) * 1000,
                "max_ms": max(run.latencies) * 1000,
            }
        )
    )


if __name__ == "__main__":
    main()
