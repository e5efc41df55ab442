"""The node agent's server over real TLS, with processes of this machine in place of containers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apiclient.clock import SystemClock
from apimachinery.meta import Object
from kubelet import paths
from kubelet.node.node_settings import NodeSettings
from kubelet.server import KubeletServer, websockets
from kubelet.server.channels import PROTOCOLS, terminal_size
from tests.support.certificates import Authority, client_context
from tests.support.machine import POD, Listed, Machine

ADDRESS = "127.0.0.1"


class Node:
    """A server that runs, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.authority.issue(folder / "pki", "kubelet", "system:node:node-1", "system:nodes", address=ADDRESS)
        self.machine = Machine()
        self.server = KubeletServer(
            NodeSettings("node-1", ADDRESS, port=0),
            cert_dir=folder / "pki",
            root_dir=folder / "root",
            image_dir=folder,
            cgroup_root="wherry/none",
            pods=Listed(),
            runtime=self.machine,  # type: ignore[arg-type]
            clock=SystemClock(),
        )
        self.log = paths.container_log(folder / "root", POD, "main", 0)
        self.log.parent.mkdir(parents=True)
        self.log.write_text(
            "2027-01-15T08:00:00.000000000Z stdout F one\n2027-01-15T08:00:01.000000000Z stderr F two\n"
        )

    @asynccontextmanager
    async def client(self, *groups: str, authority: Authority | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        (authority or self.authority).issue(self.folder / "client", "client", "someone", *groups)
        context = client_context(self.folder / "client", self.folder / "pki", "client" if groups else "")
        url = f"https://{ADDRESS}:{self.server.bound_port}"
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield session


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    task = asyncio.create_task(node.server.run())
    await asyncio.wait_for(node.server.listening(), 10)
    yield node
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for process in node.machine.started:
        if process._process.poll() is None:
            process._process.kill()
        process._process.wait()


@pytest.fixture
async def client(node: Node) -> AsyncIterator[aiohttp.ClientSession]:
    async with node.client("system:masters") as session:
        yield session


async def text(client: aiohttp.ClientSession, path: str, **query: str) -> tuple[int, str]:
    async with client.get(path, params=query) as answer:
        return answer.status, await answer.text()


class Command:
    """A client's end of a command that runs."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.output = {1: b"", 2: b""}
        self.outcome: Object | None = None

    async def send(self, channel: int, data: bytes) -> None:
        await self.socket.send_bytes(bytes([channel]) + data)

    async def finish(self, until: bytes | None = None) -> Command:
        """Receive until the end, or until the standard output ends like this."""
        async with asyncio.timeout(20):
            async for message in self.socket:
                assert message.type == aiohttp.WSMsgType.BINARY
                channel, data = message.data[0], message.data[1:]
                if channel == 3 and data:
                    self.outcome = orjson.loads(data)
                elif data:
                    self.output[channel] += data
                if until is not None and self.output[1].endswith(until):
                    break
        return self


@asynccontextmanager
async def command(
    client: aiohttp.ClientSession, *argv: str, kind: str = "exec", protocol: str = PROTOCOLS[0], **query: str
) -> AsyncIterator[Command]:
    params = [("command", word) for word in argv] + list({"output": "1", "error": "1", **query}.items())
    url = f"/{kind}/default/web/main"
    async with client.ws_connect(url, params=params, protocols=[protocol], max_msg_size=0) as socket:
        assert socket.protocol == protocol
        yield Command(socket)


async def test_only_administrators_are_let_in(node: Node) -> None:
    async with node.client("system:masters") as session:
        assert await text(session, "/healthz") == (200, "ok")
    async with node.client("system:nodes") as session:
        status, message = await text(session, "/healthz")
        assert status == 403
        assert message == "Forbidden (user=someone, verb=get, resource=nodes, subresource(s)=[healthz proxy])"
    async with node.client() as session:
        assert await text(session, "/pods") == (401, "Unauthorized")
    async with node.client("system:masters", authority=Authority()) as session:
        with pytest.raises(aiohttp.ClientError):
            await text(session, "/healthz")


async def test_the_pods_of_the_node_are_listed(client: aiohttp.ClientSession) -> None:
    listed = orjson.loads((await text(client, "/pods"))[1])
    assert (listed["kind"], listed["items"]) == ("PodList", [POD])


async def test_figures_are_served(client: aiohttp.ClientSession) -> None:
    _, metrics = await text(client, "/metrics")
    assert 'kubelet_node_name{node="node-1"} 1\n' in metrics
    assert "kubelet_running_pods 1\n" in metrics
    assert 'kubelet_running_containers{container_state="running"} 1\n' in metrics
    assert "\nprocess_resident_memory_bytes " in metrics
    _, resources = await text(client, "/metrics/resource")
    assert "\nnode_memory_working_set_bytes " in resources
    assert "\nresource_scrape_error 0\n" in resources
    summary = orjson.loads((await text(client, "/stats/summary"))[1])
    assert summary["node"]["nodeName"] == "node-1"
    assert summary["node"]["memory"]["availableBytes"] > 0


async def test_logs_are_served(client: aiohttp.ClientSession) -> None:
    path = "/containerLogs/default/web/main"
    assert await text(client, path) == (200, "one\ntwo\n")
    assert await text(client, path, tailLines="1", timestamps="true") == (200, "2027-01-15T08:00:01.000000000Z two\n")
    assert await text(client, path, stream="Stdout") == (200, "one\n")


@pytest.mark.parametrize(
    ("path", "query", "status", "message"),
    [
        ("/containerLogs/default/none/main", {}, 404, 'pod "none" does not exist'),
        ("/containerLogs/default/web/none", {}, 404, 'container "none" not found in pod "web"'),
        (
            "/containerLogs/default/web/idle",
            {},
            400,
            'container "idle" in pod "web" is waiting to start: ContainerCreating',
        ),
        (
            "/containerLogs/default/web/main",
            {"previous": "true"},
            400,
            'previous terminated container "main" in pod "web" not found',
        ),
        ("/containerLogs/default/web/main", {"tailLines": "x"}, 400, "tailLines: 'x' is no whole number"),
        ("/exec/default/web/main", {"command": "ls"}, 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/web/main", {"output": "1"}, 400, "you must specify the command to run"),
        ("/exec/default/web/main", {"output": "1", "command": "ls"}, 400, "Upgrade request required"),
        ("/exec/default/web/idle", {"output": "1", "command": "ls"}, 500, 'container not found ("idle")'),
        ("/exec/default/web/u-2/main", {"output": "1", "command": "ls"}, 404, 'pod "web" does not exist'),
        ("/attach/default/web/idle", {"output": "1"}, 500, 'container not found ("idle")'),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
async def test_what_cannot_be_had_is_said(
    client: aiohttp.ClientSession, path: str, query: dict[str, str], status: int, message: str
) -> None:
    assert await text(client, path, **query) == (status, message)


async def test_a_log_is_followed_until_the_container_ends(node: Node, client: aiohttp.ClientSession) -> None:
    async with client.get("/containerLogs/default/web/main", params={"follow": "true", "tailLines": "0"}) as answer:
        with node.log.open("a") as log:
            log.write("2027-01-15T08:00:02.000000000Z stdout F three\n")
        assert await asyncio.wait_for(answer.content.readline(), 10) == b"three\n"
        with node.log.open("a") as log:
            log.write("2027-01-15T08:00:03.000000000Z stdout F last\n")
        node.machine.container.status = "exited"
        node.server.pod_changed("u-1")
        assert await asyncio.wait_for(answer.read(), 10) == b"last\n"


async def test_a_follower_who_goes_leaves_nothing_behind(node: Node, client: aiohttp.ClientSession) -> None:
    answer = await client.get("/containerLogs/default/web/main", params={"follow": "true"})
    assert await asyncio.wait_for(answer.content.readline(), 10) == b"one\n"
    assert node.server._readers
    answer.close()
    async with asyncio.timeout(10):
        while node.server._readers or node.server._inotify._descriptor >= 0:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_a_log_that_cannot_be_read_to_its_end_does_not_look_as_if_it_had_ended(
    node: Node, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "inotify_add_watch: No space left on device")

    monkeypatch.setattr(node.server._inotify, "watching", full)
    answer = await client.get("/containerLogs/default/web/main", params={"follow": "true"})
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(answer.read(), 10)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_command_runs_and_its_exit_code_comes_back(client: aiohttp.ClientSession, protocol: str) -> None:
    async with command(client, "sh", "-c", "echo out; echo err >&2; exit 3", protocol=protocol) as process:
        await process.finish()
    assert process.output == {1: b"out\n", 2: b"err\n"}
    assert process.outcome == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
    async with command(client, "true") as process:
        assert (await process.finish()).outcome == {"metadata": {}, "status": "Success"}


async def test_input_goes_in_and_its_end_is_told(client: aiohttp.ClientSession) -> None:
    async with command(client, "sh", "-c", "cat; echo over", input="1") as process:
        await process.send(0, b"hello ")
        await process.send(0, b"world\n")
        await process.finish(until=b"world\n")
        await process.send(255, b"\0")
        await process.finish()
    assert process.output[1] == b"hello world\nover\n"
    assert process.outcome == {"metadata": {}, "status": "Success"}


async def test_much_output_arrives_whole_and_in_order(client: aiohttp.ClientSession) -> None:
    async with command(client, "seq", "1", "200000") as process:
        await process.finish()
    assert process.output[1] == b"".join(b"%d\n" % number for number in range(1, 200_001))


async def test_much_input_waits_for_a_slow_reader(client: aiohttp.ClientSession) -> None:
    data = os.urandom(1 << 20)
    async with command(client, "sh", "-c", "sleep 0.2; cat | wc -c", input="1") as process:
        for start in range(0, len(data), 32768):
            await process.send(0, data[start : start + 32768])
        await process.send(255, b"\0")
        await process.finish()
    assert process.output[1].strip() == b"1048576"


async def test_input_that_nobody_reads_is_no_error(client: aiohttp.ClientSession) -> None:
    async with command(client, "sh", "-c", "exec 0<&-; echo closed; sleep 0.2", input="1") as process:
        await process.finish(until=b"closed\n")
        await process.send(0, b"x" * 100_000)
        await process.finish()
    assert process.outcome == {"metadata": {}, "status": "Success"}


async def test_a_command_does_not_wait_for_what_it_leaves_in_the_background(client: aiohttp.ClientSession) -> None:
    async with command(client, "sh", "-c", "sleep 100 & echo $!") as process:
        await process.finish()
    os.kill(int(process.output[1]), signal.SIGKILL)
    assert process.outcome == {"metadata": {}, "status": "Success"}


async def test_a_command_that_cannot_be_run_is_said(client: aiohttp.ClientSession) -> None:
    async with command(client, "no-such-program") as process:
        await process.finish()
    assert process.outcome is not None
    assert (process.outcome["status"], process.outcome["reason"]) == ("Failure", "InternalError")
    assert process.outcome["message"] == (
        "Internal error occurred: error executing command in container: "
        'exec: "no-such-program": executable file not found in $PATH'
    )


@pytest.mark.parametrize("orderly", [True, False])
async def test_the_process_of_a_client_that_goes_is_killed(node: Node, orderly: bool) -> None:
    async with node.client("system:masters") as client, command(client, "sleep", "1000") as process:
        await asyncio.wait_for(process.socket.receive(), 10)
        if orderly:
            await process.socket.close()
        else:
            assert process.socket._response.connection is not None
            transport = process.socket._response.connection.transport
            assert transport is not None
            transport.abort()
        [started] = node.machine.started
        await asyncio.wait_for(started.killed.wait(), 10)
        assert await started.wait() == 137


async def test_a_command_that_nobody_says_a_word_to_or_hears_from_is_ended(
    node: Node, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websockets, "IDLE_SECONDS_MAX", 0.05)
    async with command(client, "sleep", "1000") as process:
        await asyncio.wait_for(process.finish(), 10)
    assert await node.machine.started[0].wait() == 137
    assert process.outcome is None


async def test_what_runs_and_how_the_agent_is_run_is_told(client: aiohttp.ClientSession) -> None:
    (pod,) = orjson.loads((await text(client, "/runningpods/"))[1])["items"]
    assert pod["metadata"] == {"name": "web", "namespace": "default", "uid": "u-1"}
    assert [one["name"] for one in pod["spec"]["containers"]] == ["main"]
    assert orjson.loads((await text(client, "/configz"))[1]) == {"kubeletconfig": {}}
    assert await text(client, "/run/default/web/main?cmd=echo") == (405, "Method Not Allowed")


async def test_a_command_is_run_without_a_connection_of_its_own(client: aiohttp.ClientSession) -> None:
    async with client.post("/run/default/web/main", params={"cmd": "echo one two"}) as answer:
        assert (answer.status, await answer.text()) == (200, "one two\n")
    async with client.post("/run/default/web/main", params={"cmd": "false"}) as answer:
        assert (answer.status, await answer.text()) == (500, "command 'false' exited with 1: ")
    async with client.post("/run/default/web/main", params={"cmd": "no-such-program"}) as answer:
        assert answer.status == 500 and "executable file not found" in await answer.text()


async def test_a_terminal_has_one_output_and_a_size(node: Node, client: aiohttp.ClientSession) -> None:
    async with command(client, "sh", "-c", "read line; echo $line", input="1", tty="1") as process:
        await process.send(4, b'{"Width": 80, "Height": 24}')
        await process.send(4, b"nonsense")
        await process.send(0, b"typed\n")
        await process.finish()
    assert process.output == {1: b"typed\n", 2: b""}
    assert node.machine.started[0].sizes == [(80, 24)]
    assert node.machine.asked == [{"env": {"TERM": "xterm"}, "tty": True}]


async def test_a_containers_own_streams_are_shown_and_its_end_is_no_failure(client: aiohttp.ClientSession) -> None:
    async with command(client, kind="attach") as process:
        await process.finish()
    assert process.output[1] == b"hello\n"
    assert process.outcome == {"metadata": {}, "status": "Success"}


async def test_a_client_that_speaks_no_known_protocol_is_refused(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await client.ws_connect("/exec/default/web/main?command=ls&output=1", protocols=["channel.k8s.io"])
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b'{"Width":1,"Height":2}', (1, 2)),
        (b'{"Width":0,"Height":2}', None),
        (b'{"Width":70000,"Height":2}', None),
        (b'{"Width":1}', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_terminal_sizes_that_make_no_sense_are_ignored(data: bytes, size: tuple[int, int] | None) -> None:
    assert terminal_size(data) == size


@asynccontextmanager
async def listener(serve: Any) -> AsyncIterator[int]:
    """A port of this machine, as one inside of a pod that uses the node's network."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def forwarded(
    client: aiohttp.ClientSession, *ports: int, protocol: str = PROTOCOLS[0]
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    params = [("port", str(port)) for port in ports]
    async with client.ws_connect("/portForward/default/web", params=params, protocols=[protocol]) as socket:
        for number, port in enumerate(ports):
            for channel in (2 * number, 2 * number + 1):
                assert await socket.receive_bytes() == bytes([channel]) + port.to_bytes(2, "little")
        yield socket


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data.upper())
    writer.write(b"over")
    writer.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_port_is_forwarded_in_both_directions(client: aiohttp.ClientSession, protocol: str) -> None:
    async with listener(shout) as port, forwarded(client, port, protocol=protocol) as socket:
        await socket.send_bytes(b"\0hello")
        assert await socket.receive_bytes(timeout=10) == b"\0HELLO"
        await socket.send_bytes(b"\0again")
        assert await socket.receive_bytes(timeout=10) == b"\0AGAIN"


