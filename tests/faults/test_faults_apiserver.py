"""SIGKILL of the API server in the middle of writes: what was acknowledged is there, and watches go on as if nothing
had been: no event is missing and none comes twice.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError
from apimachinery.resources import CONFIGMAPS
from tests.support.apiserver import ApiServerProcess, running

KILLS = 20
WRITERS, WATCHERS = 4, 4
KILLED_AFTER_SECONDS = (0.02, 0.15)
# All that happens must fit into the buffer of the watch that reads it again from the beginning.
WRITES_PER_ROUND_MAX = 80
SECONDS_MAX = 240.0

# (type, name, resourceVersion, count)
Seen = tuple[str, str, str, str]


@dataclass
class Written:
    """What a writer knows of one object: the last count that was acknowledged, and the last that it tried."""

    acknowledged: int = -1
    tried: int = -1
    deletion_tried: bool = False
    deletion_acknowledged: bool = False


async def write_until_killed(client: Client, name: str, knows: Written) -> None:
    """Make an object, count it up, and perhaps delete it."""
    try:
        for count in range(WRITES_PER_ROUND_MAX):
            knows.tried = count
            body = {"metadata": {"name": name}, "data": {"count": str(count)}}
            if count == 0:
                await client.create(CONFIGMAPS, body, "default")
            else:
                await client.patch(CONFIGMAPS, name, body, "default")
            knows.acknowledged = count
            if random.random() < 0.02:
                knows.deletion_tried = True
                await client.delete(CONFIGMAPS, name, "default")
                knows.deletion_acknowledged = True
                return
    except ApiUnavailable:
        pass


async def record(client: Client, since: str, seen: list[Seen]) -> None:
    """Record every event until the object `end` appears, resuming from the last version when the server is gone."""
    version = since
    while True:
        try:
            async for kind, obj in client.watch(CONFIGMAPS, "default", resource_version=version):
                metadata = obj["metadata"]
                version = metadata["resourceVersion"]
                if kind == "BOOKMARK":
                    continue
                if metadata["name"] == "end":
                    return
                seen.append((kind, metadata["name"], version, obj["data"]["count"]))
        except ApiUnavailable:
            await asyncio.sleep(0.005)


async def one_round(server: ApiServerProcess, client: Client, number: int, written: dict[str, Written]) -> None:
    """Write, kill, start again."""
    async with asyncio.TaskGroup() as writers:
        for writer in range(WRITERS):
            name = f"w{writer}-{number}"
            written[name] = Written()
            writers.create_task(write_until_killed(client, name, written[name]))
        await asyncio.sleep(random.uniform(*KILLED_AFTER_SECONDS))
        server.kill()
    server.start()
    await server.wait_ready()


async def test_no_acknowledged_write_is_lost_and_no_watch_misses_or_repeats(tmp_path: Path) -> None:
    written: dict[str, Written] = {}
    recorded: list[list[Seen]] = [[] for _ in range(WATCHERS)]
    with running(tmp_path) as server:
        await server.wait_ready()
        async with await server.client() as client, asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as watchers:
            since = (await client.list(CONFIGMAPS, "default"))["metadata"]["resourceVersion"]
            for seen in recorded:
                watchers.create_task(record(client, since, seen))
            for number in range(KILLS):
                await one_round(server, client, number, written)
            await client.create(CONFIGMAPS, {"metadata": {"name": "end"}}, "default")
        async with await server.client() as client:
            stored = {
                item["metadata"]["name"]: int(item["data"]["count"])
                for item in (await client.list(CONFIGMAPS, "default"))["items"]
                if item["metadata"]["name"] != "end"
            }
            happened: list[Seen] = []
            await record(client, since, happened)

    assert sum(knows.acknowledged + 1 for knows in written.values()) > KILLS
    for name, knows in written.items():
        if knows.deletion_acknowledged:
            assert name not in stored
        elif knows.acknowledged >= 0 and not knows.deletion_tried:
            assert knows.acknowledged <= stored[name] <= knows.tried
        elif name in stored:
            assert stored[name] <= knows.tried
    for seen in recorded:
        assert seen == happened
    for name in written:
        counts = [(kind, int(count)) for kind, of, _, count in happened if of == name and kind != "DELETED"]
        assert counts == [("ADDED" if count == 0 else "MODIFIED", count) for count in range(len(counts))]


async def test_a_disk_that_refuses_writes_is_told_of_and_writing_goes_on_when_it_is_well(tmp_path: Path) -> None:
    import resource

    with running(tmp_path) as server:
        await server.wait_ready()
        assert server.process is not None
        async with await server.client() as client:
            await client.create(CONFIGMAPS, {"metadata": {"name": "before"}}, "default")
            size = (server.data_dir / "cluster.db-wal").stat().st_size
            _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 4096, hard))
            refused: ApiError | None = None
            try:
                large = {"metadata": {"name": "large"}, "data": {"x": "y" * 200_000}}
                await client.create(CONFIGMAPS, large, "default")
            except ApiError as error:
                refused = error
            assert refused is not None and refused.code == 500 and "disk" in refused.message
            assert (await client.get(CONFIGMAPS, "before", "default"))["metadata"]["name"] == "before"

            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            await client.create(CONFIGMAPS, {"metadata": {"name": "after"}}, "default")
            names = [item["metadata"]["name"] for item in (await client.list(CONFIGMAPS, "default"))["items"]]
            assert names == ["after", "before"]
        server.kill()
        server.start()
        await server.wait_ready()
        async with await server.client() as client:
            assert [i["metadata"]["name"] for i in (await client.list(CONFIGMAPS, "default"))["items"]] == names
