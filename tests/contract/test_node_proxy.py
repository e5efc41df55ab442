"""Logs and commands go through the API server to a node's agent, for stock clients and for our own.

The agent here is a small one that speaks the same protocol, with credentials that the cluster's authority issued.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import NODES, PODS, SERVICEACCOUNTS
from apiserver import node_credentials
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current, kubectl_on_path

STDIN, STDOUT, STDERR, OUTCOME, CLOSE = 0, 1, 2, 3, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUCCESS = orjson.dumps({"metadata": {}, "status": "Success"})
COMMAND_SECONDS_MAX = 60


@dataclass
class Agent:
    """A node's agent that remembers what it was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, request: web.Request) -> None:
        assert request.transport is not None
        subject = dict(pair for part in request.transport.get_extra_info("peercert")["subject"] for pair in part)
        self.clients.append(subject["commonName"])
        self.asked.append(request.path_qs)

    async def logs(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        if request.match_info["container"] == "waiting":
            return web.Response(
                status=400, text='container "waiting" in pod "web" is waiting to start: PodInitializing'
            )
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        if request.query.get("follow"):
            try:
                await self.more.wait()
                await response.write(b"second\n")
            except asyncio.CancelledError:
                self.ended.set()
                raise
        return response

    async def exec(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        if request.match_info["container"] == "waiting":
            return web.Response(status=500, text='container not found ("waiting")')
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=400, text="Upgrade request required")
        socket = web.WebSocketResponse(protocols=[V5, V4])
        await socket.prepare(request)
        await socket.send_bytes(bytes([STDOUT]) + " ".join(request.query.getall("command", [])).encode() + b"\n")
        if request.query.get("error"):
            await socket.send_bytes(bytes([STDERR]) + b"warned\n")
        if request.query.get("input"):
            await self._echo(socket)
        if not self.ended.is_set():
            await socket.send_bytes(bytes([OUTCOME]) + SUCCESS)
            await socket.close()
        return socket

    async def _echo(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.data[:1] == bytes([CLOSE]):
                return
            if message.data[:1] == bytes([STDIN]) and len(message.data) > 1:
                await socket.send_bytes(bytes([STDOUT]) + message.data[1:].upper())
                if socket.ws_protocol == V4:
                    return
        self.ended.set()

    async def healthz(self, request: web.Request) -> web.Response:
        self.note(request)
        return web.Response(text=f"{request.method} ok {await request.text()}", headers={"X-Agent": "yes"})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as process:
        await process.wait_ready()
        yield process


async def serve(agent: Agent, pki: Path) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", agent.logs)
    app.router.add_get("/exec/{namespace}/{pod}/{container}", agent.exec)
    app.router.add_get("/attach/{namespace}/{pod}/{container}", agent.exec)
    app.router.add_route("*", "/healthz", agent.healthz)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    agent.port = runner.addresses[0][1]
    return runner


def credentials(server: ApiServerProcess, folder: Path, address: str) -> Path:
    where = ["--data-dir", str(server.data_dir), "--server", server.url, "--out-dir", str(folder)]
    node_credentials.main([*where, "--node", f"n1={address}"])
    return folder / "n1" / "pki"


@pytest.fixture
async def agent(server: ApiServerProcess, tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent()
    runner = await serve(made, credentials(server, tmp_path / "nodes", "127.0.0.1"))
    yield made
    await runner.cleanup()


async def create_node(client: Client, port: int) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.create(NODES, {"metadata": {"name": "n1"}})
    await client.patch(NODES, "n1", {"status": status}, subresource="status")


async def create_pod(client: Client, *containers: str, node: str = "n1") -> None:
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
    spec: Object = {"containers": [{"name": name, "image": "localhost/host"} for name in containers]}
    if node:
        spec["nodeName"] = node
    await client.create(PODS, {"metadata": {"name": "web"}, "spec": spec}, "default")


@pytest.fixture
async def pod(client: Client, agent: Agent) -> None:
    await create_node(client, agent.port)
    await create_pod(client, "app", "waiting")


async def log(client: Client, **params: str) -> bytes:
    return b"".join([chunk async for chunk in client.stream(PODS.path("default", "web", "log"), params)])


async def refusal(client: Client, path: str, **params: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await client.request("GET", PODS.path("default", "web", path), params=params)
    return refused.value


@pytest.mark.usefixtures("pod")
async def test_a_log_comes_from_the_node(client: Client, agent: Agent) -> None:
    assert await log(client, container="app", tailLines="3") == b"first\n"
    assert agent.asked == ["/containerLogs/default/web/app?tailLines=3"]
    assert agent.clients == ["kube-apiserver-kubelet-client"]


@pytest.mark.usefixtures("pod")
async def test_a_followed_log_comes_as_it_is_written(client: Client, agent: Agent) -> None:
    lines = client.stream(PODS.path("default", "web", "log"), {"container": "app", "follow": "true"})
    assert await anext(lines) == b"first\n"
    agent.more.set()
    assert await anext(lines) == b"second\n"
    assert await anext(lines, b"end") == b"end"


@pytest.mark.usefixtures("pod")
async def test_whoever_stops_following_leaves_nobody_writing(client: Client, agent: Agent) -> None:
    lines = client.stream(PODS.path("default", "web", "log"), {"container": "app", "follow": "true"})
    await anext(lines)
    await lines.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        await agent.ended.wait()


@pytest.mark.usefixtures("pod")
async def test_the_agents_refusal_is_told_in_its_words(client: Client) -> None:
    error = await refusal(client, "log", container="waiting")
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == 'container "waiting" in pod "web" is waiting to start: PodInitializing'


@pytest.mark.usefixtures("pod")
async def test_one_of_several_containers_must_be_named(client: Client) -> None:
    error = await refusal(client, "log")
    assert error.message == "a container name must be specified for pod web, choose one of: [app waiting]"


async def test_a_pod_without_a_node_has_an_empty_log_and_runs_nothing(client: Client) -> None:
    await create_pod(client, "app", node="")
    assert await log(client) == b""
    error = await refusal(client, "exec", command="ls", stdout="true")
    assert error.message == "pod web does not have a host assigned"


async def test_a_node_that_cannot_be_reached_is_an_error_that_says_so(client: Client) -> None:
    await create_node(client, 1)
    await create_pod(client, "app")
    error = await refusal(client, "log")
    assert error.code == 500
    assert error.message.endswith("error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused")


async def test_a_node_that_is_somebody_else_is_not_trusted(
    server: ApiServerProcess, client: Client, tmp_path: Path
) -> None:
    """Its certificate is the authority's, but for another address."""
    agent = Agent()
    runner = await serve(agent, credentials(server, tmp_path / "other", "127.0.0.2"))
    await create_node(client, agent.port)
    await create_pod(client, "app")
    error = await refusal(client, "log")
    assert error.code == 500 and "certificate" in error.message.lower()
    assert agent.asked == []
    await runner.cleanup()


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("protocol", [V5, V4])
async def test_a_command_converses_with_its_client(client: Client, agent: Agent, protocol: str) -> None:
    params = [("container", "app"), ("command", "tr"), ("command", "a b"), ("stdin", "true"), ("stdout", "true")]
    socket = await client.websocket(PODS.path("default", "web", "exec"), params, [protocol])
    assert socket.protocol == protocol
    assert await socket.receive() == bytes([STDOUT]) + b"tr a b\n"
    await socket.send_bytes(bytes([STDIN]) + b"loud")
    assert await socket.receive() == bytes([STDOUT]) + b"LOUD"
    if protocol == V5:
        await socket.send_bytes(bytes([CLOSE, STDIN]))
    assert await socket.receive() == bytes([OUTCOME]) + SUCCESS
    assert await socket.receive() is None
    assert agent.asked == ["/exec/default/web/app?input=1&output=1&command=tr&command=a+b"]


@pytest.mark.usefixtures("pod")
async def test_a_client_that_goes_away_ends_its_command(client: Client, agent: Agent) -> None:
    params = [("container", "app"), ("command", "cat"), ("stdin", "true"), ("stdout", "true")]
    socket = await client.websocket(PODS.path("default", "web", "exec"), params, [V5])
    await socket.receive()
    await socket.close()
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        await agent.ended.wait()


@pytest.mark.usefixtures("pod")
async def test_the_reason_why_a_command_cannot_run_is_told(client: Client) -> None:
    params = [("container", "waiting"), ("command", "ls"), ("stdout", "true")]
    with pytest.raises(ApiError, match=r'container not found \("waiting"\)'):
        await client.websocket(PODS.path("default", "web", "exec"), params, [V5])


@pytest.mark.usefixtures("pod")
async def test_the_agents_own_pages_are_reached_through_the_node(client: Client, agent: Agent) -> None:
    path = NODES.path(None, "n1", "proxy")
    _, headers, body = await client.request("GET", f"{path}/healthz", params={"verbose": "1"})
    assert body == b"GET ok " and headers["X-Agent"] == "yes"
    assert agent.asked == ["/healthz?verbose=1"]
    _, _, body = await client.request("PUT", f"{path}/healthz", body=b"hello")
    assert body == b"PUT ok hello"


async def kubectl(binary: str, server: ApiServerProcess, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run kubectl beside the agent, which lives on this test's loop."""
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.data_dir)}
    process = await asyncio.create_subprocess_exec(
        binary,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        output, _ = await process.communicate(stdin)
    return process.returncode or 0, output.decode()


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("which", [kubectl_on_path, kubectl_current])
async def test_stock_kubectl_shows_logs_and_runs_commands(server: ApiServerProcess, which: object) -> None:
    binary = which()  # type: ignore[operator]
    assert await kubectl(binary, server, "logs", "web", "-c", "app") == (0, "first\n")
    status, output = await kubectl(binary, server, "exec", "web", "-c", "app", "--", "echo", "hi")
    # Two streams: which of them is printed first is kubectl's affair.
    assert status == 0 and sorted(output.splitlines()) == ["echo hi", "warned"]
    status, output = await kubectl(binary, server, "exec", "-i", "web", "-c", "app", "--", "tr", stdin=b"quiet")
    assert status == 0 and "QUIET" in output
    status, output = await kubectl(binary, server, "exec", "web", "-c", "waiting", "--", "ls")
    assert status != 0 and 'container not found ("waiting")' in output
    status, output = await kubectl(binary, server, "logs", "web", "-c", "waiting")
    assert status != 0 and "is waiting to start" in output