async def test_a_client_may_end_its_side_and_read_on(client: aiohttp.ClientSession) -> None:
    async with listener(shout) as port, forwarded(client, port) as socket:
        await socket.send_bytes(b"\0last")
        await socket.send_bytes(b"\xff\0")
        received = b"".join([message.data[1:] async for message in socket])
    assert received == b"LASTover"


async def test_a_port_that_nobody_listens_on_is_told_on_its_error_channel(client: aiohttp.ClientSession) -> None:
    async with listener(shout) as port:
        pass
    async with forwarded(client, port) as socket:
        told = await socket.receive_bytes(timeout=10)
        assert told[0] == 1
        assert told[1:].decode() == (
            f"error forwarding port {port} to pod web, uid u-1: "
            f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
        assert (await socket.receive(timeout=10)).type == aiohttp.WSMsgType.CLOSE


async def test_several_ports_are_forwarded_at_once(client: aiohttp.ClientSession) -> None:
    async with listener(shout) as one, listener(shout) as two, forwarded(client, one, two) as socket:
        await socket.send_bytes(b"\2two")
        assert await socket.receive_bytes(timeout=10) == b"\2TWO"
        await socket.send_bytes(b"\0one")
        assert await socket.receive_bytes(timeout=10) == b"\0ONE"


async def test_a_client_that_goes_away_ends_its_connections(client: aiohttp.ClientSession) -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()
        ended.set()
        writer.close()

    async with listener(wait) as port:
        async with forwarded(client, port) as socket:
            assert await socket.receive_bytes(timeout=10) == b"\0hello"
        await asyncio.wait_for(ended.wait(), 10)


async def test_much_is_forwarded_whole_to_a_client_that_reads_slowly(client: aiohttp.ClientSession) -> None:
    much = bytes(range(256)) * 20_000

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(much)
        await writer.drain()
        writer.close()

    async with listener(pour) as port, forwarded(client, port) as socket:
        received = bytearray()
        async for message in socket:
            received += message.data[1:]
    assert received == much


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, 'query parameter "port" is required'),
        ({"port": "x"}, 'unable to parse "x" as a port'),
        ({"port": "70000"}, 'unable to parse "70000" as a port'),
        ({"port": "80"}, "Upgrade request required"),
    ],
)
async def test_what_cannot_be_forwarded_is_said(
    client: aiohttp.ClientSession, query: dict[str, str], message: str
) -> None:
    assert await text(client, "/portForward/default/web", **query) == (400, message)
