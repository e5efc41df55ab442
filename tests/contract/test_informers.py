"""Lists and watches in the ways that client-go's informers and controller-runtime's caches combine them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, HORIZONTALPODAUTOSCALERS, HORIZONTALPODAUTOSCALERS_V1, NAMESPACES
from apimachinery.resources import EVENTS as CORE_EVENTS
from apimachinery.resources import EVENTS_EVENTS as EVENTS
from tests.support.apiserver import ApiServerProcess, running

EVENT_SECONDS_MAX = 60
STREAM = {
    "watch": "1",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "1",
}
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("informers"), ["--etcd-compaction-interval=100ms"]) as process:
        asyncio.run(process.wait_ready())
        yield process


@pytest.fixture
async def scope(client: Client) -> str:
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "informers-"}})
    name: str = made["metadata"]["name"]
    return name


async def make(client: Client, scope: str, *names: str, **labels: str) -> list[Object]:
    return [await client.create(CONFIGMAPS, {"metadata": {"name": name, "labels": labels}}, scope) for name in names]


async def events(
    client: Client, path: str, params: dict[str, str], accept: str = "application/json"
) -> AsyncIterator[Any]:
    """(type, object) as they come."""
    rest = b""
    async with asyncio.timeout(EVENT_SECONDS_MAX):
        async for piece in client.stream(path, {"watch": "1", **params}, headers={"Accept": accept}):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                event = orjson.loads(line)
                yield event["type"], event["object"]


async def take(count: int, stream: AsyncIterator[Any]) -> list[Any]:
    found = []
    async with aclosing(stream):  # type: ignore[type-var]
        async for event in stream:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError(f"the watch ended after {found}")


def told(found: list[Any]) -> list[tuple[str, str]]:
    return [(kind, obj["metadata"].get("name", "")) for kind, obj in found]


async def test_a_list_from_any_version_and_a_watch_after_it_miss_nothing(client: Client, scope: str) -> None:
    await make(client, scope, "a", "b")
    listed = await client.list(CONFIGMAPS, scope, resource_version="0")
    assert [item["metadata"]["name"] for item in listed["items"]] == ["a", "b"]
    await make(client, scope, "c")
    params = {"resourceVersion": listed["metadata"]["resourceVersion"]}
    assert told(await take(1, events(client, CONFIGMAPS.path(scope), params))) == [("ADDED", "c")]


async def test_a_streamed_list_ends_with_a_bookmark_and_goes_on(client: Client, scope: str) -> None:
    await make(client, scope, "b", "a")

    async def change(after: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for kind, obj in after:
            yield kind, obj
            if kind == "BOOKMARK":
                await make(client, scope, "c")

    found = await take(4, change(events(client, CONFIGMAPS.path(scope), STREAM)))
    assert told(found) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", ""), ("ADDED", "c")]
    _, mark = found[2]
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
    assert int(mark["metadata"]["resourceVersion"]) >= max(
        int(o["metadata"]["resourceVersion"]) for _, o in found[:2]
    )


async def test_the_bookmark_comes_only_to_who_allows_bookmarks(client: Client, scope: str) -> None:
    await make(client, scope, "a")
    params = {**STREAM, "allowWatchBookmarks": "false", "timeoutSeconds": "1"}
    assert told([event async for event in events(client, CONFIGMAPS.path(scope), params)]) == [("ADDED", "a")]
    # An old watch from any version is one with initial events too.
    params = {"resourceVersion": "0", "allowWatchBookmarks": "true"}
    assert told(await take(2, events(client, CONFIGMAPS.path(scope), params))) == [("ADDED", "a"), ("BOOKMARK", "")]


async def test_a_streamed_list_waits_for_the_version_that_it_must_have(client: Client, scope: str) -> None:
    (made,) = await make(client, scope, "a")
    version = int(made["metadata"]["resourceVersion"])
    found = await take(2, events(client, CONFIGMAPS.path(scope), {**STREAM, "resourceVersion": str(version)}))
    assert told(found) == [("ADDED", "a"), ("BOOKMARK", "")]
    with pytest.raises(ApiError) as refused:
        await take(1, events(client, CONFIGMAPS.path(scope), {**STREAM, "resourceVersion": str(version + 100_000)}))
    assert (refused.value.code, refused.value.reason) == (504, "Timeout")


async def test_metadata_alone_is_streamed_like_objects(client: Client, scope: str) -> None:
    await make(client, scope, "a", colour="red")
    found = await take(2, events(client, CONFIGMAPS.path(scope), STREAM, METADATA))
    assert told(found) == [("ADDED", "a"), ("BOOKMARK", "")]
    assert [obj["kind"] for _, obj in found] == ["PartialObjectMetadata"] * 2
    assert "data" not in found[0][1] and found[0][1]["metadata"]["labels"] == {"colour": "red"}


async def test_a_selection_is_streamed_alone(client: Client, scope: str) -> None:
    await make(client, scope, "a", colour="red")
    await make(client, scope, "b", colour="blue")
    found = await take(2, events(client, CONFIGMAPS.path(scope), {**STREAM, "labelSelector": "colour=blue"}))
    assert told(found) == [("ADDED", "b"), ("BOOKMARK", "")]


async def test_a_version_that_is_kept_no_more_is_told_at_once(client: Client, scope: str) -> None:
    (made,) = await make(client, scope, "a")
    old = made["metadata"]["resourceVersion"]
    while True:  # until a compaction has come by
        await client.patch(CONFIGMAPS, "a", {"data": {"n": old}}, scope)
        old = str(int(old) + 1)
        ((kind, status),) = await take(1, events(client, CONFIGMAPS.path(scope), {"resourceVersion": "1"}))
        if kind == "ERROR":
            break
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    with pytest.raises(ApiError) as refused:
        params = {"resourceVersion": "1", "resourceVersionMatch": "Exact"}
        await client.request("GET", CONFIGMAPS.path(scope), params=params)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


async def test_pages_go_on_in_another_version_when_theirs_is_forgotten(client: Client, scope: str) -> None:
    await make(client, scope, "a", "b", "c")
    page = await client.list(CONFIGMAPS, scope, limit=1)
    token = page["metadata"]["continue"]
    while True:
        await client.patch(CONFIGMAPS, "c", {"data": {"n": page["metadata"]["resourceVersion"]}}, scope)
        try:
            page = await client.list(CONFIGMAPS, scope, limit=1, continue_=token)
        except ApiError as error:
            assert (error.code, error.reason) == (410, "Expired")
            token = error.status()["metadata"]["continue"]
            break
    rest = await client.list(CONFIGMAPS, scope, continue_=token)
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "c"]


async def test_a_version_of_the_future_is_waited_for(client: Client, scope: str) -> None:
    """What a client has seen elsewhere is not told again: it hears of what is newer."""
    (made,) = await make(client, scope, "a")
    seen = int(made["metadata"]["resourceVersion"]) + 2
    stream = events(client, CONFIGMAPS.path(scope), {"resourceVersion": str(seen)})
    first = asyncio.create_task(take(1, stream))
    newest = 0
    while newest <= seen:
        changed = await client.patch(CONFIGMAPS, "a", {"data": {"n": str(newest)}}, scope)
        newest = int(changed["metadata"]["resourceVersion"])
    ((kind, obj),) = await first
    assert (kind, int(obj["metadata"]["resourceVersion"]) > seen) == ("MODIFIED", True)


async def test_one_object_is_watched_under_both_of_its_names(client: Client, scope: str) -> None:
    scaler = {
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            **{"maxReplicas": 3, "targetCPUUtilizationPercentage": 70},
        },
    }
    made = await client.create(HORIZONTALPODAUTOSCALERS_V1, scaler, scope)
    ((_, new),) = await take(1, events(client, HORIZONTALPODAUTOSCALERS.path(scope), {}))
    ((_, old),) = await take(1, events(client, HORIZONTALPODAUTOSCALERS_V1.path(scope), {}))
    assert new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]
    assert old["spec"] == made["spec"]
    assert new["apiVersion"] == "autoscaling/v2"
    assert new["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    event = {
        **{"metadata": {"name": "e"}, "reason": "Made", "action": "Making", "note": "n", "type": "Normal"},
        **{"eventTime": "2030-01-01T00:00:00.000000Z", "reportingController": "x.io/y", "reportingInstance": "i"},
        "regarding": {"kind": "ConfigMap", "name": "a", "namespace": scope},
    }
    _, _, body = await client.request(
        "POST",
        EVENTS.path(scope),
        body=orjson.dumps(event),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    (manager,) = orjson.loads(body)["metadata"]["managedFields"]
    assert manager["apiVersion"] == "events.k8s.io/v1" and "f:note" in manager["fieldsV1"]
    selector = {"fieldSelector": "involvedObject.name=a"}
    ((_, seen),) = await take(1, events(client, CORE_EVENTS.path(scope), selector))
    assert (seen["message"], seen["involvedObject"]["name"]) == ("n", "a")
    ((_, seen),) = await take(1, events(client, EVENTS.path(scope), {"fieldSelector": "regarding.name=a"}))
    assert (seen["note"], seen["kind"], seen["apiVersion"]) == ("n", "Event", "events.k8s.io/v1")
