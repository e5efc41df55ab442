"""StatefulSets as their users see them: a real API server, a real manager, and pods that get ready at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, controller_of, deletion_requested, get_path, labels, name
from apimachinery.resources import (
    CONTROLLERREVISIONS,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    STATEFULSETS,
)
from controllers.controller_history import REVISION_LABEL
from controllers.pods import is_ready
from controllers.stateful_set_identity import POD_INDEX_LABEL, POD_NAME_LABEL, ordinal
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.instant_nodes import pods_run_at_once
from tests.support.kubectl import Kubectl
from tests.support.manager import managing, node_agent, set_ready, until

Found = dict[str, Object]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("statefulsets")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    return name(await client.create(NAMESPACES, {"metadata": {"generateName": "statefulsets-"}}))


def stateful_set(scope: str, *, replicas: int = 3, image: str = "web:1", claims: bool = False, **spec: Any) -> Object:
    pod_spec: Object = {"containers": [{"name": "app", "image": image}], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec}
    if claims:
        size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": size}]
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": scope},
        "spec": {"replicas": replicas, "serviceName": "web", "selector": selector, "template": template, **spec},
    }


async def set_image(client: Client, scope: str, image: str) -> Object:
    change = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
    return await client.patch(STATEFULSETS, "web", change, scope, kind="strategic")


def counted(**counts: int) -> Callable[[Found], bool]:
    """A condition on the set `web`: its status is up to date and says these counts."""

    def holds(found: Found) -> bool:
        status = found["web"].get("status") or {}
        current = status.get("observedGeneration") == found["web"]["metadata"]["generation"]
        return current and all(status.get(key, 0) == value for key, value in counts.items())

    return holds


async def rolled_out(client: Client, scope: str, replicas: int = 3) -> Object:
    """The set, once all of its pods are of its newest revision and available."""

    def complete(found: Found) -> bool:
        status = found["web"].get("status") or {}
        counts = counted(replicas=replicas, updatedReplicas=replicas, availableReplicas=replicas)(found)
        return counts and status.get("currentRevision") == status.get("updateRevision")

    return (await until(client, STATEFULSETS, scope, complete))["web"]


def image_of(pod: Object) -> str:
    image: str = pod["spec"]["containers"][0]["image"]
    return image


def images(found: Found) -> dict[str, str]:
    return {which: image_of(pod) for which, pod in sorted(found.items()) if not deletion_requested(pod)}


def on_new_pods(check: Callable[[Object, Found], None]) -> Callable[[Found], None]:
    """Call `check(pod, all pods)` for each pod when it is first seen."""
    known: set[str] = set()

    def seen(found: Found) -> None:
        for pod in found.values():
            if pod["metadata"]["uid"] not in known:
                known.add(pod["metadata"]["uid"])
                check(pod, found)

    return seen


async def test_pods_come_one_after_the_other_each_with_a_name_of_its_own(client: Client, scope: str) -> None:
    def predecessors_are_ready(pod: Object, found: Found) -> None:
        assert all(is_ready(found[f"web-{number}"]) for number in range(ordinal(pod)))

    await client.create(STATEFULSETS, stateful_set(scope))
    async with node_agent(client, scope):
        all_ready = lambda found: len(found) == 3 and all(map(is_ready, found.values()))  # noqa: E731
        pods = await until(client, PODS, scope, all_ready, seen=on_new_pods(predecessors_are_ready))
        web = await rolled_out(client, scope)
    assert sorted(pods) == ["web-0", "web-1", "web-2"]
    revision = web["status"]["updateRevision"]
    assert (
        labels(pods["web-1"]).items()
        >= {
            "app": "web",
            POD_NAME_LABEL: "web-1",
            POD_INDEX_LABEL: "1",
            REVISION_LABEL: revision,
        }.items()
    )
    assert (pods["web-1"]["spec"]["hostname"], pods["web-1"]["spec"]["subdomain"]) == ("web-1", "web")
    [only] = (await client.list(CONTROLLERREVISIONS, scope))["items"]
    assert (name(only), only["revision"]) == (revision, 1)
    assert web["status"] == {
        "observedGeneration": 1,
        "replicas": 3,
        "readyReplicas": 3,
        "currentReplicas": 3,
        "updatedReplicas": 3,
        "currentRevision": revision,
        "updateRevision": revision,
        "collisionCount": 0,
        "availableReplicas": 3,
    }
    told = {"create Pod web-0 in StatefulSet web successful", "create Pod web-2 in StatefulSet web successful"}
    await until(client, EVENTS, scope, lambda found: told <= {event["message"] for event in found.values()})


async def test_a_pod_that_is_not_ready_holds_up_those_after_it(client: Client, scope: str) -> None:
    await client.create(STATEFULSETS, stateful_set(scope, replicas=2))
    await until(client, STATEFULSETS, scope, counted(replicas=1, readyReplicas=0))
    [first] = (await client.list(PODS, scope))["items"]
    assert name(first) == "web-0"
    await set_ready(client, first)
    await until(client, PODS, scope, lambda found: sorted(found) == ["web-0", "web-1"])


async def test_a_parallel_set_waits_for_nobody(client: Client, scope: str) -> None:
    web = stateful_set(scope, replicas=5, podManagementPolicy="Parallel", ordinals={"start": 3})
    await client.create(STATEFULSETS, web)
    pods = await until(client, PODS, scope, lambda found: len(found) == 5)
    assert sorted(pods) == [f"web-{number}" for number in range(3, 8)]
    await client.patch(STATEFULSETS, "web", {"spec": {"replicas": 1}}, scope)
    gone = lambda found: {one for one in found if not deletion_requested(found[one])} == {"web-3"}  # noqa: E731
    await until(client, PODS, scope, gone)


async def test_a_set_shrinks_from_the_highest_ordinal_down(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope))
        await rolled_out(client, scope)

        def highest_first(found: Found) -> None:
            assert sorted(found) == [f"web-{number}" for number in range(len(found))]

        await client.patch(STATEFULSETS, "web", {"spec": {"replicas": 1}}, scope)
        await until(client, PODS, scope, lambda found: len(found) == 1, seen=highest_first)
        await until(client, STATEFULSETS, scope, counted(replicas=1, readyReplicas=1, currentReplicas=1))


async def test_an_ended_pod_is_gone_before_another_takes_its_name(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope, replicas=2))
        await rolled_out(client, scope, 2)
        before = {name(pod): pod["metadata"]["uid"] for pod in (await client.list(PODS, scope))["items"]}
        for which, phase in (("web-0", "Failed"), ("web-1", "Succeeded")):
            await client.patch(PODS, which, {"status": {"phase": phase}}, scope, subresource="status")

        def replaced(found: Found) -> bool:
            others = all(found[one]["metadata"]["uid"] != uid for one, uid in before.items() if one in found)
            return others and len(found) == 2

        await until(client, PODS, scope, replaced)
        await rolled_out(client, scope, 2)
    told = {
        ("Warning", "RecreatingFailedPod", f"StatefulSet {scope}/web is recreating failed Pod web-0"),
        ("Normal", "RecreatingTerminatedPod", f"StatefulSet {scope}/web is recreating terminated Pod web-1"),
    }
    await until(client, EVENTS, scope, lambda found: told <= {_said(event) for event in found.values()})


def _said(event: Object) -> tuple[str, str, str]:
    return event["type"], event["reason"], event["message"]


async def test_a_pod_that_can_not_be_ended_keeps_its_name(client: Client, scope: str) -> None:
    # Nobody answers for this node: what was bound to it may run for all anybody knows.
    node = name(await client.create(NODES, {"metadata": {"generateName": "lost-"}}))
    web = stateful_set(scope, replicas=2, podManagementPolicy="Parallel")
    web["spec"]["template"]["spec"]["nodeName"] = node
    await client.create(STATEFULSETS, web)
    before = await until(client, PODS, scope, lambda found: len(found) == 2)
    await client.delete(PODS, "web-0", scope)
    await client.patch(STATEFULSETS, "web", {"spec": {"replicas": 3}}, scope)
    after = await until(client, PODS, scope, lambda found: "web-2" in found)
    assert after["web-0"]["metadata"]["uid"] == before["web-0"]["metadata"]["uid"]
    assert deletion_requested(after["web-0"])
    await client.delete(PODS, "web-0", scope, grace_period_seconds=0)
    await until(client, PODS, scope, lambda found: "web-0" in found and not deletion_requested(found["web-0"]))


async def test_an_update_goes_downwards_to_the_partition_and_no_further(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope))
        first = (await rolled_out(client, scope))["status"]["currentRevision"]
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        await client.patch(STATEFULSETS, "web", {"spec": {"updateStrategy": strategy}}, scope)
        await set_image(client, scope, "web:2")

        def higher_ones_are_new(pod: Object, found: Found) -> None:
            if image_of(pod) == "web:2":
                higher = [found[f"web-{number}"] for number in range(ordinal(pod) + 1, 3)]
                assert all(image_of(one) == "web:2" and is_ready(one) for one in higher)

        half = {"web-0": "web:1", "web-1": "web:2", "web-2": "web:2"}
        await until(client, PODS, scope, lambda found: images(found) == half, seen=on_new_pods(higher_ones_are_new))
        found = await until(
            client, STATEFULSETS, scope, counted(readyReplicas=3, currentReplicas=1, updatedReplicas=2)
        )
        assert found["web"]["status"]["currentRevision"] == first
        await client.delete(PODS, "web-0", scope)  # it comes back as what it was
        gone = await client.get(PODS, "web-1", scope)
        again = lambda found: images(found) == half and is_ready(found["web-0"])  # noqa: E731
        await until(client, PODS, scope, again)
        assert (await client.get(PODS, "web-1", scope))["metadata"]["uid"] == gone["metadata"]["uid"]
        await client.patch(
            STATEFULSETS, "web", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}, scope
        )
        assert (await rolled_out(client, scope))["status"]["currentRevision"] != first


async def test_an_update_has_as_many_pods_unavailable_as_it_may(client: Client, scope: str) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    web = stateful_set(scope, replicas=4, podManagementPolicy="Parallel", updateStrategy=strategy)
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, web)
        await rolled_out(client, scope, 4)
        most = 0

        def enough_are_ready(found: Found) -> None:
            nonlocal most
            most = max(most, 4 - sum(is_ready(pod) and not deletion_requested(pod) for pod in found.values()))

        await set_image(client, scope, "web:2")
        finished = lambda found: len(found) == 4 and set(images(found).values()) == {"web:2"}  # noqa: E731
        await until(client, PODS, scope, finished, seen=enough_are_ready)
        await rolled_out(client, scope, 4)
    assert most == 2


async def test_on_delete_leaves_the_old_pods_to_their_owner(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope, updateStrategy={"type": "OnDelete"}))
        await until(client, STATEFULSETS, scope, counted(readyReplicas=3))
        await set_image(client, scope, "web:2")
        await until(client, STATEFULSETS, scope, counted(readyReplicas=3, updatedReplicas=0))
        await client.delete(PODS, "web-1", scope)
        mixed = {"web-0": "web:1", "web-1": "web:2", "web-2": "web:1"}
        await until(client, PODS, scope, lambda found: images(found) == mixed)
        await until(client, STATEFULSETS, scope, counted(readyReplicas=3, currentReplicas=2, updatedReplicas=1))


async def test_old_revisions_are_kept_up_to_the_limit(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope, replicas=1, revisionHistoryLimit=1))
        await rolled_out(client, scope, 1)
        for image in ("web:2", "web:3", "web:4"):
            await set_image(client, scope, image)
            await rolled_out(client, scope, 1)

        def last_two(found: Found) -> bool:
            return sorted(one["revision"] for one in found.values()) == [3, 4]

        await until(client, CONTROLLERREVISIONS, scope, last_two)


async def test_claims_stay_by_default_and_are_found_again(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope, replicas=2, claims=True))
        await rolled_out(client, scope, 2)
        claims = {name(one): one for one in (await client.list(PERSISTENTVOLUMECLAIMS, scope))["items"]}
        assert sorted(claims) == ["data-web-0", "data-web-1"]
        assert labels(claims["data-web-0"]) == {"app": "web"}
        assert not any(one["metadata"].get("ownerReferences") for one in claims.values())
        pod = await client.get(PODS, "web-1", scope)
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}
        assert volume in pod["spec"]["volumes"]
        for replicas in (0, 2):
            await client.patch(STATEFULSETS, "web", {"spec": {"replicas": replicas}}, scope)
            await until(client, STATEFULSETS, scope, counted(replicas=replicas, readyReplicas=replicas))
        again = (await client.list(PERSISTENTVOLUMECLAIMS, scope))["items"]
        assert {one["metadata"]["uid"] for one in again} == {one["metadata"]["uid"] for one in claims.values()}


async def test_claims_go_with_what_the_retention_policy_says(client: Client, scope: str) -> None:
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    web = stateful_set(scope, replicas=2, claims=True, persistentVolumeClaimRetentionPolicy=policy)
    async with node_agent(client, scope):
        made = await client.create(STATEFULSETS, web)
        await rolled_out(client, scope, 2)

        def of_the_set(found: Found) -> bool:
            owners = [(controller_of(one) or {}).get("uid") for one in found.values()]
            return owners == [made["metadata"]["uid"]] * 2

        before = await until(client, PERSISTENTVOLUMECLAIMS, scope, of_the_set)
        await client.patch(STATEFULSETS, "web", {"spec": {"replicas": 1}}, scope)
        await until(client, PERSISTENTVOLUMECLAIMS, scope, lambda found: list(found) == ["data-web-0"])
        await client.patch(STATEFULSETS, "web", {"spec": {"replicas": 2}}, scope)
        await rolled_out(client, scope, 2)
        again = await client.get(PERSISTENTVOLUMECLAIMS, "data-web-1", scope)
        assert again["metadata"]["uid"] != before["data-web-1"]["metadata"]["uid"]
        await client.delete(STATEFULSETS, "web", scope)
        await until(client, PODS, scope, lambda found: not found)
        await until(client, PERSISTENTVOLUMECLAIMS, scope, lambda found: not found)


async def test_orphaned_pods_and_history_are_adopted_again(client: Client, scope: str) -> None:
    async with node_agent(client, scope):
        await client.create(STATEFULSETS, stateful_set(scope, replicas=2))
        await rolled_out(client, scope, 2)
        before = {name(pod): pod["metadata"]["uid"] for pod in (await client.list(PODS, scope))["items"]}
        await client.delete(STATEFULSETS, "web", scope, propagation_policy="Orphan")
        await until(client, STATEFULSETS, scope, lambda found: not found)
        again = await client.create(STATEFULSETS, stateful_set(scope, replicas=2))
        await rolled_out(client, scope, 2)
        pods = (await client.list(PODS, scope))["items"]
        [revision] = (await client.list(CONTROLLERREVISIONS, scope))["items"]
    assert {name(pod): pod["metadata"]["uid"] for pod in pods} == before
    owners = {get_path(one, "metadata", "ownerReferences")[0]["uid"] for one in (*pods, revision)}
    assert owners == {again["metadata"]["uid"]}


async def test_pods_that_can_not_be_created_are_told_of(client: Client, scope: str) -> None:
    web = stateful_set(scope)
    web["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
    await client.create(STATEFULSETS, web)
    beginning = "create Pod web-0 in StatefulSet web failed error: "

    def told(found: Found) -> bool:
        failed = [one["message"] for one in found.values() if one["reason"] == "FailedCreate"]
        return any(one.startswith(beginning) and "nobody" in one for one in failed)

    await until(client, EVENTS, scope, told)


def test_kubectl_follows_looks_back_on_and_undoes_a_rollout(server: ApiServerProcess, home: Path) -> None:
    kubectl = Kubectl(kubectl_current(), server.kubeconfig, "kubectl", home)
    kubectl("create", "namespace", "kubectl")
    with pods_run_at_once(server):
        kubectl("apply", "-f", "-", stdin=json.dumps(stateful_set("kubectl", replicas=2)))
        assert "roll out complete: 2 new pods" in kubectl("rollout", "status", "statefulset/web", "--timeout=40s")
        kubectl("set", "image", "statefulset/web", "app=web:2")
        kubectl("annotate", "statefulset/web", "kubernetes.io/change-cause=second")
        assert "roll out complete: 2 new pods" in kubectl("rollout", "status", "statefulset/web", "--timeout=40s")
        assert history(kubectl) == ["1", "2"]
        assert "Image:\tweb:1" in kubectl("rollout", "history", "statefulset/web", "--revision=1")
        assert "rolled back" in kubectl("rollout", "undo", "statefulset/web")
        kubectl("rollout", "status", "statefulset/web", "--timeout=40s")
        assert history(kubectl) == ["2", "3"]
        assert image_of(kubectl.get("pod", "web-1")) == "web:1"
        before = kubectl.get("pod", "web-0")["metadata"]["uid"]
        assert "restarted" in kubectl("rollout", "restart", "statefulset/web")
        kubectl("rollout", "status", "statefulset/web", "--timeout=40s")
        assert kubectl.get("pod", "web-0")["metadata"]["uid"] != before
        assert ["web", "2/2"] in [line[:2] for line in kubectl.lines("get", "statefulsets")]
        kubectl("scale", "statefulset/web", "--replicas=3")
        kubectl("rollout", "status", "statefulset/web", "--timeout=40s")
        assert len(kubectl.lines("get", "pods", "--no-headers")) == 3


def test_kctl_follows_looks_back_on_and_undoes_a_rollout(server: ApiServerProcess) -> None:
    def kctl(*arguments: str, stdin: str = "", fails: bool = False) -> str:
        command = [sys.executable, "-m", "kctl", "--kubeconfig", str(server.kubeconfig), "-n", "kctl", *arguments]
        done = subprocess.run(
            command, input=stdin, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    with pods_run_at_once(server):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kctl"}}
        kctl(
            "apply", "-f", "-", stdin=f"{json.dumps(namespace)}\n---\n{json.dumps(stateful_set('kctl', replicas=2))}"
        )
        assert "roll out complete: 2 new pods" in kctl("rollout", "status", "statefulset/web", "--timeout", "40")
        kctl("apply", "-f", "-", stdin=json.dumps(stateful_set("kctl", replicas=2, image="web:2")))
        kctl("rollout", "status", "statefulset/web", "--timeout", "40")
        assert kctl("rollout", "history", "sts/web").split()[3:] == ["1", "<none>", "2", "<none>"]
        assert "image: web:1" in kctl("rollout", "history", "statefulset/web", "--revision", "1")
        assert kctl("rollout", "undo", "statefulset/web") == "statefulset.apps/web rolled back\n"
        kctl("rollout", "status", "statefulset/web", "--timeout", "40")
        assert kctl("rollout", "history", "sts/web").split()[3:] == ["2", "<none>", "3", "<none>"]
        assert "pausing is not supported" in kctl("rollout", "pause", "statefulset/web", fails=True)
        assert ["web", "2/2"] in [line.split()[:2] for line in kctl("get", "statefulsets").splitlines()]


def history(kubectl: Kubectl) -> list[str]:
    return [line[0] for line in kubectl.lines("rollout", "history", "statefulset/web")[2:]]
