"""kubectl in a cluster that lives: rollouts, nodes that are drained, certificates, and a look into running pods."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.apiserver import ApiServerProcess, running
from tests.support.certificates import certificate_request
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.instant_nodes import pods_run_at_once
from tests.support.kubectl import Kubectl, in_new_namespace
from tests.support.manager import managing


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("cluster")) as process:
        asyncio.run(process.wait_ready())
        # Who leads is what tells that a part is healthy.
        with managing(process, "--leader-elect"), pods_run_at_once(process):
            yield process


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, home: Path) -> Kubectl:
    find: Callable[[], str] = request.param
    return in_new_namespace(find(), server.kubeconfig, home, account=False)


def image(kubectl: Kubectl) -> str:
    return kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")


def test_a_rollout_is_followed_paused_and_undone(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web")
    kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "web=web:2")
    kubectl("annotate", "deployment", "web", "kubernetes.io/change-cause=a second image")
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "status", "deployment/web")
    history = kubectl.lines("rollout", "history", "deployment/web")
    assert history[-2:] == [["1", "<none>"], ["2", "a", "second", "image"]]
    assert "web:1" in kubectl("rollout", "history", "deployment/web", "--revision=1")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web")
    assert image(kubectl) == "web:1"
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web")
    template = kubectl.get("deployment", "web")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    kubectl("scale", "deployment", "web", "--replicas=0", "--current-replicas=2")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")


def test_a_node_is_drained_and_comes_back(kubectl: Kubectl) -> None:
    node = f"node-of-{kubectl.namespace}"
    kubectl(
        "create", "-f", "-", stdin=yaml.safe_dump({"kind": "Node", "apiVersion": "v1", "metadata": {"name": node}})
    )
    pod = {
        **{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "lonely"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]},
    }
    kubectl("create", "-f", "-", stdin=yaml.safe_dump(pod))
    kubectl("cordon", node)
    assert "SchedulingDisabled" in kubectl("get", "node", node)
    told = kubectl("drain", node, fails=True)
    assert "cannot delete" in told and f"{kubectl.namespace}/lonely" in told
    assert "lonely evicted" in kubectl("drain", node, "--force", "--ignore-daemonsets", "--timeout=30s")
    assert "not found" in kubectl("get", "pod", "lonely", fails=True)
    kubectl("uncordon", node)
    kubectl("taint", "node", node, "dedicated=build:NoSchedule")
    taints = kubectl.get("node", node)["spec"]["taints"]
    assert {"key": "dedicated", "value": "build", "effect": "NoSchedule"} in taints
    kubectl("taint", "node", node, "dedicated-")
    kubectl("delete", "node", node)


def test_certificates_are_approved_and_denied(kubectl: Kubectl) -> None:
    for name in ("good", "bad"):
        request = {
            **{"kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1"},
            "metadata": {"name": f"{name}-{kubectl.namespace}"},
            "spec": {
                "request": base64.b64encode(certificate_request(name)).decode(),
                **{"signerName": "example.com/tests", "usages": ["client auth"]},
            },
        }
        kubectl("create", "-f", "-", stdin=yaml.safe_dump(request))
    kubectl("certificate", "approve", f"good-{kubectl.namespace}")
    kubectl("certificate", "deny", f"bad-{kubectl.namespace}")
    good = kubectl.get("csr", f"good-{kubectl.namespace}")
    assert [condition["type"] for condition in good["status"]["conditions"]] == ["Approved"]
    assert good["status"]["conditions"][0]["lastUpdateTime"]
    assert good["spec"]["username"] == "kubernetes-admin"
    rows = {row[0]: row[-1] for row in kubectl.lines("get", "csr", "--no-headers")}
    assert rows[f"good-{kubectl.namespace}"] == "Approved" and rows[f"bad-{kubectl.namespace}"] == "Denied"
    assert "Approved" in kubectl("describe", "csr", f"good-{kubectl.namespace}")


def test_a_pod_is_looked_into_and_copied(kubectl: Kubectl) -> None:
    kubectl("run", "subject", "--image=i:1")
    kubectl("wait", "--for=condition=Ready", "pod/subject", "--timeout=30s")
    kubectl("debug", "subject", "--image=tools:1", "-c", "tools", "--attach=false", "--profile=general")
    assert [c["name"] for c in kubectl.get("pod", "subject")["spec"]["ephemeralContainers"]] == ["tools"]
    kubectl(
        "debug", "subject", "--copy-to=copy", "--image=tools:1", "-c", "tools", "--attach=false", "--profile=general"
    )
    assert [c["name"] for c in kubectl.get("pod", "copy")["spec"]["containers"]] == ["subject", "tools"]


def test_a_pod_is_resized_while_it_runs(kubectl: Kubectl) -> None:
    containers = '{"spec":{"containers":[{"name":"sized","image":"i:1","resources":{"requests":{"cpu":"%s"}}}]}}'
    kubectl("run", "sized", "--image=i:1", f"--overrides={containers % '1'}")
    kubectl("patch", "pod", "sized", "--subresource=resize", "-p", containers % "2")
    assert kubectl.get("pod", "sized")["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2"}
    told = kubectl("patch", "pod", "sized", "-p", containers % "3", fails=True)
    assert "pod updates may not change fields other than" in told


def test_the_parts_that_lead_are_healthy(kubectl: Kubectl) -> None:
    rows = {row[0]: row[1] for row in kubectl.lines("get", "componentstatuses", "--no-headers")}
    assert (rows["etcd-0"], rows["controller-manager"]) == ("Healthy", "Healthy")


def test_a_namespace_goes_with_all_that_is_in_it(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=web:1")
    kubectl("create", "configmap", "settings")
    kubectl("delete", "namespace", kubectl.namespace, "--timeout=60s")
    assert "not found" in kubectl("get", "namespace", kubectl.namespace, fails=True)


def test_contexts_are_kept_in_the_file(kubectl: Kubectl, server: ApiServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_bytes(server.kubeconfig.read_bytes())

    def config(*words: str) -> str:
        return kubectl("config", f"--kubeconfig={file}", *words)

    token = kubectl("create", "token", "default").strip()
    config("set-credentials", "robot", f"--token={token}")
    cluster = config("view", "-o", "jsonpath={.clusters[0].name}")
    config("set-context", "robot", "--user=robot", f"--cluster={cluster}", f"--namespace={kubectl.namespace}")
    config("use-context", "robot")
    assert config("current-context") == "robot\n"
    whoami = kubectl("--kubeconfig", str(file), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    assert whoami == f"system:serviceaccount:{kubectl.namespace}:default"
