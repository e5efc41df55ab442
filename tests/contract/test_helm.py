"""Stock Helm against a real API server: charts are installed, changed, taken back and removed, with their hooks."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import helm as helm_4
from tests.support.clients import helm_3, kubectl_current
from tests.support.instant_nodes import pods_run_at_once
from tests.support.kubectl import Kubectl, in_new_namespace
from tests.support.manager import managing

COMMAND_SECONDS_MAX = 90
CHART = """
apiVersion: v2
name: shop
version: 0.1.0
appVersion: "1"
"""
VALUES = "replicas: 1\nimage: shop:1\nsettings: {colour: red}\n"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}", labels: {release: "{{ .Release.Name }}"}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {release: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {release: "{{ .Release.Name }}"}}
    spec:
      containers: [{name: shop, image: "{{ .Values.image }}", ports: [{containerPort: 80}]}]
"""
OTHERS = """
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {selector: {release: "{{ .Release.Name }}"}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-settings"}
data: {{ toJson .Values.settings }}
{{- if lookup "v1" "Namespace" "" .Release.Namespace }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-looked-up"}
data: {kube: "{{ .Capabilities.KubeVersion.Minor }}", hpa: "{{ .Capabilities.APIVersions.Has "autoscaling/v2" }}"}
{{- end }}
"""
HOOK = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: "{{ .Release.Name }}-%(event)s"
  annotations: {helm.sh/hook: %(event)s, helm.sh/hook-delete-policy: before-hook-creation}
data: {revision: "{{ .Release.Revision }}"}
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shelves.%(group)s}
spec:
  group: %(group)s
  scope: Namespaced
  names: {plural: shelves, kind: Shelf}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {boards: {type: integer}}}}}
