"""Every kubectl that may be used with this version of the API: an object's whole life, as each of them leads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_released
from tests.support.kubectl import in_new_namespace

MANIFEST = """
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
"""


@pytest.mark.parametrize("minor", [32, 33, 34, 35, 36])
def test_an_object_lives_and_ends(server: ApiServerProcess, tmp_path: Path, minor: int) -> None:
    kubectl = in_new_namespace(kubectl_released(minor), server.kubeconfig, tmp_path)
    assert f"Client Version: v1.{minor}." in kubectl("version")
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == "deployment.apps/web unchanged\n"
    kubectl("expose", "deployment", "web", "--port=80")
    kubectl("scale", "deployment", "web", "--replicas=3")
    kubectl("set", "image", "deployment/web", "web=web:2")
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=5")
    kubectl("wait", "--for=jsonpath={.spec.replicas}=3", "deployment/web")
    assert kubectl.lines("get", "deployments,services,hpa", "-o", "name") == [
        ["deployment.apps/web"],
        ["service/web"],
        ["horizontalpodautoscaler.autoscaling/web"],
    ]
    assert "web:2" in kubectl("describe", "deployment", "web")
    assert "RollingUpdate" in kubectl("explain", "deployment.spec.strategy.type")
    kubectl("run", "solo", "--image=i:1")
    kubectl("debug", "solo", "--image=i:2", "-c", "tools", "--attach=false", "--profile=general")
    kubectl("delete", "deployment,service,hpa,pod", "--all")
    assert kubectl("get", "all", "-o", "name") == ""
