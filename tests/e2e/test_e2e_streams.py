"""Ports, attaching and copies as users see them: clients of all ages, the API server, a node agent, containers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import clients
from tests.support.apiserver import REPOSITORY
from tests.support.node import Node, node

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

SECONDS_MAX = 60.0
CLIENTS = [
    pytest.param(lambda: [clients.kubectl_old()], id="kubectl-1.20"),
    pytest.param(lambda: [clients.kubectl_on_path()], id="kubectl-on-path"),
    pytest.param(lambda: [clients.kubectl_current()], id="kubectl-1.35"),
    pytest.param(lambda: [sys.executable, "-m", "kctl"], id="kctl"),
]
Client = Callable[[], list[str]]
# Says everything again in capitals, on a port that only the pod itself can reach, and on one that others can.
SERVER = """
import socketserver, threading
class Shout(socketserver.StreamRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
for address in (("127.0.0.1", 8001), ("0.0.0.0", 8002)):
    server = Server(address, Shout)
    threading.Thread(target=server.serve_forever).start()
open("/ready/now", "w").close()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        await made.create("web", container(["python3", "-c", SERVER]), volumes=[{"name": "v", "emptyDir": {}}])
        await made.running("web")
        yield made


def container(command: list[str], **fields: Any) -> dict[str, Any]:
    ready = {"exec": {"command": ["test", "-e", "/ready/now"]}, "periodSeconds": 1}
    mounts = [{"name": "v", "mountPath": "/ready"}]
    whole = {"name": "web", "image": "localhost/host", "command": command, "volumeMounts": mounts}
    return {**whole, "readinessProbe": ready, **fields}


@asynccontextmanager
async def started(here: Node, client: Client, *args: str, **stdio: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client's command that runs, and is ended with this block."""
    env = {**os.environ, "KUBECONFIG": str(here.server.kubeconfig)}
    given = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*client(), *args, env=env, cwd=REPOSITORY, **{**given, **stdio})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ran(here: Node, client: Client, *args: str) -> tuple[int | None, str, str]:
    """A client's command from its beginning to its end: exit status, standard output and error."""
    async with started(here, client, *args) as process:
        out, err = await asyncio.wait_for(process.communicate(b""), SECONDS_MAX)
        return process.returncode, out.decode(), err.decode()


async def local_port(process: asyncio.subprocess.Process) -> int:
    """The port that leads into the pod."""
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), SECONDS_MAX)).decode()
    assert line.startswith("Forwarding from 127.0.0.1:"), line
    return int(line.split()[2].rpartition(":")[2])


async def ask(port: int, said: bytes) -> bytes:
    """Say something on a forwarded port, and read as much."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(SECONDS_MAX):
        writer.write(said)
        answer = await reader.readexactly(len(said))
        writer.close()
    return answer


@pytest.mark.parametrize("port", ["8001", "8002"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_ports_of_a_pod_are_forwarded(here: Node, client: Client, port: str) -> None:
    async with started(here, client, "port-forward", "pod/web", f":{port}") as process:
        local = await local_port(process)
        assert await ask(local, b"hello") == b"HELLO"
        answers = await asyncio.gather(*(ask(local, b"n%d" % number) for number in range(10)))
        assert answers == [b"N%d" % number for number in range(10)]
        much = b"x" * 2_000_000
        assert await ask(local, much) == much.upper()


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_port_that_nobody_listens_on_is_told(here: Node, client: Client) -> None:
    async with started(here, client, "port-forward", "pod/web", ":9999") as process:
        local = await local_port(process)
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"hello")
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(SECONDS_MAX):
            while b"refused" not in said:
                said += await process.stderr.readline()
        writer.close()
        del reader
    assert "error forwarding port 9999 to pod web" in said.decode()


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_running_process_is_joined(here: Node, client: Client, request: pytest.FixtureRequest) -> None:
    name = f"joined-by-{request.node.callspec.id.replace('.', '-')}"
    echo = ["sh", "-c", "touch /ready/now; while read line; do echo said $line; done; echo over"]
    await here.create(name, container(echo, stdin=True), volumes=[{"name": "v", "emptyDir": {}}])
    await here.running(name)
    async with started(here, client, "attach", "-i", name) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        assert await asyncio.wait_for(process.stdout.readline(), SECONDS_MAX) == b"said hello\n"


@pytest.mark.parametrize("client", CLIENTS)
async def test_files_are_copied_there_and_back(
    here: Node, client: Client, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there = f"/ready/{request.node.callspec.id}"
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_bytes(os.urandom(1_000_000))
    (source / "tool").write_text("#!/bin/sh\necho works\n")
    (source / "tool").chmod(0o755)
    assert (await ran(here, client, "cp", str(source), f"web:{there}"))[0] == 0
    assert (await ran(here, client, "exec", "web", "--", f"{there}/tool"))[1] == "works\n"
    # Into a folder that is there already it goes under its own name.
    assert (await ran(here, client, "cp", str(source / "tool"), f"web:{there}/deep"))[0] == 0
    back = tmp_path / "back"
    assert (await ran(here, client, "cp", f"default/web:{there}", str(back)))[0] == 0
    assert (back / "deep" / "file").read_bytes() == (source / "deep" / "file").read_bytes()
    assert (back / "deep" / "tool").read_text() == (source / "tool").read_text()
    # What tar has to say of it some kubectls don't wait for.
    await ran(here, client, "cp", "web:/no/such/file", str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


async def test_the_pods_pages_are_reached_through_the_api_server(here: Node) -> None:
    """The API server connects to the pod's address, on the port that others can reach."""
    status = (await here.running("web"))["status"]
    assert status["podIP"]
    reader, writer = await asyncio.open_connection(status["podIP"], 8002)
    writer.write(b"direct")
    assert await asyncio.wait_for(reader.readexactly(6), SECONDS_MAX) == b"DIRECT"
    writer.close()
    page = container(["sh", "-c", "echo paged > /ready/now; exec python3 -m http.server 8003 --directory /ready"])
    probe = {"httpGet": {"path": "/now", "port": 8003}, "periodSeconds": 1}
    await here.create("pages", {**page, "readinessProbe": probe}, volumes=[{"name": "v", "emptyDir": {}}])
    await here.running("pages")
    _, _, body = await here.client.request("GET", "/api/v1/namespaces/default/pods/pages:8003/proxy/now")
    assert body == b"paged\n"
