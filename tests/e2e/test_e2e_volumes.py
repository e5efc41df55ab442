"""Volumes with real mounts: memory, secrets, ownership, updates, and removal that never goes through a mount."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import SECRETS
from kubelet.containers import subpaths
from kubelet.images import Image
from kubelet.objects import ObjectKey
from kubelet.paths import shared_volume, subpaths_dir
from kubelet.runtime import syscalls
from kubelet.volumes import VolumeFailure, VolumeManager, image, mounts, propagation
from tests.support.tokens import NoTokens

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

GROUP = 4321


class Stored:
    """Secrets, as the manager reads and follows them."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.listeners: list[Any] = []

    def add_listener(self, listener: Any) -> None:
        self.listeners.append(listener)

    def put(self, name: str, **data: bytes) -> None:
        self.secrets[name] = data
        for listener in self.listeners:
            listener(ObjectKey(SECRETS, "default", name))

    async def secret(self, namespace: str, name: str) -> Object | None:
        data = self.secrets.get(name)
        if data is None:
            return None
        return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}

    async def config_map(self, namespace: str, name: str) -> Object | None:
        return {"data": {"key": "value"}}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A node agent's folder, below which nothing stays mounted."""
    folder = tmp_path / "root"
    folder.mkdir()
    try:
        yield folder
    finally:
        mounts.unmount_below(folder)


@pytest.fixture
async def objects() -> Stored:
    return Stored()


@pytest.fixture
async def manager(root: Path, objects: Stored) -> AsyncIterator[VolumeManager]:
    volumes = VolumeManager(root, objects, NoTokens(), lambda: {"memory": "1Gi"})  # type: ignore[arg-type]
    task = asyncio.create_task(volumes.run())
    yield volumes
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def pod(*volumes: Object, labels: dict[str, str] | None = None, fs_group: int | None = None) -> Object:
    spec: Object = {"volumes": list(volumes), "containers": [{"name": "c"}]}
    if fs_group is not None:
        spec["securityContext"] = {"fsGroup": fs_group}
    return {"metadata": {"name": "web", "namespace": "default", "uid": "u-1", "labels": labels or {}}, "spec": spec}


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - files tell nobody of their changes
            await asyncio.sleep(0.01)


