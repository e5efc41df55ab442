"""What kubectl changes of objects that are there: edit, patch, diff, replace, set, label and annotate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace

CONFIG = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c, labels: {a: b}}\ndata: {x: '%s'}\n"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "a:1"}
      - {name: b, image: "b:1"}
"""


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, home: Path) -> Kubectl:
    find: Callable[[], str] = request.param
    run = in_new_namespace(find(), server.kubeconfig, home)
    run("create", "-f", "-", stdin=f"{DEPLOYMENT}---\n{CONFIG % '1'}")
    return run


def editor(folder: Path, script: str) -> str:
    """An editor that does one thing with the file that it is given, as $1."""
    file = folder / "editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_edit_saves_what_the_editor_leaves(kubectl: Kubectl, tmp_path: Path) -> None:
    script = editor(tmp_path, "sed -i 's/replicas: 1/replicas: 4/; s/image: a:1/image: a:2/' $1")
    assert kubectl("edit", "deployment", "web", KUBE_EDITOR=script) == "deployment.apps/web edited\n"
    spec = kubectl.get("deployment", "web")["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (4, "a:2")
    untouched = editor(tmp_path, "true")
    assert "Edit cancelled" in kubectl.run("edit", "deployment", "web", KUBE_EDITOR=untouched).stderr


def test_edit_asks_again_when_the_server_refuses(kubectl: Kubectl, tmp_path: Path) -> None:
    # The first time a number that is not allowed; when it is shown again with the reason on top, a good one.
    script = editor(
        tmp_path,
        "grep -q 'must be greater than or equal to 0' $1 && n=3 || n=-3; sed -i \"s/replicas: .*/replicas: $n/\" $1",
    )
    assert "deployment.apps/web edited" in kubectl("edit", "deployment", "web", KUBE_EDITOR=script)
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 3


def test_the_three_patches(kubectl: Kubectl) -> None:
    kubectl(
        "patch",
        "deployment",
        "web",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"b","image":"b:2"}]}}}}',
    )
    images = [c["image"] for c in kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"]]
    assert images == ["a:1", "b:2"]
    kubectl("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"x":null,"y":"2"}}')
    assert kubectl.get("configmap", "c")["data"] == {"y": "2"}
    test_and_set = '[{"op":"test","path":"/data/y","value":"2"},{"op":"replace","path":"/data/y","value":"3"}]'
    assert kubectl("patch", "configmap", "c", "--type=json", "-p", test_and_set) == "configmap/c patched\n"
    told = kubectl("patch", "configmap", "c", "--type=json", "-p", test_and_set, fails=True)
    assert "the server rejected our request due to an error in our request" in told or "test failed" in told
    assert kubectl("patch", "configmap", "c", "-p", "{}") == "configmap/c patched (no change)\n"


def test_a_subresource_can_be_patched(kubectl: Kubectl) -> None:
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":7}}')
    kubectl("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":5}}')
    web = kubectl.get("deployment", "web")
    assert (web["spec"]["replicas"], web["status"]["replicas"]) == (5, 7)
    scale = kubectl.get("deployment", "web", "--subresource=scale")
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 5)
    head, row = kubectl.lines("get", "deployment", "web", "--subresource=scale")
    assert (head, row[:3]) == (["NAME", "DESIRED", "AVAILABLE", "AGE"], ["web", "5", "7"])


def test_diff_shows_what_apply_would_change(kubectl: Kubectl) -> None:
    same = kubectl.run("diff", "-f", "-", stdin=CONFIG % "1")
    assert (same.returncode, same.stdout) == (0, "")
    other = kubectl.run("diff", "-f", "-", stdin=CONFIG % "2")
    assert other.returncode == 1
    assert '-  x: "1"' in other.stdout and '+  x: "2"' in other.stdout
    assert kubectl.get("configmap", "c")["data"] == {"x": "1"}


