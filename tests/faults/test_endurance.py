"""What a node goes through in the long run: many pods one after the other, and a disk that is full for a while."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kubelet.runtime import cgroups
from tests.support.node import Node, node

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

PODS, AT_ONCE = 250, 25
SCRIPT = "trap 'exit 0' TERM; sleep 1000 & wait"
NO_EVICTION = "--eviction-hard=memory.available<1Mi"


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "web", "image": "localhost/host", "command": ["sh", "-c", SCRIPT], **fields}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        yield made


def machine_of(here: Node) -> dict[str, Any]:
    """All that a pod can leave on its machine: by kind, what there is now."""
    assert here.agent.process is not None
    agent = Path(f"/proc/{here.agent.process.pid}")
    groups = cgroups.present().directories(here.agent.cgroup_root)
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "mounts": sorted(place for place in places if place.startswith(str(here.agent.folder))),
        "cgroups": sorted(path for group in groups for path, _, _ in os.walk(group)),
        "links": sorted(name for _, name in socket.if_nameindex()),
        "addresses": sorted((here.agent.root / "network" / "addresses.json").read_text().split('"pods":')[1:]),
        "folders": sorted(
            str(path)
            for name in ("pods", "volumes", "files", "logs")
            if (here.agent.root / name).exists()
            for path in (here.agent.root / name).iterdir()
        ),
        "processes": sorted(name for entry in Path("/proc").glob("[0-9]*") if (name := _name_in(here, entry))),
        "descriptors": len(list((agent / "fd").iterdir())),
    }


def _name_in(here: Node, process: Path) -> str:
    """The name of a process of the node, but for the spare supervisor that may just be on its way; else ""."""
    try:
        name = (process / "comm").read_text().strip()
        return name if here.agent.cgroup_root in (process / "cgroup").read_text() and name != "kubelet-spare" else ""
    except OSError:
        return ""


async def test_hundreds_of_pods_leave_the_machine_as_it_was(here: Node) -> None:
    async def live(name: str) -> None:
        volumes = [{"name": "scratch", "emptyDir": {"medium": "Memory"}}]
        mounts = [{"name": "scratch", "mountPath": "/scratch"}]
        await here.create(name, container(volumeMounts=mounts), volumes=volumes, terminationGracePeriodSeconds=1)
        await here.running(name)
        await here.delete(name)
        await here.wait_gone(name)

    await asyncio.gather(*(live(f"first-{number}") for number in range(AT_ONCE)))
    # A pod's logs and files go after its object.
    await here.eventually(lambda: not machine_of(here)["folders"])
    before = machine_of(here)
    for start in range(0, PODS, AT_ONCE):
        await asyncio.gather(*(live(f"pod-{start + number}") for number in range(AT_ONCE)))
    descriptors = before.pop("descriptors")
    await here.eventually(lambda: before.items() <= machine_of(here).items())
    # Connections to the API server and its streams come and go.
    assert machine_of(here)["descriptors"] < descriptors + AT_ONCE


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of its own for what the node keeps."""
    place = tmp_path / "node"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", str(place)], check=False)
    if done.returncode:
        pytest.skip("can't mount a small file system here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_on_a_full_disk_pods_run_on_and_new_ones_wait_until_there_is_room(small_folder: Path) -> None:
    async with node(small_folder, NO_EVICTION) as here:
        words = "trap 'exit 0' TERM; while true; do echo alive; sleep 0.05; done"
        await here.create("old", container(command=["sh", "-c", words]))
        old = await here.running("old")
        filler = here.agent.root / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while file.write(bytes(4096)):
                pass
        await here.create("new", container())
        assert "No space left on device" in await here.event("new", "FailedCreatePodSandBox")
        # Neither the node agent nor what ran before is disturbed, and the agent may even be started again.
        here.agent.stop()
        here.agent.start()
        filler.unlink()
        await here.running("new")
        again = await here.running("old")
        assert again["metadata"]["uid"] == old["metadata"]["uid"]
        assert again["status"]["containerStatuses"] == old["status"]["containerStatuses"]
        lines = len(here.output(again).splitlines())
        await here.eventually(lambda: len(here.output(again).splitlines()) > lines)
        for name in ("old", "new"):
            await here.delete(name)
            await here.wait_gone(name)
        assert here.traces(again) == []
