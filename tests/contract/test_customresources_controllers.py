"""Owners and namespaces of custom resources, against a real API server and a real manager."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, name
from apimachinery.resources import CONFIGMAPS, CUSTOMRESOURCEDEFINITIONS, NAMESPACES, Resource
from tests.support.apiserver import ApiServerProcess, running
from tests.support.customresources import define, definition, made, resource, until_gone, version
from tests.support.manager import managing, until

_kinds = (f"Owner{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("owners")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "owners-"}}
    return name(await client.create(NAMESPACES, made))


@pytest.fixture
def kind() -> str:
    """A kind that no other test defines."""
    return next(_kinds)


def owned(owner: Object) -> Object:
    metadata = owner["metadata"]
    kind = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    return {"ownerReferences": [{**kind, "name": metadata["name"], "uid": metadata["uid"]}]}


async def config_map(client: Client, scope: str, which: str, owner: Object) -> Object:
    metadata = {"name": which, "namespace": scope, **owned(owner)}
    return await client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def without(*names: str):
    return lambda found: not set(names) & set(found)


async def test_built_in_objects_go_with_their_custom_owner(client: Client, scope: str, kind: str) -> None:
    of = resource(await define(client, definition(kind)))
    owner = await client.create(of, made(of, "owner", scope), scope)
    await config_map(client, scope, "dependent", owner)
    middle = await client.create(of, made(of, "middle", scope, metadata=owned(owner)), scope)
    await config_map(client, scope, "below", middle)
    await client.delete(of, "owner", scope)
    await until(client, CONFIGMAPS, scope, without("dependent", "below"))
    assert (await client.list(of, scope))["items"] == []


async def test_custom_objects_go_with_their_built_in_owner(client: Client, scope: str, kind: str) -> None:
    of = resource(await define(client, definition(kind)))
    owner = await client.create(
        CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": scope}}
    )
    await client.create(of, made(of, "dependent", scope, metadata=owned(owner)), scope)
    await client.delete(CONFIGMAPS, "owner", scope)
    await until_gone(client, of, "dependent", scope)


async def test_in_the_foreground_a_custom_owner_goes_last(client: Client, scope: str, kind: str) -> None:
    of = resource(await define(client, definition(kind)))
    owner = await client.create(of, made(of, "owner", scope), scope)
    metadata = {"name": "held", "namespace": scope, **owned(owner), "finalizers": ["example.com/hold"]}
    metadata["ownerReferences"][0]["blockOwnerDeletion"] = True
    await client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await client.delete(of, "owner", scope, propagation_policy="Foreground")
    await until(client, CONFIGMAPS, scope, lambda found: "deletionTimestamp" in found["held"]["metadata"])
    assert (await client.get(of, "owner", scope))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await client.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, scope)
    await until_gone(client, of, "owner", scope)


async def test_what_a_definition_takes_along_takes_its_dependents_along(
    client: Client, scope: str, kind: str
) -> None:
    defined = await define(client, definition(kind))
    of = resource(defined)
    for number in range(20):
        owner = await client.create(of, made(of, f"owner{number}", scope), scope)
        await config_map(client, scope, f"dependent{number}", owner)
    await client.delete(CUSTOMRESOURCEDEFINITIONS, name(defined))
    await until(client, CONFIGMAPS, scope, without(*(f"dependent{number}" for number in range(20))))
    await until_gone(client, CUSTOMRESOURCEDEFINITIONS, name(defined))


async def test_dependents_of_a_kind_that_comes_later_are_judged_then(client: Client, scope: str, kind: str) -> None:
    group = "stable.example.com/v1"
    unknown = {"apiVersion": group, "kind": kind, "metadata": {"name": "gone", "uid": "no-such-uid"}}
    await config_map(client, scope, "dependent", unknown)
    await asyncio.sleep(0.3)
    assert "dependent" in {name(obj) for obj in (await client.list(CONFIGMAPS, scope))["items"]}
    await define(client, definition(kind))
    await until(client, CONFIGMAPS, scope, without("dependent"))


async def test_owners_may_be_named_in_any_version(client: Client, scope: str, kind: str) -> None:
    defined = await define(client, definition(kind, version("v1beta1", storage=False), version("v1")))
    old, new = resource(defined, "v1beta1"), resource(defined, "v1")
    owner = await client.create(old, made(old, "owner", scope), scope)
    await config_map(client, scope, "dependent", owner)
    # The collector has moved on to another version when the one that it has watched goes.
    stop = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
    await client.patch(CUSTOMRESOURCEDEFINITIONS, name(defined), stop, kind="json")
    renamed = await client.get(new, "owner", scope)
    await config_map(client, scope, "another", renamed)
    await asyncio.sleep(0.3)
    await client.delete(new, "owner", scope)
    await until(client, CONFIGMAPS, scope, without("another"))


async def test_a_namespace_takes_its_custom_objects_along(client: Client, scope: str, kind: str) -> None:
    of: Resource = resource(await define(client, definition(kind)))
    await client.create(of, made(of, "free", scope), scope)
    await client.create(of, made(of, "held", scope, metadata={"finalizers": ["example.com/hold"]}), scope)
    await client.delete(NAMESPACES, scope)

    def told(found: dict[str, Object]) -> bool:
        conditions = {c["type"]: c for c in found[scope].get("status", {}).get("conditions", ())}
        left = conditions.get("NamespaceContentRemaining", {})
        return f"{of.plural}.{of.group} has 1 resource instances" in left.get("message", "")

    await until(client, NAMESPACES, None, told)
    with pytest.raises(ApiError):
        await client.create(of, made(of, "late", scope), scope)
    await client.patch(of, "held", {"metadata": {"finalizers": None}}, scope)
    await until(client, NAMESPACES, None, without(scope))


async def test_the_manager_knows_of_definitions_when_it_starts(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("late")) as process:
        await process.wait_ready()
        async with await process.client() as client:
            of = resource(await define(client, definition("Early")))
            owner = await client.create(of, made(of, "owner"), "default")
            await config_map(client, "default", "dependent", owner)
            await client.create(
                of, made(of, "orphan", metadata=owned({**owner, "metadata": {"name": "x", "uid": "y"}}))
            )
            await client.delete(of, "owner", "default")
            with managing(process):
                await until(client, CONFIGMAPS, "default", without("dependent"))
                await until_gone(client, of, "orphan", "default")
