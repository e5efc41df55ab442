"""DaemonSets as their users see them: a real API server, a real manager and scheduler, and pods that run at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiclient.rest import Client
from apimachinery.meta import Object, deletion_requested, name
from apimachinery.resources import CONTROLLERREVISIONS, DAEMONSETS, EVENTS, NAMESPACES, NODES, PODS
from controllers.pods import is_ready, node_name
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.clients import kubectl_on_path
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, node_agent, until
from tests.support.scheduler import scheduling

NODE_NAMES = ("node-a", "node-b", "node-c")
MANIFEST = REPOSITORY / "manifests" / "daemonset.yaml"
# Nobody lives on these nodes; that must not be what these tests are about.
FLAGS = ("--node-monitor-grace-period=1h", "--node-startup-grace-period=1h")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("daemonsets")) as process:
        asyncio.run(process.wait_ready())
        with managing(process, *FLAGS), scheduling(process):
            yield process


@pytest.fixture
async def nodes(client: Client) -> AsyncIterator[tuple[str, ...]]:
    """Three nodes of this test's."""
    for which in NODE_NAMES:
        await client.create(NODES, node(which))
    yield NODE_NAMES
    for found in (await client.list(NODES))["items"]:
        await client.delete(NODES, name(found))


@pytest.fixture
async def scope(client: Client, nodes: tuple[str, ...]) -> AsyncIterator[str]:
    """A namespace in which pods run at once."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "daemonsets-"}}
    namespace = name(await client.create(NAMESPACES, made))
    async with node_agent(client, namespace):
        yield namespace
        await client.delete(NAMESPACES, namespace)


def node(which: str, **labels: str) -> Object:
    capacity = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": which, "labels": {"kubernetes.io/os": "linux", **labels}},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def daemon_set(**rolling: Any) -> Object:
    made: Object = yaml.safe_load(MANIFEST.read_text())
    if rolling:
        made["spec"]["updateStrategy"]["rollingUpdate"] = rolling
    return made


async def rolled_out(client: Client, scope: str, count: int) -> Object:
    """Wait until all is as the newest template says on so many nodes."""

    def complete(found: dict[str, Object]) -> bool:
        one = found["watcher"]
        status = one.get("status") or {}
        fields = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady")
        counts = [status.get(key) for key in (*fields, "updatedNumberScheduled", "numberAvailable")]
        rest = (status.get("numberUnavailable"), status.get("numberMisscheduled"))
        seen = status.get("observedGeneration") == one["metadata"]["generation"]
        return seen and counts == [count] * 5 and rest in ((None, 0), (0, 0))

    return (await until(client, DAEMONSETS, scope, complete))["watcher"]


def bound(pods: dict[str, Object]) -> list[str]:
    return sorted(node_name(pod) for pod in pods.values() if not deletion_requested(pod))


def reasons(events: dict[str, Object]) -> set[str]:
    return {one["reason"] for one in events.values() if one["involvedObject"]["kind"] == "DaemonSet"}


async def test_every_node_gets_a_pod_that_the_scheduler_binds(client: Client, scope: str) -> None:
    await client.create(DAEMONSETS, daemon_set(), scope)
    await rolled_out(client, scope, 3)
    await until(client, PODS, scope, lambda pods: bound(pods) == list(NODE_NAMES))
    # A node that is cordoned when it comes gets one all the same; one of another system gets none.
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    await client.create(NODES, {**node("node-d"), "spec": {"unschedulable": True, "taints": [cordon]}})
    await client.create(NODES, node("node-w", **{"kubernetes.io/os": "windows"}))
    await rolled_out(client, scope, 4)
    await until(client, PODS, scope, lambda pods: bound(pods) == [*NODE_NAMES, "node-d"])
    taint = {"key": "broken", "effect": "NoExecute"}
    await client.patch(NODES, "node-a", {"spec": {"taints": [taint]}})
    await until(client, PODS, scope, lambda pods: bound(pods) == ["node-b", "node-c", "node-d"])
    await client.patch(NODES, "node-b", {"metadata": {"labels": {"kubernetes.io/os": None}}})
    await client.delete(NODES, "node-d")
    await rolled_out(client, scope, 1)


async def test_a_failed_pod_is_replaced_and_told_of(client: Client, scope: str) -> None:
    await client.create(DAEMONSETS, daemon_set(), scope)
    await rolled_out(client, scope, 3)
    pods = await until(client, PODS, scope, lambda pods: bound(pods) == list(NODE_NAMES))
    failed = next(iter(pods))
    await client.patch(PODS, failed, {"status": {"phase": "Failed", "conditions": []}}, scope, subresource="status")
    await until(client, PODS, scope, lambda pods: failed not in pods and bound(pods) == list(NODE_NAMES))
    told = await until(client, EVENTS, scope, lambda found: "FailedDaemonPod" in reasons(found))
    assert {"SuccessfulCreate", "SuccessfulDelete"} <= reasons(told)


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 1), (1, 0)])
async def test_an_update_keeps_to_its_limits_from_the_first_pod_to_the_last(
    client: Client, scope: str, surge: int, unavailable: int
) -> None:
    await client.create(DAEMONSETS, daemon_set(maxSurge=surge, maxUnavailable=unavailable), scope)
    await rolled_out(client, scope, 3)
    await until(client, PODS, scope, lambda pods: bound(pods) == list(NODE_NAMES))

    def within_limits(pods: dict[str, Object]) -> None:
        living = [pod for pod in pods.values() if not deletion_requested(pod)]
        assert len(living) <= 3 + surge
        assert sum(map(is_ready, living)) >= 3 - unavailable

    change = {"spec": {"template": {"metadata": {"labels": {"release": "2"}}}}}
    await client.patch(DAEMONSETS, "watcher", change, scope)
    updated = lambda pods: (  # noqa: E731
        len(pods) == 3 and all(pod["metadata"]["labels"].get("release") == "2" for pod in pods.values())
    )
    await until(client, PODS, scope, updated, seen=within_limits)
    await rolled_out(client, scope, 3)


async def test_kubectl_follows_shows_undoes_and_restarts_rollouts(
    client: Client, server: ApiServerProcess, scope: str, home: Path
) -> None:
    kubectl = Kubectl(kubectl_on_path(), server.kubeconfig, scope, home)

    async def run(*arguments: str) -> str:
        return await asyncio.to_thread(kubectl, *arguments)

    await run("apply", "-f", str(MANIFEST))
    assert "successfully rolled out" in await run("rollout", "status", "daemonset/watcher", "--timeout=40s")
    await run("annotate", "daemonset/watcher", "kubernetes.io/change-cause=another image")
    await run("set", "image", "daemonset/watcher", "watcher=watcher:2")
    await run("rollout", "status", "daemonset/watcher", "--timeout=40s")
    history = await run("rollout", "history", "daemonset/watcher")
    assert [line.split() for line in history.splitlines() if line.strip()][-2:] == [
        ["1", "<none>"],
        ["2", "another", "image"],
    ]
    assert "localhost/host" in await run("rollout", "history", "daemonset/watcher", "--revision=1")
    await run("rollout", "undo", "daemonset/watcher")
    await run("rollout", "status", "daemonset/watcher", "--timeout=40s")
    revisions = (await client.list(CONTROLLERREVISIONS, scope))["items"]
    assert sorted(one["revision"] for one in revisions) == [2, 3]
    found = await client.get(DAEMONSETS, "watcher", scope)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/host"
    await run("rollout", "restart", "daemonset/watcher")
    await run("rollout", "status", "daemonset/watcher", "--timeout=40s")
    await rolled_out(client, scope, 3)


async def test_who_keeps_the_pods_and_creates_the_daemon_set_again_has_them_adopted(
    client: Client, scope: str
) -> None:
    await client.create(DAEMONSETS, daemon_set(), scope)
    await rolled_out(client, scope, 3)
    before = await until(client, PODS, scope, lambda pods: bound(pods) == list(NODE_NAMES))
    await client.delete(DAEMONSETS, "watcher", scope, propagation_policy="Orphan")
    await until(client, DAEMONSETS, scope, lambda found: not found)
    await client.create(DAEMONSETS, daemon_set(), scope)
    await rolled_out(client, scope, 3)
    after = await until(client, PODS, scope, lambda pods: bound(pods) == list(NODE_NAMES))
    assert after.keys() == before.keys()
    assert len((await client.list(CONTROLLERREVISIONS, scope))["items"]) == 1
