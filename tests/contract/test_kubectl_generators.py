"""Everything that `kubectl create`, `run`, `expose` and `autoscale` make out of a few words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import get_path
from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace


@pytest.fixture(scope="module", params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(
    request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Kubectl:
    find: Callable[[], str] = request.param
    return in_new_namespace(find(), server.kubeconfig, tmp_path_factory.mktemp("home"))


def kept(obj: Any, **paths: Any) -> None:
    """The object holds these values; `__` stands between the steps of a path."""
    for path, value in paths.items():
        assert get_path(obj, *path.split("__")) == value, (path, obj)


@pytest.mark.parametrize(
    ("words", "kind", "paths"),
    [
        ("deployment web --image=i:1 --replicas=0 --port=80", "deployment/web", {"spec__replicas": 0}),
        ("configmap c --from-literal=x=y", "configmap/c", {"data": {"x": "y"}}),
        ("secret generic s --from-literal=p=q", "secret/s", {"data": {"p": "cQ=="}, "type": "Opaque"}),
        (
            "secret docker-registry d --docker-username=u --docker-password=p --docker-server=r.example",
            "secret/d",
            {"type": "kubernetes.io/dockerconfigjson"},
        ),
        ("serviceaccount robot", "serviceaccount/robot", {}),
        ("service clusterip one --tcp=80:8080", "service/one", {"spec__type": "ClusterIP"}),
        ("service nodeport two --tcp=80:8080", "service/two", {"spec__type": "NodePort"}),
        ("service loadbalancer three --tcp=80:8080", "service/three", {"spec__type": "LoadBalancer"}),
        (
            "service externalname four --external-name=example.com",
            "service/four",
            {"spec__type": "ExternalName", "spec__externalName": "example.com"},
        ),
        ("ingress i --rule=example.com/*=one:80", "ingress/i", {}),
        ("job j --image=i:1 -- date", "job/j", {"spec__completions": 1}),
        ("cronjob cj --image=i:1 --schedule=*/5_*_*_*_* -- date", "cronjob/cj", {"spec__schedule": "*/5 * * * *"}),
        ("quota q --hard=pods=100", "quota/q", {"spec__hard": {"pods": "100"}}),
        ("poddisruptionbudget p --selector=app=web --min-available=1", "pdb/p", {"spec__minAvailable": 1}),
        ("role r --verb=get,list --resource=pods", "role/r", {}),
        ("rolebinding rb --role=r --user=jane", "rolebinding/rb", {"roleRef__name": "r"}),
    ],
)
def test_create_makes_one_of_each_kind(kubectl: Kubectl, words: str, kind: str, paths: dict[str, Any]) -> None:
    made = kubectl("create", *(word.replace("_", " ") for word in words.split()))
    assert made.endswith(" created\n")
    kept(kubectl.get(kind), **paths)


def test_create_makes_what_belongs_to_no_namespace(kubectl: Kubectl) -> None:
    name = f"of-{kubectl.namespace}"
    kubectl("create", "clusterrole", name, "--verb=get", "--resource=nodes")
    kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", "--user=jane")
    kubectl("create", "priorityclass", name, "--value=1000", "--description=x")
    kept(kubectl.get("clusterrole", name), rules=[{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}])
    kept(kubectl.get("clusterrolebinding", name), roleRef__name=name)
    kept(kubectl.get("priorityclass", name), value=1000, preemptionPolicy="PreemptLowerPriority")


def test_create_takes_files(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text\n")
    (tmp_path / "b.bin").write_bytes(b"\xff\x00")
    kubectl("create", "configmap", "files", f"--from-file={tmp_path}")
    kept(kubectl.get("configmap", "files"), data={"a.txt": "text\n"}, binaryData={"b.bin": "/wA="})
    (tmp_path / "list.yaml").write_text(
        json.dumps({"kind": "List", "apiVersion": "v1", "items": [pod("x", "i:1"), pod("y", "i:1")]})
    )
    assert kubectl("create", "-f", str(tmp_path / "list.yaml")) == "pod/x created\npod/y created\n"
    told = kubectl("create", "-f", str(tmp_path / "list.yaml"), fails=True)
    assert 'pods "x" already exists' in told and 'pods "y" already exists' in told


def pod(name: str, image: str) -> Any:
    spec = {"containers": [{"name": "c", "image": image}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def test_names_can_be_left_to_the_server(kubectl: Kubectl) -> None:
    manifest = json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "made-"}})
    made = kubectl("create", "-f", "-", "-o", "name", stdin=manifest)
    assert made.startswith("configmap/made-")


def test_a_trial_writes_nothing(kubectl: Kubectl) -> None:
    tried = json.loads(kubectl("create", "configmap", "tried", "--dry-run=server", "-o", "json"))
    assert len(tried["metadata"]["uid"]) == 36 and "resourceVersion" not in tried["metadata"]
    assert "not found" in kubectl("get", "configmap", "tried", fails=True)


def test_a_token_is_made_for_an_account(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "caller")
    token = kubectl("create", "token", "caller", "--duration=20m", "--audience=example.com").strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{kubectl.namespace}:caller"
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (["example.com"], 1200)


def test_a_job_is_made_of_a_cron_job(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "nightly", "--image=i:1", "--schedule=0 0 * * *", "--", "date")
    kubectl("create", "job", "now", "--from=cronjob/nightly")
    owner = kubectl.get("job", "now")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("CronJob", "nightly")


def test_run_expose_and_autoscale_fit_together(kubectl: Kubectl) -> None:
    kubectl("run", "solo", "--image=i:1", "--labels=app=solo", "--env=A=b", "--port=80", "--expose")
    kept(kubectl.get("service", "solo"), spec__selector={"app": "solo"}, spec__ports=[port(80)])
    container = kubectl.get("pod", "solo")["spec"]["containers"][0]
    assert container["env"] == [{"name": "A", "value": "b"}]
    kubectl("create", "deployment", "scaled", "--image=i:1", "--port=80")
    kubectl("expose", "deployment", "scaled", "--port=8080", "--target-port=80")
    kept(kubectl.get("service", "scaled"), spec__ports=[port(8080, 80)], spec__selector={"app": "scaled"})
    kubectl("autoscale", "deployment", "scaled", "--min=2", "--max=4")
    kept(kubectl.get("hpa", "scaled"), spec__minReplicas=2, spec__maxReplicas=4)


def port(number: int, target: int | None = None) -> Any:
    return {"port": number, "protocol": "TCP", "targetPort": target or number}
