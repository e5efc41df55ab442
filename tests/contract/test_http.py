"""The server as HTTP clients of every kind see it: old ones, careful ones, browsers, and people with curl."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator, Iterator

import aiohttp
import orjson
import pytest
import yaml
from yarl import URL

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apiclient.tls import client_context
from apimachinery.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS
from tests.support.apiserver import ApiServerProcess, running

ANSWER_SECONDS_MAX = 60
SCOPE = "http"
PATH = CONFIGMAPS.path(SCOPE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("http")) as process:
        asyncio.run(_prepare(process))
        yield process


async def _prepare(process: ApiServerProcess) -> None:
    await process.wait_ready()
    async with await process.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": SCOPE}})
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, SCOPE)
        for name in ("a", "b"):
            await client.create(CONFIGMAPS, {"metadata": {"name": name}, "data": {"x": name}}, SCOPE)


@pytest.fixture
def tls(server: ApiServerProcess) -> ssl.SSLContext:
    return client_context(load(str(server.kubeconfig)))


@pytest.fixture
async def session(server: ApiServerProcess, tls: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(server.url, connector=connector, auto_decompress=False) as made:
        yield made


async def exchange(server: ApiServerProcess, tls: ssl.SSLContext, *sent: bytes) -> bytes:
    """Everything that a server says to these bytes until it closes; later ones go after it has said something."""
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
        said = b""
        for number, piece in enumerate(sent):
            if number:
                said += await reader.read(1 << 16)
            writer.write(piece)
        said += await reader.read()
        writer.close()
        return said


# Old and careful clients


async def test_http_1_0_gets_whole_answers(server: ApiServerProcess, tls: ssl.SSLContext) -> None:
    said = await exchange(server, tls, f"GET {PATH} HTTP/1.0\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert b" 200 " in head and b"Connection: close" in head
    assert [item["metadata"]["name"] for item in orjson.loads(body)["items"]] == ["a", "b"]


async def test_http_1_0_can_watch(server: ApiServerProcess, tls: ssl.SSLContext) -> None:
    said = await exchange(server, tls, f"GET {PATH}?watch=1&timeoutSeconds=1 HTTP/1.0\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert [orjson.loads(line)["type"] for line in body.splitlines()] == ["ADDED", "ADDED"]


async def test_a_client_may_ask_before_it_sends(server: ApiServerProcess, tls: ssl.SSLContext) -> None:
    body = b'{"metadata":{"name":"careful"}}'
    head = (
        f"POST {PATH}?dryRun=All HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    said = await exchange(server, tls, head.encode(), body)
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")


async def test_several_requests_are_answered_in_their_order(server: ApiServerProcess, tls: ssl.SSLContext) -> None:
    one = f"GET {PATH}/a HTTP/1.1\r\nHost: x\r\n\r\nGET {PATH}/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    said = await exchange(server, tls, one.encode())
    assert said.index(b'"data":{"x":"a"}') < said.index(b'"data":{"x":"b"}')


async def test_a_head_tells_all_but_the_body(session: aiohttp.ClientSession) -> None:
    async with session.head(PATH) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 100
    async with session.head(f"{PATH}?watch=1") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_names_are_found_however_they_are_written(session: aiohttp.ClientSession) -> None:
    for path in (f"{PATH}/%61", f"{PATH}/a/", f"{PATH}/a?"):
        async with session.get(URL(path, encoded=True)) as answer:
            assert (answer.status, orjson.loads(await answer.read())["data"]) == (200, {"x": "a"}), path
    for path in (f"{PATH}/%2e%2e", f"{PATH}/a%2Fb", f"{PATH}/%00", f"{PATH}/%ff", f"{PATH}//a"):
        async with session.get(URL(path, encoded=True)) as answer:
            assert answer.status == 404, path


@pytest.mark.parametrize(("length", "status"), [(30_000, 200), (100_000, 400)])
async def test_long_urls_are_answered(session: aiohttp.ClientSession, length: int, status: int) -> None:
    selector = ",".join(f"x!=v{number}" for number in range(length // 9))
    async with session.get(PATH, params={"labelSelector": selector}) as answer:
        assert answer.status == status
        assert orjson.loads(await answer.read())["kind"] == ("ConfigMapList" if status == 200 else "Status")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", PATH, 405),
        ("PUT", PATH, 405),
        ("POST", f"{PATH}/a", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("POST", "/api/v1/configmaps", 405),
        ("GET", "/api/v1/namespaces/http/bindings", 405),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/apis/apps/v1beta1/deployments", 404),
        ("GET", f"{PATH}/a/status", 404),
    ],
)
async def test_what_can_not_be_done_is_told(
    session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with session.request(method, path) as answer:
        assert answer.status == status, await answer.read()


async def test_the_root_tells_where_to_go_on(session: aiohttp.ClientSession) -> None:
    async with session.get("/") as answer:
        paths = orjson.loads(await answer.read())["paths"]
    assert {"/api/v1", "/apis/apps", "/apis/apps/v1", "/readyz", "/openapi/v3"} <= set(paths)
    for path in paths:
        async with session.get(path) as answer:
            assert answer.status == 200, path


# People and browsers


async def test_people_get_lines_that_they_can_read(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{PATH}/a", headers={"User-Agent": "curl/8.1"}) as answer:
        assert b'{\n  "kind": "ConfigMap",\n' in await answer.read()
    async with session.get(f"{PATH}/none?pretty=true") as answer:
        assert (answer.status, (await answer.read()).count(b"\n") > 5) == (404, True)


async def test_yaml_is_written_as_well_as_read(session: aiohttp.ClientSession) -> None:
    headers = {"Accept": "application/yaml", "Content-Type": "application/yaml"}
    body = "metadata: {name: of-yaml}\ndata: {x: 'yes'}\n"
    async with session.post(f"{PATH}?dryRun=All", data=body, headers=headers) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (201, "application/yaml")
        assert yaml.safe_load(await answer.read())["data"] == {"x": "yes"}
    async with session.get(PATH, headers=headers) as answer:
        assert [item["metadata"]["name"] for item in yaml.safe_load(await answer.read())["items"]] == ["a", "b"]
    async with session.get(f"{PATH}?watch=1", headers=headers) as answer:
        assert answer.status == 406


async def test_a_browser_watches_over_a_websocket(client: Client, session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(ANSWER_SECONDS_MAX), session.ws_connect(f"{PATH}?watch=true") as socket:
        assert [(await socket.receive_json())["object"]["data"]["x"] for _ in range(2)] == ["a", "b"]
        await client.create(CONFIGMAPS, {"metadata": {"name": "c"}}, SCOPE)
        await client.delete(CONFIGMAPS, "c", SCOPE)
        events = [await socket.receive_json() for _ in range(2)]
        assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
            *(("ADDED", "c"), ("DELETED", "c")),
        ]
        await socket.close()
    async with asyncio.timeout(ANSWER_SECONDS_MAX), session.ws_connect(f"{PATH}?watch=1&timeoutSeconds=1") as socket:
        kinds = [message.type async for message in socket]
        assert kinds == [aiohttp.WSMsgType.TEXT] * 2
        assert socket.close_code == 1000


async def test_a_browser_shows_its_token_among_the_protocols(server: ApiServerProcess, client: Client) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    path = SERVICEACCOUNTS.path(SCOPE, "default", "token")
    _, _, made = await client.request(
        "POST", path, body=orjson.dumps(request), headers={"Content-Type": "application/json"}
    )
    token = base64.urlsafe_b64encode(orjson.loads(made)["status"]["token"].encode()).decode().rstrip("=")
    authority = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=authority)) as session:
        protocols = ["base64.binary.k8s.io", f"base64url.bearer.authorization.k8s.io.{token}"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{PATH}?watch=1", protocols=protocols)
        assert refused.value.status == 403  # known, and not allowed to watch
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{PATH}?watch=1", protocols=[protocols[0], f"{protocols[1][:-3]}AAA"])
        assert refused.value.status == 401


async def test_small_answers_are_not_compressed(session: aiohttp.ClientSession) -> None:
    async with session.get(PATH, headers={"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers
    async with session.get("/openapi/v3/apis/apps/v1", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "paths" in orjson.loads(gzip.decompress(await answer.read()))