async def test_memory_is_a_tmpfs_of_the_size_that_was_asked_for(manager: VolumeManager, root: Path) -> None:
    volume = {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    paths = await manager.set_up(pod(volume))
    assert os.path.ismount(paths["cache"])
    (paths["cache"] / "kept").write_text("x")
    assert await manager.set_up(pod(volume)) == paths
    assert mounts.mounts_below(root) == [str(paths["cache"])]
    assert (paths["cache"] / "kept").read_text() == "x"
    with pytest.raises(OSError, match="No space left"):
        (paths["cache"] / "large").write_bytes(b"x" * (2 << 20))
    await manager.tear_down("u-1")
    assert mounts.mounts_below(root) == []
    assert list((root / "volumes").iterdir()) == []


async def test_huge_pages_are_mounted_in_the_size_that_the_pod_requests(manager: VolumeManager, root: Path) -> None:
    sizes = [int(path.name.removeprefix("hugepages-")[:-2]) for path in Path("/sys/kernel/mm/hugepages").glob("*")]
    if not sizes:
        pytest.skip("the kernel knows no huge pages")
    volume = {"name": "huge", "emptyDir": {"medium": "HugePages"}}
    wanted = pod(volume, fs_group=GROUP)
    wanted["spec"]["containers"][0]["resources"] = {"requests": {f"hugepages-{sizes[0]}Ki": "0"}}
    for _ in range(2):
        path = (await manager.set_up(wanted))["huge"]
        assert (os.statvfs(path).f_bsize, len(mounts.mounts_below(root))) == (sizes[0] << 10, 1)
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (GROUP, 0o2777)
    await manager.tear_down("u-1")
    assert mounts.mounts_below(root) == []


async def test_memory_never_gets_to_a_disk_by_way_of_swap(manager: VolumeManager, objects: Stored) -> None:
    objects.put("keys", token=b"t")
    path = (await manager.set_up(pod({"name": "keys", "secret": {"secretName": "keys"}})))["keys"]
    [line] = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {path} " in line]
    release = tuple(int(number) for number in os.uname().release.split(".")[:2])
    assert ("noswap" in line) == (release >= (6, 4))


async def test_a_secret_never_touches_the_disk_and_follows_its_changes(
    manager: VolumeManager, objects: Stored, root: Path
) -> None:
    objects.put("keys", token=b"one")
    path = (await manager.set_up(pod({"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}})))[
        "keys"
    ]
    assert mounts.mounts_below(root) == [str(path)]
    assert stat.S_IMODE((path / "token").stat().st_mode) == 0o400
    objects.put("keys", token=b"two", more=b"m")
    await until(lambda: (path / "token").read_bytes() == b"two")
    assert sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("..")) == ["more", "token"]
    del objects.secrets["keys"]
    objects.put("other")
    with pytest.raises(VolumeFailure, match='secret "keys" not found'):
        await manager.set_up(pod({"name": "keys", "secret": {"secretName": "keys"}}))
    assert (path / "token").read_bytes() == b"two"


async def test_labels_in_a_volume_follow_the_pod(manager: VolumeManager, objects: Stored) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    volume = {"name": "me", "downwardAPI": {"items": items}}
    path = (await manager.set_up(pod(volume, labels={"v": "1"})))["me"]
    assert (path / "labels").read_text() == 'v="1"'
    await manager.set_up(pod(volume, labels={"v": "2"}))
    assert (path / "labels").read_text() == 'v="2"'


async def test_several_sources_are_shown_in_one_folder(manager: VolumeManager, objects: Stored) -> None:
    objects.put("keys", token=b"t")
    memory = {
        "path": "memory",
        "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"},
    }
    sources = [
        {"secret": {"name": "keys", "items": [{"key": "token", "path": "auth/token", "mode": 0o600}]}},
        {"configMap": {"name": "c"}},
        {"downwardAPI": {"items": [memory]}},
    ]
    path = (await manager.set_up(pod({"name": "all", "projected": {"sources": sources}})))["all"]
    assert (path / "auth/token").read_bytes() == b"t"
    assert (path / "key").read_text() == "value"
    assert (path / "memory").read_text() == "1024"
    assert stat.S_IMODE((path / "auth/token").stat().st_mode) == 0o600


async def test_volumes_belong_to_the_pods_group(manager: VolumeManager, objects: Stored) -> None:
    objects.put("keys", token=b"t")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {
            "name": "keys",
            "secret": {"secretName": "keys", "defaultMode": 0o400, "items": [{"key": "token", "path": "a/b"}]},
        },
        {"name": "config", "configMap": {"name": "c"}},
    ]
    paths = await manager.set_up(pod(*volumes, fs_group=GROUP))
    for path in paths.values():
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (GROUP, 0o2777)
    secret = (paths["keys"] / "a/b").stat()
    assert (secret.st_gid, stat.S_IMODE(secret.st_mode)) == (GROUP, 0o440)
    folder = (paths["keys"] / "a").stat()
    assert (folder.st_gid, stat.S_IMODE(folder.st_mode)) == (GROUP, 0o2755)
    # A new file of the pod's belongs to the group as well.
    (paths["disk"] / "new").touch()
    assert (paths["disk"] / "new").stat().st_gid == GROUP


async def test_tear_down_never_deletes_through_a_mount(manager: VolumeManager, root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    scratch = (await manager.set_up(pod({"name": "scratch", "emptyDir": {}})))["scratch"]
    # What a privileged container may do with a mount that propagates to the node, on the same file system.
    inside = scratch / "with space" / "mounted"
    inside.mkdir(parents=True)
    for _ in range(2):
        syscalls.mount(str(precious), str(inside), None, syscalls.MS_BIND)
    (scratch / "single").touch()
    syscalls.mount(str(precious / "file"), str(scratch / "single"), None, syscalls.MS_BIND)
    (scratch / "link").symlink_to(precious)
    assert len(mounts.mounts_below(root)) == 3
    await manager.tear_down("u-1")
    assert (precious / "file").read_text() == "keep"
    assert mounts.mounts_below(root) == []
    assert list((root / "volumes").iterdir()) == []


async def test_what_cannot_be_unmounted_is_left_alone(
    manager: VolumeManager, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    scratch = (await manager.set_up(pod({"name": "scratch", "emptyDir": {}})))["scratch"]
    (scratch / "a/b/c").mkdir(parents=True)
    syscalls.mount(str(precious), str(scratch / "a/b/c"), None, syscalls.MS_BIND)
    with monkeypatch.context() as patch:
        patch.setattr(mounts, "unmount_below", lambda _: None)
        with pytest.raises(VolumeFailure, match="mount point|Device or resource busy"):
            await manager.tear_down("u-1")
        assert (precious / "file").read_text() == "keep"
    await manager.tear_down("u-1")
    assert (precious / "file").read_text() == "keep"
    assert list((root / "volumes").iterdir()) == []


async def test_a_link_on_the_way_to_a_mount_leads_no_unmount_astray(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "m").mkdir(parents=True)
    mounts.mount_tmpfs(elsewhere / "m", mode=0o755)
    try:
        (root / "link").symlink_to(elsewhere)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mounts, "mounts_below", lambda _: [str(root / "link" / "m")])
            with pytest.raises(OSError, match="symbolic links"):
                mounts.unmount_below(root)
        assert os.path.ismount(elsewhere / "m")
    finally:
        mounts.unmount_below(elsewhere)


async def test_images_and_shared_volumes_go_with_their_pod_whoever_ends_it(
    root: Path, objects: Stored, manager: VolumeManager, tmp_path: Path
) -> None:
    for name in ("lower", "upper"):
        (tmp_path / name / "dir").mkdir(parents=True)
        (tmp_path / name / "dir" / name).write_text(name)
    layers = [tmp_path / "upper", tmp_path / "lower"]
    shown = Image("sha256:x", [], [], layers, {}, 0, "", [(str(tmp_path / "lower"), "/dir")])
    # What other pods may be using as well is shared for this one alone.
    local = root / "local-volumes" / "data"
    (local / "mine").mkdir(parents=True)
    paths = await manager.set_up(pod({"name": "i", "image": {"reference": "x"}}, {"name": "disk", "emptyDir": {}}))
    for _ in range(2):
        image.mount(paths["i"], shown)
        for name in ("disk", "local"):
            shared = shared_volume(root, "u-1", name)
            propagation.prepare(paths.get(name, local), "Bidirectional", root=root, shared=shared)
    assert sorted(path.name for path in (paths["i"] / "dir").iterdir()) == ["dir"]
    assert len(mounts.mounts_below(root)) == 4
    mounts.mount_tmpfs(shared_volume(root, "u-1", "local") / "mine", mode=0o755)
    assert not os.path.ismount(local / "mine")
    with pytest.raises(OSError, match="Read-only"):
        (paths["i"] / "dir" / "new").touch()
    await VolumeManager(root, objects, NoTokens()).reconcile([])  # type: ignore[arg-type]
    assert mounts.mounts_below(root) == list((root / "volumes").iterdir()) == []
    assert (tmp_path / "upper" / "dir" / "upper").read_text() == "upper"
    assert (local / "mine").is_dir()


async def test_parts_that_a_killed_agent_left_mounted_go_when_the_next_takes_the_pod_over(
    manager: VolumeManager, root: Path, objects: Stored
) -> None:
    volumes = [{"name": "disk", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    paths = await manager.set_up(pod(*volumes))
    place = subpaths_dir(root, "u-1") / "c" / "0"
    with subpaths.bound_part(paths["m"], "part", place):
        assert len(mounts.mounts_below(root)) == 2
        await VolumeManager(root, objects, NoTokens()).set_up(pod(*volumes))  # type: ignore[arg-type]
        assert mounts.mounts_below(root) == [str(paths["m"])]


async def test_a_new_agent_removes_what_a_killed_one_left(
    root: Path, objects: Stored, manager: VolumeManager
) -> None:
    objects.put("keys", token=b"t")
    volumes = [{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    await manager.set_up(pod(*volumes))
    restarted = VolumeManager(root, objects, NoTokens())  # type: ignore[arg-type]
    await restarted.reconcile(["u-1"])
    assert len(mounts.mounts_below(root)) == 2
    await restarted.reconcile([])
    assert mounts.mounts_below(root) == []
    assert list((root / "volumes").iterdir()) == []
