"""kctl against an API server: which objects its commands are about, and the flags it shares with kubectl."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.resources import CONFIGMAPS, DEPLOYMENTS, PODS
from kctl.main import main
from tests.support.apiserver import ApiServerProcess

CONTAINER = {"name": "app", "image": "web:1"}


class Kctl:
    """kctl in this very process, in one namespace."""

    def __init__(self, server: ApiServerProcess, scope: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._where = ["--kubeconfig", str(server.kubeconfig), "-n", scope]
        self._capsys = capsys

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What it prints; what it complains of if its exit status is another than 0."""
        self._capsys.readouterr()
        outcome: list[int] = []
        # A command has an event loop of its own, as the test has.
        thread = threading.Thread(target=lambda: outcome.append(main([arguments[0], *self._where, *arguments[1:]])))
        thread.start()
        thread.join(timeout=60)
        told = self._capsys.readouterr()
        assert outcome == [status], told.out + told.err
        return told.err if status else told.out


@pytest.fixture
def kctl(server: ApiServerProcess, scope: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Kctl]:
    yield Kctl(server, scope, capsys)


async def config(client: Client, scope: str, *names: str, **labels: str) -> None:
    for name in names:
        await client.create(CONFIGMAPS, {"metadata": {"name": name, "labels": labels}, "data": {"key": name}}, scope)


async def pod(client: Client, scope: str, name: str, *, ready: bool = False) -> None:
    await client.create(PODS, {"metadata": {"name": name}, "spec": {"containers": [CONTAINER]}}, scope)
    if ready:
        patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(PODS, name, patch, scope, kind="strategic", subresource="status")


async def test_all_objects_of_a_type_are_waited_for(kctl: Kctl, client: Client, scope: str) -> None:
    for name in ("a", "b"):
        await pod(client, scope, name, ready=True)
    assert kctl("wait", "pods", "--all", "--for=condition=Ready") == "pod/a condition met\npod/b condition met\n"
    assert "name the objects, or say --all" in kctl("wait", "pods", "--for=condition=Ready", status=2)


async def test_what_is_not_there_is_waited_for_to_be_created_only(kctl: Kctl, client: Client, scope: str) -> None:
    assert 'pods "a" not found' in kctl("wait", "pod/a", "--for=condition=Ready", status=1)
    assert "no matching resources found" in kctl("wait", "pods", "--all", "--for=condition=Ready", status=1)
    assert kctl("wait", "pod/a", "--for=delete") == "pod/a deleted\n"
    assert kctl("wait", "pods", "--all", "--for=delete") == ""
    assert "timed out waiting for create on pod/a" in kctl(
        "wait", "pod/a", "--for=create", "--timeout=0.1s", status=1
    )


async def test_without_a_timeout_it_is_looked_once(kctl: Kctl, client: Client, scope: str) -> None:
    await pod(client, scope, "a")
    assert "is not met by pod/a" in kctl("wait", "pod/a", "--for=condition=Ready", "--timeout=0", status=1)
    assert "condition met" in kctl("wait", "pod/a", "--for=jsonpath={.status.phase}=Pending", "--timeout=0")


async def test_objects_are_chosen_by_labels_fields_files_and_across_namespaces(
    kctl: Kctl, client: Client, scope: str, tmp_path: Any
) -> None:
    await config(client, scope, "one", "two", part="this")
    await config(client, scope, "three", part="that")
    by_file = tmp_path / "three.json"
    by_file.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "three"}}))
    exists = ("--for=create", "--timeout=30s")
    assert kctl("wait", "-f", str(by_file), *exists) == "configmap/three condition met\n"
    assert kctl("delete", "configmaps", "-l", "part=this", "--field-selector=metadata.name=two") == (
        'configmap "two" deleted\n'
    )
    assert kctl("delete", "configmaps", "-A", "-l", "part=this", "-o", "name") == "configmap/one\n"
    assert "not by both" in kctl("delete", "pods", "-f", str(by_file), status=2)
    assert "a name goes with neither" in kctl("delete", "pod", "a", "--all", status=2)
    assert kctl("delete", "-f", str(by_file), "--wait=false") == 'configmap "three" deleted\n'


async def test_many_are_scaled_at_once(kctl: Kctl, client: Client, scope: str) -> None:
    for name in ("a", "b"):
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        await client.create(DEPLOYMENTS, {"metadata": {"name": name, "labels": labels}, "spec": spec}, scope)
    told = kctl("scale", "deployments", "--all", "--replicas=3")
    assert told == "deployment.apps/a scaled\ndeployment.apps/b scaled\n"
    kctl("scale", "deployments", "-l", "app=b", "--replicas=5")
    found = (await client.list(DEPLOYMENTS, scope))["items"]
    assert [item["spec"]["replicas"] for item in found] == [3, 5]


async def test_labels_and_types_are_shown_in_tables(kctl: Kctl, client: Client, scope: str) -> None:
    await config(client, scope, "one", app="web", tier="front")
    await client.create(CONFIGMAPS, {"metadata": {"name": "two"}}, scope)
    heading, one, two = kctl("get", "configmaps", "--show-labels", "-L", "tier,app").splitlines()
    assert heading.split() == ["NAME", "DATA", "AGE", "TIER", "APP", "LABELS"]
    assert one.split()[3:] == ["front", "web", "app=web,tier=front"]
    assert two.split()[3:] == ["<none>"]
    assert kctl("get", "configmap", "one", "--show-kind", "--no-headers").startswith("configmap/one ")


async def test_what_is_not_there_may_be_no_error(kctl: Kctl) -> None:
    assert 'configmaps "no" not found' in kctl("get", "configmap", "no", status=1)
    assert kctl("get", "configmap", "no", "--ignore-not-found") == ""
    assert kctl("get", "configmap", "no", "-o", "json", "--ignore-not-found") == ""


async def test_events_may_be_left_out(kctl: Kctl, client: Client, scope: str) -> None:
    await config(client, scope, "one")
    assert "Events:" in kctl("describe", "configmap", "one")
    assert "Events:" not in kctl("describe", "configmap", "one", "--show-events=false")
    assert "Name:         one\n" in kctl("describe", "configmaps", "-A")


async def test_the_server_may_do_the_merging(kctl: Kctl, client: Client, scope: str, tmp_path: Any) -> None:
    file = tmp_path / "one.json"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"key": "mine"}}
    file.write_text(json.dumps(body))
    assert kctl("apply", "--server-side", "-f", str(file)) == "configmap/one serverside-applied\n"
    await client.patch(CONFIGMAPS, "one", {"data": {"key": "theirs"}}, scope)
    assert "conflict" in kctl("apply", "--server-side", "-f", str(file), status=1)
    kctl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    assert (await client.get(CONFIGMAPS, "one", scope))["data"] == {"key": "mine"}
    assert "is for --server-side" in kctl("apply", "--force-conflicts", "-f", str(file), status=2)
