"""What a pod may do with the API: by its service account's token, and by nothing else."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.kubeconfig import load
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and bridges"),
    pytest.mark.timeout(400),
]
MANIFEST = Path(__file__).resolve().parents[2] / "manifests" / "service-account.yaml"
FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
PODS, REVIEWS = "/api/v1/namespaces/default/pods", "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(1) as running:
        running.kctl("apply", "-f", str(MANIFEST))
        running.wait("pod/observer", "condition=Ready")
        yield running


def pod(name: str, **spec: Any) -> str:
    container = {"name": "main", "image": "localhost/host", "command": ["sleep", "infinity"]}
    full = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": full})


def inside(cluster: WholeCluster, name: str, *command: str) -> str:
    return cluster.kctl("exec", name, "--", *command)


def ask(cluster: WholeCluster, token: str, path: str, body: Any = None) -> tuple[int, Any]:
    """What the API server answers to whoever has a token."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(load(str(cluster.kubeconfig)).server + path, data, headers)
    trusted = ssl.create_default_context(cafile=str(cluster.data_dir / "apiserver" / "pki" / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_pod_reads_what_its_account_may_read(cluster: WholeCluster) -> None:
    assert inside(cluster, "observer", "python3", "/observe/observe.py").splitlines() == ["observer"]


def test_a_pod_is_refused_everything_else(cluster: WholeCluster) -> None:
    done = cluster.try_kctl("exec", "observer", "--", "python3", "/observe/observe.py", "/api/v1/nodes")
    assert done.returncode == 1
    assert (
        '403: nodes is forbidden: User "system:serviceaccount:default:observer" cannot list resource "nodes" '
        'in API group "" at the cluster scope'
    ) in done.stderr


def test_the_token_names_the_pod(cluster: WholeCluster) -> None:
    token = inside(cluster, "observer", "cat", f"{FOLDER}/token")
    admin = (cluster.data_dir / "apiserver" / "tokens.csv").read_text().partition(",")[0]
    _, answer = ask(cluster, admin, REVIEWS, {"spec": {"token": token}})
    user = answer["status"]["user"]
    assert user["username"] == "system:serviceaccount:default:observer"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["observer"]
    assert user["extra"]["authentication.kubernetes.io/node-name"] == ["node-1"]


def test_nothing_can_be_written_there(cluster: WholeCluster) -> None:
    assert inside(cluster, "observer", "cat", f"{FOLDER}/namespace") == "default"
    assert cluster.try_kctl("exec", "observer", "--", "touch", f"{FOLDER}/x").returncode != 0


def test_a_pod_that_wants_no_token_has_none(cluster: WholeCluster) -> None:
    cluster.apply(pod("plain", automountServiceAccountToken=False))
    cluster.wait("pod/plain", "condition=Ready")
    assert cluster.try_kctl("exec", "plain", "--", "ls", FOLDER).returncode != 0


def test_a_token_is_for_the_one_user_of_its_pod(cluster: WholeCluster) -> None:
    cluster.apply(pod("private", securityContext={"runAsUser": 4711}))
    cluster.wait("pod/private", "condition=Ready")
    assert inside(cluster, "private", "stat", "-L", "-c", "%u %a", f"{FOLDER}/token").strip() == "4711 600"
    assert inside(cluster, "private", "cat", f"{FOLDER}/token").count(".") == 2


def test_a_token_ends_with_its_pod(cluster: WholeCluster) -> None:
    cluster.apply(pod("brief", serviceAccountName="observer"))
    cluster.wait("pod/brief", "condition=Ready")
    token = inside(cluster, "brief", "cat", f"{FOLDER}/token")
    assert ask(cluster, token, PODS)[0] == 200
    cluster.kctl("delete", "pod", "brief")
    assert ask(cluster, token, PODS)[0] == 401


def test_a_pod_goes_on_using_the_api_when_its_node_agent_is_killed(cluster: WholeCluster) -> None:
    before = inside(cluster, "observer", "cat", f"{FOLDER}/token")
    cluster.machine("node", "kill-agent", "node-1")
    assert ask(cluster, before, PODS)[0] == 200
    cluster.machine("node", "start", "node-1")

    def renewed() -> bool:
        """The new agent does not know the old token, and so has asked for one of its own."""
        done = cluster.try_kctl("exec", "observer", "--", "cat", f"{FOLDER}/token")
        return done.returncode == 0 and done.stdout not in ("", before)

    cluster.eventually(renewed)
    assert inside(cluster, "observer", "python3", "/observe/observe.py").splitlines()[0] == "observer"
