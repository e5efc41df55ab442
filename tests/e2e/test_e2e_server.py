"""Logs and commands of real containers, through the node agent's server."""

from __future__ import annotations

import asyncio
import os
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
from kubelet.runtime import ContainerState, cgroups
from kubelet.server import KubeletServer, LogRotator
from tests.support.certificates import Authority, client_context
from tests.support.containers import Node, started_node, until
from tests.support.exposition import Page

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]

ADDRESS = "127.0.0.1"
POD: Object = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {"containers": [{"name": "main"}]},
}


class Listed:
    """The one pod of this node."""

    def get(self, key: str) -> Object | None:
        return POD if key == "default/web" else None

    def list(self) -> list[Object]:
        return [POD]


class Served:
    """A runtime with a server before it, and a client of the server."""

    def __init__(self, node: Node, session: aiohttp.ClientSession, server: KubeletServer) -> None:
        self.node = node
        self.session = session
        self.server = server

    async def start(self, *argv: str, attempt: int = 0, **changes: Any) -> ContainerState:
        """Start the pod's container, and the pod with its first one."""
        pod = self.node.runtime.sandbox("u-1") or await self.node.pod(pod_uid="u-1")
        log = paths.container_log(self.node.root, POD, "main", attempt)
        return await self.node.run(*argv, pod=pod, attempt=attempt, log_path=str(log), **changes)

    async def logs(self, **query: str) -> str:
        async with self.session.get("/containerLogs/default/web/main", params=query) as answer:
            return await answer.text()

    async def printed(self, text: str) -> None:
        await until(lambda: text in paths.container_log(self.node.root, POD, "main", 0).read_text(), text)

    @asynccontextmanager
    async def command(self, *argv: str, kind: str = "exec", **query: str) -> AsyncIterator[Command]:
        params = [("command", word) for word in argv] + list({"output": "1", "error": "1", **query}.items())
        url = f"/{kind}/default/web/main"
        async with self.session.ws_connect(url, params=params, protocols=["v5.channel.k8s.io"]) as socket:
            yield Command(socket)


