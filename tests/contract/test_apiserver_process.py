"""The API server as a process: how it starts, what stops it from starting, and how it ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from apiclient.rest import Client
from apimachinery.resources import CONFIGMAPS
from tests.support.apiserver import REPOSITORY, ApiServerProcess, free_port, running

END_SECONDS_MAX = 60
BODY_BYTES_MAX = 3 << 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as process:
        await process.wait_ready()
        yield process


def failed_start(*flags: str) -> str:
    """The one line that a server says which can't start."""
    done = subprocess.run(
        [sys.executable, "-m", "apiserver", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failed_start("--data-dir", str(tmp_path), "--bind-address", "127.0.0.1", "--secure-port", str(port))
    assert said == f"error: can't listen on 127.0.0.1 port {port}: Address already in use\n"
    assert not list(tmp_path.iterdir())


async def test_a_folder_serves_one_server_at_a_time(server: ApiServerProcess) -> None:
    said = failed_start("--data-dir", str(server.data_dir), "--bind-address", "127.0.0.1")
    assert said == f"error: {server.data_dir} is in use by another API server\n"


def test_a_folder_that_cannot_be_made_is_one_clear_line() -> None:
    assert failed_start("--data-dir", "/proc/none") == "error: /proc/none can't be used: No such file or directory\n"


def test_a_damaged_authority_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text("damaged")
    (tmp_path / "pki" / "ca.key").write_text("damaged")
    said = failed_start("--data-dir", str(tmp_path), "--bind-address", "127.0.0.1", "--secure-port", "0x")
    assert "is no port" in said
    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    said = failed_start("--data-dir", str(tmp_path), "--bind-address", "127.0.0.1", "--secure-port", str(number))
    assert f"{tmp_path}/pki: ca.crt or ca.key is damaged" in said


def test_a_damaged_key_of_tokens_is_one_clear_line(tmp_path: Path) -> None:
    key = tmp_path / "sa.key"
    key.write_bytes(b"\x00" * 200)
    where = ["--data-dir", str(tmp_path / "data"), "--bind-address", "127.0.0.1", "--secure-port", str(free_port())]
    assert "sa.key holds no key" in failed_start(*where, "--service-account-signing-key-file", str(key))


def test_a_token_file_that_is_missing_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ["--data-dir", str(tmp_path), "--bind-address", "127.0.0.1", "--secure-port", str(port)]
    assert "none.csv" in failed_start(*where, "--token-auth-file", str(tmp_path / "none.csv"))


async def test_nothing_that_it_writes_is_for_others_eyes(server: ApiServerProcess) -> None:
    for path in server.data_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_it_has_room_for_more_clients_than_a_shell_would_give_it(tmp_path: Path) -> None:
    few, most = 128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    try:
        with running(tmp_path) as server:
            await server.wait_ready()
            assert server.process is not None
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_restart_keeps_keys_and_objects(server: ApiServerProcess, client: Client) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "kept"}}, "default")
    before = {path: path.read_bytes() for path in (server.data_dir / "pki").iterdir()}
    server.kill()
    server.start()
    await server.wait_ready()
    assert {path: path.read_bytes() for path in (server.data_dir / "pki").iterdir()} == before
    assert (await client.get(CONFIGMAPS, "kept", "default"))["metadata"]["name"] == "kept"


async def test_the_libraries_that_make_keys_are_not_loaded_once_there_are_keys(server: ApiServerProcess) -> None:
    server.kill()
    server.start()
    await server.wait_ready()
    assert server.process is not None
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "cryptography" not in mapped


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_order_though_watches_are_open(
    server: ApiServerProcess, client: Client, signo: signal.Signals
) -> None:
    listed = await client.list(CONFIGMAPS)
    watch = client.watch(CONFIGMAPS, resource_version=listed["metadata"]["resourceVersion"])
    first = asyncio.ensure_future(anext(watch, None))
    await client.create(CONFIGMAPS, {"metadata": {"name": "seen"}}, "default")
    event = await first
    assert event is not None and event[1]["metadata"]["name"] == "seen"
    assert server.process is not None
    server.process.send_signal(signo)
    assert await asyncio.to_thread(server.process.wait, END_SECONDS_MAX) == 0
    assert "Traceback" not in server.log()
    await watch.aclose()  # type: ignore[attr-defined]


