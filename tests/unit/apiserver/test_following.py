"""Loops over the store: all there is, every change, and again what has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from apimachinery.errors import bad_request, internal
from apimachinery.resources import CONFIGMAPS
from apiserver import following
from apiserver.following import follow
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store

KEY = "core/configmaps"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    found = Store(tmp_path / "cluster.db", now=lambda: 1.8e9)
    await found.open()
    yield found
    await found.close()


async def put(store: Store, name: str, expected: int = 0, *, deleted: bool = False) -> Entry:
    def encode(revision: int) -> bytes:
        return orjson.dumps({"metadata": {"name": name, "resourceVersion": str(revision)}})

    return await store.commit(KEY, "a", name, expected=expected, encode=encode, deleted=deleted)


class Seen:
    """Notes what is shown, and fails as it is told."""

    def __init__(self) -> None:
        self.names: list[tuple[str, bool]] = []
        self.fails: list[Exception] = []
        self._news = asyncio.Event()

    async def __call__(self, entry: Entry, gone: bool) -> None:
        self.names.append((entry.name, gone))
        self._news.set()
        if self.fails:
            raise self.fails.pop()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def seen(store: Store) -> AsyncIterator[Seen]:
    await put(store, "old")
    found = Seen()
    task = asyncio.create_task(follow(store, CONFIGMAPS, found))
    await found.until(lambda: found.names)
    yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_is_there_and_every_change_is_shown(store: Store, seen: Seen) -> None:
    entry = await put(store, "new")
    await put(store, "new", entry.revision, deleted=True)
    await seen.until(lambda: len(seen.names) == 3)
    assert seen.names == [("old", False), ("new", False), ("new", True)]


async def test_what_has_failed_is_shown_again(store: Store, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.01)
    seen.fails = [internal("disk"), internal("disk")]
    await put(store, "new")
    await seen.until(lambda: len(seen.names) == 4)
    assert [name for name, _ in seen.names] == ["old", "new", "new", "new"]


@pytest.mark.parametrize("failure", [Conflict("others"), bad_request("never")])
async def test_what_would_fail_again_is_not(
    store: Store, seen: Seen, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.001)
    seen.fails = [failure]
    await put(store, "new")
    await put(store, "other")
    await seen.until(lambda: ("other", False) in seen.names)
    assert [name for name, _ in seen.names] == ["old", "new", "other"]


async def test_the_end_of_all_watches_is_the_end(store: Store) -> None:
    task = asyncio.create_task(follow(store, CONFIGMAPS, Seen()))
    await asyncio.sleep(0)
    store.end_watches()
    async with asyncio.timeout(5):
        while not task.done():
            store.end_watches()
            await asyncio.sleep(0.001)
