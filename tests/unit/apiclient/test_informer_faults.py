"""An informer whose server hangs up, forgets, lies and restarts: nothing is missed, and nothing is told twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from apiclient.clock import SystemClock
from apiclient.informer import ADDED, DELETED, MODIFIED, Informer
from apiclient.kubeconfig import Config
from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import PODS
from tests.support.raw_server import Peer, answer, chunked, raw_server

Told = tuple[str, str, str]
# What happens after the first list, by version; the list itself is of version 10.
LISTED = {"a": 3, "b": 7}
HISTORY = ((11, ADDED, "c"), (12, MODIFIED, "a"), (13, DELETED, "b"), (14, ADDED, "b"), (15, DELETED, "c"))
EXPECTED: list[Told] = [
    (ADDED, "a", "3"),
    (ADDED, "b", "7"),
    *((kind, name, str(version)) for version, kind, name in HISTORY),
]
GONE = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}) + b"\n"


class Impatient(SystemClock):
    """Nobody has to wait, and every delay that was asked for is noted."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await asyncio.sleep(0)


def pod(name: str, version: int) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": name, "resourceVersion": str(version)}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "text": "a\nb{}"}


def line(kind: str, name: str, version: int) -> bytes:
    return orjson.dumps({"type": kind, "object": pod(name, version)}) + b"\n"


def objects_at(version: int) -> dict[str, int]:
    found = dict(LISTED)
    for at, kind, name in HISTORY:
        if at <= version:
            found.pop(name, None)
            if kind != DELETED:
                found[name] = at
    return found


class Server:
    """Lists and watches the history; a test spoils the bytes of each answer as it likes."""

    def __init__(self, spoil: Callable[[str, bytes], bytes], *, list_version: int = 10) -> None:
        self._spoil = spoil
        self.list_version = list_version
        self.lists = 0
        self.watches: list[int] = []

    async def serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            query = parse_qs(urlsplit(request.target).query)
            if "watch" in query:
                await self._watch(peer, int(query["resourceVersion"][0]))
            else:
                self.lists += 1
                whole = answer(orjson.dumps(self._list()))
                sent = self._spoil("list", whole)
                await peer.send(sent)
                if sent != whole:
                    return

    def _list(self) -> Object:
        items = [pod(name, version) for name, version in objects_at(self.list_version).items()]
        return {"kind": "PodList", "metadata": {"resourceVersion": str(self.list_version)}, "items": items}

    async def _watch(self, peer: Peer, since: int) -> None:
        self.watches.append(since)
        lines = [line(kind, name, version) for version, kind, name in HISTORY if version > since]
        whole = chunked(*lines, end=False)
        sent = self._spoil("watch", whole)
        await peer.send(sent)
        if sent == whole:
            await peer.gone()
        raise ConnectionError


class Watched:
    """An informer that runs, and what its handlers were told."""

    def __init__(self, client: Client) -> None:
        self.clock = Impatient()
        self.told: list[Told] = []
        self.informer = Informer(client, PODS, clock=self.clock, rng=random.Random(1))
        self.informer.add_handler(self._note)
        self._news = asyncio.Event()

    def _note(self, kind: str, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        self.told.append((kind, obj["metadata"]["name"], obj["metadata"]["resourceVersion"]))
        self._news.set()

    async def reached(self, version: int) -> None:
        while self.informer.version < version:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def watched(server: Server) -> AsyncIterator[Watched]:
    async with (
        raw_server(server.serve) as listening,
        asyncio.timeout(60),
        await Client.connect(Config(server=listening.url)) as client,
    ):
        found = Watched(client)
        task = asyncio.create_task(found.informer.run())
        try:
            yield found
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def cut_once(what: str, at: int) -> Callable[[str, bytes], bytes]:
    """Hang up after so many bytes of the first such answer."""
    left = [True]

    def spoil(kind: str, data: bytes) -> bytes:
        if kind == what and left[0]:
            left[0] = False
            return data[:at]
        return data

    return spoil


SIZE = {
    "list": len(answer(orjson.dumps(Server(lambda _, data: data)._list()))),
    "watch": len(chunked(*(line(kind, name, version) for version, kind, name in HISTORY), end=False)),
}


@pytest.mark.parametrize("what", ["list", "watch"])
async def test_a_server_may_hang_up_after_any_byte(what: str) -> None:
    for at in range(SIZE[what]):
        async with watched(Server(cut_once(what, at))) as found:
            await found.reached(15)
            assert found.told == EXPECTED, f"cut after {at} bytes"
            assert {obj["metadata"]["name"] for obj in found.informer.list()} == {"a", "b"}


async def test_a_server_may_hang_up_again_and_again() -> None:
    rng = random.Random(7)

    def spoil(kind: str, data: bytes) -> bytes:
        return data[: rng.randrange(len(data))] if rng.random() < 0.9 else data

    for _ in range(20):
        async with watched(Server(spoil)) as found:
            await found.reached(15)
            assert found.told == EXPECTED


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02",
        answer(b"null"),
        answer(b"<html>"),
        chunked(b"[]\n"),
        chunked(b'{"type": "ADDED"}\n'),
        chunked(b'{"type": "ADDED", "obj\n'),
        chunked(b"\n\n\n"),
        chunked(end=False) + b"5\r\nwrong length\r\n",
        chunked(),
    ],
)
@pytest.mark.parametrize("what", ["list", "watch"])
async def test_garbage_is_survived(what: str, garbage: bytes) -> None:
    left = [3]

    def spoil(kind: str, data: bytes) -> bytes:
        if kind == what and left[0]:
            left[0] -= 1
            return garbage
        return data

    async with watched(Server(spoil)) as found:
        await found.reached(15)
        assert found.told == EXPECTED
        assert found.clock.delays, "a server in trouble is given time"


async def test_a_version_that_is_no_longer_kept_is_listed_again_and_only_the_difference_told() -> None:
    server = Server(lambda _, data: data)
    left = [True]

    def forget(kind: str, data: bytes) -> bytes:
        if kind == "watch" and left[0]:
            left[0] = False
            server.list_version = 14
            return chunked(line(ADDED, "c", 11), GONE)
        return data

    server._spoil = forget
    async with watched(server) as found:
        await found.reached(15)
        assert server.lists == 2
        told = {(kind, name) for kind, name, _ in found.told[3:]}
        # `b` was deleted and made again meanwhile; its uid is the same here, so all that shows is a change.
        assert told == {(MODIFIED, "a"), (MODIFIED, "b"), (DELETED, "c")}
        assert found.told[-1] == (DELETED, "c", "15")


async def test_a_server_that_forgets_at_once_is_not_listed_without_a_pause() -> None:
    left = [6]

    def forget(kind: str, data: bytes) -> bytes:
        if kind == "watch" and left[0]:
            left[0] -= 1
            return chunked(GONE)
        return data

    server = Server(forget)
    async with watched(server) as found:
        await found.reached(15)
        assert server.lists == 7
        assert len(found.clock.delays) >= 5 and found.clock.delays == sorted(found.clock.delays)


async def test_a_server_that_ends_watches_at_once_is_not_asked_without_a_pause() -> None:
    left = [6]

    def end(kind: str, data: bytes) -> bytes:
        if kind == "watch" and left[0]:
            left[0] -= 1
            return chunked()
        return data

    server = Server(end)
    async with watched(server) as found:
        await found.reached(15)
        assert server.watches == [10] * 7 and len(found.clock.delays) == 6
