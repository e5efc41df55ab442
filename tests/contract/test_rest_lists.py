"""Lists, watches and the other representations of objects, as any client sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, NODES, PODS

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def make(client: Client, scope: str, *names: str, **labels: str) -> list[Object]:
    return [await client.create(CONFIGMAPS, {"metadata": {"name": name, "labels": labels}}, scope) for name in names]


async def fetch(client: Client, path: str, accept: str = "application/json", **params: str) -> Object:
    _, _, body = await client.request("GET", path, params=params, headers={"Accept": accept})
    document: Object = orjson.loads(body)
    return document


async def refused(awaitable: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


async def lines(client: Client, path: str, accept: str = "application/json", **params: str) -> list[Object]:
    """All events of a watch until its time is over."""
    body = b"".join(
        [chunk async for chunk in client.stream(path, {"watch": "1", **params}, headers={"Accept": accept})]
    )
    return [orjson.loads(line) for line in body.splitlines()]


def names(found: Object) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


def kinds(events: list[Object]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


# Lists


async def test_a_list_names_its_kind_once_and_is_in_order(client: Client, scope: str) -> None:
    await make(client, scope, "b", "c", "a")
    found = await client.list(CONFIGMAPS, scope)
    assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
    assert names(found) == ["a", "b", "c"]
    assert all("kind" not in item and "apiVersion" not in item for item in found["items"])
    empty = await client.list(PODS, scope)
    assert empty["items"] == []


async def test_a_list_of_all_namespaces_has_those_of_each(client: Client, scope: str) -> None:
    await make(client, scope, "a", only=scope)
    found = await client.list(CONFIGMAPS, label_selector=f"only={scope}")
    assert [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found["items"]] == [(scope, "a")]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", ["w1", "w2"]),
        ("app!=web", ["d1", "none"]),
        ("app in (web,db),tier", ["d1"]),
        ("app notin (web)", ["d1", "none"]),
        ("!app", ["none"]),
        ("app=web,app=db", []),
    ],
)
async def test_labels_select(client: Client, scope: str, selector: str, expected: list[str]) -> None:
    await make(client, scope, "w1", "w2", app="web")
    await make(client, scope, "d1", app="db", tier="back")
    await make(client, scope, "none")
    assert names(await client.list(CONFIGMAPS, scope, label_selector=selector)) == expected


async def test_fields_select(client: Client, scope: str) -> None:
    for name, node in (("p1", "n1"), ("p2", "n2"), ("p3", "")):
        spec = {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})}
        await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, scope)
    select = {
        "spec.nodeName=n1": ["p1"],
        "spec.nodeName!=n1": ["p2", "p3"],
        "spec.nodeName=": ["p3"],
        "spec.nodeName!=": ["p1", "p2"],
        "spec.nodeName!=,spec.nodeName!=n2": ["p1"],
        "spec.nodeName=,spec.nodeName!=": [],
        "metadata.name=p2": ["p2"],
        "metadata.name=p2,spec.nodeName=n1": [],
        "status.phase=Pending": ["p1", "p2", "p3"],
        f"metadata.namespace={scope},status.phase!=Pending": [],
    }
    for selector, expected in select.items():
        assert names(await client.list(PODS, scope, field_selector=selector)) == expected, selector
    error = await refused(client.list(PODS, scope, field_selector="spec.colour=red"))
    assert (error.code, error.message) == (400, "field label not supported: spec.colour")


async def test_wrong_selectors_are_refused(client: Client, scope: str) -> None:
    for selector in ("a=b=c", "a in (b", ",,", "-a"):
        assert (await refused(client.list(CONFIGMAPS, scope, label_selector=selector))).code == 400, selector


async def test_pages_are_of_one_version_whatever_is_written_in_between(client: Client, scope: str) -> None:
    await make(client, scope, *(f"c{number}" for number in range(9)))
    first = await client.list(CONFIGMAPS, scope, limit=4)
    assert names(first) == ["c0", "c1", "c2", "c3"]
    assert first["metadata"]["remainingItemCount"] == 5
    await client.delete(CONFIGMAPS, "c5", scope)
    await make(client, scope, "c55")
    second = await client.list(CONFIGMAPS, scope, limit=4, continue_=first["metadata"]["continue"])
    third = await client.list(CONFIGMAPS, scope, limit=4, continue_=second["metadata"]["continue"])
    assert names(second) + names(third) == ["c4", "c5", "c6", "c7", "c8"]
    assert "continue" not in third["metadata"]
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    assert len(versions) == 1


async def test_a_page_of_a_selection_does_not_count_what_is_left(client: Client, scope: str) -> None:
    await make(client, scope, "a", "b", "c", app="web")
    found = await client.list(CONFIGMAPS, scope, limit=2, label_selector="app=web")
    assert found["metadata"]["continue"] and "remainingItemCount" not in found["metadata"]


async def test_a_list_can_be_of_an_earlier_version(client: Client, scope: str) -> None:
    made = await make(client, scope, "a", "b")
    version = made[0]["metadata"]["resourceVersion"]
    await client.delete(CONFIGMAPS, "a", scope)
    path = CONFIGMAPS.path(scope)
    exact = await fetch(client, path, resourceVersion=version, resourceVersionMatch="Exact")
    assert names(exact) == ["a"] and exact["metadata"]["resourceVersion"] == version
    assert names(await fetch(client, path, resourceVersion=version, resourceVersionMatch="NotOlderThan")) == ["b"]
    assert names(await fetch(client, path, resourceVersion=version)) == ["b"]
    assert names(await fetch(client, path, resourceVersion=version, limit="5")) == ["a"]
    assert names(await fetch(client, path, resourceVersion="0")) == ["b"]


@pytest.mark.parametrize(
    ("params", "code", "told"),
    [
        ({"resourceVersionMatch": "Exact"}, 422, "is forbidden unless resourceVersion is provided"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, "is forbidden for resourceVersion"),
        ({"resourceVersionMatch": "Newest", "resourceVersion": "1"}, 422, "Unsupported value"),
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"resourceVersion": "abc"}, 400, "must be a whole number"),
        ({"continue": "garbage"}, 400, "continue key is not valid"),
        ({"limit": "many"}, 400, "invalid syntax"),
        ({"watch": "1", "resourceVersionMatch": "NotOlderThan"}, 422, "unless sendInitialEvents is provided"),
        ({"watch": "1", "sendInitialEvents": "true"}, 422, "requires setting resourceVersionMatch to NotOlderThan"),
        ({"watch": "1", "resourceVersion": "-1"}, 400, "must be a whole number"),
        ({"watch": "1", "timeoutSeconds": "soon"}, 400, "invalid syntax"),
    ],
)
async def test_combinations_that_mean_nothing_are_refused(
    client: Client, scope: str, params: dict[str, str], code: int, told: str
) -> None:
    error = await refused(client.request("GET", CONFIGMAPS.path(scope), params=params))
    assert error.code == code and told in error.message, error.message


# Watches


async def test_a_watch_tells_every_change_after_a_version(client: Client, scope: str) -> None:
    first = (await make(client, scope, "a"))[0]
    await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, scope)
    await make(client, scope, "b")
    await client.delete(CONFIGMAPS, "a", scope)
    version = first["metadata"]["resourceVersion"]
    events = await lines(client, CONFIGMAPS.path(scope), resourceVersion=version, timeoutSeconds="1")
    assert kinds(events) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions)) and versions[0] > int(version)
    assert all(event["object"]["kind"] == "ConfigMap" for event in events)


async def test_changes_arrive_while_the_watch_is_open(client: Client, scope: str) -> None:
    version = (await client.list(CONFIGMAPS, scope))["metadata"]["resourceVersion"]
    watch = client.watch(CONFIGMAPS, scope, resource_version=version)
    waiting = asyncio.ensure_future(anext(watch))
    await make(client, scope, "a")
    kind, obj = await waiting
    assert (kind, obj["metadata"]["name"]) == ("ADDED", "a")
    await watch.aclose()


@pytest.mark.parametrize("version", [None, "0"])
async def test_a_watch_without_a_version_begins_with_what_there_is(
    client: Client, scope: str, version: str | None
) -> None:
    await make(client, scope, "a", "b")
    params = {"timeoutSeconds": "1"} | ({"resourceVersion": version} if version else {})
    events = await lines(client, CONFIGMAPS.path(scope), **params)
    assert kinds(events) == [("ADDED", "a"), ("ADDED", "b")]


async def test_initial_events_end_with_a_bookmark_that_says_so(client: Client, scope: str) -> None:
    await make(client, scope, "a")
    params = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "timeoutSeconds": "1"}
    events = await lines(client, CONFIGMAPS.path(scope), allowWatchBookmarks="true", **params)
    assert kinds(events)[:2] == [("ADDED", "a"), ("BOOKMARK", "")]
    metadata = events[1]["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(metadata["resourceVersion"]) >= int(events[0]["object"]["metadata"]["resourceVersion"])


async def test_a_bookmark_before_the_end_tells_how_far_the_watch_has_come(client: Client, scope: str) -> None:
    version = (await client.list(CONFIGMAPS, scope))["metadata"]["resourceVersion"]
    elsewhere = (await client.create(NODES, {"metadata": {"generateName": "n-"}}))["metadata"]["resourceVersion"]
    events = await lines(
        client, CONFIGMAPS.path(scope), resourceVersion=version, timeoutSeconds="2", allowWatchBookmarks="true"
    )
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert int(events[0]["object"]["metadata"]["resourceVersion"]) >= int(elsewhere)


async def test_a_watch_of_labels_sees_objects_come_and_go(client: Client, scope: str) -> None:
    version = (await client.list(CONFIGMAPS, scope))["metadata"]["resourceVersion"]
    await make(client, scope, "a", app="db")
    for app in ("web", "web2", "web"):
        await client.patch(CONFIGMAPS, "a", {"metadata": {"labels": {"app": app}}}, scope)
    await client.delete(CONFIGMAPS, "a", scope)
    events = await lines(
        client, CONFIGMAPS.path(scope), resourceVersion=version, timeoutSeconds="1", labelSelector="app=web"
    )
    assert kinds(events) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")]
    assert events[1]["object"]["metadata"]["labels"] == {"app": "web"}


async def test_a_watch_of_one_name_hears_of_no_other(client: Client, scope: str) -> None:
    version = (await client.list(CONFIGMAPS, scope))["metadata"]["resourceVersion"]
    await make(client, scope, "a", "b")
    params = {"resourceVersion": version, "timeoutSeconds": "1"}
    by_field = await lines(client, CONFIGMAPS.path(scope), fieldSelector="metadata.name=b", **params)
    by_path = await lines(client, f"/api/v1/watch/namespaces/{scope}/configmaps/b", **params)
    assert kinds(by_field) == kinds(by_path) == [("ADDED", "b")]


# Tables and metadata alone


async def test_a_table_has_columns_and_rows(client: Client, scope: str) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}, scope)
    table = await fetch(client, CONFIGMAPS.path(scope), TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:2] == ["a", 2] and row["cells"][2].endswith("s")
    assert (row["object"]["kind"], row["object"]["metadata"]["name"]) == ("PartialObjectMetadata", "a")
    whole = await fetch(client, CONFIGMAPS.path(scope), TABLE, includeObject="Object")
    assert (whole["rows"][0]["object"]["kind"], whole["rows"][0]["object"]["data"]) == (
        "ConfigMap",
        {"x": "1", "y": "2"},
    )
    none = await fetch(client, CONFIGMAPS.path(scope), TABLE, includeObject="None")
    assert none["rows"][0]["object"] is None
    one = await fetch(client, CONFIGMAPS.path(scope, "a"), TABLE)
    assert [row["cells"][0] for row in one["rows"]] == ["a"]
    error = await refused(fetch(client, CONFIGMAPS.path(scope), TABLE, includeObject="Some"))
    assert error.code == 400


async def test_only_the_first_table_of_a_watch_defines_the_columns(client: Client, scope: str) -> None:
    await make(client, scope, "a", "b")
    events = await lines(client, CONFIGMAPS.path(scope), TABLE, timeoutSeconds="1")
    assert [event["object"]["rows"][0]["cells"][0] for event in events] == ["a", "b"]
    assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False]


async def test_metadata_alone_can_be_had(client: Client, scope: str) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}}, scope)
    found = await fetch(client, CONFIGMAPS.path(scope), PARTIAL_LIST)
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    (item,) = found["items"]
    assert set(item) == {"kind", "apiVersion", "metadata"} and item["kind"] == "PartialObjectMetadata"
    one = await fetch(client, CONFIGMAPS.path(scope, "a"), PARTIAL)
    assert one == item
    events = await lines(client, CONFIGMAPS.path(scope), PARTIAL, timeoutSeconds="1")
    assert events == [{"type": "ADDED", "object": item}]


async def test_the_first_representation_that_can_be_made_is_chosen(client: Client, scope: str) -> None:
    await make(client, scope, "a")
    path = CONFIGMAPS.path(scope)
    for accept in ("application/vnd.kubernetes.protobuf, application/json", "*/*", "application/*;q=0.5", ""):
        assert (await fetch(client, path, accept))["kind"] == "ConfigMapList", accept
    for accept in ("application/vnd.kubernetes.protobuf", "text/html", PARTIAL):
        assert (await refused(fetch(client, path, accept))).code == 406, accept
