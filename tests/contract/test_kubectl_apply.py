"""`kubectl apply --server-side`, as people use it: conflicts, handing over fields, coming from the client's side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "a:1", env: [{name: X, value: "1"}]}
      - {name: b, image: "b:1"}
"""
LESS = DEPLOYMENT.replace('      - {name: b, image: "b:1"}\n', "").replace("  replicas: 2\n", "")
APPLY = ("apply", "--server-side", "-f", "-")


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, home: Path) -> Kubectl:
    find: Callable[[], str] = request.param
    return in_new_namespace(find(), server.kubeconfig, home)


def web(kubectl: Kubectl) -> Any:
    return json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields"))


def managers(kubectl: Kubectl) -> list[str]:
    entries = web(kubectl)["metadata"]["managedFields"]
    return sorted(f"{entry['manager']}/{entry['operation']}" for entry in entries)


def names(kubectl: Kubectl) -> list[str]:
    return [container["name"] for container in web(kubectl)["spec"]["template"]["spec"]["containers"]]


def test_what_is_applied_no_more_goes(kubectl: Kubectl) -> None:
    assert "serverside-applied" in kubectl(*APPLY, stdin=DEPLOYMENT)
    assert managers(kubectl) == ["kubectl/Apply"]
    kubectl(*APPLY, stdin=LESS)
    assert names(kubectl) == ["a"]
    assert web(kubectl)["spec"]["replicas"] == 1  # as if nobody had ever said it


def test_to_apply_again_changes_nothing(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    before = web(kubectl)
    kubectl(*APPLY, stdin=DEPLOYMENT)
    assert web(kubectl) == before
    assert kubectl("diff", "--server-side", "-f", "-", stdin=DEPLOYMENT) == ""


def test_a_conflict_is_told_and_can_be_forced(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 3").replace("a:1", "a:2")
    told = kubectl(*APPLY, "--field-manager=ci", stdin=other, fails=True)
    assert 'Apply failed with 2 conflicts: conflicts with "kubectl"' in told
    assert "- .spec.replicas" in told
    assert '- .spec.template.spec.containers[name="a"].image' in told
    kubectl(*APPLY, "--field-manager=ci", "--force-conflicts", stdin=other)
    assert web(kubectl)["spec"]["replicas"] == 3
    assert managers(kubectl) == ["ci/Apply", "kubectl/Apply"]


def test_a_diff_shows_what_an_apply_would_do(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    shown = kubectl.run("diff", "--server-side", "-f", "-", stdin=LESS)
    assert shown.returncode == 1
    assert "-  replicas: 2" in shown.stdout and "-        name: b" in shown.stdout
    assert web(kubectl)["spec"]["replicas"] == 2


def test_a_number_that_was_scaled_is_kept_by_who_leaves_it_out(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=7")
    told = kubectl(*APPLY, stdin=DEPLOYMENT, fails=True)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in told
    kubectl(*APPLY, stdin=LESS)
    assert web(kubectl)["spec"]["replicas"] == 7


def test_labels_that_others_set_stay(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    kubectl("label", "deployment", "web", "tier=front")
    kubectl(*APPLY, stdin=DEPLOYMENT)
    assert web(kubectl)["metadata"]["labels"] == {"app": "web", "tier": "front"}
    assert "kubectl-label/Update" in managers(kubectl)


def test_objects_come_over_from_the_clients_side_with_all_that_was_applied(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert managers(kubectl) == ["kubectl-client-side-apply/Update"]
    kubectl(*APPLY, stdin=LESS)
    # What was applied on the client's side and is not any more goes, as if the server had applied it before.
    assert names(kubectl) == ["a"]
    assert managers(kubectl) == ["kubectl-last-applied/Apply", "kubectl/Apply"]
    applied = json.loads(web(kubectl)["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert "replicas" not in applied["spec"]


def test_objects_can_go_back_to_the_clients_side(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl(*APPLY, stdin=DEPLOYMENT)
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace('value: "1"', 'value: "2"'))
    container = web(kubectl)["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "X", "value": "2"}]


def test_what_the_schema_does_not_have_can_not_be_applied(kubectl: Kubectl) -> None:
    wrong = DEPLOYMENT.replace("replicas", "replica")
    told = kubectl(*APPLY, "--validate=false", stdin=wrong, fails=True)
    assert "failed to create typed patch object" in told
    assert ".spec.replica: field not declared in schema" in told


def test_managers_are_shown_only_to_who_asks(kubectl: Kubectl) -> None:
    kubectl(*APPLY, stdin=DEPLOYMENT)
    assert "managedFields" not in kubectl("get", "deployment", "web", "-o", "yaml")
    assert "f:replicas: {}" in kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")
