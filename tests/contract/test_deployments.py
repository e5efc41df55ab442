"""Deployments as their users see them: a real API server, a real manager, and pods that get ready at once."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, annotations, deletion_requested, find_condition, get_path, labels, name
from apimachinery.resources import DEPLOYMENTS, EVENTS, NAMESPACES, NODES, PODS, REPLICASETS
from controllers.deployment_revision import HASH_LABEL, REVISION, ROLLBACK_TO
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_on_path
from tests.support.manager import managing, node_agent, until

KUBECTL_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("deployments")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client, request: pytest.FixtureRequest) -> str:
    """A namespace for one test."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "deployments-"}}
    return name(await client.create(NAMESPACES, made))


def deployment(scope: str, *, replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    pod_spec = {"containers": [{"name": "app", "image": image}], **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": scope},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


async def set_image(client: Client, scope: str, image: str) -> Object:
    change = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
    return await client.patch(DEPLOYMENTS, "web", change, scope, kind="strategic")


def complete(web: Object | None) -> bool:
    if web is None:
        return False
    status, wanted = web.get("status") or {}, web["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return counts == [wanted] * 4 and status.get("observedGeneration") == web["metadata"]["generation"]


async def rolled_out(client: Client, scope: str) -> Object:
    return (await until(client, DEPLOYMENTS, scope, lambda found: complete(found.get("web"))))["web"]


def image_of(obj: Object) -> str:
    spec = obj["spec"]["template"]["spec"] if "template" in obj["spec"] else obj["spec"]
    image: str = spec["containers"][0]["image"]
    return image


def sizes(replica_sets: dict[str, Object]) -> dict[str, int]:
    return {image_of(one): one["spec"]["replicas"] for one in replica_sets.values()}


async def test_a_deployment_brings_up_its_pods_and_says_so(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope))
        web = await rolled_out(client, scope)
    assert annotations(web)[REVISION] == "1"
    progressing, available = find_condition(web, "Progressing"), find_condition(web, "Available")
    assert progressing is not None and progressing["reason"] == "NewReplicaSetAvailable"
    assert available is not None and available["status"] == "True"
    [owner] = (await client.list(REPLICASETS, scope))["items"]
    pods = (await client.list(PODS, scope))["items"]
    assert {labels(pod)[HASH_LABEL] for pod in pods} == {labels(owner)[HASH_LABEL]}
    assert all(name(pod).startswith(f"{name(owner)}-") for pod in pods)


async def test_a_rollout_keeps_to_its_limits_from_the_first_pod_to_the_last(client: Client, scope: str) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, replicas=6, strategy=rolling))
        await rolled_out(client, scope)

        def within_limits(pods: dict[str, Object]) -> None:
            living = [pod for pod in pods.values() if not deletion_requested(pod)]
            ready = [pod for pod in living if (find_condition(pod, "Ready") or {}).get("status") == "True"]
            assert len(living) <= 8
            assert len(ready) >= 5

        await set_image(client, scope, "web:2")
        finished = lambda pods: len(pods) == 6 and {image_of(p) for p in pods.values()} == {"web:2"}  # noqa: E731
        await until(client, PODS, scope, finished, seen=within_limits)
        web = await rolled_out(client, scope)
    assert annotations(web)[REVISION] == "2"
    assert sizes({name(one): one for one in (await client.list(REPLICASETS, scope))["items"]}) == {
        "web:1": 0,
        "web:2": 6,
    }


async def test_a_rollback_makes_the_earlier_replica_set_the_newest_revision(
    client: Client, scope: str, server: ApiServerProcess
) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope))
        await rolled_out(client, scope)
        [first] = (await client.list(REPLICASETS, scope))["items"]
        await set_image(client, scope, "web:2")
        await rolled_out(client, scope)
        await kubectl(server, scope, "rollout", "undo", "deployment/web")
        told = await kubectl(server, scope, "rollout", "status", "deployment/web", "--timeout=40s")
        web = await rolled_out(client, scope)
    assert "successfully rolled out" in told
    assert image_of(web) == "web:1" and annotations(web)[REVISION] == "3"
    found = {name(one): one for one in (await client.list(REPLICASETS, scope))["items"]}
    assert annotations(found[name(first)])[REVISION] == "3" and len(found) == 2
    history = await kubectl(server, scope, "rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]


async def test_an_old_clients_request_rolls_back_to_the_revision_that_it_names(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope))
        await rolled_out(client, scope)
        await set_image(client, scope, "web:2")
        await rolled_out(client, scope)
        await client.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": {ROLLBACK_TO: "0"}}}, scope)

        def is_back(found: dict[str, Object]) -> bool:
            return image_of(found["web"]) == "web:1" and complete(found["web"])

        web = (await until(client, DEPLOYMENTS, scope, is_back))["web"]
    assert annotations(web)[REVISION] == "3" and ROLLBACK_TO not in annotations(web)


