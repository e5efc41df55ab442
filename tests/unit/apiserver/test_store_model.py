"""The store against a model: whatever is done to it, every revision that is kept reads and replays as it happened."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apiserver.storage import collection, log, store
from apiserver.storage.entry import Entry
from apiserver.storage.watch import DELETED, Selection

RESOURCE = "core/pods"
_step = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("delete"), st.sampled_from("abcd"), st.just("")),
    st.tuples(st.just("compact"), st.integers(0, 9), st.just("")),
    st.tuples(st.just("restart"), st.just(""), st.just("")),
    st.tuples(st.just("killed while compacting"), st.integers(0, 9), st.just("")),
)
_selections = {"all": Selection(), "x": Selection(labels=lambda labels: labels.get("app") == "x")}


class _Model:
    """What the store must show: the objects after each revision, and which one each revision wrote."""

    def __init__(self) -> None:
        self.states: list[dict[str, str]] = [{}]
        self.written: list[str] = [""]
        self.compacted = 0

    def write(self, name: str, app: str | None) -> None:
        """A new revision; without `app` the object goes."""
        rest = {key: value for key, value in self.states[-1].items() if key != name}
        self.states.append(rest if app is None else {**rest, name: app})
        self.written.append(name)

    def selected(self, revision: int, which: str) -> list[str]:
        """The names of what is selected at a revision."""
        return sorted(name for name, app in self.states[revision].items() if which in ("all", app))

    def changes(self, since: int, which: str) -> list[tuple[str, str, int]]:
        """(type, name, revision) of each event after a revision."""
        found = []
        for revision in range(since + 1, len(self.states)):
            name = self.written[revision]
            before, after = (name in self.selected(at, which) for at in (revision - 1, revision))
            if before or after:
                kind = "DELETED" if not after else "MODIFIED" if before else "ADDED"
                found.append((kind, name, revision))
        return found


async def _run(folder: Path, steps: list[tuple[str, Any, str]]) -> None:
    model = _Model()
    opened = store.Store(folder / "cluster.db", now=lambda: 0.0)
    await opened.open()
    try:
        for what, which, app in steps:
            newest = len(model.states) - 1
            if what == "killed while compacting" and opened.compacted < min(which, newest):
                # One slice is on disk, and nobody has been told.
                model.compacted = opened._log.compact(opened.compacted, min(which, newest))
            if what in ("restart", "killed while compacting"):
                await opened.close()
                opened = store.Store(folder / "cluster.db", now=lambda: 0.0)
                await opened.open()
            elif what == "compact":
                model.compacted = max(model.compacted, min(which, newest))
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

    label = app or model.states[-1][name]

    def encode(revision: int) -> bytes:
        metadata = {"name": name, "labels": {"app": label}, "resourceVersion": str(revision)}
        return orjson.dumps({"metadata": metadata})

    expected = current.revision if current else 0
    entry = await opened.commit(RESOURCE, "ns", name, expected=expected, encode=encode, deleted=deleted)
    model.write(name, None if deleted else app)
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


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(_step, max_size=25), in_memory=st.sampled_from([0, 2, 4096]))
def test_every_revision_that_is_kept_reads_and_replays_as_it_happened(
    steps: list[tuple[str, Any, str]], in_memory: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(store, "HISTORY_LOADED", in_memory)
        patch.setattr(collection, "HISTORY_EVENTS_MAX", in_memory)
        patch.setattr(log, "COMPACT_REVISIONS", 2)
        asyncio.run(_run(Path(folder), steps))
