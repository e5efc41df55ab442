"""What the API costs its clients: the processor time of a GET, a POST, an event of a watch, an object of a list.

    .venv/bin/python -m bench.client [--requests 5000] [--objects 5000]

The same requests go to the same server (a real process, with TLS) through this project's client and through
aiohttp's, turn by turn; each figure is the median of the rounds. Only the client's own time counts: user and system.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from apiclient.kubeconfig import Config, load
from apiclient.rest import Client
from apiclient.tls import client_context
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, NAMESPACES
from tests.support.apiserver import running

AT_ONCE = 32
ROUNDS = 5
PAGE_OBJECTS = 500

Api = dict[str, Callable[..., Awaitable[Any]]]


def config_map(number: int) -> Object:
    """An object of about 600 bytes as it is stored."""
    labels = {"app": "bench", "tier": "backend", "pod-template-hash": "5d4f8c7b9"}
    metadata = {"generateName": f"object-{number}-", "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": "value" * 40}}


def with_client(client: Client) -> Api:
    """The measured operations through this project's client."""

    async def follow(events: int) -> None:
        async for _ in client.watch(CONFIGMAPS, "default", resource_version="0"):
            events -= 1
            if not events:
                return

    async def pages() -> int:
        count, token = 0, None
        while True:
            page = await client.list(CONFIGMAPS, "default", limit=PAGE_OBJECTS, continue_=token)
            count += len(page["items"])
            token = page["metadata"].get("continue")
            if not token:
                return count

    return {
        "get": lambda: client.get(NAMESPACES, "default"),
        "post": lambda: client.create(CONFIGMAPS, config_map(0)),
        "watch": follow,
        "list": pages,
    }


def with_aiohttp(session: aiohttp.ClientSession, server: str) -> Api:
    """The same operations through aiohttp's client, used as plainly as they can be."""
    collection = f"{server}{CONFIGMAPS.path('default')}"

    async def get() -> Any:
        async with session.get(f"{server}{NAMESPACES.path(None, 'default')}") as response:
            return orjson.loads(await response.read())

    async def post() -> Any:
        body, headers = orjson.dumps(config_map(0)), {"Content-Type": "application/json"}
        async with session.post(collection, data=body, headers=headers) as response:
            return orjson.loads(await response.read())

    async def follow(events: int) -> None:
        pending = b""
        async with session.get(collection, params={"watch": "true", "resourceVersion": "0"}) as response:
            async for chunk in response.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    orjson.loads(line)
                events -= len(lines)
                if events <= 0:
                    return

    async def pages() -> int:
        count, params = 0, {"limit": str(PAGE_OBJECTS)}
        while True:
            async with session.get(collection, params=params) as response:
                page = orjson.loads(await response.read())
            count += len(page["items"])
            if not page["metadata"].get("continue"):
                return count
            params["continue"] = page["metadata"]["continue"]

    return {"get": get, "post": post, "watch": follow, "list": pages}


async def cpu_us(work: Awaitable[Any]) -> float:
    """The processor time that this process spends until the work is done."""
    before = time.process_time()
    await work
    return (time.process_time() - before) * 1e6


async def repeat(call: Callable[[], Awaitable[Any]], times: int, at_once: int) -> None:
    """Call so often, from several tasks."""

    async def some() -> None:
        for _ in range(times // at_once):
            await call()

    await asyncio.gather(*(some() for _ in range(at_once)))


async def measure(config: Config, requests: int, objects: int) -> None:
    """All figures, both clients in turn."""
    connector = aiohttp.TCPConnector(ssl=client_context(config), limit=0)
    async with await Client.connect(config) as client, aiohttp.ClientSession(connector=connector) as session:
        apis = {"wherry": with_client(client), "aiohttp": with_aiohttp(session, config.server)}
        await repeat(apis["wherry"]["post"], objects, AT_ONCE)
        made = objects // AT_ONCE * AT_ONCE
        figures: dict[tuple[str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for name, api in apis.items():
                for what, work, count in (
                    ("GET, one after the other", repeat(api["get"], requests, 1), requests),
                    (f"GET, {AT_ONCE} at once", repeat(api["get"], requests, AT_ONCE), requests),
                    ("event of a watch", api["watch"](made), made),
                    (f"object of a list, {PAGE_OBJECTS} a page", api["list"](), made),
                    (f"POST, {AT_ONCE} at once", repeat(api["post"], requests // 10, AT_ONCE), requests // 10),
                ):
                    figures.setdefault((what, name), []).append(await cpu_us(work) / count)
    print(f"{'µs of processor time':<34} {'wherry':>8} {'aiohttp':>8}")
    for what in dict.fromkeys(what for what, _ in figures):
        ours, theirs = (statistics.median(figures[what, name]) for name in ("wherry", "aiohttp"))
        print(f"{what:<34} {ours:8.1f} {theirs:8.1f}   {theirs / ours:.1f} times as much")


def main() -> None:
    """Start a server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--objects", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder, running(Path(folder)) as server:
        asyncio.run(server.wait_ready())
        uvloop.run(measure(load(str(server.kubeconfig)), options.requests, options.objects))


if __name__ == "__main__":
    main()
