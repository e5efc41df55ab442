"""What a pod gets of its node, and what it has when that is changed: a node agent, cgroups and a real kubectl."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import LIMITRANGES
from kubelet.runtime import cgroupfs, cgroups
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.node import NODE, Node, node, pid_of, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]
MIB = 1 << 20
CAPACITY = "cpu=4,memory=2Gi"
SLEEP = "trap 'exit 0' TERM; sleep 1000 & wait"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    flags = ("--capacity", CAPACITY, "--kube-reserved", "cpu=500m,memory=256Mi", "--eviction-hard", "")
    async with node(tmp_path_factory.mktemp("node"), *flags) as made:
        yield made


@pytest.fixture(scope="module")
def kubectl(here: Node, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    kubeconfig = here.server.data_dir / "admin.kubeconfig"
    return Kubectl(kubectl_current(), kubeconfig, "default", tmp_path_factory.mktemp("home"))


def container(name: str = "web", script: str = SLEEP, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "localhost/host", "command": ["sh", "-c", script], **fields}


def sized(requests: dict[str, str], limits: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    return container(resources={"requests": requests, **({"limits": limits} if limits else {})}, **fields)


def limits(here: Node, pod: Object, container_id: str = "") -> cgroups.Limits:
    """What the kernel holds a pod or one of its containers to."""
    folder = {"Burstable": "burstable/", "BestEffort": "besteffort/"}.get(pod["status"]["qosClass"], "")
    path = f"{here.agent.cgroup_root}/{folder}pod{pod['metadata']['uid']}"
    path += f"/{container_id}" if container_id else ""
    return cgroups.read_limits(cgroups.present(), path, cgroupfs.read)


def container_limits(here: Node, pod: Object, index: int = 0) -> cgroups.Limits:
    return limits(here, pod, pod["status"]["containerStatuses"][index]["containerID"].removeprefix("wherry://"))


async def resize(kubectl: Kubectl, name: str, *containers: dict[str, Any]) -> None:
    patch = {"spec": {"containers": [{key: entry[key] for key in ("name", "resources")} for entry in containers]}}
    arguments = ("patch", "pod", name, "--subresource", "resize", "--patch", _json(patch))
    assert "patched" in await asyncio.to_thread(kubectl, *arguments)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def has(amounts: dict[str, str], *, index: int = 0) -> Any:
    """Whether a pod's status says that a container has these limits, and nothing is going on any more."""

    def holds(pod: Object) -> bool:
        status = get_path(pod, "status", "containerStatuses", default=[{}])[index]
        told = get_path(status, "resources", "limits", default={})
        going_on = [find_condition(pod, kind) for kind in ("PodResizePending", "PodResizeInProgress")]
        return told == amounts and not any(going_on)

    return holds


async def test_kubectl_gives_a_running_pod_more_and_less_and_it_runs_on(here: Node, kubectl: Kubectl) -> None:
    await here.create("grown", sized({"cpu": "100m", "memory": "64Mi"}, {"cpu": "200m", "memory": "64Mi"}))
    pod = await here.running("grown")
    before = pid_of(here, pod)
    assert container_limits(here, pod).memory == limits(here, pod).memory == 64 * MIB
    for request, limit, memory in (("250m", "500m", "128Mi"), ("50m", "100m", "96Mi")):
        asked, bounds = {"cpu": request, "memory": "64Mi"}, {"cpu": limit, "memory": memory}
        await resize(kubectl, "grown", sized(asked, bounds))
        pod = await here.wait_for("grown", has(bounds))
        status = pod["status"]["containerStatuses"][0]
        assert status["resources"]["requests"] == status["allocatedResources"] == asked
        assert status["restartCount"] == 0 and pid_of(here, pod) == before
        for found in (container_limits(here, pod), limits(here, pod)):
            assert found.memory == int(memory.removesuffix("Mi")) * MIB
            assert found.quota == int(limit.removesuffix("m")) * 100
            assert found.shares == int(request.removesuffix("m")) * 1024 // 1000
    assert (await here.event("grown", "ResizeCompleted")).startswith('Pod resize completed: {"containers":')


async def test_a_container_that_asks_for_it_is_restarted_to_be_resized(here: Node, kubectl: Kubectl) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    both = {"cpu": "100m", "memory": "64Mi"}
    await here.create("restarted", sized(both, both, resizePolicy=policy))
    await here.running("restarted")
    wanted = {"cpu": "100m", "memory": "96Mi"}
    await resize(kubectl, "restarted", sized(wanted, wanted))
    pod = await here.wait_for("restarted", has(wanted))
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    assert container_limits(here, pod).memory == 96 * MIB
    assert await here.event("restarted", "Killing") == "Container web resize requires restart"


async def test_a_limit_below_what_is_in_use_is_not_set_before_it_fits(here: Node, kubectl: Kubectl) -> None:
    use = "head -c 50M /dev/zero >/dev/shm/x; echo full; " + SLEEP
    free = ("exec", "full", "--", "rm", "/dev/shm/x")
    both = {"cpu": "100m", "memory": "128Mi"}
    await here.create("full", sized(both, both, script=use))
    pod = await here.running("full")
    await here.eventually(lambda: here.output(pod) == "full\n")
    wanted = {"cpu": "100m", "memory": "32Mi"}
    await resize(kubectl, "full", sized(wanted, wanted))
    pod = await here.wait_for("full", lambda pod: (find_condition(pod, "PodResizeInProgress") or {}).get("reason"))
    condition = find_condition(pod, "PodResizeInProgress") or {}
    assert condition["reason"] == "Error" and condition["observedGeneration"] == 2
    assert condition["message"].startswith(
        "cannot decrease memory limits: [attempting to set pod memory limit (33554432)"
    )
    assert container_limits(here, pod).memory == 128 * MIB
    await asyncio.to_thread(kubectl, *free)
    pod = await here.wait_for("full", has(wanted))
    assert container_limits(here, pod).memory == 32 * MIB


