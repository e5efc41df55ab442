"""What the kernel makes of requests and limits, and of other ones while a pod runs, on cgroup v1 and on v2."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kubelet.containers import resources
from kubelet.pods import resize_plan
from kubelet.pods.resize_plan import Running
from kubelet.runtime import ContainerState, cgroups
from tests.support.containers import Node, started_node
from tests.support.pods import container, pod

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
MIB = 1 << 20
Sizes = Sequence[tuple[str, str, str]]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as started:
        yield started


def sized(*sizes: tuple[str, str, str]) -> dict[str, Any]:
    """A pod of containers that ask for (CPU), and are limited to (CPU, memory)."""
    containers = [
        container(
            f"c{number}",
            resources={"requests": {"cpu": request, "memory": "16Mi"}, "limits": {"cpu": limit, "memory": memory}},
        )
        for number, (request, limit, memory) in enumerate(sizes)
    ]
    made = pod(*containers)
    made["status"]["qosClass"] = "Burstable"
    return made


async def begin(node: Node, wanted: dict[str, Any]) -> list[ContainerState]:
    sandbox = await node.pod(pod_uid="resized", cgroup_resources=resources.pod_resources(wanted, pids_max=100))
    started = []
    for one in wanted["spec"]["containers"]:
        linux = {"resources": resources.container_resources(wanted, one)}
        started.append(await node.run("exec sleep 1000", pod=sandbox, name=one["name"], linux=linux))
    return started


async def resize(node: Node, wanted: dict[str, Any], started: Sequence[ContainerState]) -> list[Any]:
    """Carry a plan out; what the containers then have."""
    running = [
        Running(one, state.id, node.runtime.limits("resized", state.id))
        for one, state in zip(wanted["spec"]["containers"], started, strict=True)
    ]
    for step in resize_plan.steps(wanted, running, node.runtime.limits("resized")):
        if step.container_id:
            await node.runtime.update_container_resources("resized", step.container_id, step.resources)
        else:
            await node.runtime.update_pod_resources("resized", step.resources)
    return [resize_plan.actual(one.container, node.runtime.limits("resized", one.id)) for one in running]


async def test_a_running_pods_limits_can_be_changed_in_the_order_that_is_planned(node: Node) -> None:
    started = await begin(node, sized(("100m", "200m", "64Mi"), ("100m", "200m", "64Mi")))
    larger: Sizes = (("300m", "1", "128Mi"), ("50m", "100m", "32Mi"))
    smaller: Sizes = (("10m", "50m", "32Mi"), ("1", "2", "64Mi"))
    for sizes in (larger, smaller, larger):
        wanted = sized(*sizes)
        found = await resize(node, wanted, started)
        assert found == [one["resources"] for one in wanted["spec"]["containers"]]
        whole = resources.pod_limits(wanted)
        limits = node.runtime.limits("resized")
        assert (limits.quota, limits.memory) == (whole["cpu"] * 100, whole["memory"])


async def test_containers_have_no_swap_and_end_as_a_whole_when_memory_runs_out(node: Node) -> None:
    hierarchies = cgroups.present()
    if hierarchies.version == 1:
        pytest.skip("only cgroup v2 can do this")
    (started,) = await begin(node, sized(("100m", "200m", "64Mi")))
    group = Path(hierarchies.unified, node.cgroup_root, "burstable/podresized", started.id)

    def said(name: str) -> str:
        return (group / name).read_text().strip() if (group / name).exists() else "0"

    assert (said("memory.oom.group"), said("memory.max"), said("memory.swap.max")) == ("1", str(64 * MIB), "0")
    assert {said(f"hugetlb.{size}.max") for size in hierarchies.page_sizes} <= {"0"}


async def test_a_process_that_is_killed_for_memory_is_noticed_even_if_the_first_one_ends_well(node: Node) -> None:
    wanted = sized(("100m", "1", "48Mi"))
    linux = {"resources": resources.container_resources(wanted, wanted["spec"]["containers"][0])}
    ended = await node.ended((await node.run("head -c 200M /dev/zero | tail >/dev/null; exit 0", linux=linux)).id)
    assert ended.oom_killed
