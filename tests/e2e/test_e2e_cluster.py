"""The main job as a user does it: a cluster of three nodes, the example manifests on it, and a node that is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import kubectl_on_path
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and bridges"),
    pytest.mark.timeout(400),
]
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(3) as running:
        yield running


@pytest.fixture(scope="module")
def web(cluster: WholeCluster) -> WholeCluster:
    """The cluster with `manifests/deployment.yaml` fully available."""
    cluster.kctl("apply", "-f", str(MANIFESTS / "deployment.yaml"))
    cluster.kctl("rollout", "status", "deployment/web", "--timeout", "60")
    return cluster


def pods(cluster: WholeCluster, selector: str) -> list[dict[str, Any]]:
    """The pods of these labels that nobody has asked to end."""
    found = cluster.get("pods", "-l", selector)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def name(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def test_the_deployment_runs_spread_over_the_nodes(web: WholeCluster) -> None:
    running = pods(web, "app=web")
    assert {pod["spec"]["nodeName"] for pod in running} == {"node-1", "node-2", "node-3"}
    assert len({pod["status"]["podIP"] for pod in running}) == 3


def test_pods_reach_each_other_across_nodes(web: WholeCluster) -> None:
    first, second, _ = pods(web, "app=web")
    address = second["status"]["podIP"]
    fetch = f"import urllib.request as u; print(u.urlopen('http://{address}:8080/', timeout=5).status)"
    assert web.kctl("exec", name(first), "--", "python3", "-c", fetch) == "200\n"


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""


def test_a_service_is_reached_through_the_api_server(web: WholeCluster) -> None:
    web.apply(SERVICE)
    try:
        web.eventually(lambda: _answering(web, "web") == {pod["status"]["podIP"] for pod in pods(web, "app=web")})
        for port in ("http", "80"):
            path = f"/api/v1/namespaces/default/services/web:{port}/proxy/"
            page = web.run(kubectl_on_path(), "get", "--raw", path)
            assert "Directory listing for /" in page.stdout, page.stderr
    finally:
        web.kctl("delete", "service", "web")


def _answering(cluster: WholeCluster, service: str) -> set[str]:
    """The addresses at which a service is ready."""
    slices = cluster.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")
    ready = [one for found in slices for one in found["endpoints"] if one["conditions"]["ready"]]
    return {address for one in ready for address in one["addresses"]}


def test_a_pod_sees_neither_the_nodes_processes_nor_its_files(web: WholeCluster) -> None:
    pod = name(pods(web, "app=web")[0])
    assert web.kctl("exec", pod, "--", "sh", "-c", "cat /proc/1/comm").strip() == "python3"
    processes = web.kctl("exec", pod, "--", "sh", "-c", "ls -d /proc/[0-9]* | wc -l")
    assert int(processes) <= 4
    for path in (web.data_dir, "/root/.kube", "/etc/shadow", "/var/lib/wherry"):
        assert web.try_kctl("exec", pod, "--", "test", "-e", str(path)).returncode == 1


def test_configuration_arrives_as_files_and_variables(cluster: WholeCluster) -> None:
    cluster.kctl("apply", "-f", str(MANIFESTS / "configuration.yaml"))
    cluster.wait("pod/configured", "condition=Ready")
    node = cluster.get("pod/configured")["spec"]["nodeName"]
    log = cluster.kctl("logs", "configured")
    assert log == f"Hello from a ConfigMap.\nen on {node} as configured\n"
    assert cluster.kctl("exec", "configured", "--", "cat", "/etc/password/password") == "swordfish"
    assert cluster.try_kctl("exec", "configured", "--", "touch", "/etc/password/x").returncode != 0
    cluster.kctl("delete", "-f", str(MANIFESTS / "configuration.yaml"))


def test_a_hungry_container_is_killed_at_its_limit_and_restarted(cluster: WholeCluster) -> None:
    cluster.kctl("apply", "-f", str(MANIFESTS / "limits.yaml"))
    last = "jsonpath={.status.containerStatuses[0].lastState.terminated.reason}=OOMKilled"
    cluster.wait("pod/hungry", last)
    status = cluster.get("pod/hungry")["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert status["restartCount"] >= 1
    cluster.wait("pod/busy", "condition=Ready")
    cluster.kctl("delete", "-f", str(MANIFESTS / "limits.yaml"))


def test_a_pod_alone_writes_a_log_and_ends_when_told(cluster: WholeCluster) -> None:
    cluster.kctl("apply", "-f", str(MANIFESTS / "pod.yaml"))
    cluster.wait("pod/clock", "condition=Ready")
    assert re.search(r"\d\d:\d\d:\d\d", cluster.kctl("logs", "clock"))
    cluster.kctl("delete", "-f", str(MANIFESTS / "pod.yaml"))
    assert cluster.try_kctl("get", "pod", "clock").returncode == 1


def test_a_rollout_keeps_to_its_limits_and_can_be_undone(cluster: WholeCluster) -> None:
    text = (MANIFESTS / "rollout.yaml").read_text()
    cluster.apply(text)
    cluster.kctl("rollout", "status", "deployment/rollout", "--timeout", "60")
    cluster.apply(text.replace('value: "1"', 'value: "2"'))
    cluster.kctl("rollout", "status", "deployment/rollout", "--timeout", "90")
    new = pods(cluster, "app=rollout")
    assert {pod["spec"]["containers"][0]["env"][0]["value"] for pod in new} == {"2"}
    assert cluster.kctl("rollout", "history", "deployment/rollout").count("<none>") == 2
    cluster.kctl("rollout", "undo", "deployment/rollout")
    cluster.kctl("rollout", "status", "deployment/rollout", "--timeout", "90")
    back = pods(cluster, "app=rollout")
    assert {pod["spec"]["containers"][0]["env"][0]["value"] for pod in back} == {"1"}
    cluster.kctl("delete", "deployment/rollout")


def test_a_missing_image_is_said_so_and_comes_to_run_once_it_is_there(cluster: WholeCluster, tmp_path: Path) -> None:
    cluster.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: later}, spec: {terminationGracePeriodSeconds: 0,"
        " containers: [{name: c, image: 'example.test/absent:1', imagePullPolicy: IfNotPresent}]}}"
    )
    cluster.wait("pod/later", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")
    assert "example.test/absent:1" in cluster.kctl("describe", "pod/later")
    cluster.kctl("delete", "pod/later")


def test_the_agent_may_be_killed_and_its_containers_never_notice(web: WholeCluster) -> None:
    pod = next(pod for pod in pods(web, "app=web") if pod["spec"]["nodeName"] == "node-1")
    before = web.kctl("exec", name(pod), "--", "cat", "/proc/1/stat").split()[21]
    web.machine("node", "kill-agent", "node-1")
    web.machine("node", "start", "node-1")
    web.wait("node/node-1", "condition=Ready")  # which it may have been all the time
    web.eventually(lambda: web.try_kctl("exec", name(pod), "--", "true").returncode == 0)
    assert web.kctl("exec", name(pod), "--", "cat", "/proc/1/stat").split()[21] == before
    after = web.get(f"pod/{name(pod)}")
    assert after["status"]["containerStatuses"] == pod["status"]["containerStatuses"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: Deployment\n  spec: {", "line 2, column 7"),
        ("{apiVersion: v1, kind: Frob, metadata: {name: a}}", 'no matches for kind "Frob" in version "v1"'),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: -1,"
            " selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}},"
            " spec: {containers: [{name: c, image: localhost/host}]}}}}",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, imag: x}]}}",
            'unknown field "spec.containers[0].imag"',
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: UPPER}, spec: {containers: [{name: c, image: x}]}}",
            "metadata.name: Invalid value",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: none}, spec: {containers: [{name: c,"
            " image: x}]}}",
            'namespaces "none" not found',
        ),
    ],
)
def test_a_bad_manifest_is_one_clear_line_and_stores_nothing(
    cluster: WholeCluster, text: str, complaint: str
) -> None:
    done = cluster.try_kctl("apply", "-f", "-", stdin=text)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert cluster.try_kctl("get", "pod/a").returncode == 1


def test_one_bad_document_does_not_keep_the_others_out(cluster: WholeCluster) -> None:
    good = "{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}"
    bad = "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}, data: [1]}"
    done = cluster.try_kctl("apply", "-f", "-", stdin="\n---\n".join([good % "first", bad, good % "last"]))
    assert done.returncode == 1
    assert done.stdout == "configmap/first created\nconfigmap/last created\n"
    cluster.kctl("delete", "configmap", "first", "last")


def test_a_lost_nodes_pods_run_elsewhere_and_it_cleans_up_when_it_is_back(web: WholeCluster) -> None:
    [victim] = [pod for pod in pods(web, "app=web") if pod["spec"]["nodeName"] == "node-2"]
    web.machine("node", "kill", "node-2")
    web.wait("node/node-2", "condition=Ready=Unknown")
    web.wait("deployment/web", "condition=Available=False")
    web.kctl("rollout", "status", "deployment/web", "--timeout", "60")
    assert {pod["spec"]["nodeName"] for pod in pods(web, "app=web")} == {"node-1", "node-3"}
    web.machine("node", "start", "node-2")
    web.wait("node/node-2", "condition=Ready")
    web.wait(f"pod/{name(victim)}", "delete")
    assert not list((web.data_dir / "nodes" / "node-2" / "pods").glob(victim["metadata"]["uid"]))


def test_down_leaves_nothing_of_a_cluster_behind() -> None:
    with whole_cluster(1) as cluster:
        cluster.kctl("apply", "-f", str(MANIFESTS / "pod.yaml"))
        cluster.wait("pod/clock", "condition=Ready")
        identity = json.loads((cluster.data_dir / "cluster.json").read_text())
        assert identity["nodes"]
        folder = str(cluster.data_dir)
    assert not Path(folder).exists()
    assert folder not in Path("/proc/self/mountinfo").read_text()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if folder.encode() in command]
