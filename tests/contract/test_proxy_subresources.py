"""The `proxy` subresources of pods, services and nodes: a web server in the pod's place, and who reaches it."""

from __future__ import annotations

import asyncio
import gzip
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from apimachinery.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    ENDPOINTSLICES,
    NODES,
    PODS,
    SERVICEACCOUNTS,
    SERVICES,
)
from tests.support.apiserver import ApiServerProcess, free_port, own_address, running
from tests.support.certificates import Authority
from tests.support.clients import kubectl_on_path

SECONDS_MAX = 60
BOMB = gzip.compress(b"<a>" * (20 << 20))
PODS_PATH, SERVICES_PATH = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services"


class Backend:
    """A web server that remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.secure_port = 0
        self.requests: list[web.Request] = []
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/redirect", self.redirect)
        app.router.add_get("/page", self.page)
        app.router.add_get("/bomb", self.bomb)
        app.router.add_get("/odd", self.odd)
        app.router.add_get("/socket", self.socket)
        app.router.add_get("/stream", self.stream)
        app.router.add_post("/upload", self.upload)
        app.router.add_get("/refuses", self.refuse)
        app.router.add_route("*", "/{path:.*}", self.echo)
        return app

    async def echo(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        body = await request.text()
        headers = {"X-Backend": "yes", "Set-Cookie": "a=b"}
        return web.json_response({"method": request.method, "path": request.raw_path, "body": body}, headers=headers)

    async def redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere?x=1"})

    async def page(self, request: web.Request) -> web.Response:
        body = b'<html><a href="/link">text</a></html>'
        if "gzip" not in request.query:
            return web.Response(body=body, content_type="text/html")
        return web.Response(body=gzip.compress(body), content_type="text/html", headers={"Content-Encoding": "gzip"})

    async def bomb(self, request: web.Request) -> web.Response:
        return web.Response(body=BOMB, content_type="text/html", headers={"Content-Encoding": "gzip"})

    async def odd(self, request: web.Request) -> web.Response:
        body = '<a href="/é">é</a><a href="/&euro;">'.encode()
        return web.Response(body=body, headers={"Content-Type": f"text/html; charset={request.query['charset']}"})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def refuse(self, request: web.Request) -> web.Response:
        return web.Response(status=403, text="not you")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await response.write(b"second")
        return response

    async def upload(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk.upper())
        return response


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    made = Backend()
    runner = web.AppRunner(made.app(), handler_cancellation=True)
    await runner.setup()
    Authority().issue(tmp_path, "server", "web", address=own_address())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    for context in (None, tls):
        await web.TCPSite(runner, own_address(), 0, ssl_context=context).start()
    made.port, made.secure_port = (address[1] for address in runner.addresses)
    yield made
    await runner.cleanup()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "tokens.csv").write_text('admin,admin,admin,"system:masters"\njane,jane,jane,\n')
    with running(folder, ["--token-auth-file", str(folder / "tokens.csv")]) as process:
        asyncio.run(prepare(process))
        yield process


async def prepare(server: ApiServerProcess) -> None:
    """A pod with this machine's address, a service in front of it, and a node that is this machine."""
    await server.wait_ready()
    address = own_address()
    async with await server.client() as client:
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        for name, container in (("web", {"ports": [{"containerPort": 8080}]}), ("dark", {})):
            spec = {"containers": [{"name": "c", "image": "i", **container}]}
            await client.create(PODS, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}, "default")
        status = {"podIP": address, "podIPs": [{"ip": address}]}
        await client.patch(PODS, "web", {"status": status}, "default", subresource="status")
        await client.create(NODES, {"metadata": {"name": "n1"}})
        status = {"addresses": [{"type": "InternalIP", "address": address}]}
        await client.patch(NODES, "n1", {"status": status}, subresource="status")
        ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
        await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": ports}}, "default")
        rule = {"apiGroups": [""], "resources": ["pods/proxy"], "resourceNames": ["web:80"], "verbs": ["get"]}
        await client.create(CLUSTERROLES, {"metadata": {"name": "one-port"}, "rules": [rule]})
        group = "rbac.authorization.k8s.io"
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": "one-port"}
        subjects = [{"apiGroup": group, "kind": "User", "name": "jane"}]
        await client.create(
            CLUSTERROLEBINDINGS, {"metadata": {"name": "one-port"}, "roleRef": reference, "subjects": subjects}
        )


