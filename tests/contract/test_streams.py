"""Commands, copies and forwarded ports for clients of all ages: over SPDY, WebSockets, and SPDY inside of those.

The node's agent is the real one; processes of this machine stand for its containers, and ports of this machine for
those of the pod.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apiclient.clock import SystemClock
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import NODES, PODS, SERVICEACCOUNTS
from apiserver import node_credentials
from kubelet.node.node_settings import NodeSettings
from kubelet.server import KubeletServer
from tests.support.apiserver import ApiServerProcess, free_port, running
from tests.support.clients import kubectl_current, kubectl_old, kubectl_on_path
from tests.support.machine import Listed, Machine
from tests.support.spdy import ClientStream, SpdyClient, spdy

SECONDS_MAX = 60
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
SUCCESS = {"metadata": {}, "status": "Success"}
KUBECTLS = [
    pytest.param(kubectl_old, id="kubectl-1.20"),
    pytest.param(kubectl_on_path, id="kubectl-on-path"),
    pytest.param(kubectl_current, id="kubectl-1.35"),
]


class Cluster:
    """An API server, and a node's agent with one pod."""

    def __init__(self, server: ApiServerProcess, machine: Machine, folder: Path) -> None:
        self.server = server
        self.machine = machine
        self._folder = folder
        self.token = (server.data_dir / "tokens.csv").read_text().partition(",")[0]
        self.tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))

    @asynccontextmanager
    async def kubectl(self, binary: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A kubectl that runs, and is ended with this block."""
        environment = {**os.environ, "KUBECONFIG": str(self.server.kubeconfig), "HOME": str(self._folder)}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            binary, *arguments, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 22
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, binary: str, *arguments: str, stdin: bytes = b"") -> tuple[int | None, bytes, str]:
        """Run kubectl to its end: exit status, standard output and error."""
        async with self.kubectl(binary, *arguments) as process:
            out, err = await asyncio.wait_for(process.communicate(stdin), SECONDS_MAX)
            return process.returncode, out, err.decode()

    @asynccontextmanager
    async def spdy(self, path: str, *versions: str) -> AsyncIterator[SpdyClient]:
        """An old client."""
        headers = {"Authorization": f"Bearer {self.token}"}
        whole = f"/api/v1/namespaces/default/pods/web/{path}"
        async with spdy(self.server.port, self.tls, whole, headers=headers, versions=versions) as client:
            yield client

    @asynccontextmanager
    async def websocket(self, path: str, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A client with a WebSocket."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.server.url}/api/v1/namespaces/default/pods/web/{path}"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(url, protocols=protocols, ssl=self.tls, max_msg_size=0) as socket,
        ):
            yield socket


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("streams")
    with running(folder) as process:
        asyncio.run(prepare(process, folder))
        yield process


async def prepare(server: ApiServerProcess, folder: Path) -> None:
    """A node, whose credentials are in `folder`, and a pod of it."""
    await server.wait_ready()
    where = ["--data-dir", str(server.data_dir), "--server", server.url, "--out-dir", str(folder)]
    node_credentials.main([*where, "--node", "n1=127.0.0.1"])
    async with await server.client() as client:
        await client.create(NODES, {"metadata": {"name": "n1"}})
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await client.create(PODS, pod("web", "main", "idle"), "default")
        await client.create(PODS, pod("lost", "main", node=""), "default")
        status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(PODS, "web", status, "default", subresource="status")


def pod(name: str, *containers: str, node: str = "n1") -> Object:
    spec: Object = {"containers": [{"name": one, "image": "i", "stdin": True} for one in containers]}
    return {"metadata": {"name": name}, "spec": {**spec, "nodeName": node} if node else spec}


@pytest.fixture
async def cluster(server: ApiServerProcess, tmp_path: Path) -> AsyncIterator[Cluster]:
    machine = Machine()
    agent = KubeletServer(
        NodeSettings("n1", "127.0.0.1", port=free_port()),
        cert_dir=server.data_dir.parent / "n1" / "pki",
        root_dir=tmp_path,
        image_dir=tmp_path,
        cgroup_root="wherry/none",
        pods=Listed(),
        runtime=machine,  # type: ignore[arg-type]
        clock=SystemClock(),
    )
    task = asyncio.create_task(agent.run())
    await asyncio.wait_for(agent.listening(), SECONDS_MAX)
    async with await server.client() as client:
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": agent.bound_port}},
        }
        await client.patch(NODES, "n1", {"status": status}, subresource="status")
    yield Cluster(server, machine, tmp_path)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for process in machine.started:
        if process._process.poll() is None:
            process._process.kill()
        process._process.wait()


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_runs_commands(cluster: Cluster, which: Callable[[], str]) -> None:
    kubectl = which()
    base = ("exec", "web", "-c", "main")
    status, out, err = await cluster.run(kubectl, *base, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (status, out) == (7, b"out\n") and err.startswith("err\n") and "exit code 7" in err
    status, out, err = await cluster.run(kubectl, *base, "-i", "--", "tr", "a-z", "A-Z", stdin=b"loud")
    assert (status, out) == (0, b"LOUD"), err
    status, _, err = await cluster.run(kubectl, *base, "--", "no-such-command")
    assert status not in (0, None) and "executable file not found" in err
    status, _, err = await cluster.run(kubectl, "exec", "web", "-c", "idle", "--", "ls")
    assert status == 1 and 'container not found ("idle")' in err


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_gets_much_through_in_both_directions(cluster: Cluster, which: Callable[[], str]) -> None:
    much = bytes(range(256)) * 40_000
    status, out, err = await cluster.run(which(), "exec", "-i", "web", "-c", "main", "--", "cat", stdin=much)
    assert status == 0, err
    assert out == much


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_attaches(cluster: Cluster, which: Callable[[], str]) -> None:
    status, out, err = await cluster.run(which(), "attach", "web", "-c", "main")
    assert (status, out) == (0, b"hello\n"), err


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_copies_files(cluster: Cluster, which: Callable[[], str], tmp_path: Path) -> None:
    kubectl, there = which(), tmp_path / "there"
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_bytes(os.urandom(300_000))
    there.mkdir()
    status, _, err = await cluster.run(kubectl, "cp", str(source), f"default/web:{there}/copy", "-c", "main")
    assert status == 0, err
    assert (there / "copy" / "deep" / "file").read_bytes() == (source / "deep" / "file").read_bytes()
    back = tmp_path / "back"
    status, _, err = await cluster.run(kubectl, "cp", f"default/web:{there}/copy", str(back), "-c", "main")
    assert status == 0, err
    assert (back / "deep" / "file").read_bytes() == (source / "deep" / "file").read_bytes()


@asynccontextmanager
async def listener(serve: Any) -> AsyncIterator[int]:
    """A port of the pod."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says everything again in capitals; at its client's end it says so and ends the connection."""
    while data := await reader.read(100_000):
        writer.write(data.upper())
        await writer.drain()
    writer.write(b"over")
    writer.close()


async def forwarded_port(process: asyncio.subprocess.Process) -> int:
    """The local port of a `kubectl port-forward`."""
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), SECONDS_MAX)).decode()
    assert line.startswith("Forwarding from 127.0.0.1:"), line
    return int(line.split()[2].rpartition(":")[2])


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_forwards_ports(cluster: Cluster, which: Callable[[], str]) -> None:
    kubectl = which()
    async with listener(shout) as port, cluster.kubectl(kubectl, "port-forward", "pod/web", f":{port}") as process:
        local = await forwarded_port(process)
        for _ in range(3):
            assert await ask(local, b"hello") == b"HELLO"
        answers = await asyncio.gather(*(ask(local, b"n%d" % number) for number in range(20)))
        assert answers == [b"N%d" % number for number in range(20)]
        much = b"x" * 3_000_000
        assert await ask(local, much) == much.upper()


