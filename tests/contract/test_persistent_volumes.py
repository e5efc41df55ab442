"""Claims and volumes as stock kubectl sees them, beside a real API server and its controllers; no node is needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.persistent_volumes import LOCAL_PATH, LOCAL_PATH_FINALIZER, LOCAL_PATH_NODE_LABEL, SELECTED_NODE
from apimachinery.resources import (
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, until

CLAIM: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("volumes")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "volumes-"}})
    return str(made["metadata"]["name"])


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, tmp_path)


def volume(name: str, **more: Any) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "hostPath": {"path": "/x"}, **more}
    return {"metadata": {"name": name}, "spec": spec}


async def in_phase(client: Client, scope: str, name: str, phase: str) -> None:
    def is_so(found: dict[str, Object]) -> bool:
        return name in found and found[name]["status"]["phase"] == phase

    await until(client, PERSISTENTVOLUMES if not scope else PERSISTENTVOLUMECLAIMS, scope or None, is_so)


async def test_a_claim_finds_a_volume_and_leaves_it_released(client: Client, scope: str, kubectl: Kubectl) -> None:
    await client.create(PERSISTENTVOLUMES, volume(scope, storageClassName=scope))
    spec = {**CLAIM, "storageClassName": scope}
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": spec}, scope)
    await in_phase(client, scope, "data", "Bound")
    shown = await asyncio.to_thread(kubectl, "get", "pvc", "data", "--no-headers")
    assert shown.split()[:6] == ["data", "Bound", scope, "2Gi", "RWO", scope]
    bound = (await client.get(PERSISTENTVOLUMES, scope))["status"]
    assert bound["phase"] == "Bound" and bound["lastPhaseTransitionTime"]
    await asyncio.to_thread(kubectl, "delete", "pvc", "data")
    await in_phase(client, "", scope, "Released")
    shown = await asyncio.to_thread(kubectl, "get", "pv", scope, "--no-headers")
    assert shown.split()[:6] == [scope, "2Gi", "RWO", "Retain", "Released", f"{scope}/data"]
    # The way in which an owner gives a volume back for others.
    await asyncio.to_thread(kubectl, "patch", "pv", scope, "-p", '{"spec":{"claimRef":null}}')
    await in_phase(client, "", scope, "Available")


async def test_a_claim_that_asks_for_more_is_told_who_has_to_see_to_that(
    client: Client, scope: str, kubectl: Kubectl
) -> None:
    grows = {"metadata": {"name": scope}, "provisioner": "example.com/disks", "allowVolumeExpansion": True}
    await client.create(STORAGECLASSES, grows)
    await client.create(PERSISTENTVOLUMES, volume(scope, storageClassName=scope))
    spec = {**CLAIM, "storageClassName": scope}
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": spec}, scope)
    await in_phase(client, scope, "data", "Bound")
    more = {"spec": {"resources": {"requests": {"storage": "8Gi"}}}}
    await client.patch(PERSISTENTVOLUMECLAIMS, "data", more, scope)
    told = lambda found: any(one["reason"] == "ExternalExpanding" for one in found.values())  # noqa: E731
    await until(client, EVENTS, scope, told)


async def test_what_can_be_deleted_by_nobody_says_so(client: Client, scope: str, kubectl: Kubectl) -> None:
    made = volume(scope, storageClassName=scope, persistentVolumeReclaimPolicy="Delete")
    await client.create(PERSISTENTVOLUMES, made)
    spec = {**CLAIM, "storageClassName": scope}
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": spec}, scope)
    await in_phase(client, scope, "data", "Bound")
    await asyncio.to_thread(kubectl, "delete", "pvc", "data")
    await in_phase(client, "", scope, "Failed")
    assert "no deletable volume plugin matched" in await asyncio.to_thread(kubectl, "describe", "pv", scope)


async def test_a_claim_of_the_default_class_is_described(client: Client, scope: str, kubectl: Kubectl) -> None:
    await client.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": CLAIM}, scope)
    waiting = "waiting for first consumer to be created before binding"
    while waiting not in (described := await asyncio.to_thread(kubectl, "describe", "pvc", "data")):
        assert "Status:        Pending" in described
    assert "StorageClass:  local-path" in described
    await client.create(NODES, {"metadata": {"name": scope, "labels": {"kubernetes.io/hostname": scope}}})
    await asyncio.to_thread(kubectl, "annotate", "pvc", "data", f"{SELECTED_NODE}={scope}")
    await in_phase(client, scope, "data", "Bound")
    refused = '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'
    told = await asyncio.to_thread(kubectl, "patch", "pvc", "data", "-p", refused, fails=True)
    assert "only dynamically provisioned pvc can be resized" in told, "a folder has no size that could grow"


async def test_a_node_says_what_it_has_of_its_own_volumes_and_nothing_of_others(
    client: Client, scope: str, kubectl: Kubectl
) -> None:
    node = ("--as", "system:node:n1", "--as-group", "system:nodes")
    csi = {"driver": LOCAL_PATH, "volumeHandle": scope}
    for name, where in ((scope, "n1"), (f"{scope}-2", "n2")):
        made = volume(name, csi={**csi, "volumeHandle": name}, hostPath=None, storageClassName=scope)
        made["metadata"]["labels"] = {LOCAL_PATH_NODE_LABEL: where}
        await client.create(PERSISTENTVOLUMES, made)
    selector = f"{LOCAL_PATH_NODE_LABEL}=n1"
    listed = await asyncio.to_thread(kubectl, "get", "pv", "-l", selector, "-o", "json", *node)
    assert [one["metadata"]["name"] for one in json.loads(listed)["items"]] == [scope]
    await asyncio.to_thread(kubectl, "get", "pv", *node, fails=True)
    holds = json.dumps({"metadata": {"finalizers": ["kubernetes.io/pv-protection", LOCAL_PATH_FINALIZER]}})
    await asyncio.to_thread(kubectl, "patch", "pv", scope, "--type=merge", "-p", holds, *node)
    for name, patch in (
        (f"{scope}-2", holds),
        (scope, '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}'),
        (scope, '{"metadata":{"finalizers":null}}'),
    ):
        told = await asyncio.to_thread(kubectl, "patch", "pv", name, "--type=merge", "-p", patch, *node, fails=True)
        assert "forbidden" in told
    freed = json.dumps({"metadata": {"finalizers": ["kubernetes.io/pv-protection"]}})
    await asyncio.to_thread(kubectl, "patch", "pv", scope, "--type=merge", "-p", freed, *node)


async def test_a_default_class_that_was_removed_stays_away(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        await server.wait_ready()
        async with await server.client() as client:
            (made,) = (await client.list(STORAGECLASSES))["items"]
            assert (made["metadata"]["name"], made["provisioner"]) == ("local-path", LOCAL_PATH)
            assert made["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
            await client.delete(STORAGECLASSES, "local-path")
        server.kill()
        server.start()
        await server.wait_ready()
        async with await server.client() as client:
            assert not (await client.list(STORAGECLASSES))["items"]
