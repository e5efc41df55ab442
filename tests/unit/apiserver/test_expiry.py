"""Events go when nobody has written them for an hour."""

from __future__ import annotations

from pathlib import Path

import orjson

from apiserver.storage.entry import Entry
from apiserver.storage.expiry import Marks, expire
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, Selection

EVENTS = "core/events"


def test_a_revision_is_old_once_it_was_noted_long_enough_ago() -> None:
    marks = Marks(60)
    noted = [(0.0, 10), (30.0, 20), (59.0, 25), (60.0, 30), (89.0, 30), (90.0, 40), (500.0, 50)]
    assert [marks.note(*mark) for mark in noted] == [0, 0, 0, 10, 10, 20, 40]


async def test_what_is_old_goes_and_what_was_written_since_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "cluster.db", now=lambda: 0.0)
    await store.open()

    async def put(name: str, expected: int = 0) -> Entry:
        obj = {"metadata": {"name": name}}
        return await store.commit(EVENTS, "ns", name, expected=expected, encode=lambda _: orjson.dumps(obj))

    a, b = await put("a"), await put("b")
    await put("a", a.revision)
    watcher = await store.watch(EVENTS, Selection(), store.revision)
    await expire(store, EVENTS, b.revision)
    assert [entry.name for entry in store.objects(EVENTS)] == ["a"]
    ((kind, last),) = watcher.take()
    assert (kind, last.name, last.obj["metadata"]["resourceVersion"]) == (DELETED, "b", "4")
    await store.close()
