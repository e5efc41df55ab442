"""Whatever happens to objects, to the server and to connections: who lists and watches knows what is there.

Random histories are written to a real server that is killed and started again in between, even in the middle of a
write, and that forgets replaced versions all the time. Beside them clients keep copies, with all kinds of selectors,
in pages or streamed, some of which lose their connection and come back late. Each copy must have been, at each step,
just what the server had at that version.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError, is_gone, is_not_found
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, NAMESPACES
from apimachinery.selectors import parse_label_selector
from tests.support.apiserver import ApiServerProcess, running
from tests.support.mirror import Key, Mirror

SCOPES = ("one", "two")
NAMES = ("a", "b", "c", "d")
COLOURS = ("red", "green", "blue")
LABELS = st.fixed_dictionaries({}, optional={"colour": st.sampled_from(COLOURS), "size": st.sampled_from("12")})
FLAGS = ("--etcd-compaction-interval=150ms",)
HISTORY_SECONDS_MAX = 90.0

_where = st.tuples(st.sampled_from(SCOPES), st.sampled_from(NAMES))
_write = st.one_of(
    st.tuples(st.just("put"), _where, LABELS),
    st.tuples(st.just("delete"), _where, st.just({})),
    st.tuples(st.just("deletecollection"), st.tuples(st.sampled_from(SCOPES), st.just("")), LABELS),
)
_event = st.sampled_from(["restart", "kill in a write", "disconnect", "forget"])
HISTORIES = st.lists(
    st.one_of(*[_write] * 6, st.tuples(_event, st.integers(0, 4), st.just({}))), min_size=25, max_size=60
)


class World:
    """The server, those who copy it, and what has been there at every version."""

    def __init__(self, server: ApiServerProcess) -> None:
        self.server = server
        self.up = asyncio.Event()
        self.now: dict[Key, Object] = {}
        self.then: dict[int, dict[Key, Object]] = {}
        self.mirrors = [
            Mirror(server, CONFIGMAPS, {"labelSelector": "test"}),
            Mirror(server, CONFIGMAPS, {"labelSelector": "test,colour in (red,blue)"}, limit=2),
            Mirror(server, CONFIGMAPS, {"labelSelector": "test,colour!=red"}, streamed=True),
            Mirror(server, CONFIGMAPS, {"labelSelector": "test,size", "fieldSelector": "metadata.name!=c"}, limit=1),
            Mirror(server, CONFIGMAPS, {"labelSelector": "test"}, SCOPES[0], limit=3),
        ]
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._client: Client | None = None
        self.number = 0

    async def start(self) -> None:
        if self.server.process is None:
            self.server.start()
        await self.server.wait_ready()
        self._client = await self.server.client()
        self.up.set()

    async def stop(self) -> None:
        self.up.clear()
        self.server.kill()
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    def connect(self, tasks: asyncio.TaskGroup) -> None:
        for number, mirror in enumerate(self.mirrors):
            if number not in self._tasks:
                self._tasks[number] = tasks.create_task(mirror.run(self.up))

    async def disconnect(self, number: int) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def know(self, obj: Object, *, gone: bool = False) -> None:
        """A version has been written."""
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        self.now = {other: known for other, known in self.now.items() if other != key}
        if not gone:
            self.now[key] = obj
        self.then[int(obj["metadata"]["resourceVersion"])] = self.now

    async def put(self, key: Key, labels: dict[str, str]) -> None:
        self.number += 1
        body = {"metadata": {"name": key[1], "labels": {"test": "", **labels}}, "data": {"n": str(self.number)}}
        if key in self.now:
            metadata = {**body["metadata"], "namespace": key[0]}
            self.know(await self.client.update(CONFIGMAPS, {**body, "metadata": metadata}))
        else:
            self.know(await self.client.create(CONFIGMAPS, body, key[0]))

    async def delete(self, key: Key) -> None:
        if key in self.now:
            await self.client.delete(CONFIGMAPS, key[1], key[0])
            await self.look(key)

    async def look(self, key: Key) -> None:
        """See what has become of an object: whether it is there, or at which version it went."""
        try:
            found = await self.client.get(CONFIGMAPS, key[1], key[0])
        except ApiError as error:
            if not is_not_found(error):
                raise
            if key not in self.now:
                return
            # Nothing else was written since: the deletion's version is the newest of all.
            listed = await self.client.list(CONFIGMAPS, key[0])
            metadata = {**self.now[key]["metadata"], "resourceVersion": listed["metadata"]["resourceVersion"]}
            self.know({**self.now[key], "metadata": metadata}, gone=True)
        else:
            if found != self.now.get(key):
                self.know(found)

    async def delete_collection(self, scope: str, labels: dict[str, str]) -> None:
        selector = ",".join(["test", *(f"{key}={value}" for key, value in labels.items())])
        chosen = [key for key in sorted(self.now) if key[0] == scope and _selected(self.now[key], selector)]
        # One after the other, so that it is known which went at which version.
        for key in chosen:
            field = f"metadata.name={key[1]}"
            await self.client.delete_collection(CONFIGMAPS, scope, label_selector=selector, field_selector=field)
            await self.look(key)

    async def kill_in_a_write(self, key: Key) -> None:
        writing = asyncio.create_task(self.put(key, {}))
        await asyncio.sleep(0)
        self.up.clear()
        self.server.kill()
        with contextlib.suppress(ApiUnavailable):
            await writing
        await self.stop()
        await self.start()
        await self.look(key)

    async def forget(self) -> None:
        """Write until the oldest version that is known of here is kept no more."""
        oldest = min(self.then, default=0)
        if not oldest:
            return
        params = {"resourceVersion": str(oldest), "resourceVersionMatch": "Exact"}
        while True:
            try:
                await self.client.request("GET", CONFIGMAPS.path(SCOPES[0]), params=params)
            except ApiError as error:
                if not is_gone(error):
                    raise
                return
            await self.put((SCOPES[0], "sentinel"), {})


def _selected(obj: Object, selector: str) -> bool:
    return parse_label_selector(selector).matches(obj["metadata"].get("labels") or {})


async def live(world: World, history: list[Any]) -> None:
    async with asyncio.timeout(HISTORY_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        world.connect(tasks)
        for kind, what, labels in history:
            match kind:
                case "put":
                    await world.put(what, labels)
                case "delete":
                    await world.delete(what)
                case "deletecollection":
                    await world.delete_collection(what[0], labels)
                case "restart":
                    await world.stop()
                    await world.start()
                case "kill in a write":
                    await world.kill_in_a_write((SCOPES[0], NAMES[what % len(NAMES)]))
                case "disconnect":
                    await world.disconnect(what)
                case "forget":
                    await world.forget()
                    world.connect(tasks)
        world.connect(tasks)
        await check(world)
        for number in range(len(world.mirrors)):
            await world.disconnect(number)


async def check(world: World) -> None:
    """Each copy comes to what is there, and has been right all the time."""
    for scope in SCOPES:
        await world.put((scope, "sentinel"), {"size": "1", "colour": "blue"})
    for mirror in world.mirrors:
        scope = mirror.namespace or SCOPES[1]
        sentinel = (scope, "sentinel")
        await mirror.until(sentinel, int(world.now[sentinel]["metadata"]["resourceVersion"]))
        listed = await world.client.list(CONFIGMAPS, mirror.namespace or None, **_named(mirror.selectors))
        found = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in listed["items"]}
        assert {key: _told(obj) for key, obj in mirror.objects.items()} == {k: _told(o) for k, o in found.items()}
        versions = sorted(world.then)
        for version, objects in mirror.steps:
            at = max((one for one in versions if one <= version), default=0)
            expected = world.then.get(at, {})
            assert objects == {
                key: int(obj["metadata"]["resourceVersion"])
                for key, obj in expected.items()
                if _in_sight(mirror, key, obj)
            }, (mirror.selectors, version, at)


def _in_sight(mirror: Mirror, key: Key, obj: Object) -> bool:
    unwanted = mirror.selectors.get("fieldSelector", "").removeprefix("metadata.name!=")
    in_scope = mirror.namespace in ("", key[0])
    return in_scope and key[1] != unwanted and _selected(obj, mirror.selectors["labelSelector"])


def _named(selectors: dict[str, str]) -> dict[str, str]:
    names = {"labelSelector": "label_selector", "fieldSelector": "field_selector"}
    return {names[key]: value for key, value in selectors.items()}


def _told(obj: Object) -> Any:
    return obj["metadata"]["resourceVersion"], obj.get("data"), obj["metadata"].get("labels")


# Not shrunk: each try takes seconds, and what has failed is told step by step anyway.
@settings(
    max_examples=3,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=HISTORIES)
def test_copies_are_right_at_every_version(tmp_path_factory: Any, history: list[Any]) -> None:
    folder: Path = tmp_path_factory.mktemp("history")

    async def run() -> None:
        with running(folder, FLAGS) as server:
            world = World(server)
            await world.start()
            for scope in SCOPES:
                await world.client.create(NAMESPACES, {"metadata": {"name": scope}})
            await live(world, history)
            await world.stop()

    asyncio.run(run())
