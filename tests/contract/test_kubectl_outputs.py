"""What kubectl shows: every output of get, raw answers, explanations, descriptions, and what is served at all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from apimachinery.resources import BUILTIN
from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace

MANIFEST = """
kind: Deployment
apiVersion: apps/v1
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "web:1"}]}
---
kind: Pod
apiVersion: v1
metadata: {name: a, labels: {rank: "2"}}
spec: {containers: [{name: c, image: "a:1"}]}
---
kind: Pod
apiVersion: v1
metadata: {name: b, labels: {rank: "1"}}
spec: {containers: [{name: c, image: "b:1"}]}
"""


@pytest.fixture(scope="module", params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(
    request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Kubectl:
    find: Callable[[], str] = request.param
    run = in_new_namespace(find(), server.kubeconfig, tmp_path_factory.mktemp("home"))
    run("create", "-f", "-", stdin=MANIFEST)
    return run


def test_get_in_every_output(kubectl: Kubectl, tmp_path: Path) -> None:
    def get(output: str) -> str:
        return kubectl("get", "pods", "-o", output)

    assert [item["metadata"]["name"] for item in json.loads(get("json"))["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in yaml.safe_load(get("yaml"))["items"]] == ["a", "b"]
    assert get("name") == "pod/a\npod/b\n"
    assert get("jsonpath={.items[*].spec.containers[*].image}") == "a:1 b:1"
    assert get("jsonpath-as-json={.items[*].metadata.name}").split() == ["[", '"a",', '"b"', "]"]
    assert get("go-template={{range .items}}{{.metadata.name}};{{end}}") == "a;b;"
    assert get("custom-columns=POD:.metadata.name,IMAGE:.spec.containers[*].image").split() == [
        *("POD", "IMAGE"),
        *("a", "a:1", "b", "b:1"),
    ]
    wide = get("wide").splitlines()[0].split()
    assert wide == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        *("NOMINATED", "NODE", "READINESS", "GATES"),
    ]
    template = tmp_path / "columns.txt"
    template.write_text("NAME LABEL\n.metadata.name .metadata.labels.rank\n")
    assert get(f"custom-columns-file={template}").split() == ["NAME", "LABEL", "a", "2", "b", "1"]


def test_get_sorts_selects_and_labels(kubectl: Kubectl) -> None:
    by_label = kubectl("get", "pods", "--sort-by=.metadata.labels.rank", "--no-headers", "-o", "wide")
    assert [line.split()[0] for line in by_label.splitlines()] == ["b", "a"]
    assert kubectl("get", "pods", "--field-selector=metadata.name=a,status.phase=Pending", "-o", "name") == "pod/a\n"
    assert kubectl("get", "pods", "-l", "rank>1", "-o", "name") == "pod/a\n"
    assert kubectl("get", "pods", "-l", "rank notin (1)", "-o", "name") == "pod/a\n"
    labelled = kubectl.lines("get", "pods", "-L", "rank")
    assert (labelled[0][-1], [line[-1] for line in labelled[1:]]) == ("RANK", ["2", "1"])
    assert kubectl.lines("get", "deployments", "--show-labels")[1][-1] == "app=web"
    every = kubectl.lines("get", "pods", "--all-namespaces", "--field-selector=metadata.name=a")
    assert every[0][0] == "NAMESPACE" and kubectl.namespace in [line[0] for line in every[1:]]
    assert kubectl("get", "all", "-o", "name").split() == ["pod/a", "pod/b", "deployment.apps/web"]
    assert kubectl("get", "pods", "--chunk-size=1", "-o", "name") == "pod/a\npod/b\n"


def test_raw_answers(kubectl: Kubectl) -> None:
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods"
    page = json.loads(kubectl("get", "--raw", f"{path}?limit=1"))
    assert [item["metadata"]["name"] for item in page["items"]] == ["a"]
    rest = json.loads(kubectl("get", "--raw", f"{path}?limit=1&continue={page['metadata']['continue']}"))
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b"]
    body = json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "raw"}})
    made = kubectl("create", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/configmaps", "-f", "-", stdin=body)
    assert json.loads(made)["metadata"]["name"] == "raw"
    gone = kubectl("delete", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/configmaps/raw")
    assert json.loads(gone)["status"] == "Success"
    assert kubectl("get", "--raw", "/healthz") == "ok"


def test_what_is_served_is_told(kubectl: Kubectl) -> None:
    versions = kubectl("api-versions").split()
    assert {resource.api_version for resource in BUILTIN} <= set(versions)
    rows = kubectl.lines("api-resources", "-o", "wide", "--no-headers")
    assert {resource.plural for resource in BUILTIN} <= {row[0] for row in rows}
    named = kubectl("api-resources", "--api-group=apps", "--namespaced=true", "-o", "name").split()
    assert named == [
        f"{kind}.apps" for kind in ("controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets")
    ]
    verbs = kubectl("api-resources", "--verbs=deletecollection", "-o", "name").split()
    assert "pods" in verbs and "namespaces" not in verbs and "bindings" not in verbs
    assert "is running at" in kubectl("cluster-info")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("pods.spec.containers.resources.limits", "Limits describes the maximum amount of compute resources allowed"),
        ("deployments.spec.strategy.rollingUpdate.maxSurge", "maxSurge <IntOrString>"),
        ("crd.spec.versions", "FIELD: versions <[]CustomResourceDefinitionVersion>"),
        ("ingress.spec.rules.http.paths.backend", "FIELD: backend <IngressBackend>"),
    ],
)
def test_explain_knows_every_field(kubectl: Kubectl, asked: str, told: str) -> None:
    assert told in " ".join(kubectl("explain", asked).split())


def test_explain_knows_versions_and_shows_trees(kubectl: Kubectl) -> None:
    assert "targetCPUUtilizationPercentage" in kubectl("explain", "hpa.spec", "--api-version=autoscaling/v1")
    assert "metrics" in kubectl("explain", "hpa.spec", "--api-version=autoscaling/v2")
    assert len(kubectl("explain", "pods", "--recursive").splitlines()) > 600
    assert "doesn't have a resource type" in kubectl("explain", "unicorns", fails=True)
    assert 'field "horn" does not exist' in kubectl("explain", "pods.horn", fails=True)


def test_describe_of_every_kind(kubectl: Kubectl) -> None:
    """Nothing that can be listed is beyond description."""
    kinds = [resource for resource in BUILTIN if "list" in resource.verbs]
    named = ",".join(resource.group_resource for resource in kinds)
    done = kubectl.run("describe", named, "--all-namespaces")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Name:") > 40
    told = kubectl("describe", "pod", "a")
    assert "Node:" in told and "QoS Class:" in told


def test_rights_are_told(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert kubectl.run("auth", "can-i", "create", "pods", "--as=jane").stdout == "no\n"
    assert kubectl.lines("auth", "can-i", "--list")[1][0] == "*.*"
    assert ["Username", "kubernetes-admin"] in kubectl.lines("auth", "whoami")
    assert "pods is forbidden" in kubectl("get", "pods", "--as=jane", fails=True)


def test_what_is_not_there_is_told_clearly(kubectl: Kubectl) -> None:
    assert "metrics not available yet" in kubectl("top", "pods", fails=True)
    assert "metrics not available yet" in kubectl("top", "nodes", fails=True)
    assert "the server doesn't have a resource type" in kubectl("get", "unicorns", fails=True)
    assert 'pods "none" not found' in kubectl("get", "pod", "none", fails=True)
    assert "does not have a host assigned" in kubectl("exec", "a", "--", "true", fails=True)


def test_wait_waits_for_what_it_is_told(kubectl: Kubectl) -> None:
    kubectl("wait", "--for=jsonpath={.status.phase}=Pending", "pod/a")
    kubectl("wait", "--for=create", "pod/b")
    told = kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=1s", fails=True)
    assert "timed out waiting for the condition" in told
    kubectl("create", "configmap", "passing")
    command = [*kubectl.command, "wait", "--for=delete", "configmap/passing", "--timeout=60s"]
    with subprocess.Popen(command, env=kubectl.environment, stdout=subprocess.PIPE) as waiting:
        kubectl("delete", "configmap", "passing")
        assert waiting.wait() == 0


def test_events_are_told_of_their_objects(kubectl: Kubectl) -> None:
    pod = kubectl.get("pod", "a")
    about = {"kind": "Pod", "apiVersion": "v1", "uid": pod["metadata"]["uid"]}
    event = {
        **{"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "type": "Warning"},
        **{"reason": "Made", "message": "for a test", "count": 2, "source": {"component": "test"}},
        "involvedObject": {**about, "name": "a", "namespace": kubectl.namespace},
        **{"firstTimestamp": "2030-01-01T00:00:00Z", "lastTimestamp": "2030-01-01T00:00:00Z"},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert ["Warning", "Made", "Pod/a", "for", "a", "test"] in [
        line[-6:] for line in kubectl.lines("events", "--for=pod/a")
    ]
    assert "for a test" in kubectl("describe", "pod", "a")
    assert "for a test" in kubectl("get", "events", "--field-selector=type=Warning,reason=Made")
    assert "No events found" in kubectl.run("events", "--types=Normal").stderr
