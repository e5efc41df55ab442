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
    pytest.mark.timeout(180),
]
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(2) as running:
        yield running


@pytest.fixture(params=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, cluster: WholeCluster) -> Callable[..., str]:
    """Runs kubectl in a namespace of the test's own; it must succeed."""
    binary = kubectl_on_path() if request.param == "on-path" else kubectl_current()
    namespace = f"kubectl-{request.param}"

    def run(*arguments: str, stdin: str | None = None, namespaced: bool = True) -> str:
        scope = ["--namespace", namespace] if namespaced else []
        done = cluster.run(binary, *scope, *arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}\n{cluster.logs()}"
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
