"""What CustomResourceDefinitions cost: to serve them, to hold hundreds of them, to start with them, to use them.

    .venv/bin/python -m bench.customresources [--definitions 500]

A real server process with TLS. The definitions are like those of an operator for a cloud (67 KB each); one object of
one kind in ten is used.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import name
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, NAMESPACES
from bench.processes import pss_mb
from tests.support.apiserver import ApiServerProcess, running
from tests.support.customresources import definition, made, properties, resource, until_condition, version
from tests.support.large_definitions import bucket, cloud_resource, workload

AGGREGATED = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
OBJECTS = 2000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--definitions", type=int, default=500)
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder, running(Path(folder)) as server:
        asyncio.run(_run(server, parser.parse_args().definitions))


async def _run(server: ApiServerProcess, count: int) -> None:
    await server.wait_ready()
    async with await server.client() as client:
        await _first(client)
        await _use(client)
    print(f"memory with one definition: {weight(server):.1f} MB")
    for total in (count // 5, count):
        await _define_all(server, total)
    await _restart(server, count)


async def _first(client: Client) -> None:
    """How soon after its creation a definition is served."""
    times = []
    for number in range(10):
        defined = definition(f"Quick{number}", version(schema=properties(spec=properties(a={"type": "string"}))))
        of = resource(defined)
        began = time.perf_counter()
        await client.create(CUSTOMRESOURCEDEFINITIONS, defined)
        while not await _served(client.list(of)):
            pass
        times.append(time.perf_counter() - began)
    print(f"created and served: {ms(times[0])} the first, then {ms(statistics.median(times[1:]))} (median)")


async def _served(call: Awaitable[Any]) -> bool:
    try:
        await call
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return True


async def _use(client: Client) -> None:
    """Writes and lists of a kind with rules, and what a huge definition costs everybody else."""
    spec = properties(size={"type": "integer", "minimum": 1}, name={"type": "string", "maxLength": 64})
    spec["x-kubernetes-validations"] = [{"rule": "self.size < 1000000"}]
    one = version(schema=properties(spec=spec), subresources={"status": {}})
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    defined = definition("Used", {**one, "additionalPrinterColumns": columns})
    await client.create(CUSTOMRESOURCEDEFINITIONS, defined)
    of = resource(defined)
    while not await _served(client.list(of)):
        pass
    first = await timed(client.create(of, made(of, "first", spec={"size": 1})))
    objects = [made(of, f"o{number:05}", spec={"size": number + 1, "name": "x"}) for number in range(OBJECTS)]
    began = time.perf_counter()
    for start in range(0, OBJECTS, 50):
        await asyncio.gather(*(client.create(of, obj) for obj in objects[start : start + 50]))
    rate = OBJECTS / (time.perf_counter() - began)
    print(f"objects with a rule in CEL: {ms(first)} the first, then {rate:.0f}/s")
    table = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    listed = await timed(client.list(of, "default"))
    print(f"list of {OBJECTS}: {ms(listed)}", end=", ")
    cold, warm = [await timed(client.request("GET", of.path("default"), headers=table)) for _ in range(2)]
    print(f"as a table: {ms(cold)} the first time, then {ms(warm)}")
    waits, done = [], asyncio.Event()

    async def others() -> None:
        while not done.is_set():
            waits.append(await timed(client.get(NAMESPACES, "default")))

    huge = workload()
    beside = asyncio.create_task(others())
    took = await timed(client.create(CUSTOMRESOURCEDEFINITIONS, huge))
    done.set()
    await beside
    print(f"a definition of 600 KB: {ms(took)}, while others waited {ms(max(waits))} at most")


async def _define_all(server: ApiServerProcess, count: int) -> None:
    async with await server.client() as client:
        have = {name(obj) for obj in (await client.list(CUSTOMRESOURCEDEFINITIONS))["items"]}
        new = [one for one in map(cloud_resource, range(count)) if name(one) not in have]
        began = time.perf_counter()
        for start in range(0, len(new), 20):
            some = new[start : start + 20]
            await asyncio.gather(*(client.create(CUSTOMRESOURCEDEFINITIONS, one) for one in some))
        await until_condition(client, name(new[-1]), "Established", "True")
        took = time.perf_counter() - began
        print(f"{len(new)} definitions: {took:.1f} s, {ms(took / len(new))} each; memory {weight(server):.1f} MB")
        began = time.perf_counter()
        for number in range(0, count, 10):
            one = bucket(number, "used")
            await client.create(resource(cloud_resource(number)), one)
        each = (time.perf_counter() - began) / (count / 10)
        print(f"  first object of one kind in ten: {ms(each)} each; memory {weight(server):.1f} MB")
        await _documents(client)
        print(f"  memory {weight(server):.1f} MB")


async def _documents(client: Client) -> None:
    """What everybody reads who comes new, and after something has changed."""
    paths: list[tuple[str, str, dict[str, str]]] = [
        ("discovery", "/apis", AGGREGATED),
        ("OpenAPI 3, the index", "/openapi/v3", {}),
        ("OpenAPI 2", "/openapi/v2", {}),
    ]
    told = []
    for what, path, headers in paths:
        first = await timed(client.request("GET", path, headers=headers))
        await client.patch(
            CUSTOMRESOURCEDEFINITIONS,
            "quick0s.stable.example.com",
            [{"op": "add", "path": "/spec/names/categories", "value": [f"c{time.time_ns()}"]}],
            kind="json",
        )
        changed = await timed(client.request("GET", path, headers=headers))
        again = await timed(client.request("GET", path, headers=headers))
        told.append(f"{what} {ms(first)}, after a change {ms(changed)}, unchanged {ms(again)}")
    print("  " + "\n  ".join(told))


async def _restart(server: ApiServerProcess, count: int) -> None:
    """The start with so many definitions, and after their deletion."""
    times = []
    for _ in range(3):
        server.kill(signal.SIGTERM)
        began = time.perf_counter()
        server.start()
        await server.wait_ready()
        times.append(time.perf_counter() - began)
    print(f"start with {count} definitions: {statistics.median(times):.2f} s; memory {weight(server):.1f} MB")
    async with await server.client() as client:
        began = time.perf_counter()
        await client.delete_collection(CUSTOMRESOURCEDEFINITIONS)
        while (await client.list(CUSTOMRESOURCEDEFINITIONS, limit=1))["items"]:
            pass
        print(f"all of them deleted: {time.perf_counter() - began:.1f} s; memory {weight(server):.1f} MB")
    times = []
    for _ in range(3):
        server.kill(signal.SIGTERM)
        began = time.perf_counter()
        server.start()
        await server.wait_ready()
        times.append(time.perf_counter() - began)
    print(f"start with none: {statistics.median(times):.2f} s; memory {weight(server):.1f} MB")


async def timed(call: Awaitable[Any]) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


def weight(server: ApiServerProcess) -> float:
    """What the server weighs."""
    assert server.process is not None
    return pss_mb(server.process.pid)


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
