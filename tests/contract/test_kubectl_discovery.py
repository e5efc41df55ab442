"""Stock kubectl finds its way by what the server says of itself: versions, resources, schemas."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apimachinery.resources import BUILTIN
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current, kubectl_on_path

COMMAND_SECONDS_MAX = 60

Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("discovery")) as process:
        asyncio.run(process.wait_ready())
        yield process


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path: Path) -> Kubectl:
    binary = request.param()
    # A home of its own: kubectl keeps what it has discovered there.
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [binary, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_version_is_that_of_the_api(kubectl: Kubectl) -> None:
    assert "Server Version: v1.35.0+wherry" in kubectl("version")


def test_readiness_is_told(kubectl: Kubectl) -> None:
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert kubectl("get", "--raw", "/livez?verbose").endswith("livez check passed\n")


def test_every_resource_is_found(kubectl: Kubectl) -> None:
    listed = kubectl("api-resources", "-o", "name").split()
    figures = {"nodes.metrics.k8s.io", "pods.metrics.k8s.io"}
    assert sorted(listed) == sorted({resource.group_resource for resource in BUILTIN} | figures)


def test_a_kind_is_found_by_its_short_name_and_its_category(kubectl: Kubectl) -> None:
    assert "namespace/default" in kubectl("get", "ns", "-o", "name")
    assert kubectl("get", "all", "-A", "-o", "name") == "service/kubernetes\n"


def test_groups_and_versions_are_listed(kubectl: Kubectl) -> None:
    assert {"v1", "apps/v1", "coordination.k8s.io/v1"} <= set(kubectl("api-versions").split())


def test_fields_are_explained(kubectl: Kubectl) -> None:
    told = kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "GROUP:      apps" in told and "KIND:       Deployment" in told
    assert "FIELD: maxSurge <IntOrString>" in told
    assert "The maximum number of pods that can be scheduled above the desired number" in " ".join(told.split())
    assert "nodeSelector\t<map[string]string>" in kubectl("explain", "pods", "--recursive")


def test_metrics_are_for_the_administrator(kubectl: Kubectl) -> None:
    assert "apiserver_request_total{" in kubectl("get", "--raw", "/metrics")
    assert 'kubernetes_healthcheck{name="etcd",type="livez"} 1' in kubectl("get", "--raw", "/metrics/slis")