async def kubectl(server: ApiServerProcess, scope: str, *args: str) -> str:
    command = [kubectl_on_path(), "--kubeconfig", str(server.kubeconfig), "-n", scope, *args]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=KUBECTL_SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_paused_deployment_is_scaled_but_rolls_only_when_resumed(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, replicas=2))
        await rolled_out(client, scope)
        await client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "replicas": 4}}, scope)
        await set_image(client, scope, "web:2")
        await until(client, REPLICASETS, scope, lambda found: sizes(found) == {"web:1": 4})
        paused = lambda found: (find_condition(found["web"], "Progressing") or {}).get("reason")  # noqa: E731
        await until(client, DEPLOYMENTS, scope, lambda found: paused(found) == "DeploymentPaused")
        await client.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, scope)
        await until(client, REPLICASETS, scope, lambda found: sizes(found) == {"web:1": 0, "web:2": 4})
        await rolled_out(client, scope)


async def test_a_scaled_deployment_shares_the_change_among_revisions_that_roll(client: Client, scope: str) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, replicas=10, strategy=rolling))
        await rolled_out(client, scope)
    # No new pod becomes ready any more: the rollout halts half-way, as in the documentation's example.
    await set_image(client, scope, "web:2")
    await until(client, REPLICASETS, scope, lambda found: sizes(found) == {"web:1": 8, "web:2": 5})
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 15}}, scope)
    await until(client, REPLICASETS, scope, lambda found: sizes(found) == {"web:1": 11, "web:2": 7})


async def test_a_recreate_ends_all_old_pods_before_it_starts_a_new_one(client: Client, scope: str) -> None:
    metadata = {"generateName": "recreate-"}
    node = name(await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata}))
    web = deployment(scope, strategy={"type": "Recreate"}, pod={"nodeName": node})
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, web)
        await rolled_out(client, scope)

        def never_both(pods: dict[str, Object]) -> None:
            assert len({image_of(pod) for pod in pods.values()}) <= 1  # pods that are ending count too

        await set_image(client, scope, "web:2")
        finished = lambda pods: len(pods) == 3 and {image_of(p) for p in pods.values()} == {"web:2"}  # noqa: E731
        await until(client, PODS, scope, finished, seen=never_both)
        await rolled_out(client, scope)


async def test_a_rollout_that_does_not_get_on_is_told_of_after_its_deadline(client: Client, scope: str) -> None:
    await client.create(DEPLOYMENTS, deployment(scope, progressDeadlineSeconds=1))

    def stuck(found: dict[str, Object]) -> bool:
        progressing = find_condition(found["web"], "Progressing") or {}
        return (progressing.get("status"), progressing.get("reason")) == ("False", "ProgressDeadlineExceeded")

    await until(client, DEPLOYMENTS, scope, stuck)


async def test_old_revisions_are_kept_up_to_the_limit(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, replicas=1, revisionHistoryLimit=1))
        await rolled_out(client, scope)
        for image in ("web:2", "web:3", "web:4"):
            await set_image(client, scope, image)
            await rolled_out(client, scope)
        await until(client, REPLICASETS, scope, lambda found: sizes(found) == {"web:3": 0, "web:4": 1})


async def test_a_change_of_nothing_but_the_size_makes_no_revision(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope, replicas=1))
        await rolled_out(client, scope)
        for replicas in (4, 0, 2):
            await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": replicas}}, scope)
            await rolled_out(client, scope)
        [only] = (await client.list(REPLICASETS, scope))["items"]
        assert annotations(only)[REVISION] == "1"

        def told(events: dict[str, Object]) -> bool:
            scaled = f"replica set {name(only)} from"
            messages = {event["message"] for event in events.values()}
            return {f"Scaled up {scaled} 1 to 4", f"Scaled down {scaled} 4 to 0"} <= messages

        await until(client, EVENTS, scope, told)


async def test_an_orphaned_replica_set_of_the_template_is_adopted_and_not_made_again(
    client: Client, scope: str
) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope))
        await rolled_out(client, scope)
        [first] = (await client.list(REPLICASETS, scope))["items"]
        await client.delete(DEPLOYMENTS, "web", scope, propagation_policy="Orphan")
        orphaned = lambda found: not found[name(first)]["metadata"].get("ownerReferences")  # noqa: E731
        await until(client, REPLICASETS, scope, orphaned)
        await until(client, DEPLOYMENTS, scope, lambda found: not found)
        again = await client.create(DEPLOYMENTS, deployment(scope))
        await rolled_out(client, scope)
        [same] = (await client.list(REPLICASETS, scope))["items"]
    assert same["metadata"]["uid"] == first["metadata"]["uid"]
    assert get_path(same, "metadata", "ownerReferences")[0]["uid"] == again["metadata"]["uid"]


async def test_a_deployment_is_gone_with_all_it_had(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(DEPLOYMENTS, deployment(scope))
        await rolled_out(client, scope)
        await client.delete(DEPLOYMENTS, "web", scope)
        await until(client, REPLICASETS, scope, lambda found: not found)
        await until(client, PODS, scope, lambda found: not found)