async def test_a_body_that_is_too_large_is_refused_as_a_status(server: ApiServerProcess, client: Client) -> None:
    token = (server.data_dir / "tokens.csv").read_text().partition(",")[0]
    context = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(
            f"{server.url}/api/v1/namespaces/default/configmaps",
            data=b"x" * (BODY_BYTES_MAX + 1),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        ) as response,
    ):
        assert response.status == 413
        assert (await response.json())["reason"] == "RequestEntityTooLarge"


async def say(server: ApiServerProcess, text: bytes) -> bytes:
    """What the server answers to these very bytes before it closes the connection."""
    context = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        writer.write(text)
        async with asyncio.timeout(END_SECONDS_MAX):
            return await reader.read()
    finally:
        writer.close()


async def test_what_is_no_http_is_answered_with_a_status(server: ApiServerProcess) -> None:
    answer = await say(server, b"no such thing\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request") and b'"kind":"Status"' in answer


async def test_a_client_that_asks_first_may_send_its_body(server: ApiServerProcess) -> None:
    token = (server.data_dir / "tokens.csv").read_bytes().partition(b",")[0]
    context = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    body = b'{"metadata":{"name":"asked"}}'
    head = [
        b"POST /api/v1/namespaces/default/configmaps HTTP/1.1",
        b"Host: localhost",
        b"Authorization: Bearer " + token,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Expect: 100-continue",
    ]
    writer.write(b"\r\n".join([*head, b"", b""]))
    async with asyncio.timeout(END_SECONDS_MAX):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 Created")
    writer.close()


async def test_a_path_that_nothing_serves_is_not_found(client: Client) -> None:
    for path in ("/none", "/api/v2", "/apis/none.example.com/v1/things", "/api/v1/namespaces/a/pods/b/none"):
        with pytest.raises(Exception, match="the server could not find the requested resource"):
            await client.request("GET", path)


async def test_the_documents_of_discovery_need_not_be_sent_twice(server: ApiServerProcess, client: Client) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    status, headers, _ = await client.request("GET", "/apis", headers={"Accept": accept})
    assert status == 200 and headers["Content-Type"] == accept
    again = {"Accept": accept, "If-None-Match": headers["ETag"]}
    status, _, body = await client.request("GET", "/apis", headers=again)
    assert (status, body) == (304, b"")


async def test_the_document_of_all_schemas_need_not_be_sent_twice(client: Client) -> None:
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    for accept, other in (("application/json", protobuf), (protobuf, "application/json")):
        _, headers, _ = await client.request("GET", "/openapi/v2", headers={"Accept": accept})
        again = {"If-None-Match": headers["ETag"]}
        status, _, body = await client.request("GET", "/openapi/v2", headers={"Accept": accept, **again})
        assert (status, body) == (304, b"")
        status, _, _ = await client.request("GET", "/openapi/v2", headers={"Accept": other, **again})
        assert status == 200  # it says the same in another form


async def test_an_openapi_document_is_for_ever_under_its_hash(client: Client) -> None:
    import orjson

    index = orjson.loads((await client.request("GET", "/openapi/v3"))[2])
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    status, headers, body = await client.request("GET", url)
    assert status == 200 and headers["Cache-Control"] == "public, immutable"
    assert orjson.loads(body)["openapi"] == "3.0.0"


def test_the_flags_are_explained() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apiserver", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "--default-unreachable-toleration-seconds" in done.stdout
    assert os.linesep in done.stdout
