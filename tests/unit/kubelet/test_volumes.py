"""What volumes hold: files that are swapped as a whole, the right keys and modes, and clear words where it fails."""

from __future__ import annotations

import base64
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.volumes import VolumeFailure, VolumeManager, atomic_writer, is_read_only, removal
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.empty_dir import huge_page_bytes, memory_size
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.network_file_system import mount_command
from tests.support.clock import ManualClock
from tests.support.tokens import NoTokens


class Stored:
    """ConfigMaps, as the manager reads and follows them."""

    def __init__(self, **config_maps: Object) -> None:
        self.config_maps = config_maps

    def add_listener(self, listener: Any) -> None:
        pass

    async def config_map(self, namespace: str, name: str) -> Object | None:
        return self.config_maps.get(name)

    async def secret(self, namespace: str, name: str) -> Object | None:
        return None


def manager_of(folder: Path, objects: Any) -> VolumeManager:
    return VolumeManager(folder, objects, NoTokens())


def pod(*volumes: Object, **spec: Any) -> Object:
    metadata = {"name": "web", "namespace": "default", "uid": "u-1", "labels": {"app": "web"}}
    return {"metadata": metadata, "spec": {"volumes": list(volumes), **spec}}


def files(**contents: str) -> dict[str, File]:
    return {name: File(content.encode(), 0o644) for name, content in contents.items()}


