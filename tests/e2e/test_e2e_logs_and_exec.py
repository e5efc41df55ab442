"""Logs, commands and mounted objects as users see them: stock clients, the API server, a node agent, containers."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.resources import CONFIGMAPS, PODS, SECRETS
from tests.support import clients
from tests.support.apiserver import REPOSITORY
from tests.support.node import NODE, Node, node

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

SECONDS_MAX = 60.0
COUNTING = "echo one; echo two; echo three; exec sleep 1000"
CLIENTS = [
    pytest.param(lambda: [clients.kubectl_old()], id="kubectl-1.20"),
    pytest.param(lambda: [clients.kubectl_on_path()], id="kubectl-on-path"),
    pytest.param(lambda: [clients.kubectl_current()], id="kubectl-1.35"),
    pytest.param(lambda: [sys.executable, "-m", "kctl"], id="kctl"),
]
Client = Callable[[], list[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        await made.create("web", container(COUNTING))
        await made.running("web")
        yield made


def container(script: str, **fields: Any) -> dict[str, Any]:
    return {"name": "web", "image": "localhost/host", "command": ["sh", "-c", script], **fields}


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


async def ran(here: Node, client: Client, *args: str, stdin: bytes = b"") -> tuple[int | None, str, str]:
    """A client's command from its beginning to its end: exit status, standard output and error."""
    async with started(here, client, *args) as process:
        out, err = await asyncio.wait_for(process.communicate(stdin), SECONDS_MAX)
        return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("client", CLIENTS)
async def test_logs_are_shown(here: Node, client: Client) -> None:
    assert await ran(here, client, "logs", "web") == (0, "one\ntwo\nthree\n", "")
    assert (await ran(here, client, "logs", "web", "--tail=1"))[1] == "three\n"
    _, stamped, _ = await ran(here, client, "logs", "web", "--timestamps", "--tail=1")
    assert stamped.endswith("Z three\n")
    code, _, problem = await ran(here, client, "logs", "web", "-p")
    assert code == 1
    assert 'previous terminated container "web" in pod "web" not found' in problem


@pytest.mark.parametrize("client", CLIENTS)
async def test_logs_are_followed_until_the_container_ends(
    here: Node, client: Client, request: pytest.FixtureRequest
) -> None:
    name = f"followed-by-{request.node.callspec.id}"
    script = "while [ ! -e /v/go ]; do sleep 0.02; done; echo later; exit 0"
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "emptyDir": {}}]
    await here.create(
        name, container(f"echo first; {script}", volumeMounts=mounts), volumes=volumes, restartPolicy="Never"
    )
    pod = await here.running(name)
    async with started(here, client, "logs", "-f", name) as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), SECONDS_MAX) == b"first\n"
        (here.agent.root / "volumes" / pod["metadata"]["uid"] / "v" / "go").touch()
        assert await asyncio.wait_for(process.stdout.read(), SECONDS_MAX) == b"later\n"
        assert await asyncio.wait_for(process.wait(), SECONDS_MAX) == 0


@pytest.mark.parametrize("client", CLIENTS)
async def test_commands_run_and_their_exit_status_is_the_clients(here: Node, client: Client) -> None:
    code, out, err = await ran(here, client, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, out) == (7, "out\n")
    assert err.startswith("err\n")
    assert (await ran(here, client, "exec", "-i", "web", "--", "cat", stdin=b"fed\n"))[:2] == (0, "fed\n")
    code, _, err = await ran(here, client, "exec", "web", "--", "no-such-program")
    assert code != 0
    assert "no-such-program" in err


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_shell_has_a_terminal(here: Node, client: Client) -> None:
    master, slave = pty.openpty()
    try:
        async with started(
            here, client, "exec", "-it", "web", "--", "sh", stdin=slave, stdout=slave, stderr=slave
        ) as process:
            shown = b""

            async def show(until: bytes) -> None:
                nonlocal shown
                async with asyncio.timeout(SECONDS_MAX):
                    while until not in shown:
                        shown += await asyncio.to_thread(os.read, master, 4096)

            await show(b"# ")
            os.write(master, b"tty; echo re''ady\n")
            await show(b"ready")
            assert b"/dev/pts/" in shown
            os.write(master, b"exit 3\n")
            assert await asyncio.wait_for(process.wait(), SECONDS_MAX) == 3
    finally:
        os.close(slave)
        os.close(master)


async def test_mounted_objects_follow_their_changes_and_environments_do_not(here: Node) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"}}
    await here.client.create(CONFIGMAPS, {**config_map, "data": {"colour": "blue"}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}}
    await here.client.create(SECRETS, {**secret, "stringData": {"token": "s3cret"}})
    env = [{"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("settings", "keys", "me", "cache")]
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "me", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    # It prints what has changed, whenever that is, and refuses to be written to.
    script = (
        "touch /settings/x /keys/x 2>/dev/null && echo writable;"
        "echo $COLOUR $(cat /settings/colour) $(cat /keys/token);"
        "while [ $(cat /settings/colour) = blue ]; do sleep 0.02; done; echo $COLOUR $(cat /settings/colour);"
        "while [ ! -s /me/labels ]; do sleep 0.02; done; cat /me/labels; echo; exec sleep 1000"
    )
    await here.create("mounted", container(script, env=env, volumeMounts=mounts), volumes=volumes)
    pod = await here.running("mounted")
    await here.eventually(lambda: "blue blue s3cret\n" in here.output(pod))
    await here.client.patch(CONFIGMAPS, "settings", {"data": {"colour": "red"}}, "default")
    await here.eventually(lambda: "blue red\n" in here.output(pod))
    await here.client.patch(PODS, "mounted", {"metadata": {"labels": {"tier": "front"}}}, "default")
    await here.eventually(lambda: 'tier="front"\n' in here.output(pod))
    assert "writable" not in here.output(pod)
    await here.delete("mounted")
    await here.wait_gone("mounted")
    assert not (here.agent.root / "volumes" / pod["metadata"]["uid"]).exists()


async def test_a_pod_waits_for_the_objects_that_it_needs_and_says_so(here: Node) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]
    volumes = [{"name": "v", "configMap": {"name": "later"}}]
    await here.create("patient", container("exec sleep 1000", env=env), volumes=volumes)
    message = await here.event("patient", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "v" : configmap "later" not found'
    metadata = {"namespace": "default"}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await here.client.create(CONFIGMAPS, {**kind, "metadata": {**metadata, "name": "later"}})

    def waits(pod: Any) -> bool:
        [status] = pod["status"].get("containerStatuses") or [{}]
        return status.get("state", {}).get("waiting", {}) == {
            "reason": "CreateContainerConfigError",
            "message": 'configmap "late" not found',
        }

    await here.wait_for("patient", waits)
    await here.client.create(CONFIGMAPS, {**kind, "metadata": {**metadata, "name": "late"}, "data": {"a": "1"}})
    await here.running("patient")


async def test_the_nodes_figures_are_reached_through_the_api_server(here: Node) -> None:
    _, _, body = await here.client.request("GET", f"/api/v1/nodes/{NODE}/proxy/metrics/resource")
    assert 'container_memory_working_set_bytes{container="web",namespace="default",pod="web"} ' in body.decode()