class Command:
    """A client's end of a command that runs."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.output = {1: b"", 2: b""}
        self.outcome: Object = {}

    async def type(self, text: str) -> None:
        await self.socket.send_bytes(b"\0" + text.encode())

    async def finish(self, until: bytes | None = None) -> Command:
        """Receive until the end, or until this has been shown."""
        async with asyncio.timeout(60):
            while until is None or until not in self.output[1]:
                message = await self.socket.receive()
                if message.type != aiohttp.WSMsgType.BINARY:
                    break
                channel, data = message.data[0], message.data[1:]
                if channel == 3 and data:
                    self.outcome = orjson.loads(data)
                elif data:
                    self.output[channel] += data
        return self


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    authority = Authority()
    pki = tmp_path / "pki"
    authority.issue(pki, "kubelet", "system:node:node-1", "system:nodes", address=ADDRESS)
    authority.issue(pki, "client", "kube-apiserver-kubelet-client", "system:masters")
    async with started_node(tmp_path) as node:
        server = KubeletServer(
            NodeSettings("node-1", ADDRESS, port=0),
            cert_dir=pki,
            root_dir=node.root,
            image_dir=tmp_path,
            cgroup_root=node.cgroup_root,
            pods=Listed(),
            runtime=node.runtime,
            clock=SystemClock(),
        )
        node.runtime.on_change = server.pod_changed
        task = asyncio.create_task(server.run())
        try:
            await asyncio.wait_for(server.listening(), 10)
            connector = aiohttp.TCPConnector(ssl=client_context(pki, pki, "client"))
            url = f"https://{ADDRESS}:{server.bound_port}"
            async with aiohttp.ClientSession(url, connector=connector) as session:
                yield Served(node, session, server)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_a_container_prints_is_served_until_its_end(served: Served) -> None:
    started = await served.start("echo one; echo two >&2; sleep 0.3; echo three; printf rest")
    assert await served.logs(follow="true") == "one\ntwo\nthree\nrest"
    assert await served.logs(tailLines="2") == "three\nrest"
    assert served.node.find(started.id).status == "exited"


async def test_the_log_of_the_run_before_is_served(served: Served) -> None:
    await served.start("echo first", id="c-1")
    assert await served.logs(follow="true") == "first\n"
    await served.start("echo second; exec sleep 1000", id="c-2", attempt=1)
    assert await served.logs(previous="true") == "first\n"
    async with served.session.get("/containerLogs/default/web/main", params={"follow": "true"}) as answer:
        assert await asyncio.wait_for(answer.content.readline(), 10) == b"second\n"


async def test_a_command_runs_in_the_container(served: Served) -> None:
    await served.start("exec sleep 1000", env=["WHO=container"])
    async with served.command("sh", "-c", "echo $WHO $(readlink /proc/1/exe); echo err >&2; exit 7") as command:
        await command.finish()
    assert command.output[1].startswith(b"container /")
    assert command.output[2] == b"err\n"
    assert command.outcome["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_a_terminal_is_one_for_the_command_and_has_the_clients_size(served: Served) -> None:
    await served.start("exec sleep 1000")
    async with served.command("sh", input="1", tty="1") as command:
        await command.socket.send_bytes(b'\x04{"Width": 101, "Height": 37}')
        await command.type("tty; stty size; echo $TERM; echo do''ne\n")
        await command.finish(until=b"done")
        await command.type("exit 5\n")
        await command.finish()
    text = command.output[1].decode()
    assert "/dev/pts/" in text
    assert "37 101" in text
    assert "xterm" in text
    assert command.outcome["details"]["causes"][0]["message"] == "5"


async def test_keys_reach_the_command_as_signals(served: Served) -> None:
    await served.start("exec sleep 1000")
    async with served.command("sh", "-c", "echo ready; exec sleep 1000", input="1", tty="1") as command:
        await command.finish(until=b"ready")
        await command.type("\x03")
        await command.finish()
    assert command.outcome["details"]["causes"][0]["message"] == "130"


async def test_a_program_that_is_not_there_is_said(served: Served) -> None:
    await served.start("exec sleep 1000")
    async with served.command("no-such-program") as command:
        await command.finish()
    assert command.outcome["reason"] == "InternalError"
    assert "no-such-program" in command.outcome["message"]


async def test_a_command_ends_with_its_client(served: Served) -> None:
    await served.start("exec sleep 1000")
    async with served.command("sh", "-c", "echo started; exec sleep 4711") as command:
        await command.finish(until=b"started")
        assert await _count(served, "4711") == 1
    await until_none(served, "4711")


async def _count(served: Served, argument: str) -> int:
    async with served.command("sh", "-c", f"grep -lz ^{argument}$ /proc/[0-9]*/cmdline | wc -l") as command:
        await command.finish()
    return int(command.output[1])


async def until_none(served: Served, argument: str) -> None:
    async with asyncio.timeout(60):
        while await _count(served, argument) > 0:  # noqa: ASYNC110 - processes tell nobody of their end
            await asyncio.sleep(0.02)


async def test_a_containers_own_streams_are_shown_and_fed(served: Served) -> None:
    started = await served.start("while read line; do echo got $line; done; echo end", stdin=True)
    async with served.command(kind="attach", input="1") as command:
        await command.type("one\n")
        await command.finish(until=b"got one\n")
    async with served.command(kind="attach", input="1") as command:
        await command.type("two\n")
        await command.finish(until=b"got two\n")
        await served.node.runtime.signal_container("u-1", started.id, 9)
        await command.finish()
    assert command.outcome == {"metadata": {}, "status": "Success"}


async def test_nothing_is_lost_when_a_log_is_rotated_under_a_follower(served: Served) -> None:
    rotator = LogRotator(served.node.runtime, SystemClock(), bytes_max=20_000, files_max=3)
    started = await served.start("for i in $(seq 1 3000); do echo line $i; done; read end; echo last", stdin=True)
    async with served.session.get("/containerLogs/default/web/main", params={"follow": "true"}) as answer:
        await served.printed("line 3000")
        await rotator.rotate_all()
        async with served.command(kind="attach", input="1") as command:
            await command.type("end\n")
            await command.finish()
        text = (await asyncio.wait_for(answer.read(), 20)).decode()
    assert text.splitlines() == [*(f"line {number}" for number in range(1, 3001)), "last"]
    assert served.node.find(started.id).status == "exited"
    assert await served.logs() == "last\n"


async def test_what_pods_use_is_told(served: Served) -> None:
    await served.start("head -c 30000000 /dev/zero | tail -c 20000000 > /dev/shm/x; echo done; exec sleep 1000")
    await served.printed("done")
    async with served.session.get("/stats/summary") as answer:
        [pod] = (await answer.json())["pods"]
    assert pod["podRef"] == {"name": "pod-u-1", "namespace": "default", "uid": "u-1"}
    [container] = pod["containers"]
    assert container["name"] == "main"
    assert container["cpu"]["usageCoreNanoSeconds"] > 0
    assert container["memory"]["workingSetBytes"] > 20_000_000
    assert pod["memory"]["workingSetBytes"] >= container["memory"]["workingSetBytes"]
    assert container["cpu"]["usageNanoCores"] >= 0
    pages = {}
    for path in ("/metrics/resource", "/metrics/cadvisor"):
        async with served.session.get(path) as answer:
            pages[path] = Page(await answer.text())
    named = {"container": "main", "namespace": "default", "pod": "pod-u-1"}
    assert pages["/metrics/resource"].value("container_memory_working_set_bytes", **named) > 20_000_000
    series = pages["/metrics/cadvisor"]
    assert series.value("container_memory_cache", **named) > 20_000_000
    assert series.value("container_processes", **named) == 1
    # With version 2 kernels also tell how long tasks have waited, most of them.
    waited = series.values("container_pressure_memory_waiting_seconds_total", **named)
    assert bool(waited) == (cgroups.present().version == 2 and Path("/proc/pressure/memory").exists())