def test_replace_takes_the_place_of_all_that_was_there(kubectl: Kubectl) -> None:
    uid = kubectl.get("configmap", "c")["metadata"]["uid"]
    plain = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\ndata: {z: '1'}"
    assert kubectl("replace", "-f", "-", stdin=plain) == "configmap/c replaced\n"
    found = kubectl.get("configmap", "c")
    assert (found["data"], found["metadata"].get("labels"), found["metadata"]["uid"]) == ({"z": "1"}, None, uid)
    kubectl("replace", "--force", "-f", "-", stdin=plain)
    assert kubectl.get("configmap", "c")["metadata"]["uid"] != uid
    none = plain.replace("name: c", "name: none")
    assert "not found" in kubectl("replace", "-f", "-", stdin=none, fails=True)


def test_set_changes_single_things_of_pods(kubectl: Kubectl) -> None:
    kubectl("set", "image", "deployment/web", "a=a:3", "b=b:3")
    kubectl("set", "env", "deployment/web", "-c", "a", "ONE=1", "TWO=2")
    kubectl("set", "env", "deployment/web", "-c", "a", "TWO-")
    kubectl("set", "resources", "deployment/web", "-c", "b", "--requests=cpu=100m", "--limits=cpu=1")
    kubectl("set", "serviceaccount", "deployment/web", "default")
    spec = kubectl.get("deployment", "web")["spec"]["template"]["spec"]
    first, second = spec["containers"]
    assert (first["image"], second["image"]) == ("a:3", "b:3")
    assert first["env"] == [{"name": "ONE", "value": "1"}]
    assert second["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}
    assert spec["serviceAccountName"] == "default"


def test_labels_and_annotations_come_and_go(kubectl: Kubectl) -> None:
    kubectl("label", "configmap", "c", "tier=front", "a-")
    told = kubectl("label", "configmap", "c", "tier=back", fails=True)
    assert "already has a value (front), and --overwrite is false" in told
    kubectl("label", "configmaps", "--all", "--overwrite", "tier=back")
    kubectl("annotate", "configmap", "c", "note=a, b")
    metadata = kubectl.get("configmap", "c")["metadata"]
    assert (metadata["labels"], metadata["annotations"]["note"]) == ({"tier": "back"}, "a, b")
    assert kubectl("get", "configmap", "-l", "tier in (back),!a", "-o", "name") == "configmap/c\n"


def test_apply_keeps_what_others_have_set_and_prunes_what_is_gone(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=CONFIG % "1")
    kubectl("label", "configmap", "c", "mine=yes")
    kubectl("scale", "deployment", "web", "--replicas=3")
    without = CONFIG.replace("labels: {a: b}", "labels: {}") % "2"
    assert kubectl("apply", "-f", "-", stdin=without) == "configmap/c configured\n"
    found = kubectl.get("configmap", "c")
    assert (found["metadata"]["labels"], found["data"]) == ({"mine": "yes"}, {"x": "2"})
    two = f"{CONFIG % '1'}\n---\n{(CONFIG % '1').replace('name: c', 'name: d')}"
    kubectl("apply", "-l", "a=b", "-f", "-", stdin=two)
    arguments = ("--prune", "-l", "a=b", "--prune-allowlist=core/v1/ConfigMap")
    assert "configmap/d pruned" in kubectl("apply", *arguments, "-f", "-", stdin=CONFIG % "1")
    last = kubectl("apply", "view-last-applied", "configmap/c", "-o", "yaml")
    assert 'x: "1"' in last


def test_deletion_policies(kubectl: Kubectl) -> None:
    for policy, finalizer in (("foreground", "foregroundDeletion"), ("orphan", "orphan")):
        name = f"c-{policy}"
        kubectl("create", "configmap", name)
        kubectl("delete", "configmap", name, f"--cascade={policy}", "--wait=false")
        assert kubectl.get("configmap", name)["metadata"]["finalizers"] == [finalizer]
    kubectl("delete", "configmap", "-l", "a=b")
    assert "not found" in kubectl("get", "configmap", "c", fails=True)
    assert "deleted" in kubectl("delete", "deployment", "web", "--dry-run=server")
    kubectl.get("deployment", "web")
