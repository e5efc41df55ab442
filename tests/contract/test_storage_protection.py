"""Claims and volumes that are deleted while they are used: they go when nobody uses them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiclient.rest import Client
from apimachinery.meta import deletion_requested
from apimachinery.resources import (
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    SERVICEACCOUNTS,
    VOLUMEATTRIBUTESCLASSES,
)
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("protection")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test, with the service account that pods need."""
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "protection-"}})
    name: str = made["metadata"]["name"]
    await until(client, SERVICEACCOUNTS, name, lambda found: "default" in found)
    return name


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, tmp_path)


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def test_a_claim_waits_for_its_pod(client: Client, scope: str, kubectl: Kubectl) -> None:
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": CLAIM}, scope)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [volume], "nodeName": "somewhere"}
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, scope)
    await asyncio.to_thread(kubectl, "delete", "pvc", "data", "--wait=false")
    going = await client.get(PERSISTENTVOLUMECLAIMS, "data", scope)
    assert deletion_requested(going)
    assert going["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    shown = await asyncio.to_thread(kubectl.lines, "get", "pvc", "data")
    assert shown[1][1] == "Terminating"
    await client.delete(PODS, "p", scope, grace_period_seconds=0)
    await until(client, PERSISTENTVOLUMECLAIMS, scope, lambda found: not found)


async def test_what_nobody_uses_goes_at_once(client: Client, scope: str, kubectl: Kubectl) -> None:
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": CLAIM}, scope)
    volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}
    await client.create(PERSISTENTVOLUMES, {"metadata": {"name": scope}, "spec": volume})
    await asyncio.to_thread(kubectl, "delete", "pvc/data", f"pv/{scope}", "--timeout=30s")
    assert not (await client.list(PERSISTENTVOLUMECLAIMS, scope))["items"]


async def test_a_namespace_goes_with_all_its_claims(client: Client, scope: str, kubectl: Kubectl) -> None:
    for number in range(20):
        named = {"metadata": {"name": f"data-{number}"}, "spec": CLAIM}
        await client.create(PERSISTENTVOLUMECLAIMS, named, scope)
    await asyncio.to_thread(kubectl, "delete", "namespace", scope, "--timeout=30s")


async def test_a_class_of_attributes_waits_for_its_claims(client: Client, scope: str, kubectl: Kubectl) -> None:
    made = {"metadata": {"name": scope}, "driverName": "csi.example.com", "parameters": {"iops": "1"}}
    await client.create(VOLUMEATTRIBUTESCLASSES, made)
    spec = {**CLAIM, "volumeAttributesClassName": scope}
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": spec}, scope)
    await asyncio.to_thread(kubectl, "delete", "vac", scope, "--wait=false")
    going = await client.get(VOLUMEATTRIBUTESCLASSES, scope)
    assert deletion_requested(going) and going["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    await asyncio.to_thread(kubectl, "delete", "pvc", "data")
    await asyncio.to_thread(kubectl, "wait", "vac", scope, "--for=delete", "--timeout=30s")