async def ask(port: int, said: bytes) -> bytes:
    """Say something on a forwarded port, and read as much."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(SECONDS_MAX):
        writer.write(said)
        answer = await reader.readexactly(len(said))
        writer.close()
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("which", KUBECTLS)
async def test_kubectl_says_why_a_port_is_not_forwarded(cluster: Cluster, which: Callable[[], str]) -> None:
    kubectl = which()
    async with listener(shout) as port:
        pass
    async with cluster.kubectl(kubectl, "port-forward", "pod/web", f":{port}") as process:
        local = await forwarded_port(process)
        assert process.stderr is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"hello")
        said = b""
        async with asyncio.timeout(SECONDS_MAX):
            while b"refused" not in said:
                said += await process.stderr.readline()
        writer.close()
        assert f"error forwarding port {port} to pod web, uid u-1" in said.decode()
        assert await reader.read() == b""
    status, _, err = await cluster.run(kubectl, "port-forward", "pod/lost", ":80")
    assert status == 1 and ("does not have a host assigned" in err or "pod is not running" in err)


EXEC = "exec?container=main&command=sh&command=-c&command={}&stdin=true&stdout=true&stderr=true"


async def open_streams(client: SpdyClient, *kinds: str) -> dict[str, ClientStream]:
    return {kind: await client.open(streamtype=kind) for kind in kinds}


@pytest.mark.parametrize("version", ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
async def test_old_clients_converse_with_commands_over_spdy(cluster: Cluster, version: str) -> None:
    script = "cat;echo%20err%3E%262;exit%203"
    async with cluster.spdy(EXEC.format(script), version) as client:
        assert client.status == 101 and client.headers["upgrade"] == "SPDY/3.1"
        assert client.headers["x-stream-protocol-version"] == version
        streams = await open_streams(client, "error", "stdin", "stdout", "stderr")
        await client.send(streams["stdin"], b"hello ")
        await client.until(lambda: streams["stdout"].data == b"hello ")
        await client.send(streams["stdin"], b"world", fin=True)
        await client.until(lambda: all(stream.ended for stream in streams.values()))
    assert streams["stdout"].data == b"hello world" and streams["stderr"].data == b"err\n"
    told = bytes(streams["error"].data)
    if version == "v4.channel.k8s.io":
        assert orjson.loads(told)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    else:
        assert told == b"command terminated with non-zero exit code: exit status 3"


async def test_the_best_version_that_both_know_is_spoken(cluster: Cluster) -> None:
    async with cluster.spdy(EXEC.format("true"), "v9.channel.k8s.io", "v3.channel.k8s.io", V4) as client:
        assert client.headers["x-stream-protocol-version"] == "v3.channel.k8s.io"
    async with cluster.spdy(EXEC.format("true"), "v9.channel.k8s.io") as client:
        assert client.status == 403 and b"unable to negotiate protocol" in client.body


async def test_the_size_of_a_terminal_comes_over_a_stream_of_its_own(cluster: Cluster) -> None:
    path = "exec?container=main&command=sleep&command=1000&stdin=true&stdout=true&tty=true"
    async with cluster.spdy(path, V4) as client:
        streams = await open_streams(client, "error", "stdin", "stdout", "resize")
        await client.send(streams["resize"], b'{"Width":80,"Height":24}\n{"Width":100,')
        await client.send(streams["resize"], b'"Height":50}\n')
        async with asyncio.timeout(SECONDS_MAX):
            while len(sizes := cluster.machine.started[-1].sizes) < 2:  # noqa: ASYNC110 - only the process knows
                await asyncio.sleep(0.01)
        assert sizes == [(80, 24), (100, 50)]


async def test_an_old_client_that_goes_away_ends_its_command(cluster: Cluster) -> None:
    async with cluster.spdy(EXEC.format("exec%20sleep%201000"), V4) as client:
        await open_streams(client, "error", "stdin", "stdout", "stderr")
    await asyncio.wait_for(cluster.machine.started[-1].killed.wait(), SECONDS_MAX)


async def test_a_client_that_speaks_no_spdy_after_all_ends_only_itself(cluster: Cluster) -> None:
    async with cluster.spdy(EXEC.format("exec%20sleep%201000"), V4) as client:
        await client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.until(lambda: client.gone)
    await asyncio.wait_for(cluster.machine.started[-1].killed.wait(), SECONDS_MAX)
    async with await cluster.server.client() as connected:
        await connected.request("GET", "/readyz")


async def test_what_is_wrong_is_said_before_the_upgrade(cluster: Cluster) -> None:
    async with cluster.spdy("exec?container=idle&command=ls&stdout=true", V4) as client:
        assert client.status == 500 and b"container not found" in client.body
    async with cluster.spdy("exec?container=nobody&command=ls&stdout=true", V4) as client:
        assert client.status == 400 and b"container nobody is not valid for pod web" in client.body
    async with cluster.spdy("portforward", "something.else") as client:
        assert client.status == 403


async def test_a_connection_is_two_streams_over_spdy(cluster: Cluster) -> None:
    async with listener(shout) as port, cluster.spdy("portforward", "portforward.k8s.io") as client:
        for request in ("0", "1"):
            named = {"port": str(port), "requestid": request}
            error = await client.open(streamtype="error", **named)
            data = await client.open(streamtype="data", **named)
            await client.send(error, b"", fin=True)
            await client.send(data, b"hello", fin=True)
            await client.until(lambda data=data, error=error: data.ended and error.ended)
            assert (data.data, error.data) == (b"HELLOover", b"")


async def test_a_stream_that_makes_no_sense_is_reset(cluster: Cluster) -> None:
    async with cluster.spdy("portforward", "portforward.k8s.io") as client:
        for headers in ({"streamtype": "data", "port": "0"}, {"streamtype": "other", "port": "80"}, {}):
            stream = await client.open(**headers)
            await client.until(lambda stream=stream: stream.reset)


async def test_spdy_is_tunnelled_through_a_websocket(cluster: Cluster) -> None:
    async with cluster.websocket("portforward", "other", "SPDY/3.1+portforward.k8s.io") as socket:
        assert socket.protocol == "SPDY/3.1+portforward.k8s.io"


async def receive_all(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """What comes on each channel, until the end."""
    found: dict[int, bytes] = {}
    async with asyncio.timeout(SECONDS_MAX):
        async for message in socket:
            data = message.data
            if message.type == aiohttp.WSMsgType.TEXT:
                data = bytes([int(data[0])]) + base64.b64decode(data[1:])
            found[data[0]] = found.get(data[0], b"") + data[1:]
    return found


@pytest.mark.parametrize("protocol", [V4, "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io", ""])
async def test_clients_with_websockets_speak_any_of_the_protocols(cluster: Cluster, protocol: str) -> None:
    path = EXEC.format("read%20x;echo%20$x$x;exit%204")
    async with cluster.websocket(path, *([protocol] if protocol else [])) as socket:
        assert (socket.protocol or "") == protocol
        if "base64" in protocol:
            await socket.send_str("0" + base64.b64encode(b"hi\n").decode())
        else:
            await socket.send_bytes(b"\0hi\n")
        found = await receive_all(socket)
    assert found[STDOUT] == b"hihi\n"
    if protocol.removeprefix("v4.") == protocol:
        assert found[OUTCOME] == b"command terminated with non-zero exit code: exit status 4"
    else:
        assert orjson.loads(found[OUTCOME])["reason"] == "NonZeroExitCode"


async def test_text_is_taken_for_the_bytes_that_it_is(cluster: Cluster) -> None:
    """Python's clients send what is typed as text."""
    async with cluster.websocket(EXEC.format("read%20x;echo%20$x"), V4) as socket:
        await socket.send_str("\0h\u00f6\n")
        found = await receive_all(socket)
    assert found[STDOUT].decode() == "h\u00f6\n"


async def test_ports_are_forwarded_over_channels(cluster: Cluster) -> None:
    async with listener(shout) as port, cluster.websocket(f"portforward?ports={port}", V4) as socket:
        for channel in (0, 1):
            assert await socket.receive_bytes() == bytes([channel]) + port.to_bytes(2, "little")
        await socket.send_bytes(b"\0hello")
        assert await socket.receive_bytes(timeout=SECONDS_MAX) == b"\0HELLO"


async def test_a_protocol_that_is_not_known_is_refused(cluster: Cluster) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with cluster.websocket(EXEC.format("true"), "v9.channel.k8s.io"):
            pass
    assert refused.value.status == 400


async def test_without_an_upgrade_nothing_is_forwarded(cluster: Cluster) -> None:
    async with await cluster.server.client() as client:
        await refused_with(client, "portforward", "Upgrade request required")


async def refused_with(client: Client, path: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        await client.request("GET", PODS.path("default", "web", path))
    assert refused.value.message == message
