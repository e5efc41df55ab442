"""Which version a list is of, and what a client is told that asks for one that is gone or not here yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from apimachinery.errors import ApiError
from apimachinery.resources import CONFIGMAPS
from apiserver.registry.strategy import Strategy
from apiserver.request_info import RequestInfo, User
from apiserver.rest import reading
from apiserver.rest.call import Call
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "cluster.db", now=lambda: 0.0)
    await opened.open()
    yield opened
    await opened.close()


def asks(name: str = "", **query: str) -> Call:
    info = RequestInfo("get" if name else "list", "/", resource="configmaps", namespace="ns", name=name)
    request: Any = make_mocked_request("GET", "/")
    return Call(request, info, User("u"), query, CONFIGMAPS, Strategy(CONFIGMAPS), "ns", name)


async def put(store: Store, name: str) -> Entry:
    def encode(revision: int) -> bytes:
        return orjson.dumps({"metadata": {"name": name, "resourceVersion": str(revision)}})

    current = store.get("core/configmaps", "ns", name)
    expected = current.revision if current else 0
    return await store.commit("core/configmaps", "ns", name, expected=expected, encode=encode)


def names(page: reading.Page) -> list[str]:
    return [entry.name for entry in page.entries]


async def test_a_page_whose_version_is_gone_says_how_to_go_on(store: Store) -> None:
    for name in "abcd":
        await put(store, name)
    first = await reading.list_page(store, asks(limit="2"))
    await put(store, "bb")
    await put(store, "a")
    await store.compact(store.revision)
    with pytest.raises(ApiError) as refused:
        await reading.list_page(store, asks(limit="2", **{"continue": first.token}))
    status = refused.value.status()
    assert (status["code"], status["reason"]) == (410, "Expired")
    assert "use the continue token in this response" in status["message"]
    rest = await reading.list_page(store, asks(limit="9", **{"continue": status["metadata"]["continue"]}))
    assert names(rest) == ["bb", "c", "d"]
    assert rest.revision == store.revision


async def test_a_version_that_is_not_here_yet_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FRESH_SECONDS_MAX", 0.02)
    with pytest.raises(ApiError) as refused:
        await reading.list_page(store, asks(resourceVersion="1"))
    error = refused.value
    assert (error.code, error.reason, error.retry_after_seconds) == (504, "Timeout", 1)
    assert error.message == "Too large resource version: 1, current: 0"
    assert (error.details or {})["causes"][0]["reason"] == "ResourceVersionTooLarge"
    await put(store, "a")
    assert names(await reading.list_page(store, asks(resourceVersion="1"))) == ["a"]
    assert (await reading.get(store, asks("a", resourceVersion="1"))).name == "a"


async def test_a_selection_may_not_contradict_the_url() -> None:
    with pytest.raises(ApiError, match="doesn't match what the URL names"):
        reading.selection(asks("a", fieldSelector="metadata.name=b"))
    with pytest.raises(ApiError, match="doesn't match what the URL names"):
        reading.selection(asks(fieldSelector="metadata.namespace=other"))
    assert reading.selection(asks("a", fieldSelector="metadata.name=a")).index_key() == ("name", "ns/a")


async def test_nothing_has_two_names_at_once(store: Store) -> None:
    await put(store, "a")
    await put(store, "b")
    for selector, found in (
        ("metadata.name=a", ["a"]),
        ("metadata.name=a,metadata.name=a", ["a"]),
        ("metadata.name=a,metadata.name=b", []),
        ("metadata.name=b,metadata.name!=b", []),
        ("metadata.namespace=ns,metadata.name=b", ["b"]),
        ("metadata.name=", []),
    ):
        page = await reading.list_page(store, asks(fieldSelector=selector))
        assert [entry.name for entry in page.entries] == found, selector