"""
SHELF = """
apiVersion: %(group)s/v1
kind: Shelf
metadata: {name: "{{ .Release.Name }}"}
spec: {boards: {{ .Values.replicas }}}
"""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Version:
    """A Helm, how it is told where to apply, and what has it take a failed upgrade back."""

    binary: Callable[[], str]
    side: tuple[str, ...] = ()
    takes_back: str = "--rollback-on-failure"


VERSIONS = [
    pytest.param(Version(helm_4, ("--server-side=true",)), id="server-side"),
    pytest.param(Version(helm_4, ("--server-side=false",)), id="client-side"),
    pytest.param(Version(helm_3, takes_back="--atomic"), id="helm-3"),
]


class Helm:
    """One Helm with one chart in one namespace."""

    def __init__(self, server: ApiServerProcess, kubectl: Kubectl, folder: Path, version: Version) -> None:
        self.kubectl = kubectl
        self.version = version
        self.chart = folder / "shop"
        self._command = [version.binary(), "--kubeconfig", str(server.kubeconfig), "--namespace", kubectl.namespace]
        homes = {f"HELM_{kind}_HOME": str(folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        self._environment = {**os.environ, "HOME": str(folder), **homes}
        templates = self.chart / "templates"
        templates.mkdir(parents=True)
        (self.chart / "Chart.yaml").write_text(CHART)
        (self.chart / "values.yaml").write_text(VALUES)
        (templates / "deployment.yaml").write_text(DEPLOYMENT)
        (templates / "others.yaml").write_text(OTHERS)

    def hook(self, event: str) -> None:
        (self.chart / "templates" / f"{event}.yaml").write_text(HOOK % {"event": event})

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        side = self.version.side if arguments[0] in ("install", "upgrade", "rollback") else ()
        done = subprocess.run(
            [*self._command, *arguments, *side],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("helm")) as process:
        asyncio.run(process.wait_ready())
        with managing(process), pods_run_at_once(process):
            yield process


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path: Path) -> Helm:
    kubectl = in_new_namespace(kubectl_current(), server.kubeconfig, tmp_path, account=False)
    return Helm(server, kubectl, tmp_path, request.param)


def test_a_release_is_installed_changed_and_taken_back(helm: Helm) -> None:
    installed = helm.json("install", "shop", str(helm.chart), "--wait", "--timeout=60s")
    assert (installed["info"]["status"], installed["version"]) == ("deployed", 1)
    web = helm.kubectl.get("deployment", "shop")
    assert (web["spec"]["replicas"], web["status"]["readyReplicas"]) == (1, 1)
    assert web["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    helm("upgrade", "shop", str(helm.chart), "--set", "replicas=3,image=shop:2,settings.colour=blue", "--wait")
    changed = helm.kubectl.get("deployment", "shop")
    assert changed["spec"]["replicas"] == 3
    assert helm.kubectl.get("configmap", "shop-settings")["data"] == {"colour": "blue"}
    helm("rollback", "shop", "1", "--wait")
    assert helm.kubectl.get("deployment", "shop")["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:1"
    assert [(one["revision"], one["status"]) for one in helm.json("history", "shop")] == [
        *((1, "superseded"), (2, "superseded"), (3, "deployed")),
    ]
    assert [(one["name"], one["revision"], one["status"]) for one in helm.json("list")] == [("shop", "3", "deployed")]
    assert helm.json("get", "values", "shop", "--all")["replicas"] == 1
    assert "kind: Deployment" in helm("get", "manifest", "shop")
    assert "shop" in helm("status", "shop")
    helm("uninstall", "shop", "--wait")
    assert helm.json("list") == []
    left = helm.kubectl("get", "deployment,service,configmap,secret", "-o", "name")
    assert left == "configmap/kube-root-ca.crt\n"


def test_charts_learn_of_the_cluster(helm: Helm) -> None:
    helm("install", "shop", str(helm.chart))
    assert helm.kubectl.get("configmap", "shop-looked-up")["data"] == {"kube": "35", "hpa": "true"}


def test_hooks_run_at_their_moments(helm: Helm) -> None:
    for event in ("pre-install", "post-install", "pre-upgrade", "post-upgrade", "pre-delete", "test"):
        helm.hook(event)

    def ran(event: str) -> str:
        return helm.kubectl(
            "get", "configmap", f"shop-{event}", "--ignore-not-found", "-o", "jsonpath={.data.revision}"
        )

    helm("install", "shop", str(helm.chart))
    assert (ran("pre-install"), ran("post-install"), ran("pre-upgrade")) == ("1", "1", "")
    helm("upgrade", "shop", str(helm.chart))
    helm("upgrade", "shop", str(helm.chart))
    assert (ran("pre-upgrade"), ran("post-upgrade"), ran("pre-delete")) == ("3", "3", "")
    helm("test", "shop")
    assert ran("test") == "3"
    helm("uninstall", "shop")
    assert ran("pre-delete") == "3"


def test_a_job_as_a_hook_is_waited_for(helm: Helm) -> None:
    (helm.chart / "templates" / "job.yaml").write_text(
        """
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: pre-install, helm.sh/hook-delete-policy: hook-succeeded}}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: "i:1"}]}}
"""
    )
    told = helm("install", "shop", str(helm.chart), "--timeout=2s", fails=True)
    assert "failed pre-install" in told
    assert [one["status"] for one in helm.json("list")] == ["failed"]


def test_what_the_server_refuses_leaves_a_failed_release(helm: Helm) -> None:
    told = helm("install", "shop", str(helm.chart), "--set", "replicas=-1", fails=True)
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in told
    helm("upgrade", "--install", "shop", str(helm.chart), "--set", "replicas=1")
    assert [one["status"] for one in helm.json("list")] == ["deployed"]


def test_a_failed_upgrade_is_taken_back_by_itself(helm: Helm) -> None:
    helm("install", "shop", str(helm.chart), "--wait")
    back = helm.version.takes_back
    told = helm("upgrade", "shop", str(helm.chart), "--set", "settings.colour=1", back, fails=True)
    assert "cannot unmarshal" in told or "Invalid value" in told or "rolled back" in told.lower(), told
    assert helm.kubectl.get("configmap", "shop-settings")["data"] == {"colour": "red"}


def test_several_releases_live_side_by_side(helm: Helm) -> None:
    helm("install", "one", str(helm.chart))
    helm("install", "two", str(helm.chart), "--dry-run=server")
    assert [one["name"] for one in helm.json("list")] == ["one"]
    helm("install", "two", str(helm.chart))
    assert [one["name"] for one in helm.json("list", "--filter", "t.o")] == ["two"]
    assert {one["name"] for one in helm.json("list", "--all-namespaces")} >= {"one", "two"}


def test_a_chart_brings_its_own_kinds(helm: Helm) -> None:
    group = {"group": f"{helm.kubectl.namespace}.example.com"}
    (helm.chart / "crds").mkdir()
    (helm.chart / "crds" / "shelves.yaml").write_text(DEFINITION % group)
    (helm.chart / "templates" / "shelf.yaml").write_text(SHELF % group)
    helm("install", "shop", str(helm.chart), "--set", "replicas=2")
    helm("upgrade", "shop", str(helm.chart), "--set", "replicas=3")
    assert helm.kubectl.get("shelf", "shop")["spec"] == {"boards": 3}
    helm("uninstall", "shop")
    assert helm.kubectl("get", "shelves", "-o", "name") == ""
    # Definitions stay: others may have objects of these kinds.
    helm.kubectl("delete", "crd", f"shelves.{group['group']}")
