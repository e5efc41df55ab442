"""Hundreds of nodes that run nothing, beside a real API server, controllers and scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, deletion_requested, get_path, name
from apimachinery.resources import DEPLOYMENTS, JOBS, LEASES, NODES, PODS, SECRETS, SERVICEACCOUNTS
from tests.support.apiserver import ApiServerProcess, running
from tests.support.hollow import HollowProcess, hollow_kubeconfig, hollow_nodes_of
from tests.support.manager import condition_status, managing, until
from tests.support.scheduler import scheduling

COUNT, REPLICAS = 200, 250
# Leases are renewed every two seconds, 100 of them a second.
RENEWING = "--node-lease-duration-seconds=8"
CONTROLLERS = (
    "--node-monitor-grace-period=6s",
    # A machine that is busy with much else must not make the only manager step down.
    "--leader-elect-lease-duration=30s",
    "--leader-elect-renew-deadline=25s",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("hollow")) as process:
        asyncio.run(process.wait_ready())
        with managing(process, *CONTROLLERS), scheduling(process):
            yield process


@pytest.fixture(scope="module", autouse=True)
def hollow(server: ApiServerProcess) -> Iterator[HollowProcess]:
    kubeconfig = asyncio.run(hollow_kubeconfig(server))
    with hollow_nodes_of(kubeconfig, COUNT, RENEWING) as process:
        yield process


def template(**spec: Any) -> Object:
    """What pods are made of, by their spec and their annotations."""
    about = {"labels": {"app": "web"}, "annotations": spec.pop("annotations", {})}
    return {"metadata": about, "spec": {"containers": [{"name": "app", "image": "web:1"}], **spec}}


def complete(web: Object | None) -> bool:
    status = (web or {}).get("status") or {}
    return [status.get(key, 0) for key in ("replicas", "readyReplicas", "availableReplicas")] == [REPLICAS] * 3


async def test_a_deployment_rolls_out_and_leaves_a_node_that_falls_silent(client: Client) -> None:
    await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
    nodes = await until(client, NODES, None, lambda found: len(found) == COUNT)
    assert all(get_path(node, "status", "allocatable", "pods") == "110" for node in nodes.values())
    tolerations = [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}}
    await client.create(DEPLOYMENTS, {**web, "spec": {**spec, "template": template(tolerations=tolerations)}})
    await until(client, DEPLOYMENTS, "default", lambda found: complete(found.get("web")))

    def all_run(found: dict[str, Object]) -> bool:
        ready = [pod for pod in found.values() if condition_status(pod, "Ready") == "True"]
        return len(ready) == REPLICAS == len({pod["status"]["podIP"] for pod in ready})

    pods = await until(client, PODS, "default", all_run)
    lost = next(pod["spec"]["nodeName"] for pod in pods.values() if condition_status(pod, "Ready") == "True")

    def on_lost(found: dict[str, Object]) -> list[Object]:
        return [pod for pod in found.values() if pod["spec"].get("nodeName") == lost]

    await client.patch(NODES, lost, {"metadata": {"annotations": {"hollow.wherry.io/silent": "true"}}})
    await until(client, NODES, None, lambda found: condition_status(found[lost], "Ready") == "Unknown")
    await until(client, PODS, "default", lambda found: all(deletion_requested(pod) for pod in on_lost(found)))
    await until(client, DEPLOYMENTS, "default", lambda found: complete(found.get("web")))
    # Nobody there has confirmed that they have ended.
    assert on_lost({name(pod): pod for pod in (await client.list(PODS, "default"))["items"]})

    await client.patch(NODES, lost, {"metadata": {"annotations": {"hollow.wherry.io/silent": None}}})
    await until(client, NODES, None, lambda found: condition_status(found[lost], "Ready") == "True")
    await until(client, PODS, "default", lambda found: not any(deletion_requested(pod) for pod in on_lost(found)))


@pytest.mark.parametrize(("code", "end"), [("0", "Complete"), ("3", "Failed")])
async def test_a_jobs_pods_end_as_their_annotations_say(client: Client, code: str, end: str) -> None:
    await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
    asked = {"hollow.wherry.io/run-duration": "100ms-300ms", "hollow.wherry.io/exit-code": code}
    pods = template(annotations=asked, restartPolicy="Never")
    which = f"exits-{code}"
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": which, "namespace": "default"}}
    spec = {"completions": 3, "parallelism": 3, "backoffLimit": 0, "template": pods}
    await client.create(JOBS, {**job, "spec": spec})
    await until(client, JOBS, "default", lambda found: condition_status(found[which], end) == "True")


async def test_another_process_takes_nodes_and_pods_over_as_they_are(client: Client, hollow: HollowProcess) -> None:
    await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)

    async def placed(which: str) -> Object:
        """A pod that runs on a certain node, and stays there even if that is missed for a while."""
        spec = {"nodeName": "hollow-7", "containers": [{"name": "app", "image": "web:1"}]}
        spec |= {"tolerations": [{"operator": "Exists"}]}
        await client.create(PODS, {"metadata": {"name": which}, "spec": spec}, "default")
        found = await until(client, PODS, "default", lambda pods: condition_status(pods[which], "Ready") == "True")
        return found[which]

    await until(client, NODES, None, lambda found: "hollow-7" in found)
    before = await placed("before")
    hollow.end()
    hollow.start()
    after = await placed("after")
    assert after["status"]["podIP"] != before["status"]["podIP"]
    now = await client.get(PODS, "before", "default")
    assert [now["status"][key] for key in ("podIP", "startTime", "containerStatuses")] == [
        before["status"][key] for key in ("podIP", "startTime", "containerStatuses")
    ]


async def test_the_process_may_be_nodes_and_nothing_more(client: Client, server: ApiServerProcess) -> None:
    async with await Client.connect(load(str(server.data_dir.parent / "hollow-nodes" / "kubeconfig"))) as hollow:
        for forbidden in (
            hollow.list(SECRETS, "kube-system"),
            hollow.get(LEASES, "kube-scheduler", "kube-system"),
            hollow.delete(NODES, "hollow-0"),
            hollow.create(PODS, {"metadata": {"name": "p"}, "spec": {}}, "default"),
            hollow.create(SERVICEACCOUNTS, {}, "default", name="default", subresource="token"),
        ):
            with pytest.raises(ApiError) as refused:
                await forbidden
            assert refused.value.code == 403
