"""Commands, logs and ports of pods that run, as other clients than kubectl reach them: Python's and JavaScript's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import javascript_client
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and bridges"),
    pytest.mark.timeout(400),
]
SCRIPT = Path(__file__).with_name("javascript_streams.mjs")
SCOPE, POD, PORT = "default", "subject", 8080
# It serves pages, and says something every now and then.
SUBJECT = f"python3 -m http.server {PORT} >/dev/null 2>&1 & while echo tick; do sleep 0.2; done"
PODS = f"""
apiVersion: v1
kind: Pod
metadata: {{name: {POD}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: localhost/host
    command: [sh, -c, "{SUBJECT}"]
    readinessProbe: {{httpGet: {{path: /, port: {PORT}}}, periodSeconds: 1}}
"""
BOTH = ["sh", "-c", "echo out; echo err >&2; exit 3"]
ASK = ["sh", "-c", "read word; echo got $word; exit 4"]
STREAMS = {"stdout": True, "stderr": True, "stdin": False, "tty": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(1) as running:
        running.apply(PODS)
        running.wait(f"pod/{POD}", "condition=Ready")
        yield running


@pytest.fixture(scope="module")
def core(cluster: WholeCluster) -> Any:
    kubernetes = pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")
    return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(cluster.kubeconfig)))


def test_the_python_client_runs_commands(core: Any) -> None:
    from kubernetes.stream import stream

    assert (
        stream(core.connect_get_namespaced_pod_exec, POD, SCOPE, command=BOTH[:2] + ["echo out"], **STREAMS)
        == "out\n"
    )
    streams = {**STREAMS, "stdin": True, "_preload_content": False}
    asked = stream(core.connect_get_namespaced_pod_exec, POD, SCOPE, command=ASK, **streams)
    asked.write_stdin("it\n")
    asked.run_forever(timeout=30)
    assert (asked.read_stdout(), asked.returncode) == ("got it\n", 4)


def test_the_python_client_follows_a_log(core: Any) -> None:
    watch = pytest.importorskip("kubernetes").watch.Watch()
    lines = watch.stream(core.read_namespaced_pod_log, POD, SCOPE, tail_lines=1)
    assert [next(lines), next(lines)] == ["tick", "tick"]
    watch.stop()
    assert core.read_namespaced_pod_log(POD, SCOPE, limit_bytes=4) == "tick"


def test_the_python_client_reaches_ports(core: Any) -> None:
    from kubernetes.stream import portforward

    forwarded = portforward(core.connect_get_namespaced_pod_portforward, POD, SCOPE, ports=str(PORT))
    with closing(forwarded.socket(PORT)) as connection:
        connection.setblocking(True)
        connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert b"200 OK" in answer
    assert "Directory listing" in core.connect_get_namespaced_pod_proxy(f"{POD}:{PORT}", SCOPE)


async def test_kubernetes_asyncio_runs_commands(cluster: WholeCluster) -> None:
    package = pytest.importorskip("kubernetes_asyncio", reason="the package kubernetes_asyncio is not installed")
    from kubernetes_asyncio.stream import WsApiClient

    await package.config.load_kube_config(str(cluster.kubeconfig))
    async with WsApiClient() as api:
        core = package.client.CoreV1Api(api)
        said = await core.connect_get_namespaced_pod_exec(POD, SCOPE, command=BOTH, **STREAMS)
        assert sorted(said.split()) == ["err", "out"]
        options = {**STREAMS, "_preload_content": False}
        told = b""
        async with await core.connect_get_namespaced_pod_exec(POD, SCOPE, command=BOTH, **options) as socket:
            async for message in socket:
                told += message.data[1:] if message.data[0] == 3 else b""
        assert api.parse_error_data(told.decode()) == 3


async def test_kr8s_runs_commands_reads_logs_and_reaches_ports(cluster: WholeCluster) -> None:
    package = pytest.importorskip("kr8s", reason="the package kr8s is not installed")
    import httpx
    from kr8s.asyncio.objects import Pod

    api = await package.asyncio.api(kubeconfig=str(cluster.kubeconfig))
    pod = await Pod.get(POD, api=api)
    assert await pod.ready()
    done = await pod.exec(BOTH, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
    assert [line async for line in pod.logs(tail_lines=1)] == ["tick"]
    async with pod.portforward(PORT) as local, httpx.AsyncClient() as http:
        assert (await http.get(f"http://127.0.0.1:{local}/")).status_code == 200


def test_lightkube_reads_logs(cluster: WholeCluster) -> None:
    lightkube = pytest.importorskip("lightkube", reason="the package lightkube is not installed")
    client = lightkube.Client(lightkube.KubeConfig.from_file(str(cluster.kubeconfig)).get())
    followed = client.log(POD, namespace=SCOPE, follow=True, tail_lines=1)
    assert [next(followed), next(followed)] == ["tick\n", "tick\n"]
    followed.close()


def test_the_javascript_client_runs_commands_reads_logs_and_reaches_ports(cluster: WholeCluster) -> None:
    cluster.environment["CLIENT"] = str(javascript_client())
    done = cluster.run("node", str(SCRIPT), SCOPE, POD, "c", str(PORT))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "failed": ["out\n", "err\n", 3],
        "typed": ["all of it", "", 0],
        "followed": "tick",
        "attached": "tick",
        "forwarded": 200,
    }