def shown(directory: Path) -> dict[str, str]:
    """What a reader sees: visible names and their contents."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and ".." not in str(path.relative_to(directory)):
            found[str(path.relative_to(directory))] = path.read_text()
    for link in directory.iterdir():
        if link.is_symlink() and link.is_dir() and not link.name.startswith(".."):
            found |= {f"{link.name}/{key}": value for key, value in shown(link).items()}
    return found


def test_files_are_replaced_as_a_whole_and_nothing_older_than_the_last_stays(tmp_path: Path) -> None:
    assert atomic_writer.write(tmp_path, files(a="1", b="1"))
    data = tmp_path / "..data"
    assert atomic_writer.write(tmp_path, files(a="2", c="2"))
    before = data.readlink()
    assert atomic_writer.write(tmp_path, files(a="3", c="3"))
    assert shown(tmp_path) == {"a": "3", "c": "3"}
    assert data.readlink() != before
    assert sorted(os.listdir(tmp_path)) == sorted(["..data", str(data.readlink()), str(before), "a", "c"])
    assert (tmp_path / "a").readlink() == Path("..data/a")


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    atomic_writer.write(tmp_path, files(a="1"))
    before = (tmp_path / "..data").readlink()
    assert not atomic_writer.write(tmp_path, files(a="1"))
    assert (tmp_path / "..data").readlink() == before
    assert atomic_writer.write(tmp_path, {"a": File(b"1", 0o600)})
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_reader_who_holds_the_old_files_open_reads_them_to_the_end(tmp_path: Path) -> None:
    atomic_writer.write(tmp_path, files(a="old"))
    with (tmp_path / "a").open() as reader:
        atomic_writer.write(tmp_path, files(a="new"))
        assert reader.read() == "old"


def test_a_reader_on_its_way_through_the_old_link_finds_the_old_files(tmp_path: Path) -> None:
    atomic_writer.write(tmp_path, files(a="old"))
    followed = tmp_path / (tmp_path / "..data").readlink()
    atomic_writer.write(tmp_path, files(a="new"))
    assert (followed / "a").read_text() == "old"


def test_paths_may_lie_in_folders(tmp_path: Path) -> None:
    atomic_writer.write(tmp_path, {"x/y/z": File(b"1", 0o644), "x/w": File(b"2", 0o644)})
    assert (tmp_path / "x").readlink() == Path("..data/x")
    assert (tmp_path / "x/y/z").read_text() == "1"
    atomic_writer.write(tmp_path, {"x": File(b"3", 0o644)})
    assert (tmp_path / "x").read_text() == "3"


def test_what_a_crash_left_behind_goes_with_the_next_write(tmp_path: Path) -> None:
    atomic_writer.write(tmp_path, files(a="1"))
    (tmp_path / "..version-lost").mkdir()
    (tmp_path / "..version-lost" / "a").write_text("half")
    (tmp_path / "..data_tmp").symlink_to("..version-lost")
    (tmp_path / "b").symlink_to("..data/b")
    atomic_writer.write(tmp_path, files(a="2"))
    assert shown(tmp_path) == {"a": "2"}
    assert len(os.listdir(tmp_path)) == 4


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "..data", "..x/y", "a//b", "./a", "n" * 256, "a/" * 2100]
)
def test_a_path_never_leads_out_of_the_volume(tmp_path: Path, path: str) -> None:
    with pytest.raises(VolumeError, match="invalid path"):
        atomic_writer.write(tmp_path, {path: File(b"", 0o644)})
    assert os.listdir(tmp_path) == []


def test_removal_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    volume = tmp_path / "volume"
    (volume / "nested").mkdir(parents=True)
    (volume / "nested" / "link").symlink_to(precious)
    (volume / "out").symlink_to("../precious")
    removal.remove(tmp_path, "volume")
    assert not volume.exists()
    link = tmp_path / "link"
    link.symlink_to(precious)
    removal.remove(tmp_path, "link")
    assert (precious / "file").read_text() == "keep"
    removal.remove(tmp_path, "nothing")


def test_removal_is_not_stopped_by_depth(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    here = top
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        (below, above), here = (os.open("d", os.O_RDONLY, dir_fd=here), here), -1
        here = below
        if above != top:
            os.close(above)
    os.close(here)
    os.close(top)
    removal.remove(tmp_path, "d")
    assert os.listdir(tmp_path) == []


GIB = 1 << 30


@pytest.mark.parametrize(
    ("source", "limits", "size"),
    [
        ({}, [None], 8 * GIB),
        ({"sizeLimit": "1Gi"}, [None], GIB),
        ({"sizeLimit": "16Gi"}, [None], 8 * GIB),
        ({"sizeLimit": "4Gi"}, ["1Gi", "2Gi"], 3 * GIB),
        ({"sizeLimit": "1Gi"}, ["1Gi", "2Gi"], GIB),
        ({"sizeLimit": "4Gi"}, ["1Gi", None], 4 * GIB),
        ({"sizeLimit": "0"}, ["1Gi"], GIB),
    ],
)
def test_memory_holds_no_more_than_volume_pod_and_node_allow(
    source: Object, limits: list[str | None], size: int
) -> None:
    containers = [{"name": "c", "resources": {"limits": {"memory": limit} if limit else {}}} for limit in limits]
    assert memory_size(source, pod(containers=containers), {"memory": "8Gi"}) == size


def asks(*resources: str) -> Object:
    return {"name": "c", "resources": {"requests": dict.fromkeys(resources, "1")}}


@pytest.mark.parametrize(
    ("medium", "asked", "size"),
    [
        ("HugePages", ["hugepages-2Mi", "memory"], 2 << 20),
        ("HugePages-1Gi", ["hugepages-2Mi", "hugepages-1Gi"], 1 << 30),
        ("HugePages-2048Ki", ["hugepages-2Mi"], 2 << 20),
    ],
)
def test_huge_pages_are_of_a_size_that_the_pod_requests(medium: str, asked: list[str], size: int) -> None:
    assert huge_page_bytes(medium, pod(containers=[asks("cpu")], initContainers=[asks(*asked)])) == size
    assert huge_page_bytes(medium, pod(containers=[], resources=asks(*asked)["resources"])) == size


@pytest.mark.parametrize(
    ("medium", "asked", "message"),
    [
        ("HugePages", ["memory"], "there is no resource request for huge pages"),
        ("HugePages-1Gi", ["hugepages-2Mi"], "there is no resource request for huge pages"),
        ("HugePages", ["hugepages-2Mi", "hugepages-1Gi"], "container requests multiple huge page sizes"),
    ],
)
def test_huge_pages_that_the_pod_does_not_request_are_refused(medium: str, asked: list[str], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        huge_page_bytes(medium, pod(containers=[asks(*asked)]))


def test_file_servers_are_mounted_by_the_nodes_own_command() -> None:
    source = {"server": "10.0.0.1", "path": "/exports/a"}
    assert mount_command(source, Path("/v")) == ["mount", "-t", "nfs", "10.0.0.1:/exports/a", "/v"]
    source = {"server": "fd00::1", "path": "/a", "readOnly": True}
    assert mount_command(source, Path("/v")) == ["mount", "-t", "nfs", "-o", "ro", "[fd00::1]:/a", "/v"]


async def test_all_that_fails_is_told_and_after_a_while_what_the_pod_waits_for(tmp_path: Path) -> None:
    clock, told = ManualClock(), []
    manager = VolumeManager(
        tmp_path,
        Stored(),
        NoTokens(),
        clock=clock,
        tell=lambda pod, failure: told.append(failure.message),  # type: ignore[arg-type]
    )
    waiting = pod(*({"name": name, "secret": {"secretName": name}} for name in "ab"), {"name": "c", "emptyDir": {}})

    async def fails() -> str:
        with pytest.raises(VolumeFailure) as failure:
            await manager.set_up(waiting)
        return failure.value.message

    words = 'MountVolume.SetUp failed for volume "{0}" : secret "{0}" not found'
    assert await fails() == words.format("a") and told == [words.format("b")]
    told.clear()
    await clock.advance(123)
    assert await fails() == words.format("a")
    summary = "Unable to attach or mount volumes: unmounted volumes=[a b], unattached volumes=[], "
    assert told == [words.format("b"), f"{summary}failed to process volumes=[]: context deadline exceeded"]
    told.clear()
    await fails()
    assert told == [words.format("b")]


async def test_a_config_map_becomes_files(tmp_path: Path) -> None:
    objects = Stored(
        c={"data": {"a": "text", "b": "more"}, "binaryData": {"raw": base64.b64encode(b"\xff").decode()}}
    )
    items = [{"key": "a", "path": "deep/a.txt", "mode": 0o400}, {"key": "raw", "path": "raw"}]
    volumes = [
        {"name": "all", "configMap": {"name": "c", "defaultMode": 0o640}},
        {"name": "some", "configMap": {"name": "c", "items": items}},
    ]
    manager = manager_of(tmp_path, objects)
    paths = await manager.set_up(pod(*volumes))
    assert paths == {name: tmp_path / "volumes" / "u-1" / name for name in ("all", "some")}
    assert (paths["all"] / "a").read_text() == "text"
    assert (paths["all"] / "raw").read_bytes() == b"\xff"
    assert stat.S_IMODE((paths["all"] / "a").stat().st_mode) == 0o640
    assert sorted(path.name for path in paths["some"].iterdir() if not path.name.startswith("..")) == ["deep", "raw"]
    assert stat.S_IMODE((paths["some"] / "deep/a.txt").stat().st_mode) == 0o400
    await manager.tear_down("u-1")
    assert list((tmp_path / "volumes").iterdir()) == []
    await manager.tear_down("u-1")


async def test_other_mounts_find_their_folders_in_volumes_that_show_objects(tmp_path: Path) -> None:
    def mounted(**paths: str) -> Object:
        return {"name": "c", "volumeMounts": [{"name": name[0], "mountPath": path} for name, path in paths.items()]}

    volumes = [{"name": "v", "configMap": {"name": "c"}}, {"name": "w", "emptyDir": {}}]
    containers = [mounted(v="/conf/", w="/conf/deep/inner", w2="/conf/deep/inner/more", w3="/confer", w4="/conf/a")]
    inits = [mounted(v="/etc", w="/etc/other"), mounted(w="/none/of/it")]
    objects = Stored(c={"data": {"a": "1", "gone": "1"}})
    manager = manager_of(tmp_path, objects)
    nesting = pod(*volumes, containers=containers, initContainers=inits)
    path = (await manager.set_up(nesting))["v"]
    assert [name for name in sorted(os.listdir(path)) if name[:2] != ".."] == ["a", "deep", "gone", "other"]
    assert os.listdir(path / "deep") == ["inner"] and os.listdir(path / "deep" / "inner") == []
    objects.config_maps["c"] = {"data": {"a": "2"}}
    await manager.set_up(nesting)
    assert [name for name in sorted(os.listdir(path)) if name[:2] != ".."] == ["a", "deep", "other"]
    assert (path / "a").read_text() == "2"


async def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    items = [{"key": "none", "path": "none"}, {"key": "a", "path": "a"}]
    volumes = [
        {"name": "none", "configMap": {"name": "none", "optional": True}},
        {"name": "half", "configMap": {"name": "c", "optional": True, "items": items}},
    ]
    manager = manager_of(tmp_path, Stored(c={"data": {"a": "1"}}))
    paths = await manager.set_up(pod(*volumes))
    assert (shown(paths["none"]), shown(paths["half"])) == ({}, {"a": "1"})


async def test_an_empty_dir_keeps_what_a_pod_has_put_into_it(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, Stored())
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "same"}]
    paths = await manager.set_up(pod(*volumes))
    (paths["scratch"] / "file").write_text("mine")
    again = manager_of(tmp_path, Stored())
    assert await again.set_up(pod(*volumes)) == paths
    assert (paths["scratch"] / "file").read_text() == "mine"
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.values()} == {0o777}


async def test_host_paths_are_what_the_pod_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    wanted = {
        "file": "File",
        "folder": "Directory",
        "socket": "Socket",
        "new/folder": "DirectoryOrCreate",
        "folder/new": "FileOrCreate",
        "unset/folder": "",
        "/dev/null": "CharDevice",
    }
    volumes = [
        {"name": f"v{number}", "hostPath": {"path": str(tmp_path / path), "type": kind}}
        for number, (path, kind) in enumerate(wanted.items())
    ]
    manager = manager_of(tmp_path / "root", Stored())
    paths = await manager.set_up(pod(*volumes))
    assert list(paths.values()) == [tmp_path / path for path in wanted]
    assert (tmp_path / "new/folder").is_dir() and (tmp_path / "folder/new").is_file()
    assert (tmp_path / "unset/folder").is_dir()
    await manager.tear_down("u-1")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
            "configmap references non-existent config key: k",
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "y"}}]}},
            '[configmap "x" not found, secret "y" not found]',
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            'failed to fetch token: serviceaccounts "default" not found',
        ),
        (
            {"projected": {"sources": [{"clusterTrustBundle": {"path": "bundle"}}]}},
            "projected volumes of this node can't show clusterTrustBundle",
        ),
        ({"projected": {"sources": [{}, {"configMap": {}}]}}, 'configmap "" not found'),
        ({"emptyDir": {"medium": "Disk"}}, 'unknown storage medium "Disk"'),
        (
            {"emptyDir": {"medium": "HugePages"}},
            "medium HugePages: hugePages storage requested, but there is no resource request for huge pages",
        ),
        (
            {"csi": {"driver": "x.io"}},
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
            "driver name x.io not found in the list of registered CSI drivers",
        ),
        (
            {"gcePersistentDisk": {"pdName": "x"}},
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
            "driver name pd.csi.storage.gke.io not found in the list of registered CSI drivers",
        ),
        ({"glusterfs": {}}, "no volume plugin matched: glusterfs volumes are not part of Kubernetes any more"),
        ({"iscsi": {}}, "no volume plugin matched: this node attaches no iscsi devices"),
        ({"new": {}}, "volumes of the kind new are not available on this node"),
        ({"hostPath": {"path": "/a/../b"}}, "invalid HostPath `/a/../b`: must not contain '..'"),
        ({"hostPath": {"path": "/proc", "type": "Pipe"}}, "Pipe is an invalid volume type"),
    ],
)
async def test_a_volume_that_cannot_be_had_is_said_in_kubernetes_words(
    tmp_path: Path, volume: Object, message: str
) -> None:
    manager = manager_of(tmp_path, Stored(c={}))
    with pytest.raises(VolumeFailure) as failure:
        await manager.set_up(pod({"name": "v", **volume}, containers=[]))
    assert failure.value.reason == "FailedMount"
    assert failure.value.message == f'MountVolume.SetUp failed for volume "v" : {message}'
    await manager.tear_down("u-1")


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/none", "Directory", "directory"),
        ("/proc", "File", "file"),
        ("/proc", "FileOrCreate", "file"),
        ("/proc/version/x", "Socket", "socket file"),
        ("/proc", "CharDevice", "character device"),
        ("/proc", "BlockDevice", "block device"),
    ],
)
async def test_a_host_path_of_another_type_is_refused(tmp_path: Path, path: str, kind: str, said: str) -> None:
    manager = manager_of(tmp_path, Stored())
    with pytest.raises(VolumeFailure, match=f"hostPath type check failed: {path} is not a {said}$"):
        await manager.set_up(pod({"name": "v", "hostPath": {"path": path, "type": kind}}))


async def test_names_never_lead_out_of_the_node_agents_folder(tmp_path: Path) -> None:
    manager = manager_of(tmp_path / "root", Stored())
    with pytest.raises(VolumeFailure):
        await manager.set_up(pod({"name": "../../x", "emptyDir": {}}))
    with pytest.raises(VolumeFailure):
        await manager.tear_down("../../x")


async def test_volumes_of_pods_that_are_gone_are_removed(tmp_path: Path) -> None:
    manager = manager_of(tmp_path, Stored())
    for uid in ("live", "dead"):
        await manager.set_up(
            {"metadata": {"name": uid, "namespace": "d", "uid": uid}, "spec": {"volumes": [{"name": "v"}]}}
        )
    restarted = manager_of(tmp_path, Stored())
    await restarted.reconcile(["live"])
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["live"]
    await manager_of(tmp_path / "never", Stored()).reconcile([])


def test_containers_cannot_write_where_objects_are_shown() -> None:
    assert is_read_only({"name": "v", "configMap": {"name": "c"}})
    assert is_read_only({"name": "v", "projected": {"sources": []}})
    assert not is_read_only({"name": "v", "emptyDir": {}})
    assert not is_read_only({"name": "v"})
    assert not is_read_only({"name": "v", "hostPath": {"path": "/"}})
