"""Stock kubectl, the one on PATH and that of the served version, and custom resources."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.apiserver import REPOSITORY, ApiServerProcess
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl, in_new_namespace

GROUP = "shop.example.com"
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all, timers]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.selector
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec, description: When it runs.}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, jsonPath: .spec.image, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: CronTab runs an image again and again.
        required: [spec]
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [cronSpec]
            properties:
              cronSpec:
                type: string
                description: When it runs.
                pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'
              image: {type: string}
              replicas: {type: integer, minimum: 0, maximum: 10, default: 1}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, port: {x-kubernetes-int-or-string: true}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}}
"""
OBJECT = """
apiVersion: shop.example.com/v1
kind: CronTab
metadata: {name: nightly, labels: {team: a}}
spec: {cronSpec: "* * * * */5", image: "cron:1"}
"""


@pytest.fixture(params=[kubectl_on_path, kubectl_current], ids=["on-path", "current"])
def kubectl(request: pytest.FixtureRequest, server: ApiServerProcess, tmp_path: Path) -> Iterator[Kubectl]:
    find: Callable[[], str] = request.param
    made = in_new_namespace(find(), server.kubeconfig, tmp_path, account=False)
    assert made("apply", "-f", "-", stdin=DEFINITION).endswith("created\n")
    made("wait", "--for=condition=established", "--timeout=10s", f"crd/crontabs.{GROUP}")
    yield made
    made("delete", "-f", "-", stdin=DEFINITION)


def test_a_custom_resource_is_like_any_other(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=OBJECT) == "crontab.shop.example.com/nightly created\n"
    assert kubectl("apply", "-f", "-", stdin=OBJECT) == "crontab.shop.example.com/nightly unchanged\n"
    changed = OBJECT.replace("cron:1", "cron:2")
    assert "cron:2" in kubectl.run("diff", "-f", "-", stdin=changed).stdout
    assert kubectl("apply", "-f", "-", stdin=changed) == "crontab.shop.example.com/nightly configured\n"
    assert kubectl("get", "ct", "-o", "name") == "crontab.shop.example.com/nightly\n"
    head, row = kubectl.lines("get", "crontabs")
    assert head == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert row[:-1] == ["nightly", *["*", "*", "*", "*", "*/5"], "1"]
    head, row = kubectl.lines("get", "crontab.shop.example.com", "nightly", "-o", "wide")
    assert (head[3], row[-2]) == ("IMAGE", "cron:2")
    assert "nightly" in kubectl("get", "all") and "nightly" in kubectl("get", "timers", "-l", "team=a")
    assert "cron:2" in kubectl("describe", "ct", "nightly")
    assert kubectl("get", "ct", "nightly", "-o", "jsonpath={.spec.replicas}") == "1"
    kubectl("label", "ct/nightly", "team=b", "--overwrite")
    kubectl("annotate", "ct/nightly", "note=x")
    assert kubectl.get("ct", "nightly")["metadata"]["labels"] == {"team": "b"}
    kubectl("delete", "ct", "nightly")
    assert "not found" in kubectl("get", "ct", "nightly", fails=True)


def test_our_own_client_finds_it_by_all_its_names(kubectl: Kubectl, server: ApiServerProcess) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    environment = {**kubectl.environment, "KUBECONFIG": str(server.kubeconfig)}

    def kctl(*arguments: str) -> str:
        command = [sys.executable, "-m", "kctl", *arguments, "-n", kubectl.namespace]
        done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    for name in ("ct", "crontab", "crontabs", "CronTab", "crontabs.shop.example.com", "timers", "all"):
        assert "nightly" in kctl("get", name)
    assert "doesn't have a resource type" in kctl("get", "dogs")


def test_explain_and_api_resources_know_it(kubectl: Kubectl) -> None:
    told = kubectl("explain", "crontab.spec.cronSpec")
    assert "KIND:       CronTab" in told and "When it runs." in told
    told = kubectl.lines("explain", "ct.spec", "--recursive")
    assert {"cronSpec", "image", "ports", "replicas"} <= {line[0] for line in told}
    rows = kubectl.lines("api-resources", f"--api-group={GROUP}")
    assert rows[1] == ["crontabs", "ct", f"{GROUP}/v1", "true", "CronTab"]
    assert f"{GROUP}/v1" in kubectl("api-versions").split()


def test_scale_and_status_are_written_on_their_own(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    assert kubectl("scale", "--replicas=3", "ct/nightly").endswith("scaled\n")
    status = '{"status":{"replicas":3,"selector":"app=cron"}}'
    kubectl("patch", "ct/nightly", "--subresource=status", "--type=merge", "-p", status)
    scale = json.loads(kubectl("get", "ct/nightly", "--subresource=scale", "-o", "json"))
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 3, "selector": "app=cron"})
    assert "should be less than or equal to 10" in kubectl("scale", "--replicas=11", "ct/nightly", fails=True)
    kubectl("wait", "ct/nightly", "--for=jsonpath={.status.replicas}=3", "--timeout=5s")