@pytest.fixture
async def session(server: ApiServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=tls)
    headers = {"Authorization": "Bearer admin"}
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as made:
        yield made


@pytest.fixture
async def service(server: ApiServerProcess, backend: Backend) -> AsyncIterator[None]:
    """The service's endpoints, on the ports of the backend."""
    endpoint = {"addresses": [own_address()], "targetRef": {"kind": "Pod", "name": "web", "namespace": "default"}}
    slice_ = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [endpoint],
        "ports": [{"name": "http", "port": backend.port}, {"name": "https", "port": backend.secure_port}],
    }
    async with await server.client() as client:
        await client.create(ENDPOINTSLICES, slice_, "default")
        yield
        await client.delete(ENDPOINTSLICES, "web-1", "default")


async def asked(session: aiohttp.ClientSession, path: str, method: str = "GET", **more: Any) -> Any:
    async with session.request(method, path, **more) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Backend"] == "yes"
        return await answer.json()


async def refused(session: aiohttp.ClientSession, path: str, method: str = "GET", **more: Any) -> tuple[int, str]:
    async with session.request(method, path, **more) as answer:
        return answer.status, (await answer.json())["message"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_requests_reach_the_pod_as_they_are(
    session: aiohttp.ClientSession, backend: Backend, method: str
) -> None:
    path = f"{PODS_PATH}/web:{backend.port}/proxy"
    found = await asked(session, f"{path}/deep//path%2Fx/?a=b&a=%20c", method, data=b"body", headers={"X-My": "own"})
    assert found == {"method": method, "path": "/deep//path%2Fx/?a=b&a=%20c", "body": "body"}
    headers = backend.requests[-1].headers
    assert headers["X-My"] == "own"
    assert headers["X-Forwarded-Uri"] == f"{path}/deep//path%2Fx/"


async def test_nothing_by_which_the_server_knows_its_client_is_passed_on(
    session: aiohttp.ClientSession, backend: Backend
) -> None:
    headers = {
        "X-Remote-User": "root",
        "Impersonate-User": "admin",
        "Cookie": "c=d",
        "Impersonate-Group": "system:masters",
        "Sec-WebSocket-Protocol": "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWRtaW4",
    }
    await asked(session, f"{PODS_PATH}/web:{backend.port}/proxy/", headers=headers)
    sent = backend.requests[-1].headers
    assert sent.getall("Sec-WebSocket-Protocol") == ["v4.channel.k8s.io"]
    assert not {"Authorization", "X-Remote-User", "Impersonate-User", "Impersonate-Group"} & set(sent)
    assert sent["Cookie"] == "c=d" and "127.0.0.1" in sent["X-Forwarded-For"]
    await asked(session, f"{PODS_PATH}/web:{backend.port}/proxy/")
    assert "Cookie" not in backend.requests[-1].headers  # what one was given is not sent for the next


@pytest.mark.usefixtures("service")
async def test_a_service_is_reached_by_the_number_and_the_name_of_its_port(session: aiohttp.ClientSession) -> None:
    for name in ("web:80", "web:http", "http:web:http", "https:web:443", "https:web:https"):
        assert (await asked(session, f"{SERVICES_PATH}/{name}/proxy/x"))["path"] == "/x"


async def test_a_service_without_endpoints_is_unavailable(session: aiohttp.ClientSession) -> None:
    assert await refused(session, f"{SERVICES_PATH}/web:80/proxy/") == (
        503,
        'no endpoints available for service "web:80"',
    )
    assert await refused(session, f"{SERVICES_PATH}/web:81/proxy/") == (
        503,
        'no service port 81 found for service "web"',
    )


async def test_a_port_of_a_node_is_reached(session: aiohttp.ClientSession, backend: Backend) -> None:
    assert (await asked(session, f"/api/v1/nodes/n1:{backend.port}/proxy/x"))["path"] == "/x"


async def test_a_pod_without_an_address_is_not_asked(session: aiohttp.ClientSession) -> None:
    assert await refused(session, f"{PODS_PATH}/dark:80/proxy/") == (400, "address not allowed")


async def test_a_port_that_nobody_listens_on_is_unavailable(session: aiohttp.ClientSession) -> None:
    status, message = await refused(session, f"{PODS_PATH}/web:{free_port()}/proxy/")
    assert status == 503
    assert message.startswith("error trying to reach service: dial tcp ")
    assert message.endswith("connect: connection refused")


async def test_rights_are_looked_at_for_the_name_with_its_port(
    session: aiohttp.ClientSession, backend: Backend
) -> None:
    jane = {"Authorization": "Bearer jane"}
    status, message = await refused(session, f"{PODS_PATH}/web:{backend.port}/proxy/", headers=jane)
    assert status == 403 and 'cannot get resource "pods/proxy"' in message
    status, message = await refused(session, f"{PODS_PATH}/web:80/proxy/", "POST", headers=jane)
    assert status == 403 and 'cannot create resource "pods/proxy"' in message
    status, message = await refused(session, f"{PODS_PATH}/web:80/proxy/", headers=jane)
    assert status in (503, 200, 404)  # whatever answers there: she may ask


async def test_a_page_at_the_top_is_found_behind_a_slash(session: aiohttp.ClientSession, backend: Backend) -> None:
    path = f"{PODS_PATH}/web:{backend.port}/proxy"
    async with session.get(f"{path}?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{path}/?a=b")
    assert (await asked(session, path, "POST"))["path"] == "/"


async def test_redirects_lead_through_this_server(
    server: ApiServerProcess, session: aiohttp.ClientSession, backend: Backend
) -> None:
    path = f"{PODS_PATH}/web:{backend.port}/proxy"
    async with session.get(f"{path}/redirect", allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{server.url}{path}/elsewhere?x=1"
    assert (await asked(session, f"{path}/redirect"))["path"] == "/elsewhere?x=1"


@pytest.mark.parametrize("query", ["", "?gzip"])
async def test_the_links_of_pages_lead_through_this_server(
    server: ApiServerProcess, session: aiohttp.ClientSession, backend: Backend, query: str
) -> None:
    path = f"{PODS_PATH}/web:{backend.port}/proxy"
    async with session.get(f"{path}/page{query}") as answer:
        assert await answer.text() == f'<html><a href="{server.url}{path}/link">text</a></html>'


async def test_a_page_that_unpacks_to_more_than_a_page_is_left_alone(
    server: ApiServerProcess, session: aiohttp.ClientSession, backend: Backend
) -> None:
    tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    path = f"{server.url}{PODS_PATH}/web:{backend.port}/proxy/bomb"
    async with (
        aiohttp.ClientSession(auto_decompress=False) as raw,
        raw.get(path, ssl=tls, headers={"Authorization": "Bearer admin"}) as answer,
    ):
        assert await answer.read() == BOMB


@pytest.mark.parametrize("charset", ["utf-8", "nonsense", "punycode", "hex", "utf-16", "ascii"])
async def test_pages_keep_their_characters_whatever_they_say_of_them(
    server: ApiServerProcess, session: aiohttp.ClientSession, backend: Backend, charset: str
) -> None:
    path = f"{PODS_PATH}/web:{backend.port}/proxy"
    async with session.get(f"{path}/odd", params={"charset": charset}) as answer:
        text = (await answer.read()).decode()
        there = f"{server.url}{path}"
        assert text == f'<a href="{there}/é">é</a><a href="{there}/&#8364;">'


async def test_answers_come_as_they_are_written(session: aiohttp.ClientSession, backend: Backend) -> None:
    async with session.get(f"{PODS_PATH}/web:{backend.port}/proxy/stream") as answer:
        assert await answer.content.readany() == b"first"
        backend.go_on.set()
        assert await answer.content.readany() == b"second"


async def test_whoever_goes_away_leaves_nobody_writing(session: aiohttp.ClientSession, backend: Backend) -> None:
    async with session.get(f"{PODS_PATH}/web:{backend.port}/proxy/stream") as answer:
        assert await answer.content.readany() == b"first"
        answer.close()
    await asyncio.wait_for(backend.cancelled.wait(), SECONDS_MAX)


async def test_both_bodies_are_streamed_at_once(session: aiohttp.ClientSession, backend: Backend) -> None:
    said: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while piece := await said.get():
            yield piece

    said.put_nowait(b"one")
    async with session.post(f"{PODS_PATH}/web:{backend.port}/proxy/upload", data=body()) as answer:
        assert await answer.content.readany() == b"ONE"
        said.put_nowait(b"two")
        assert await answer.content.readany() == b"TWO"
        said.put_nowait(b"")
        assert await answer.content.readany() == b""


async def test_much_gets_through(session: aiohttp.ClientSession, backend: Backend) -> None:
    much = os.urandom(1 << 16).hex().encode() * 40
    async with session.post(f"{PODS_PATH}/web:{backend.port}/proxy/upload", data=much) as answer:
        assert await answer.read() == much.upper()


async def test_websockets_are_joined(session: aiohttp.ClientSession, backend: Backend) -> None:
    async with session.ws_connect(f"{PODS_PATH}/web:{backend.port}/proxy/socket", protocols=["chat"]) as client:
        assert client.protocol == "chat"
        for word in ("hello", "again" * 50_000):
            await client.send_str(word)
            assert await client.receive_str(timeout=SECONDS_MAX) == word.upper()


@pytest.mark.usefixtures("service")
async def test_websockets_are_joined_over_tls(session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{SERVICES_PATH}/https:web:443/proxy/socket") as client:
        await client.send_str("hello")
        assert await client.receive_str(timeout=SECONDS_MAX) == "HELLO"


async def test_an_upgrade_that_is_refused_is_answered_so(session: aiohttp.ClientSession, backend: Backend) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with session.ws_connect(f"{PODS_PATH}/web:{backend.port}/proxy/refuses"):
            pass
    assert refusal.value.status == 403


async def test_any_protocol_may_be_upgraded_to(server: ApiServerProcess) -> None:
    """Bytes that are no HTTP pass in both directions, and nothing of them is taken for a request to this server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nwelcome")
        while data := await reader.read(1000):
            writer.write(data[::-1])
        writer.close()

    listening = await asyncio.start_server(serve, own_address(), 0)
    port = listening.sockets[0].getsockname()[1]
    tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    head = f"GET {PODS_PATH}/web:{port}/proxy/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\n"
    writer.write(f"{head}Connection: Upgrade\r\nUpgrade: raw\r\n\r\n".encode())
    async with listening, asyncio.timeout(SECONDS_MAX):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(7) == b"welcome"
        writer.write(b"GET /api HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(21) == b"GET /api HTTP/1.1\r\n\r\n"[::-1]
        writer.close()


@pytest.mark.usefixtures("service")
async def test_stock_kubectl_asks_through_the_server(server: ApiServerProcess) -> None:
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.data_dir)}
    command = [kubectl_on_path(), "get", "--raw", f"{SERVICES_PATH}/web:http/proxy/hello"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
    )
    assert '"path": "/hello"' in done.stdout


async def test_a_server_that_answers_nonsense_is_unavailable(session: aiohttp.ClientSession) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello?\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, own_address(), 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        status, message = await refused(session, f"{PODS_PATH}/web:{port}/proxy/")
    assert status == 503 and message.startswith("error trying to reach service: ")
