"""What somebody may try who has few rights and means harm: the server refuses, goes on, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import NAMESPACES, ROLEBINDINGS, ROLES
from tests.support.access import binding, role, rule
from tests.support.apiserver import ApiServerProcess, running

TOKENS = 'admin,admin,admin,"system:masters"\neve,eve,eve\nowner,owner,owner\n'
NAMESPACE = "shop"
SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tokens.csv").write_text(TOKENS)
    with running(folder, ["--token-auth-file", str(folder / "tokens.csv")]) as started:
        asyncio.run(started.wait_ready())
        asyncio.run(give_a_namespace_away(started))
        yield started


async def give_a_namespace_away(server: ApiServerProcess) -> None:
    """`owner` may do everything, in one namespace."""
    everything = role("all", rule("*", "*", "*"), namespace=NAMESPACE)
    async with await server.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        await client.create(ROLES, everything, NAMESPACE)
        await client.create(ROLEBINDINGS, binding(everything, "User owner", namespace=NAMESPACE), NAMESPACE)


class Attacker:
    """Sends what no client of ours would."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def send(self, method: str, path: str, who: str = "eve", **more: Any) -> tuple[int, str]:
        """(status, body) of the answer."""
        headers = {"Authorization": f"Bearer {who}", **more.pop("headers", {})}
        async with (
            asyncio.timeout(SECONDS_MAX),
            self._session.request(method, f"{self._url}{path}", headers=headers, ssl=False, **more) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture
async def attacker(server: ApiServerProcess) -> AsyncIterator[Attacker]:
    async with aiohttp.ClientSession() as session:
        yield Attacker(server.url, session)
    # Whatever it was: the same process still answers.
    assert server.process is not None and server.process.poll() is None
    await server.wait_ready()


async def client(server: ApiServerProcess, who: str) -> Client:
    config = load(str(server.kubeconfig))
    return await Client.connect(replace(config, client_cert_pem=None, client_key_pem=None, token=who))


REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize("level", [b"[", b"- ", b"? ", b"{a: "])
async def test_yaml_that_is_nested_without_end_ends_no_server(attacker: Attacker, level: bytes) -> None:
    headers = {"Content-Type": "application/yaml"}
    status, told = await attacker.send("POST", REVIEWS, data=level * 700_000, headers=headers)
    assert status == 400
    assert "exceeded max depth" in told


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/shop/nodes/shop",
        "/api/v1/namespaces/shop/nodes/shop/proxy/",
        "/api/v1/namespaces/shop/persistentvolumes/shop",
        "/api/v1/namespaces/shop/namespaces/default",
        "/apis/admissionregistration.k8s.io/v1/namespaces/shop/mutatingwebhookconfigurations/shop",
    ],
)
async def test_who_owns_a_namespace_owns_nothing_of_the_cluster_that_is_called_alike(
    attacker: Attacker, path: str
) -> None:
    body: Object = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    body["metadata"] = {"name": "shop"}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    assert (await attacker.send("GET", path, "owner"))[0] == 404
    applied = await attacker.send("PATCH", f"{path}?fieldManager=x", "owner", json=body, headers=headers)
    assert applied[0] == 404


async def test_the_old_words_for_a_watch_open_no_subresource(attacker: Attacker) -> None:
    for subresource in ("exec", "proxy", "status", "log"):
        path = f"/api/v1/watch/namespaces/shop/pods/web/{subresource}"
        assert (await attacker.send("GET", path, "owner"))[0] == 404


@pytest.mark.parametrize("version", ["9" * 5000, "9" * 21, "-1", "٣", "1e3", " 1"])
async def test_versions_that_are_no_numbers_are_refused(attacker: Attacker, version: str) -> None:
    for more in ({}, {"watch": "1"}, {"resourceVersionMatch": "Exact"}):
        query = {"resourceVersion": version, **more}
        assert (await attacker.send("GET", "/api/v1/namespaces/shop/pods", "owner", params=query))[0] == 400


async def test_limits_that_are_no_numbers_are_refused(attacker: Attacker) -> None:
    for limit in ("9" * 5000, "٣", "1e3", "9" * 19 + "9"):
        assert (await attacker.send("GET", f"/api/v1/namespaces/shop/pods?limit={limit}", "owner"))[0] == 400