def test_patches_of_two_kinds_are_taken(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    told = kubectl("patch", "ct/nightly", "-p", '{"spec":{"replicas":2}}', fails=True)
    assert "application/strategic-merge-patch+json is not supported by shop.example.com/v1, Kind=CronTab" in told
    kubectl("patch", "ct/nightly", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    kubectl("patch", "ct/nightly", "--type=json", "-p", '[{"op":"add","path":"/spec/ports","value":[{"name":"a"}]}]')
    spec = kubectl.get("ct", "nightly")["spec"]
    assert (spec["replicas"], spec["ports"]) == (2, [{"name": "a"}])


def test_what_is_wrong_is_told_field_by_field(kubectl: Kubectl) -> None:
    told = kubectl("apply", "-f", "-", stdin=OBJECT.replace("image:", "imagine: x, image:"), fails=True)
    assert 'unknown field "spec.imagine"' in told
    told = kubectl("apply", "-f", "-", stdin=OBJECT.replace('"* * * * */5"', '"never", replicas: 11'), fails=True)
    assert 'The CronTab "nightly" is invalid:' in told
    assert 'spec.cronSpec: Invalid value: "never": spec.cronSpec in body should match' in told
    assert "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10" in told
    twice = OBJECT.replace('image: "cron:1"', "ports: [{name: a}, {name: a}]")
    told = kubectl("apply", "-f", "-", stdin=twice, fails=True)
    assert 'spec.ports[1]: Duplicate value: {"name":"a"}' in told
    told = kubectl("apply", "--validate=false", "-f", "-", stdin=OBJECT.replace("cronSpec:", "cron:"), fails=True)
    assert "spec.cronSpec: Required value" in told


def test_a_watch_prints_rows_as_they_change(kubectl: Kubectl, server: ApiServerProcess) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    command = [*kubectl.command, "get", "ct", "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=kubectl.environment, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[0] == "NAME"
        assert watching.stdout.readline().split()[0] == "nightly"
        kubectl("scale", "--replicas=4", "ct/nightly")
        assert watching.stdout.readline().split()[-2] == "4"
        watching.kill()


def test_a_definition_is_described_and_edited(kubectl: Kubectl) -> None:
    head, row = kubectl.lines("get", "crd", f"crontabs.{GROUP}")
    assert (head, row[0]) == (["NAME", "CREATED", "AT"], f"crontabs.{GROUP}")
    assert "the initial names have been accepted" in kubectl("describe", "crd", f"crontabs.{GROUP}")
    kubectl("apply", "-f", "-", stdin=DEFINITION.replace("maximum: 10", "maximum: 20"))
    kubectl("apply", "-f", "-", stdin=OBJECT.replace("image:", "replicas: 15, image:"))
    wrong = DEFINITION.replace("plural: crontabs", "plural: cats")
    told = kubectl("apply", "--validate=false", "-f", "-", stdin=wrong, fails=True)
    assert 'spec.names.plural: Invalid value: "cats": field is immutable' in told


def test_an_object_is_edited_with_its_status_apart(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/replicas: 1/replicas: 2/' $1\n")
    editor.chmod(0o755)
    assert kubectl("edit", "ct/nightly", KUBE_EDITOR=str(editor)).endswith("edited\n")
    assert kubectl.get("ct", "nightly")["spec"]["replicas"] == 2
    kubectl("patch", "ct/nightly", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":1}}')
    kubectl("edit", "ct/nightly", "--subresource=status", KUBE_EDITOR=str(editor))
    found = kubectl.get("ct", "nightly")
    assert (found["status"]["replicas"], found["metadata"]["generation"]) == (2, 2)
    assert kubectl("replace", "--force", "-f", "-", stdin=OBJECT).endswith("replaced\n")
    assert "status" not in kubectl.get("ct", "nightly")


def test_managers_who_apply_share_lists_that_are_maps(kubectl: Kubectl) -> None:
    def apply(who: str, ports: str, *flags: str, fails: bool = False) -> str:
        stdin = OBJECT.replace('image: "cron:1"', f"ports: [{ports}]")
        return kubectl(
            "apply", "--server-side", f"--field-manager={who}", *flags, "-f", "-", stdin=stdin, fails=fails
        )

    assert apply("one", "{name: a, port: 1}, {name: b, port: http}").endswith("serverside-applied\n")
    apply("two", "{name: c, port: 3}")
    assert [port["name"] for port in kubectl.get("ct", "nightly")["spec"]["ports"]] == ["a", "b", "c"]
    told = apply("two", "{name: a, port: 9}", fails=True)
    assert 'conflict with "one": .spec.ports[name="a"].port' in told
    apply("two", "{name: a, port: 9}", "--force-conflicts")
    apply("one", "{name: b, port: http}")
    assert kubectl.get("ct", "nightly")["spec"]["ports"] == [{"name": "a", "port": 9}, {"name": "b", "port": "http"}]
    managed = json.loads(kubectl("get", "ct/nightly", "-o", "json", "--show-managed-fields"))["metadata"][
        "managedFields"
    ]
    owned = {entry["manager"]: entry["fieldsV1"]["f:spec"]["f:ports"] for entry in managed}
    assert {who: sorted(ports) for who, ports in owned.items()} == {
        "one": ['k:{"name":"b"}'],
        "two": ['k:{"name":"a"}'],
    }


def test_what_happens_to_an_object_is_described_with_it(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=OBJECT)
    metadata = kubectl.get("ct", "nightly")["metadata"]
    regarding = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "name": "nightly", "namespace": kubectl.namespace}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "nightly.1"},
        "involvedObject": {**regarding, "uid": metadata["uid"]},
        "reason": "Ran",
        "message": "it has run once",
        "type": "Normal",
        "source": {"component": "crond"},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert "it has run once" in kubectl("describe", "ct", "nightly")
    assert "CronTab/nightly" in kubectl("events", "--for=crontab/nightly")
