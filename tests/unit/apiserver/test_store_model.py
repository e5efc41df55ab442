"""The store against a model: whatever is done to it, every revision that is kept reads and replays as it happened."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apiserver.storage import collection, store
from apiserver.storage.entry import Entry
from apiserver.storage.watch import DELETED, Selection

RESOURCE = "core/pods"
_step = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("delete"), st.sampled_from("abcd"), st.just("")),
    st.tuples(st.just("compact"), st.integers(0, 9), st.just("")),
    st.tuples(st.just("restart"), st.just(""), st.just("")),
)
_selections = {"all": Selection(), "x": Selection(labels=lambda labels: labels.get("app") == "x")}


class _Model:
    """What the store must show: the objects after each revision, and how they got there."""

    def __init__(self) -> None:
        self.states: list[dict[str, str]] = [{}]
        self.compacted = 0

    @property
    def now(self) -> dict[str, str]:
        return self.states[-1]

    def selected(self, revision: int, which: str) -> list[str]:
        state = self.states[revision]
        return sorted(name for name, app in state.items() if which in ("all", app))

    def changes(self, since: int, which: str) -> list[tuple[str, str, int]]:
        found = []
        for revision in range(since + 1, len(self.states)):
            before, after = self.selected(revision - 1, which), self.selected(revision, which)
            for name in sorted({*before, *after}):
                changed = self.states[revision - 1].get(name) != self.states[revision].get(name)
                if name not in after:
                    found.append(("DELETED", name, revision))
                elif name not in before:
                    found.append(("ADDED", name, revision))
                elif changed or name == self.touched[revision]:
                    found.append(("MODIFIED", name, revision))
        return found

    touched: dict[int, str]


async def _run(folder: Path, steps: list[tuple[str, Any, str]]) -> None:
    model = _Model()
    model.touched = {}
    opened = store.Store(folder / "cluster.db", now=lambda: 0.0)
    await opened.open()
    try:
        for what, which, app in steps:
            if what == "restart":
                await opened.close()
                opened = store.Store(folder / "cluster.db", now=lambda: 0.0)
                await opened.open()
            elif what == "compact":
                model.compacted = max(model.compacted, min(which, len(model.states) - 1))
                await opened.compact(which)
            else:
                await _write(opened, model, which, app, deleted=what == "delete")
        await _check(opened, model)
    finally:
        await opened.close()


async def _write(opened: store.Store, model: _Model, name: str, app: str, *, deleted: bool) -> None:
    current = opened.get(RESOURCE, "ns", name)
    if deleted and current is None:
        return

    def encode(revision: int) -> bytes:
        labels = {"app": app or model.now[name]}
        return orjson.dumps({"metadata": {"name": name, "labels": labels, "resourceVersion": str(revision)}})

    entry = await opened.commit(
        RESOURCE, "ns", name, expected=current.revision if current else 0, encode=encode, deleted=deleted
    )
    state = {key: value for key, value in model.now.items() if key != name}
    model.states.append(state if deleted else {**state, name: app})
    model.touched[entry.revision] = name
    assert entry.revision == len(model.states) - 1


async def _check(opened: store.Store, model: _Model) -> None:
    assert opened.revision == len(model.states) - 1
    for which, selection in _selections.items():
        for revision in range(len(model.states)):
            assert await _names(opened, selection, revision) == (
                None if revision < model.compacted else model.selected(revision, which)
            )
            expected = None if revision < model.compacted else model.changes(revision, which)
            assert await _replayed(opened, selection, revision) == expected


async def _names(opened: store.Store, selection: Selection, revision: int) -> list[str] | None:
    try:
        found = await opened.select(RESOURCE, selection, revision=revision)
    except ApiError as error:
        assert error.code == 410
        return None
    return [entry.name for entry in found.entries]


async def _replayed(opened: store.Store, selection: Selection, since: int) -> list[tuple[str, str, int]] | None:
    try:
        watcher = await opened.watch(RESOURCE, selection, since)
    except ApiError as error:
        assert error.code == 410
        return None
    opened.unwatch(RESOURCE, watcher)
    batch: list[tuple[str, Entry]] = watcher.take()
    for kind, entry in batch:
        assert entry.obj["metadata"]["resourceVersion"] == str(entry.revision) or kind == DELETED
    return [(kind, entry.name, entry.revision) for kind, entry in batch]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(_step, max_size=25), in_memory=st.sampled_from([0, 2, 4096]))
def test_every_revision_that_is_kept_reads_and_replays_as_it_happened(
    steps: list[tuple[str, Any, str]], in_memory: int
) -> None:
    loaded, kept = store.HISTORY_LOADED, collection.HISTORY_EVENTS_MAX
    store.HISTORY_LOADED = collection.HISTORY_EVENTS_MAX = in_memory
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_run(Path(folder), steps))
    finally:
        store.HISTORY_LOADED, collection.HISTORY_EVENTS_MAX = loaded, kept
