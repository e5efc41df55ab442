"""A kopf operator as a real process: a resource of its own, handlers, finalizers, timers, children and events."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import CONFIGMAPS, CUSTOMRESOURCEDEFINITIONS, EVENTS, NAMESPACES, Resource
from tests.support.apiserver import ApiServerProcess, running
from tests.support.manager import managing, until

pytest.importorskip("kopf", reason="the package kopf is not installed")

OPERATOR = Path(__file__).with_name("kopf_operator.py")
SCOPE = "shops"
SHOPS = Resource("example.com", "v1", "Shop", "shops", "shop", subresources=("status",))
DEFINITION: Object = {
    "metadata": {"name": "shops.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "shops", "singular": "shop", "kind": "Shop"},
        "versions": [
            {
                **{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"goods": {"type": "array", "items": {"type": "string"}}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("kopf")) as process:
        asyncio.run(_prepare(process))
        with managing(process):
            yield process


async def _prepare(process: ApiServerProcess) -> None:
    await process.wait_ready()
    async with await process.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": SCOPE}})
        await client.create(CUSTOMRESOURCEDEFINITIONS, DEFINITION)


@pytest.fixture(scope="module")
def operator(server: ApiServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The operator's log while it runs."""
    log = tmp_path_factory.mktemp("operator") / "log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", SCOPE, str(OPERATOR)]
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        yield log
        process.terminate()
        process.wait(20)


@pytest.fixture
async def client(server: ApiServerProcess, operator: Path) -> AsyncIterator[Client]:
    async with await server.client() as connected:
        yield connected


def shop(name: str, *goods: str) -> Object:
    kind = {"apiVersion": SHOPS.api_version, "kind": SHOPS.kind}
    return {**kind, "metadata": {"name": name}, "spec": {"goods": list(goods)}}


def status(objects: dict[str, Object], name: str, *path: str) -> Any:
    return get_path(objects.get(name) or {}, "status", *path)


async def test_a_shop_is_opened_restocked_and_closed(client: Client, operator: Path) -> None:
    made = await client.create(SHOPS, shop("corner", "tea", "milk"), SCOPE)
    found = await until(client, SHOPS, SCOPE, lambda shops: status(shops, "corner", "open_shop"))
    assert status(found, "corner", "open_shop") == {"goods": "corner-goods"}
    assert found["corner"]["metadata"]["finalizers"] == ["shops.example.com/close-up"]
    goods = await client.get(CONFIGMAPS, "corner-goods", SCOPE)
    assert goods["data"] == {"goods": "tea,milk"}
    assert goods["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    events = await client.list(EVENTS, SCOPE)
    assert "corner is open" in [event["message"] for event in events["items"]], operator.read_text()

    await client.patch(SHOPS, "corner", {"spec": {"goods": ["bread"]}}, SCOPE)
    await until(client, CONFIGMAPS, SCOPE, lambda maps: maps["corner-goods"]["data"]["goods"] == "bread")

    await client.delete(SHOPS, "corner", SCOPE)
    await until(client, SHOPS, SCOPE, lambda shops: "corner" not in shops)
    await client.get(CONFIGMAPS, "corner-closed", SCOPE)
    await until(client, CONFIGMAPS, SCOPE, lambda maps: "corner-goods" not in maps)  # the garbage collector's part


async def test_timers_go_round(client: Client) -> None:
    await client.create(SHOPS, shop("mill"), SCOPE)
    await until(client, SHOPS, SCOPE, lambda shops: (status(shops, "mill", "rounds") or 0) >= 3)
    await client.delete(SHOPS, "mill", SCOPE)
    await until(client, SHOPS, SCOPE, lambda shops: "mill" not in shops)


async def test_changes_of_other_kinds_are_noticed(client: Client) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "other", "labels": {"watched": "yes"}}}, SCOPE)
    await until(client, CONFIGMAPS, SCOPE, lambda maps: maps["other"]["metadata"]["labels"].get("noticed") == "yes")
