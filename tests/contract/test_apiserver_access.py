"""Who gets in and how far: credentials, their absence, and the limits of each identity, against a real server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.resources import CONFIGMAPS, NAMESPACES, NODES, PODS, SECRETS
from apiserver import node_credentials
from tests.support.apiserver import ApiServerProcess, running
from tests.support.certificates import Authority, client_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def started(folder: Path) -> Any:
    with running(folder) as process:
        asyncio.run(process.wait_ready())
        yield process


@pytest.fixture
async def session(started: ApiServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that trusts the server and shows nothing."""
    context = ssl.create_default_context(cafile=str(started.data_dir / "pki" / "ca.crt"))
    async with aiohttp.ClientSession(started.url, connector=aiohttp.TCPConnector(ssl=context)) as made:
        yield made


async def answer(session: aiohttp.ClientSession, path: str, **more: Any) -> tuple[int, Any]:
    async with session.get(path, **more) as response:
        return response.status, await response.json(content_type=None) if "json" in response.content_type else ""


def token(server: ApiServerProcess) -> str:
    return (server.data_dir / "tokens.csv").read_text().partition(",")[0]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
async def test_health_and_version_are_open_to_anybody(session: aiohttp.ClientSession, path: str) -> None:
    assert (await answer(session, path))[0] == 200


@pytest.mark.parametrize("path", ["/api", "/api/v1/pods", "/metrics", "/openapi/v2", "/no/such/path", "/readyz/ping"])
async def test_everything_else_is_not_for_anybody(session: aiohttp.ClientSession, path: str) -> None:
    status, body = await answer(session, path)
    assert status == 403
    assert body["kind"] == "Status" and body["reason"] == "Forbidden" and body["code"] == 403
    assert 'User "system:anonymous" cannot' in body["message"]


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic YTpi"])
async def test_wrong_credentials_are_refused_even_where_none_are_needed(
    session: aiohttp.ClientSession, header: str
) -> None:
    assert (await answer(session, "/readyz", headers={"Authorization": header}))[0] == 401


async def test_the_administrators_token_opens_everything(
    session: aiohttp.ClientSession, started: ApiServerProcess
) -> None:
    headers = {"Authorization": f"Bearer {token(started)}"}
    status, body = await answer(session, "/api/v1/namespaces", headers=headers)
    assert status == 200
    assert [item["metadata"]["name"] for item in body["items"]] == [
        "default",
        "kube-node-lease",
        "kube-public",
        "kube-system",
    ]


async def test_a_certificate_of_another_authority_gets_nowhere(started: ApiServerProcess, folder: Path) -> None:
    Authority().issue(folder / "stranger", "client", "kubernetes-admin", "system:masters")
    context = client_context(folder / "stranger", started.data_dir / "pki", "client")
    async with aiohttp.ClientSession(started.url, connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await answer(session, "/api/v1/namespaces")


async def test_a_serving_certificate_is_no_clients(started: ApiServerProcess) -> None:
    context = client_context(started.data_dir / "pki", started.data_dir / "pki", "apiserver")
    async with aiohttp.ClientSession(started.url, connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await answer(session, "/version")


async def client(path: Path) -> Client:
    return await Client.connect(load(str(path)))


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_the_scheduler_reads_pods_and_no_secrets(started: ApiServerProcess) -> None:
    async with await client(started.data_dir / "scheduler.kubeconfig") as scheduler:
        assert (await scheduler.list(PODS))["items"] == []
        error = await refused(scheduler.list(SECRETS, "default"))
    assert error.code == 403
    assert error.message == (
        'secrets is forbidden: User "system:kube-scheduler" cannot list resource "secrets" in API group "" '
        'in the namespace "default"'
    )


async def test_the_controllers_change_what_there_is(started: ApiServerProcess) -> None:
    async with await started.client() as admin:
        await admin.create(CONFIGMAPS, {"metadata": {"name": "owned"}}, "default")
    async with await client(started.data_dir / "controller-manager.kubeconfig") as controllers:
        await controllers.delete(CONFIGMAPS, "owned", "default")
        assert (await refused(controllers.create(NAMESPACES, {"metadata": {"name": "made"}}))).code == 403


async def test_a_node_touches_nothing_of_another_node(started: ApiServerProcess, folder: Path) -> None:
    where = ["--data-dir", str(started.data_dir), "--server", started.url, "--out-dir", str(folder / "nodes")]
    node_credentials.main([*where, "--node", "n1=127.0.0.1", "--node", "n2=127.0.0.1"])
    async with await client(folder / "nodes/n1/kubeconfig") as n1, await client(folder / "nodes/n2/kubeconfig") as n2:
        await n1.create(NODES, {"metadata": {"name": "n1"}})
        await n2.create(NODES, {"metadata": {"name": "n2"}})
        assert (await refused(n1.create(NODES, {"metadata": {"name": "n3"}}))).code == 403
        label = {"metadata": {"labels": {"zone": "a"}}}
        await n1.patch(NODES, "n1", label)
        assert (await refused(n1.patch(NODES, "n2", label))).code == 403
        assert (await refused(n1.delete(NODES, "n1"))).code == 403
        assert (await refused(n1.list(PODS))).code == 403
        assert (await n1.list(PODS, field_selector="spec.nodeName=n1"))["items"] == []
        assert (await refused(n1.list(SECRETS, "default"))).code == 403
