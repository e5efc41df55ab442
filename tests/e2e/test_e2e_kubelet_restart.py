"""A node agent that is killed, and an API server that goes away: pods run on, and all converges again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import get_path
from apimachinery.resources import PODS
from tests.support.node import Node, is_ready, node, pid_of, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

KILLS = 10
SEED = 20261124


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        yield made


def waiting(**fields: Any) -> dict[str, Any]:
    """A container that runs until it is told to end, or until the file /v/end appears."""
    loop = "while [ ! -e /v/end ]; do sleep 0.05; done; exit 4"
    command = ["sh", "-c", f"trap 'exit 0' TERM; {loop}"]
    mounts = [{"name": "v", "mountPath": "/v"}]
    return {"name": "web", "image": "localhost/host", "command": command, "volumeMounts": mounts, **fields}


def entry(pod: Any) -> dict[str, Any]:
    listed = get_path(pod, "status", "containerStatuses", default=[{}])
    found: dict[str, Any] = listed[0]
    return found


def volume(pod: Any, here: Node) -> Path:
    return here.agent.root / "volumes" / pod["metadata"]["uid"] / "v"


async def create(here: Node, name: str, **spec: Any) -> Any:
    await here.create(name, waiting(), volumes=[{"name": "v", "emptyDir": {}}], **spec)
    return await here.running(name)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
async def test_containers_run_on_and_are_adopted(here: Node, signo: int) -> None:
    name = f"adopted-{signo}"
    pod = await create(here, name)
    pid = pid_of(here, pod)
    here.agent.stop(signo)
    assert alive(pid)
    here.agent.start()
    # It must be able to do something new before it is clear that it has left the old alone.
    await create(here, f"{name}-next")
    again = await here.running(name)
    assert pid_of(here, again) == pid
    assert entry(again)["containerID"] == entry(pod)["containerID"]
    assert entry(again)["restartCount"] == 0
    assert again["status"]["podIP"] == pod["status"]["podIP"]
    assert again["status"]["conditions"] == pod["status"]["conditions"]


async def test_an_end_while_the_agent_was_away_is_noticed_and_followed_by_a_restart(here: Node) -> None:
    pod = await create(here, "ended-meanwhile")
    pid = pid_of(here, pod)
    here.agent.stop()
    (volume(pod, here) / "end").touch()
    await here.eventually(lambda: not alive(pid))
    (volume(pod, here) / "end").unlink()
    here.agent.start()
    pod = await here.wait_for("ended-meanwhile", lambda pod: entry(pod)["restartCount"] == 1 and is_ready(pod))
    assert entry(pod)["lastState"]["terminated"]["exitCode"] == 4


async def test_an_image_that_was_changed_while_the_agent_was_away_restarts_its_container(here: Node) -> None:
    await create(here, "changed-meanwhile")
    here.agent.stop()
    patch = {"spec": {"containers": [{"name": "web", "image": "localhost/host:latest"}]}}
    await here.client.patch(PODS, "changed-meanwhile", patch, "default", kind="strategic")
    here.agent.start()
    await here.wait_for("changed-meanwhile", lambda pod: entry(pod)["restartCount"] == 1 and is_ready(pod))
    await here.delete("changed-meanwhile", grace_period_seconds=0)


async def test_a_pod_that_ends_while_the_agent_is_away_keeps_its_exit_code(here: Node) -> None:
    pod = await create(here, "finished-meanwhile", restartPolicy="Never")
    here.agent.stop()
    (volume(pod, here) / "end").touch()
    here.agent.start()
    assert terminated(await here.phase("finished-meanwhile", "Failed"))["exitCode"] == 4


async def test_a_finished_pod_is_left_alone_by_the_next_agent(here: Node) -> None:
    await here.create(
        "past", {**waiting(), "command": ["true"]}, volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="Never"
    )
    before = await here.phase("past", "Succeeded")
    here.agent.stop()
    here.agent.start()
    await create(here, "past-next")
    assert (await here.get("past") or {})["status"] == before["status"]
    await here.delete("past")
    await here.wait_gone("past")


async def test_pods_that_were_deleted_while_the_agent_was_away_are_ended(here: Node) -> None:
    asked, forced = await create(here, "asked-to-go"), await create(here, "forced-to-go")
    pids = [pid_of(here, asked), pid_of(here, forced)]
    here.agent.stop()
    await here.delete("asked-to-go")
    await here.delete("forced-to-go", grace_period_seconds=0)
    assert await here.get("forced-to-go") is None
    here.agent.start()
    await here.wait_gone("asked-to-go")
    await here.eventually(lambda: not any(alive(pid) for pid in pids))
    await here.eventually(lambda: not here.traces(asked, forced))


async def test_nothing_is_ended_before_the_api_server_has_been_heard(here: Node) -> None:
    pod = await create(here, "patient")
    pid = pid_of(here, pod)
    here.agent.stop()
    here.server.kill()
    here.agent.start()
    await here.eventually(lambda: "can't be reached" in here.agent.log() or "not registered" in here.agent.log())
    assert alive(pid)
    here.server.start()
    await here.server.wait_ready()
    await create(here, "patient-next")
    assert pid_of(here, await here.running("patient")) == pid


async def test_what_happens_while_the_api_server_is_away_is_told_afterwards(here: Node) -> None:
    pod = await create(here, "told-later", restartPolicy="Never")
    pid = pid_of(here, pod)
    here.server.kill(signal.SIGKILL)
    (volume(pod, here) / "end").touch()
    await here.eventually(lambda: not alive(pid))
    here.server.start()
    await here.server.wait_ready()
    assert terminated(await here.phase("told-later", "Failed"))["exitCode"] == 4


async def test_a_pod_whose_supervisor_dies_is_made_anew(here: Node) -> None:
    pod = await create(here, "resurrected")
    os.kill(here.agent.supervisor_pid(pod), signal.SIGKILL)
    again = await here.wait_for("resurrected", lambda pod: entry(pod)["restartCount"] == 1 and is_ready(pod))
    assert entry(again)["lastState"]["terminated"]["exitCode"] == 137
    assert await here.event("resurrected", "SandboxChanged")
    await here.delete("resurrected")
    await here.wait_gone("resurrected")


async def test_a_pod_that_never_restarts_fails_when_its_supervisor_dies(here: Node) -> None:
    pod = await create(here, "unlucky", restartPolicy="Never")
    os.kill(here.agent.supervisor_pid(pod), signal.SIGKILL)
    assert terminated(await here.phase("unlucky", "Failed"))["exitCode"] == 137


async def test_a_node_that_lost_everything_starts_its_pods_again(here: Node) -> None:
    """As after a power cut: nothing runs and nothing is known but what is on the disk and in the API."""
    await create(here, "rebooted")
    await create(here, "rebooted-never", restartPolicy="Never")
    here.agent.clean_up()
    here.agent.start()
    again = await here.wait_for("rebooted", lambda pod: entry(pod)["restartCount"] == 1 and is_ready(pod))
    assert entry(again)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    await here.phase("rebooted-never", "Failed")


async def test_an_agent_that_is_killed_at_any_moment_leaves_what_the_next_can_go_on_from(here: Node) -> None:
    rng = random.Random(SEED)
    names = [f"storm-{number}" for number in range(KILLS)]
    for number, name in enumerate(names):
        await here.create(name, waiting(), volumes=[{"name": "v", "emptyDir": {}}])
        if number >= 2:
            await here.delete(names[number - 2])
        await asyncio.sleep(rng.uniform(0, 0.6))
        here.agent.stop()
        here.agent.start()
    for name in names[-2:]:
        pod = await here.running(name)
        assert entry(pod)["restartCount"] == 0
    for name in names[:-2]:
        await here.wait_gone(name)
    kept = {pod["metadata"]["uid"] for pod in await here.pods()}
    await here.eventually(lambda: {path.name for path in (here.agent.root / "pods").iterdir()} <= kept)
    await here.eventually(lambda: {path.name for path in (here.agent.root / "volumes").iterdir()} <= kept)
