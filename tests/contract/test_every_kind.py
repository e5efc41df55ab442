"""Every kind of object that is served goes through its life: made, shown, changed, applied, watched and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, get_path
from apimachinery.resources import (
    APISERVICES,
    BUILTIN,
    CONTROLLERREVISIONS,
    CSIDRIVERS,
    CSINODES,
    CUSTOMRESOURCEDEFINITIONS,
    ENDPOINTSLICES,
    FLOWSCHEMAS,
    LIMITRANGES,
    PRIORITYCLASSES,
    ROLEBINDINGS,
    SERVICEACCOUNTS,
    Resource,
)
from tests.support.apiserver import ApiServerProcess, running
from tests.support.every_kind import BODIES, example
from tests.support.manager import until

SCOPE = "default"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
CREATED = [resource for resource in BUILTIN if {"create", "get"} <= set(resource.verbs)]

# Of these the server itself tells how they are, soon after they are made.
UPHELD = (APISERVICES, CUSTOMRESOURCEDEFINITIONS, FLOWSCHEMAS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("kinds")) as process:
        asyncio.run(_prepare(process))
        yield process


async def _prepare(process: ApiServerProcess) -> None:
    await process.wait_ready()
    async with await process.client() as client:
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, SCOPE)


async def _settled(client: Client, resource: Resource, name: str) -> Object:
    """An object that the server writes to by itself, once a write of ours gets through."""
    while True:  # the test's own time is limited
        made = await client.get(resource, name)
        try:
            return await client.update(resource, made)
        except ApiError as error:
            assert error.code == 409


def test_there_is_an_example_of_every_kind() -> None:
    assert set(BODIES) == {(resource.api_version, resource.kind) for resource in CREATED}


@pytest.mark.parametrize("resource", CREATED, ids=lambda one: f"{one.plural}.{one.version}.{one.group or 'core'}")
async def test_a_life(client: Client, resource: Resource) -> None:
    scope = SCOPE if resource.namespaced else None
    body = example(resource.api_version, resource.kind)
    name: str = body["metadata"]["name"]
    made = await client.create(resource, body, scope)
    # Whoever can have a status has one, if only an empty one.
    assert ("status" in made) == ("status" in resource.subresources)
    for part, value in body.items():
        if part not in ("metadata", "stringData"):
            assert includes(made[part], value), (part, made)

    assert (await client.get(resource, name, scope))["metadata"]["uid"] == made["metadata"]["uid"]
    assert name in [item["metadata"]["name"] for item in (await client.list(resource, scope))["items"]]
    table = await shown(client, resource, scope, name)
    assert table["columnDefinitions"][0]["name"] in ("Name", "Last Seen")
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])

    # What was written can be written again, and changes nothing.
    if resource in UPHELD:
        await until(client, resource, None, lambda objects: told_conditions(objects[name]))
        made = await _settled(client, resource, name)
    assert await client.update(resource, made) == made
    labelled = await client.patch(resource, name, {"metadata": {"labels": {"a": "b"}}}, scope)
    assert labelled["metadata"]["labels"]["a"] == "b"
    applied = {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "metadata": {"name": name, "labels": {"c": "d"}},
    }
    params = {"fieldManager": "test"}
    changed = await client.patch(resource, name, applied, scope, kind="apply", params=params)
    assert changed["metadata"]["labels"] | {"a": "b", "c": "d"} == changed["metadata"]["labels"]
    if "status" in resource.subresources:
        await client.patch(resource, name, {"metadata": {}}, scope, subresource="status")

    await client.delete(resource, name, scope)
    await ended(client, resource, name, scope)


@pytest.mark.parametrize(
    ("resource", "said", "kept"),
    [
        (PRIORITYCLASSES, {}, {"value": 0}),
        (ENDPOINTSLICES, {"addressType": "IPv4"}, {"endpoints": []}),
        (ENDPOINTSLICES, {"addressType": "IPv4", "endpoints": None, "ports": None}, {"endpoints": []}),
        (CSINODES, {}, {"spec": {"drivers": []}}),
        (CSINODES, {"spec": {"drivers": None}}, {"spec": {"drivers": []}}),
        (CSIDRIVERS, {}, {"spec": {"attachRequired": True}}),
        (CONTROLLERREVISIONS, {"data": {"a": "b"}}, {"revision": 0}),
        (LIMITRANGES, {"spec": {"limits": None}}, {"spec": {"limits": []}}),
        (
            ROLEBINDINGS,
            {"roleRef": {"kind": "Role", "name": "x"}},
            {"roleRef": {"apiGroup": "rbac.authorization.k8s.io"}},
        ),
    ],
)
async def test_what_is_not_said_is_nothing(client: Client, resource: Resource, said: Object, kept: Object) -> None:
    """Clients in Go send null for lists that are empty, and leave out what others must say by the schema."""
    scope = SCOPE if resource.namespaced else None
    made = await client.create(resource, {"metadata": {"generateName": "little-"}, **said}, scope)
    assert all(includes(made[part], value) for part, value in kept.items()), made
    await client.delete(resource, made["metadata"]["name"], scope)


def told_conditions(obj: Object) -> bool:
    """Whether the server has said all that it says."""
    kinds = {condition["type"] for condition in get_path(obj, "status", "conditions", default=[])}
    return bool(kinds & {"Available", "Established", "Dangling"})


def includes(found: Any, wanted: Any) -> bool:
    """Whether all that was sent has been kept; the server may have added to it."""
    if isinstance(wanted, dict):
        return all(key in found and includes(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(includes, found, wanted))
    return bool(found == wanted)


async def shown(client: Client, resource: Resource, scope: str | None, name: str) -> Object:
    _, _, body = await client.request("GET", resource.path(scope, name), headers={"Accept": TABLE})
    table: Object = orjson.loads(body)
    return table


async def ended(client: Client, resource: Resource, name: str, scope: str | None) -> None:
    """It is gone, or waits for those whose finalizers it has."""
    try:
        left = await client.get(resource, name, scope)
    except ApiError as error:
        assert is_not_found(error)
        return
    assert left["metadata"]["deletionTimestamp"]
    assert left["metadata"].get("finalizers") or left["spec"].get("finalizers")
