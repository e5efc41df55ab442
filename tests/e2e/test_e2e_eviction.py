"""A real node that runs out of memory and disk, or goes down: it says so, takes no more, and ends pods in order.

The node has a disk of its own, in memory, and is told that it has little memory; the machine has enough of both.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import Object, find_condition
from tests.support.node import NODE, Node, node, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

DISK_MIB = 96
FLAGS = (
    *("--capacity", "memory=320Mi", "--eviction-hard", "memory.available<100Mi,nodefs.available<25%"),
    *("--housekeeping-interval", "250ms", "--eviction-pressure-transition-period", "3s"),
    *("--shutdown-grace-period", "6s", "--shutdown-grace-period-critical-pods", "3s"),
)


def run(*command: str) -> None:
    """A command of the test itself."""
    subprocess.run(command, check=True, timeout=10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    disk = folder / "node"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk))
    try:
        async with node(folder, *FLAGS) as made:
            yield made
    finally:
        run("umount", str(disk))


def shell(script: str, *, request: str = "", **fields: Any) -> dict[str, Any]:
    """A container that runs a script and then goes on until it is told to end."""
    resources = {"resources": {"requests": {"memory": request}}} if request else {}
    command = ["sh", "-c", f"trap 'exit 0' TERM; {script}; sleep 1000 & wait"]
    return {"name": "web", "image": "localhost/host", "command": command, **resources, **fields}


def write(mebibytes: int, path: str) -> str:
    """A script that puts so much into a file."""
    return f"dd if=/dev/zero of={path} bs=1M count={mebibytes} 2>/dev/null"


async def condition_of(here: Node, kind: str) -> str:
    """The status of one of the node's conditions."""
    condition = find_condition(await here.get_node(NODE), kind)
    return str(condition["status"]) if condition is not None else ""


def disrupted(pod: Object) -> tuple[str, str]:
    condition = find_condition(pod, "DisruptionTarget") or {}
    return condition.get("reason", ""), condition.get("message", "")


async def test_who_uses_more_memory_than_asked_for_ends_and_others_run_on(here: Node) -> None:
    await here.create("modest", shell("true", request="64Mi"))
    await here.running("modest")
    hold = "python3 -c 'import time; held = bytearray(240 << 20); time.sleep(1000)'"
    await here.create("greedy", shell(f"{hold} & true", request="10Mi"))
    greedy = await here.phase("greedy", "Failed")
    told = greedy["status"]["message"]
    assert greedy["status"]["reason"] == "Evicted"
    assert told.startswith("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
    assert "Container web was using " in told and told.endswith("request is 10Mi, has larger consumption of memory. ")
    assert disrupted(greedy) == ("TerminationByKubelet", told)
    assert greedy["status"]["containerStatuses"][0]["state"]["terminated"]
    await here.create("late", shell("true"))
    late = await here.phase("late", "Failed")
    assert (late["status"]["reason"], late["status"]["message"]) == (
        "Evicted",
        "Pod was rejected: The node had condition: [MemoryPressure]. ",
    )
    assert await here.event("greedy", "Evicted") == told
    assert await here.event(NODE, "EvictionThresholdMet") == "Attempting to reclaim memory"
    assert await here.event(NODE, "NodeHasInsufficientMemory")
    await here.running("modest")
    await here.event(NODE, "NodeHasSufficientMemory")


async def test_who_fills_the_disk_ends_and_the_disk_is_free_again(here: Node) -> None:
    volumes = [{"name": "data", "emptyDir": {}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    await here.create("writer", shell(write(DISK_MIB * 8 // 10, "/data/file"), volumeMounts=mounts), volumes=volumes)
    writer = await here.phase("writer", "Failed")
    assert writer["status"]["message"].startswith(
        "The node was low on resource: ephemeral-storage. Threshold quantity: "
    )
    await here.create("refused", shell("true", request="1Mi"))
    refused = await here.phase("refused", "Failed")
    assert refused["status"]["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "
    assert await here.event(NODE, "NodeHasDiskPressure")
    await here.event(NODE, "NodeHasNoDiskPressure")
    await here.running("modest")


async def test_who_has_more_on_the_disk_than_allowed_ends_alone(here: Node) -> None:
    volumes = [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    limits = {"limits": {"ephemeral-storage": "1Mi"}}
    await here.create("volume", shell(write(2, "/data/file"), volumeMounts=mounts), volumes=volumes)
    await here.create("layer", shell(write(2, "/tmp/file"), resources=limits))
    volume, layer = await here.phase("volume", "Failed"), await here.phase("layer", "Failed")
    assert volume["status"]["message"] == 'Usage of EmptyDir volume "data" exceeds the limit "1Mi". '
    told = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
    assert layer["status"]["message"] == told
    assert {volume["status"]["reason"], layer["status"]["reason"]} == {"Evicted"}
    assert disrupted(layer) == ("", "")
    assert await condition_of(here, "DiskPressure") == "False"
    await here.running("modest")


async def test_a_node_that_goes_down_ends_its_pods_in_order_and_can_come_back(here: Node) -> None:
    assert here.agent.process is not None
    critical = {"priorityClassName": "system-node-critical", "terminationGracePeriodSeconds": 30}
    slow = {"name": "web", "image": "localhost/host", "command": ["sh", "-c", "trap '' TERM; sleep 1000"]}
    await here.create("core", shell("true"), **critical)
    await here.create("stubborn", slow, terminationGracePeriodSeconds=1)
    for name in ("core", "stubborn"):
        await here.running(name)
    here.agent.process.send_signal(signal.SIGPWR)
    ended = {name: await here.phase(name, "Failed") for name in ("core", "stubborn", "modest")}
    words = "Pod was terminated in response to imminent node shutdown."
    for pod in ended.values():
        assert (pod["status"]["reason"], pod["status"]["message"]) == ("Terminated", words)
        assert disrupted(pod) == ("TerminationByKubelet", words)
    states = {name: terminated(pod) for name, pod in ended.items()}
    assert (states["core"]["exitCode"], states["stubborn"]["exitCode"]) == (0, 137)
    assert states["stubborn"]["finishedAt"] <= states["core"]["finishedAt"]
    ready = find_condition(await here.get_node(NODE), "Ready") or {}
    assert (ready["status"], ready["message"]) == ("False", "node is shutting down")
    await here.create("too-late", shell("true"))
    late = await here.phase("too-late", "Failed")
    assert late["status"]["reason"] == "NodeShutdown"
    assert here.agent.process.poll() is None
    here.agent.stop(signal.SIGTERM)
    here.agent.start()
    await here.create("again", shell("true"))
    await here.running("again")
    assert await condition_of(here, "Ready") == "True"
