"""Many objects at once, as kubectl handles them: kustomizations, apply sets, lists; and how strict it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl, in_new_namespace

KUSTOMIZATION = """
namePrefix: shop-
resources: [config.yaml]
labels: [{pairs: {of: shop}}]
configMapGenerator: [{name: made, literals: [colour=red]}]
"""


@pytest.fixture
def kubectl(server: ApiServerProcess, home: Path) -> Kubectl:
    return in_new_namespace(kubectl_current(), server.kubeconfig, home)


def config(name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"of": "set"}}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, **fields}


def listed(*objects: dict[str, Any]) -> str:
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": list(objects)})


def test_a_kustomization_is_applied_compared_and_deleted(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "config.yaml").write_text(json.dumps(config("own", data={"a": "1"})))
    assert kubectl("apply", "-k", str(tmp_path)).count("configmap/shop-") == 2
    assert kubectl.get("configmap", "shop-own")["metadata"]["labels"] == {"of": "shop"}
    assert kubectl("diff", "-k", str(tmp_path)) == ""
    (tmp_path / "config.yaml").write_text(json.dumps(config("own", data={"a": "2"})))
    assert '+  a: "2"' in kubectl.run("diff", "-k", str(tmp_path)).stdout
    kubectl("delete", "-k", str(tmp_path))
    assert kubectl("get", "configmaps", "-o", "name") == ""


@pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client-side", "server-side"])
@pytest.mark.parametrize("parent", ["one", "configmaps/one"], ids=["secret", "configmap"])
def test_what_leaves_an_apply_set_is_pruned(kubectl: Kubectl, side: tuple[str, ...], parent: str) -> None:
    apply = ("apply", *side, "-f", "-", "--prune", f"--applyset={parent}")
    secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"x": "y"}}
    kubectl(*apply, stdin=listed(config("a"), config("b"), secret), KUBECTL_APPLYSET="true")
    kubectl("create", "configmap", "of-others")
    pruned = kubectl(*apply, stdin=listed(config("a")), KUBECTL_APPLYSET="true")
    assert "configmap/b pruned" in pruned and "secret/s pruned" in pruned
    names = kubectl("get", "configmaps", "-o", "name").split()
    assert {"configmap/a", "configmap/of-others"} <= set(names) and "configmap/b" not in names


@pytest.mark.parametrize("verb", [("create",), ("apply",), ("replace",), ("apply", "--server-side")])
def test_what_is_not_known_is_refused_told_or_dropped(kubectl: Kubectl, verb: tuple[str, ...]) -> None:
    if verb == ("replace",):
        kubectl("create", "configmap", "c")
    wrong = json.dumps(config("c", data={"a": "1"}, daat={"a": "1"}))
    side = verb[1:]
    told = kubectl(*verb, "--validate=strict", "-f", "-", stdin=wrong, fails=True)
    assert "field not declared in schema" in told if side else 'unknown field "daat"' in told
    for manner, complaint in (("warn", True), ("ignore", False)):
        if verb == ("create",):
            kubectl("delete", "configmap", "c", "--ignore-not-found")
        done = kubectl.run(*verb, f"--validate={manner}", "-f", "-", stdin=wrong)
        if side:  # what the schema does not have can't be applied at all
            assert done.returncode != 0 and "field not declared in schema" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            assert ('unknown field "daat"' in done.stderr) == complaint
            assert "daat" not in kubectl.get("configmap", "c")


def test_rights_are_brought_in_line_with_a_file(kubectl: Kubectl) -> None:
    def role(*verbs: str) -> str:
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}
        kind = {"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1"}
        return json.dumps({**kind, "metadata": {"name": "r", "namespace": kubectl.namespace}, "rules": [rule]})

    reconcile = ("auth", "reconcile", "-f", "-")
    assert "reconciliation required create" in kubectl.run(*reconcile, stdin=role("get", "list")).stderr
    kubectl(*reconcile, stdin=role("get"))
    assert [rule["verbs"] for rule in kubectl.get("role", "r")["rules"]] == [["get", "list"]]
    kubectl(*reconcile, "--remove-extra-permissions", stdin=role("get"))
    assert [rule["verbs"] for rule in kubectl.get("role", "r")["rules"]] == [["get"]]


def test_hundreds_of_objects_come_and_go(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=listed(*(config(f"c{number}") for number in range(500))))
    names = kubectl("get", "configmaps", "-l", "of=set", "-o", "name", "--chunk-size=150").split()
    assert len(names) == len(set(names)) == 500
    kubectl("label", "configmaps", "--all", "tier=front")
    assert kubectl("get", "configmaps", "-l", "tier=front", "--no-headers").count("\n") == 500
    kubectl("delete", "configmaps", "--all", "--wait=false")
    assert kubectl("get", "configmaps", "-o", "name") == ""
