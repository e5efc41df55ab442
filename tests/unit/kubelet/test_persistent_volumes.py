"""Claims as volumes of pods, and the folders of the node that persistent volumes may be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.persistent_volumes import BIND_COMPLETED, LOCAL_PATH, LOCAL_PATH_FINALIZER, LOCAL_PATH_NODE_LABEL
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from kubelet.volumes import VolumeFailure, VolumeManager, local_path
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.local_path import LocalPath
from kubelet.volumes.persistent import IN_USE, PersistentVolumes
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi

NODE: Object = {"metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}}}
PROTECTION = "kubernetes.io/pv-protection"
GOING = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Released"}}


class NoTokens:
    def forget(self, pod_uid: str) -> None:
        pass


class NoObjects:
    def add_listener(self, listener: Any) -> None:
        pass


def local_volume(called: str = "pvc-1", **more: Any) -> Object:
    metadata = {
        "name": called,
        "labels": {LOCAL_PATH_NODE_LABEL: more.pop("node", "node-1")},
        "finalizers": [PROTECTION],
    }
    spec = {
        "csi": {"driver": LOCAL_PATH, "volumeHandle": more.pop("handle", called)},
        "persistentVolumeReclaimPolicy": more.pop("policy", "Delete"),
        "accessModes": ["ReadWriteOnce"],
        **more,
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Bound"}}


class World:
    """A node and its API server; `restart` is what a killed agent's successor finds."""

    def __init__(self, root: Path) -> None:
        self.root, self.api, self.clock = root, StagedApi(), ManualClock()
        self.restart()

    def restart(self) -> None:
        client: Any = self.api
        parts: Any = (NoObjects(), NoTokens())
        self.local = LocalPath(client, self.root, "node-1", clock=self.clock)
        persistent = PersistentVolumes(client, lambda: NODE, self.local)
        self.manager = VolumeManager(self.root, *parts, persistent_volumes=persistent)

    @property
    def volume(self) -> Object:
        (found,) = self.api.objects(PERSISTENTVOLUMES)
        return found

    @property
    def finalizers(self) -> list[str]:
        found: list[str] = self.volume["metadata"]["finalizers"]
        return found

    def data(self, called: str = "pvc-1") -> Path:
        return self.root / "local-volumes" / called / "data"

    def link(self, pod: str = "pod-1") -> Path:
        folder = self.root / "volumes" / pod
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "v"

    async def delete(self) -> None:
        """What a claim's deletion leads to."""
        await self.api.patch(PERSISTENTVOLUMES, "pvc-1", GOING)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.local.run())
        await self.clock.settle()
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, condition: Any) -> None:
        """Work on threads takes its own time."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nothing tells of what a thread has done to a folder
                await asyncio.sleep(0.005)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_folder_is_made_when_a_pod_needs_it_and_its_volume_is_held_before(world: World) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    place = await world.local.provide("pvc-1", world.link())
    assert place == world.data() == world.link().readlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o777
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700, "no other user of the node gets in"
    assert world.finalizers == [PROTECTION, LOCAL_PATH_FINALIZER]
    (place / "file").write_text("kept")
    assert await world.local.provide("pvc-1", world.link("pod-2")) == place
    assert (place / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        (local_volume(node="node-2"), "not on this node"),
        (local_volume(handle="pvc-2"), "has to be its name"),
        (local_volume(handle="../../etc"), "has to be its name"),
        ({**local_volume(), "metadata": {**local_volume()["metadata"], **GOING["metadata"]}}, "is being deleted"),
    ],
)
async def test_what_a_volume_says_can_not_lead_to_another_folder(world: World, volume: Object, why: str) -> None:
    await world.api.create(PERSISTENTVOLUMES, volume)
    with pytest.raises(VolumeError, match=why):
        await world.local.provide("pvc-1", world.link())
    assert not world.data().exists() and LOCAL_PATH_FINALIZER not in world.finalizers


@pytest.mark.parametrize("called", ["..", "a/b", "/etc", "", "A"])
async def test_nor_can_its_name(world: World, called: str) -> None:
    with pytest.raises(VolumeError, match="no volume's name"):
        await world.local.provide(called, world.link())


async def test_a_folder_goes_with_its_volume_when_the_last_pod_has_gone(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("somebody else's")
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    async with world.running():
        place = await world.local.provide("pvc-1", world.link())
        (place / "link").symlink_to(outside)
        (place / "deep" / "er").mkdir(parents=True)
        await world.clock.settle()
        await world.delete()
        await world.until(lambda: world.local._volumes.get("pvc-1")["metadata"].get("deletionTimestamp"))
        await world.clock.settle()
        assert place.exists(), "a pod that the API has forgotten may be running still"
        world.link().unlink()
        world.local.pod_gone()
        await world.until(lambda: world.finalizers == [PROTECTION])
        await world.until(lambda: not place.parent.exists())
    assert (outside / "file").read_text() == "somebody else's"


async def test_a_volume_that_a_claim_still_has_is_not_touched(world: World) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    async with world.running():
        place = await world.local.provide("pvc-1", world.link())
        world.link().unlink()
        await world.api.patch(PERSISTENTVOLUMES, "pvc-1", {"metadata": GOING["metadata"]})
        await world.until(lambda: world.local._volumes.get("pvc-1")["metadata"].get("deletionTimestamp"))
        await world.clock.settle()
        assert place.exists() and LOCAL_PATH_FINALIZER in world.finalizers


async def test_data_that_is_to_be_kept_is_kept_though_its_volume_goes(world: World) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume(policy="Retain"))
    async with world.running():
        place = await world.local.provide("pvc-1", world.link())
        world.link().unlink()
        await world.delete()
        await world.until(lambda: world.finalizers == [PROTECTION])
    assert place.exists()
    await world.api.delete(PERSISTENTVOLUMES, "pvc-1")
    world.restart()
    async with world.running():
        await world.clock.settle()
    assert place.exists(), "nor is it taken for a leftover later"


@pytest.mark.parametrize("killed_after", ["record", "finalizer", "unfinished folder"])
async def test_an_agent_that_was_killed_while_it_made_a_folder_leaves_nothing(
    world: World, killed_after: str
) -> None:
    made = local_volume()
    if killed_after != "record":
        made["metadata"]["finalizers"].append(LOCAL_PATH_FINALIZER)
    await world.api.create(PERSISTENTVOLUMES, made)
    world.data().parent.mkdir(parents=True)
    if killed_after == "unfinished folder":
        (world.data().parent / ".new").mkdir()
    await world.delete()
    async with world.running():
        await world.until(lambda: world.finalizers == [PROTECTION])
        await world.until(lambda: not world.data().parent.exists())


async def test_an_agent_that_was_killed_while_it_removed_a_folder_goes_on(world: World) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    place = await world.local.provide("pvc-1", world.link())
    world.link().unlink()
    (place / "half").mkdir()
    await world.delete()
    world.restart()
    async with world.running():
        await world.until(lambda: world.finalizers == [PROTECTION])
        await world.until(lambda: not place.parent.exists())


class Killed(BaseException):
    """What ends an agent between two steps."""


class Killer:
    """Lets an agent take so many steps: what it does to its disk, and what it writes to the API."""

    def __init__(self, patcher: pytest.MonkeyPatch, world: World, steps: int) -> None:
        self.steps = steps
        patcher.setattr(local_path, "run_blocking", self._stepwise(local_path.run_blocking))
        patcher.setattr(world.api, "patch", self._stepwise(world.api.patch))

    def _stepwise(self, call: Any) -> Any:
        async def step(*args: Any, **kwargs: Any) -> Any:
            if self.steps == 0:
                raise Killed
            self.steps -= 1
            return await call(*args, **kwargs)

        return step


STEPS_MAX = 8


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("steps", range(STEPS_MAX))
async def test_between_any_two_steps_of_making_a_folder_an_agent_may_be_killed(
    world: World, steps: int, *, comes_back: bool
) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    with pytest.MonkeyPatch.context() as patcher:
        killer = Killer(patcher, world, steps)
        try:
            await world.local.provide("pvc-1", world.link())
        except Killed:
            assert killer.steps == 0
        else:
            assert steps >= 3, "there are not that many steps"
    world.restart()
    if comes_back:
        await world.local.provide("pvc-1", world.link())
        assert world.data().is_dir() and world.finalizers == [PROTECTION, LOCAL_PATH_FINALIZER]
    world.link().unlink(missing_ok=True)
    await world.delete()
    async with world.running():
        await world.until(lambda: world.finalizers == [PROTECTION] and not world.data().parent.exists())


@pytest.mark.parametrize("steps", range(STEPS_MAX))
async def test_between_any_two_steps_of_removing_a_folder_too(world: World, steps: int) -> None:
    await world.api.create(PERSISTENTVOLUMES, local_volume())
    await world.local.provide("pvc-1", world.link())
    world.link().unlink()
    await world.delete()
    world.restart()
    with pytest.MonkeyPatch.context() as patcher:
        killer = Killer(patcher, world, steps)
        running = asyncio.create_task(world.local.run())
        await world.until(lambda: running.done() or not world.data().parent.exists())
        assert killer.steps == 0 or steps >= 4, "there are not that many steps"
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup, Killed):
            await running
    world.restart()
    async with world.running():
        await world.until(lambda: world.finalizers == [PROTECTION] and not world.data().parent.exists())


def bound_claim(called: str = "c", *, volume: str = "pvc-1", **more: Any) -> Object:
    metadata = {"name": called, "namespace": "default", "annotations": {BIND_COMPLETED: "yes"}, **more}
    return {"metadata": metadata, "spec": {"volumeName": volume, "accessModes": ["ReadWriteOnce"]}}


def pod(called: str = "p", **source: Any) -> Object:
    volume = {"name": "v", **(source or {"persistentVolumeClaim": {"claimName": "c"}})}
    metadata = {"name": called, "namespace": "default", "uid": f"uid-{called}"}
    return {"metadata": metadata, "spec": {"volumes": [volume]}}


async def world_with(world: World, volume: Object, claim: Object) -> None:
    made = await world.api.create(PERSISTENTVOLUMECLAIMS, {**claim, "status": {"phase": "Bound"}})
    ref = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
    volume["spec"].setdefault("claimRef", ref)
    await world.api.create(PERSISTENTVOLUMES, volume)


async def test_a_claim_is_asked_about_once(world: World) -> None:
    await world_with(world, local_volume(), bound_claim())
    assert await world.manager.set_up(pod()) == {"v": world.data()}
    await world.api.delete(PERSISTENTVOLUMECLAIMS, "c", "default")
    world.restart()
    assert await world.manager.set_up(pod()) == {"v": world.data()}, "what is there is there"
    await world.manager.tear_down("uid-p")
    assert world.data().exists() and not (world.root / "volumes" / "uid-p").exists()


UNBOUND = {**bound_claim(), "spec": {"accessModes": []}}
LEAVING = bound_claim(deletionTimestamp="2026-01-01T00:00:00Z")
ELSEWHERE = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}]


@pytest.mark.parametrize(
    ("claim", "volume", "why"),
    [
        (bound_claim("other"), local_volume(), "error processing PVC default/c: failed to fetch PVC from API server"),
        (UNBOUND, local_volume(), "error processing PVC default/c: PVC is not bound"),
        (LEAVING, local_volume(), "error processing PVC default/c: PVC is being deleted"),
        (bound_claim(volume="pvc-9"), local_volume(), "failed to fetch PV pvc-9 from API server"),
        (bound_claim(), local_volume(claimRef={"uid": "x"}), "found PV object pvc-1 with another claim"),
        (bound_claim(), local_volume(volumeMode="Block"), "has volumeMode Block, but is specified in volumeMounts"),
        (
            bound_claim(),
            local_volume(nodeAffinity={"required": {"nodeSelectorTerms": ELSEWHERE}}),
            "NodeAffinity check failed",
        ),
        (
            bound_claim(),
            {"metadata": {"name": "pvc-1"}, "spec": {"csi": {"driver": "x.example.com"}}},
            "x.example.com not found in the list of registered CSI drivers",
        ),
        (
            bound_claim(),
            {"metadata": {"name": "pvc-1"}, "spec": {"local": {"path": "/nowhere"}}},
            "hostPath type check failed: /nowhere is not a directory",
        ),
    ],
)
async def test_a_pod_is_told_why_its_claim_is_no_volume(
    world: World, claim: Object, volume: Object, why: str
) -> None:
    await world_with(world, {**volume, "spec": dict(volume["spec"])}, claim)
    with pytest.raises(VolumeFailure, match='volume "v"') as failure:
        await world.manager.set_up(pod())
    assert why in failure.value.message


@pytest.mark.parametrize("kind", ["hostPath", "local"])
async def test_a_folder_that_the_nodes_owner_gives_is_a_volume(world: World, tmp_path: Path, kind: str) -> None:
    given = tmp_path / "given"
    given.mkdir()
    await world_with(world, {"metadata": {"name": "pvc-1"}, "spec": {kind: {"path": str(given)}}}, bound_claim())
    assert await world.manager.set_up(pod()) == {"v": given}
    await world.manager.tear_down("uid-p")
    assert given.exists()


async def test_a_claim_for_one_pod_is_for_one_pod(world: World) -> None:
    claim = bound_claim()
    claim["spec"] = {**claim["spec"], "accessModes": ["ReadWriteOncePod"]}
    await world_with(world, local_volume(), claim)
    await world.manager.set_up(pod())
    with pytest.raises(VolumeFailure, match=IN_USE):
        await world.manager.set_up(pod("q"))
    await world.manager.tear_down("uid-p")
    assert await world.manager.set_up(pod("q")) == {"v": world.data()}


async def test_a_claim_of_its_own_is_a_pods_only_if_it_was_made_for_it(world: World) -> None:
    owners = [{"kind": "Pod", "name": "p", "uid": "uid-p", "controller": True}]
    await world_with(world, local_volume(), bound_claim("p-v", ownerReferences=owners))
    own = {"ephemeral": {"volumeClaimTemplate": {}}}
    assert await world.manager.set_up(pod(**own)) == {"v": world.data()}
    later = pod(**own)
    later["metadata"]["uid"] = "uid-later"
    with pytest.raises(VolumeFailure, match="pod is not owner"):
        await world.manager.set_up(later)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
async def test_a_volume_is_given_to_the_group_of_its_pod(world: World) -> None:
    await world_with(world, local_volume(), bound_claim())
    with_group = pod()
    with_group["spec"]["securityContext"] = {"fsGroup": 4321}
    await world.manager.set_up(with_group)
    assert world.data().stat().st_gid == 4321 and world.data().stat().st_mode & stat.S_ISGID
