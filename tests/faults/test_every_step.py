"""SIGKILL of the node agent between any two steps of a pod's life: the next agent brings the pod to its end, and
nothing is left.

The steps are found by running: each function of the node agent that a pod's life leads through, its beginning and
its end (tests/support/dying_agent.py). A few of some 2,200, spread evenly, are tried here, and more with
WHERRY_STEPS_TRIED=N, each of which takes two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS
from kubelet.runtime import cgroups
from tests.support.node import WAIT_SECONDS_MAX, Node, is_ready, node

TRIED = int(os.environ.get("WHERRY_STEPS_TRIED", "12"))
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(60 + 30 * TRIED),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

DYING = ("-m", "tests.support.dying_agent")
SCRIPT = "trap 'exit 0' TERM; while true; do sleep 0.05; done"
VOLUMES = [
    {"name": "scratch", "emptyDir": {"medium": "Memory"}},
    {"name": "config", "configMap": {"name": "settings"}},
]
MOUNTS = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "config", "mountPath": "/config"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "value"}}
        await made.client.create(CONFIGMAPS, config, "default")
        yield made


async def create(here: Node, name: str) -> Object:
    """A pod with all that can be left behind: an init container, volumes, a hook, an address."""
    image = {"image": "localhost/host"}
    first = {"name": "first", **image, "command": ["true"]}
    hook = {"postStart": {"exec": {"command": ["true"]}}}
    main = {"name": "web", **image, "command": ["sh", "-c", SCRIPT], "volumeMounts": MOUNTS, "lifecycle": hook}
    return await here.create(name, main, initContainers=[first], volumes=VOLUMES)


async def live(here: Node, name: str) -> None:
    """Lead a pod from its creation to its end."""
    await here.running(name)
    await here.delete(name)
    await here.wait_gone(name)


async def until_dead(here: Node) -> None:
    """Wait for the agent's death."""
    process = here.agent.process
    assert process is not None
    await asyncio.to_thread(process.wait, WAIT_SECONDS_MAX)
    here.agent.process = None


async def die_at(here: Node, name: str, step: str) -> bool:
    """Have the agent killed at this step of a pod's life; False if the step does not come this time."""
    here.agent.stop()
    here.agent.start(*DYING, step, os.devnull)
    await create(here, name)
    life = asyncio.create_task(live(here, name))
    death = asyncio.create_task(until_dead(here))
    await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
    died = death.done()
    here.agent.stop()
    await death
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life
    return died


def left_behind(here: Node) -> list[str]:
    """Whatever a pod may leave on its node."""
    root = here.agent.root
    found = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [place for place in found if place.startswith(f"{root}/")]
    for folder in ("pods", "volumes", "files", "logs"):
        found += map(str, (root / folder).iterdir()) if (root / folder).exists() else []
    for directory in cgroups.present().directories(here.agent.cgroup_root):
        found += [path for path, _, _ in os.walk(directory) if "/pod" in path]
    found += [name for _, name in socket.if_nameindex() if name.startswith("wv")]
    book = root / "network" / "addresses.json"
    found += [book.read_text()] if '"pods":{}' not in book.read_text() else []
    return found


async def finish(here: Node, name: str) -> None:
    """With a new agent: the pod comes to run if it was not deleted yet, and goes when it is."""
    here.agent.start()
    pod = await here.get(name)
    if pod is not None and not pod["metadata"].get("deletionTimestamp"):
        await here.wait_for(name, is_ready)
        with contextlib.suppress(ApiError):
            await here.delete(name)
    await here.wait_gone(name)
    await here.eventually(lambda: not left_behind(here))


async def steps_of_a_life(here: Node) -> list[str]:
    """All steps, in their order."""
    record = here.agent.folder / "steps"
    here.agent.stop()
    here.agent.start(*DYING, "record", str(record))
    await create(here, "recorded")
    await live(here, "recorded")
    here.agent.stop()
    await finish(here, "recorded")
    return record.read_text().splitlines()


async def test_an_agent_may_die_between_any_two_steps(here: Node) -> None:
    steps = await steps_of_a_life(here)
    assert len(steps) > 1000
    stride = max(1, len(steps) // TRIED)
    deaths, failed = 0, {}
    for number, step in enumerate(steps[stride // 2 :: stride]):
        name = f"pod-{number}"
        try:
            deaths += await die_at(here, name, step)
            await finish(here, name)
        except (AssertionError, ApiError) as error:
            failed[step] = f"{error} {left_behind(here)}"
    assert not failed
    # Some steps depend on what comes first; most come every time.
    assert deaths > TRIED // 2
