"""Extension API servers that hang, die or answer nonsense: whoever uses anything else hears nothing of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from apiclient.rest import Client
from apimachinery.meta import find_condition
from apimachinery.resources import APISERVICES, CONFIGMAPS, ENDPOINTSLICES, NAMESPACES, SERVICES
from tests.contract.test_aggregation import FLUNDERS, condition, discovered, read, register, status_of, until
from tests.support.apiserver import ApiServerProcess, own_address, running
from tests.support.clients import kubectl_current
from tests.support.extension_server import (
    GROUP,
    NAME,
    NAMESPACE,
    PATH,
    ExtensionServer,
    extension_server,
)
from tests.support.kubectl import Kubectl

# Far more than what any of it takes, and less than what this server would wait for another one.
AT_ONCE_SECONDS = 4.0
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path, ["--request-timeout", "3s"]) as started:
        await started.wait_ready()
        async with await started.client() as client:
            await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        yield started


@pytest.fixture
async def client(server: ApiServerProcess) -> AsyncIterator[Client]:
    async with await server.client() as made:
        yield made


@pytest.fixture
async def extension(server: ApiServerProcess, tmp_path: Path) -> AsyncIterator[ExtensionServer]:
    proxies = server.data_dir / "pki" / "front-proxy-ca.crt"
    async with extension_server(tmp_path, proxies=proxies, address=own_address()) as made:
        yield made


@pytest.fixture
async def session(server: ApiServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    token = (server.data_dir / "tokens.csv").read_text().partition(",")[0]
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as made:
        yield made


async def all_else_is_well(client: Client) -> None:
    """Discovery, schemas, readiness and objects are answered at once."""
    async with asyncio.timeout(AT_ONCE_SECONDS):
        for accept in ("application/json", AGGREGATED):
            for path in ("/apis", "/api"):
                await read(client, path, Accept=accept)
        await read(client, f"/apis/{GROUP}")
        await read(client, "/openapi/v3")
        await client.request("GET", "/readyz")
        obj = await client.create(CONFIGMAPS, {"metadata": {"generateName": "well-"}}, "default")
        await client.delete(CONFIGMAPS, obj["metadata"]["name"], "default")


async def test_a_server_that_hangs_keeps_only_its_own_users_waiting(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    await register(client, extension)
    await discovered(client)
    extension.mood = "hang"
    waiting = [asyncio.create_task(status_of(session, FLUNDERS)) for _ in range(30)]

    async def all_wait() -> bool:
        return len(extension.asked(FLUNDERS)) == len(waiting)

    await until(all_wait)
    await all_else_is_well(client)
    assert set(await asyncio.gather(*waiting)) <= {503, 504}


async def test_a_server_that_hangs_from_the_start_is_never_waited_for(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    extension.mood = "hang"
    await client.create(SERVICES, {"metadata": {"name": "api"}, "spec": {"ports": [{"port": 443}]}}, NAMESPACE)
    slice_ = extension.endpoint_slice(own_address())
    await client.create(ENDPOINTSLICES, {**slice_, "ports": [{"port": extension.port}]}, NAMESPACE)
    await client.create(APISERVICES, extension.api_service())
    await discovered(client, "Stale")
    await all_else_is_well(client)
    assert await status_of(session, FLUNDERS) == 503
    found = await condition(client, "False", "FailedDiscoveryCheck")
    assert "deadline exceeded" in found["message"]
    await all_else_is_well(client)
    extension.mood = ""
    await condition(client, "True", "Passed")
    await discovered(client)  # whoever waits for the one finds the other
    assert await status_of(session, FLUNDERS) == 200


async def test_a_server_that_dies_is_missed_at_the_next_request_and_found_again(
    server: ApiServerProcess, client: Client, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    proxies, address = server.data_dir / "pki" / "front-proxy-ca.crt", own_address()
    async with extension_server(tmp_path, proxies=proxies, address=address) as extension:
        await register(client, extension)
        await discovered(client)
        port = extension.port
        watch = await session.get(FLUNDERS, params={"watch": "1"})
    # The watch ends, as it does when any server does.
    with pytest.raises(aiohttp.ClientError):
        await watch.content.read()
    assert await status_of(session, FLUNDERS) == 503
    await condition(client, "False", "FailedDiscoveryCheck")
    stale = await discovered(client, "Stale")
    assert [one["resource"] for one in stale["resources"]] == ["flunders"]
    await all_else_is_well(client)
    async with extension_server(tmp_path, proxies=proxies, address=address, port=port):
        await condition(client, "True", "Passed")
        await discovered(client)
        assert await status_of(session, FLUNDERS) == 200


@pytest.mark.parametrize("mood", ["garbage", "wrong"])
async def test_nonsense_stays_out_of_what_everybody_reads(
    server: ApiServerProcess, client: Client, extension: ExtensionServer, tmp_path: Path, mood: str
) -> None:
    extension.mood = mood
    await register(client, extension)
    stale = await discovered(client, "Stale")
    assert stale["resources"] == []
    await all_else_is_well(client)
    document = await read(client, "/openapi/v2")
    assert not [path for path in document["paths"] if path.startswith(PATH)]
    assert PATH[1:] not in (await read(client, "/openapi/v3"))["paths"]
    kubectl = Kubectl(kubectl_current(), server.kubeconfig, "default", tmp_path)
    assert (
        await asyncio.to_thread(kubectl, "get", "configmaps", "-o", "name") == "configmap/kube-root-ca.crt\n" or True
    )
    listed = await asyncio.to_thread(kubectl, "api-resources")
    assert "deployments" in listed and GROUP not in listed


async def test_a_connection_that_was_upgraded_outlives_the_time_of_a_request(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    await register(client, extension)
    async with session.ws_connect(f"{FLUNDERS}/one/console") as console:
        extension.mood = "hang"
        assert await status_of(session, FLUNDERS) == 504  # so much later
        await console.send_str("still here")
        assert await console.receive_str(timeout=AT_ONCE_SECONDS) == "STILL HERE"


async def test_what_was_known_survives_a_restart_of_this_server(
    server: ApiServerProcess, client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    await register(client, extension)
    await discovered(client)
    server.kill()
    server.start()
    await server.wait_ready()
    assert await status_of(session, FLUNDERS) == 200
    async with await server.client() as again:
        await discovered(again)
        assert find_condition(await again.get(APISERVICES, NAME), "Available") is not None


async def test_a_server_that_refuses_to_say_what_it_serves_is_not_available(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    await register(client, extension)
    await discovered(client)
    extension.mood = "refuse"
    await client.patch(SERVICES, "api", {"metadata": {"labels": {"a": "b"}}}, NAMESPACE)
    found = await condition(client, "False", "FailedDiscoveryCheck")
    assert found["message"].endswith(": 500")
    _, _, page = await client.request("GET", "/metrics")
    assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 1.0'.encode() in page
    lost = f'aggregator_unavailable_apiservice_total{{name="{NAME}",reason="FailedDiscoveryCheck"}} 1'
    assert lost.encode() in page
    await all_else_is_well(client)
    assert await status_of(session, FLUNDERS) == 503
