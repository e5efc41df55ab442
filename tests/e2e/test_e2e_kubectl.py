"""Stock kubectl, this machine's and that of the served version, on Deployments and Pods that really run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and bridges"),
    pytest.mark.timeout(400),
]
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
HOST = "--image=localhost/host"
MOVING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: moving}
spec:
  replicas: 2
  selector: {matchLabels: {app: moving}}
  template:
    metadata: {labels: {app: moving}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: localhost/host, command: [sh, -c, "echo moved; exec sleep 1000"]}]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(2) as running:
        yield running


@pytest.fixture(params=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, cluster: WholeCluster) -> Callable[..., str]:
    """Runs kubectl in a namespace of its own; it must succeed, or end as is said."""
    binary = kubectl_on_path() if request.param == "on-path" else kubectl_current()
    namespace = f"kubectl-{request.param}"

    def run(*arguments: str, stdin: str | None = None, namespaced: bool = True, status: int = 0) -> str:
        scope = ["--namespace", namespace] if namespaced else []
        done = cluster.run(binary, *scope, *arguments, stdin=stdin)
        told = f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}\n{cluster.logs()}"
        assert done.returncode == status, told
        return done.stdout

    text = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n"
    run("apply", "-f", "-", stdin=text, namespaced=False)
    return run


def test_a_deployment_lives_from_apply_to_delete(kubectl: Callable[..., str]) -> None:
    manifest = str(MANIFESTS / "deployment.yaml")
    assert kubectl("apply", "-f", manifest) == "deployment.apps/web created\n"
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl("apply", "-f", manifest) == "deployment.apps/web unchanged\n"

    header, row = kubectl("get", "deployment", "web").splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "3/3", "3", "3"]
    wide = kubectl("get", "pods", "-o", "wide").splitlines()
    assert wide[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert len(wide) == 4

    described = kubectl("describe", "deployment/web")
    for expected in (
        "RollingUpdateStrategy:  25% max unavailable, 25% max surge",
        "ScalingReplicaSet",
        "3 available",
    ):
        assert expected in described
    pod = kubectl("get", "pods", "-o", "name").splitlines()[0]
    assert "Successfully assigned" in kubectl("describe", pod)

    assert kubectl("scale", "deployment/web", "--replicas=1") == "deployment.apps/web scaled\n"
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}") == "1"

    assert "restarted" in kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert kubectl("rollout", "history", "deployment/web").count("<none>") == 2
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    assert "deleted" in kubectl("delete", "-f", manifest, "--timeout=60s")
    kubectl("wait", "--for=delete", "pods", "-l", "app=web", "--timeout=60s")


def test_a_pod_lives_from_apply_to_delete(kubectl: Callable[..., str]) -> None:
    manifest = str(MANIFESTS / "pod.yaml")
    assert kubectl("apply", "-f", manifest) == "pod/clock created\n"
    assert "condition met" in kubectl("wait", "pod/clock", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("exec", "clock", "--", "echo", "from inside") == "from inside\n"
    assert "2" in kubectl("logs", "clock", "--tail=1")
    assert kubectl("get", "pod", "clock", "-o", "jsonpath={.status.phase}") == "Running"
    assert "deleted" in kubectl("delete", "pod", "clock", "--timeout=60s")


def test_a_command_is_run_in_a_pod_that_lives_as_long(kubectl: Callable[..., str]) -> None:
    once = ("--rm", "-i", "--restart=Never", HOST, "--")
    assert "typed\n" in kubectl("run", "once", *once, "cat", stdin="typed\n")
    kubectl("run", "once", *once, "sh", "-c", "read line; exit 3", stdin="typed\n", status=3)
    assert kubectl("get", "pods", "once", "--ignore-not-found") == ""


def test_a_pod_is_debugged_from_within_beside_and_below(kubectl: Callable[..., str]) -> None:
    kubectl("run", "subject", HOST, "--command", "--", "sleep", "1000")
    kubectl("wait", "pod/subject", "--for=condition=Ready", "--timeout=60s")
    look = ("--profile=general", HOST, "-i", "--", "sh", "-c")
    kubectl("debug", "subject", "--target=subject", *look, "read line; ps ax; echo got $line", stdin="it\n")
    ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    kubectl("wait", "pod/subject", f"--for={ended}", "--timeout=60s")
    debugger = kubectl("get", "pod", "subject", "-o", "jsonpath={.spec.ephemeralContainers[0].name}")
    log = kubectl("logs", "subject", "-c", debugger)
    assert "sleep 1000\n" in log and log.endswith("got it\n")

    kubectl("debug", "subject", "--copy-to=copy", "--share-processes", "-c", "tools", *look, "true", stdin="")
    kubectl("wait", "pod/copy", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    assert kubectl("get", "pod", "copy", "-o", "jsonpath={.spec.containers[*].name}") == "subject tools"

    kubectl("debug", "node/node-1", *look, "test -d /host/proc/1 && echo on $(hostname)", stdin="")
    pod = kubectl("get", "pods", "-o", "name").split()
    (below,) = [name for name in pod if "node-debugger-node-1" in name]
    kubectl("wait", below, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert kubectl("logs", below).startswith("on ")
    kubectl("delete", "pod", "--all", "--now")


def test_a_node_is_drained_and_its_pods_run_elsewhere(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=MOVING)
    kubectl("rollout", "status", "deployment/moving", "--timeout=60s")
    kubectl("drain", "node-1", "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s")
    kubectl("rollout", "status", "deployment/moving", "--timeout=60s")
    nodes = kubectl("get", "pods", "-l", "app=moving", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert nodes == ["node-2", "node-2"]
    assert kubectl("logs", "-l", "app=moving", "--prefix", "--all-containers").count("/c] moved\n") == 2
    kubectl("uncordon", "node-1")
    kubectl("delete", "deployment", "moving")