async def test_what_the_node_does_not_have_is_infeasible_and_what_others_hold_is_deferred(
    here: Node, kubectl: Kubectl
) -> None:
    one = {"cpu": "1"}
    for name in ("first", "second"):
        await here.create(name, sized(one))
        await here.running(name)
    await resize(kubectl, "first", sized({"cpu": "10"}))
    pod = await here.wait_for("first", lambda pod: find_condition(pod, "PodResizePending"))
    condition = find_condition(pod, "PodResizePending") or {}
    assert condition["reason"] == "Infeasible"
    assert condition["message"] == "Node didn't have enough capacity: cpu, requested: 10000, capacity: 3500"
    await resize(kubectl, "first", sized({"cpu": "2600m"}))
    await here.wait_for(
        "first", lambda pod: (find_condition(pod, "PodResizePending") or {}).get("reason") == "Deferred"
    )
    here.agent.stop()
    here.agent.start()
    await here.delete("second")
    pod = await here.wait_for("first", lambda pod: find_condition(pod, "PodResizePending") is None)
    await here.eventually(lambda: container_limits(here, pod).shares == 2600 * 1024 // 1000)
    await here.delete("first")


async def test_kubectl_is_told_what_can_not_be_resized(here: Node, kubectl: Kubectl) -> None:
    async def refused(patch: dict[str, Any]) -> str:
        arguments = ("patch", "pod", "kept", "--subresource", "resize", "--patch", _json(patch))
        return await asyncio.to_thread(lambda: kubectl(*arguments, fails=True))

    await here.create("kept", sized({"cpu": "100m"}))
    await here.running("kept")
    best_effort = {"requests": {"cpu": None, "memory": None}, "limits": None}
    said = await refused({"spec": {"containers": [{"name": "web", "resources": best_effort}]}})
    assert "Pod QOS Class may not change as a result of resizing" in said
    storage = {"requests": {"ephemeral-storage": "1Gi"}}
    said = await refused({"spec": {"containers": [{"name": "web", "resources": storage}]}})
    assert "only cpu and memory resources are mutable" in said
    most = {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}
    kind = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "most"}}
    await here.client.create(LIMITRANGES, {**kind, "spec": most}, "default")
    said = await refused({"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "2"}}}]}})
    await here.client.delete(LIMITRANGES, "most", "default")
    assert "maximum cpu usage per Container is 1, but limit is 2" in said


async def test_each_class_has_its_group_and_each_group_its_share(here: Node) -> None:
    asking = {"cpu": "250m", "memory": "64Mi"}
    await here.create("nothing", container())
    await here.create(
        "some", sized(asking), resources={"limits": {"cpu": "1", "memory": "128Mi"}, "requests": asking}
    )
    await here.create("all", sized(asking, asking))
    nothing, some, everything = [await here.running(name) for name in ("nothing", "some", "all")]
    assert [pod["status"]["qosClass"] for pod in (nothing, some, everything)] == [
        "BestEffort",
        "Burstable",
        "Guaranteed",
    ]
    assert limits(here, nothing).shares == 2 and limits(here, nothing).memory == -1
    whole, inside = limits(here, some), container_limits(here, some)
    assert (whole.shares, whole.quota, whole.memory) == (256, 100_000, 128 * MIB)
    assert (inside.shares, inside.quota, inside.memory) == (256, 100_000, 128 * MIB)
    assert limits(here, everything).quota == 25_000


async def test_a_pod_that_the_cluster_can_not_do_without_gets_the_room_of_another(here: Node) -> None:
    await here.create("victim", sized({"cpu": "2"}))
    await here.running("victim")
    await here.create("critical", sized({"cpu": "2"}), priorityClassName="system-cluster-critical")
    await here.running("critical")
    status = (await here.phase("victim", "Failed"))["status"]
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    assert find_condition({"status": status}, "DisruptionTarget")["reason"] == "TerminationByKubelet"
    await here.delete("critical")


async def test_all_pods_together_have_no_more_than_the_node_can_give_them(here: Node) -> None:
    whole = cgroups.read_limits(cgroups.present(), here.agent.cgroup_root, cgroupfs.read)
    assert whole.memory == (2048 - 256) * MIB and whole.shares == 3500 * 1024 // 1000
    allocatable = (await here.get_node(NODE))["status"]["allocatable"]
    assert (allocatable["cpu"], allocatable["memory"]) == ("3500m", "1792Mi")
    assert await here.event(NODE, "NodeAllocatableEnforced") == "Updated Node Allocatable limit across pods"


async def test_who_is_killed_first_for_memory_is_known_to_the_kernel(here: Node) -> None:
    lowest = int(Path("/proc/self/oom_score_adj").read_text())
    scores = {}
    for name in ("nothing", "some"):
        pod = await here.running(name)
        scores[name] = int(Path(f"/proc/{pid_of(here, pod)}/oom_score_adj").read_text())
    assert scores == {"nothing": 1000, "some": max(lowest, 1000 - 1000 * (64 * MIB) // (2048 * MIB))}


async def test_a_process_that_is_killed_for_memory_shows_in_its_containers_end(here: Node) -> None:
    greedy = "head -c 200M /dev/zero | tail >/dev/null; exit 0"
    bounds = {"cpu": "100m", "memory": "64Mi"}
    await here.create("greedy", sized(bounds, bounds, script=greedy), restartPolicy="Never")
    pod = await here.wait_for("greedy", terminated)
    assert terminated(pod)["reason"] == "OOMKilled"
