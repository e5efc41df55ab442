"""Stock kubectl, the one on PATH and that of the served version, against a real API server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: "web:1", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: solo}
spec:
  containers: [{name: c, image: "solo:1"}]
"""


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path: Path) -> Kubectl:
    find: Callable[[], str] = request.param
    return in_new_namespace(find(), server.kubeconfig, tmp_path)


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == "deployment.apps/web created\npod/solo created\n"
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == "deployment.apps/web unchanged\npod/solo unchanged\n"
    changed = MANIFEST.replace("replicas: 2", "replicas: 5").replace("web:1", "web:2")
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=changed)
    web = kubectl.get("deployment", "web")
    assert web["spec"]["replicas"] == 5
    assert [c["image"] for c in web["spec"]["template"]["spec"]["containers"]] == ["web:2"]
    assert web["metadata"]["generation"] == 2


def test_get_prints_the_servers_tables(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    lines = kubectl("get", "pods").splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert lines[1].split()[:4] == ["solo", "0/1", "Pending", "0"]
    wide = kubectl("get", "deployments", "-o", "wide").splitlines()
    assert wide[0].split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert wide[1].split()[-3:] == ["c", "web:1", "app=web"]
    assert kubectl("get", "deploy,po", "-o", "name").split() == ["deployment.apps/web", "pod/solo"]
    assert kubectl("get", "pods", "-l", "app=none", "-o", "name") == ""
    assert 'pods "none" not found' in kubectl("get", "pod", "none", fails=True)


def test_describe_tells_of_an_object(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    told = kubectl("describe", "deployment", "web")
    assert "2 desired | 0 updated | 0 total | 0 available | 0 unavailable" in told
    assert "Image:         web:1" in told
    lines = [line.split() for line in kubectl("describe", "pod", "solo").splitlines()]
    assert ["Status:", "Pending"] in lines and ["QoS", "Class:", "BestEffort"] in lines


def test_scale_patch_label_and_annotate_change_what_they_say(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("scale", "deployment", "web", "--replicas=7")
    kubectl("label", "deployment", "web", "tier=front")
    kubectl("annotate", "deployment", "web", "note=x")
    kubectl("set", "image", "deployment/web", "c=web:3")
    kubectl("patch", "deployment", "web", "-p", '{"spec":{"paused":true}}')
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"minReadySeconds":4}}')
    kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/app"}]')
    web = kubectl.get("deployment", "web")
    assert web["metadata"]["labels"] == {"tier": "front"}
    assert web["metadata"]["annotations"]["note"] == "x"
    spec = web["spec"]
    assert (spec["replicas"], spec["paused"], spec["minReadySeconds"]) == (7, True, 4)
    assert spec["template"]["spec"]["containers"][0]["image"] == "web:3"


def test_create_sends_what_its_typed_clients_send(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "none", "--image=i:1", "--replicas=0")
    kubectl("create", "configmap", "settings", "--from-literal=x=y")
    kubectl("create", "secret", "generic", "password", "--from-literal=p=hunter2")
    kubectl("create", "service", "clusterip", "front", "--tcp=80:8080")
    kubectl("run", "one", "--image=i:1")
    assert kubectl.get("deployment", "none")["spec"]["replicas"] == 0
    assert kubectl.get("configmap", "settings")["data"] == {"x": "y"}
    assert kubectl.get("secret", "password")["data"] == {"p": "aHVudGVyMg=="}
    assert kubectl.get("service", "front")["spec"]["ports"][0]["targetPort"] == 8080
    assert kubectl.get("pod", "one")["spec"]["containers"][0]["image"] == "i:1"


def test_what_is_wrong_is_told_field_by_field(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("replicas: 2", "replicas: -1").replace("template:", "tamplate: {}\n  template:")
    told = kubectl("apply", "-f", "-", stdin=wrong, fails=True)
    assert 'unknown field "spec.tamplate"' in told
    wrong = MANIFEST.replace("replicas: 2", "replicas: -1").replace("name: c,", "name: C_,")
    told = kubectl("apply", "--validate=false", "-f", "-", stdin=wrong, fails=True)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in told
    assert "spec.template.spec.containers[0].name: Invalid value" in told
    unknown = "apiVersion: v1\nkind: Unicorn\nmetadata: {name: a}"
    assert "no matches for kind" in kubectl("apply", "--validate=false", "-f", "-", stdin=unknown, fails=True)


def test_delete_waits_until_it_is_gone(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    kubectl("delete", "-f", "-", stdin=MANIFEST)
    assert kubectl("get", "deploy,pods", "-o", "name") == ""
    assert "not found" in kubectl("delete", "pod", "solo", fails=True)
    kubectl("delete", "pod", "solo", "--ignore-not-found")


def test_a_watch_shows_changes_as_they_come(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    command = [*kubectl.command, "get", "pod", "solo", "--watch", "-o", "jsonpath={.metadata.labels.n} "]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = watching.stdout.read(1)
        for number in range(1, 4):
            kubectl("label", "pod", "solo", f"n={number}", "--overwrite")
            while not seen.split() or seen.split()[-1] != str(number):
                seen += watching.stdout.read(1)
        watching.terminate()
    assert seen.split() == ["1", "2", "3"]
