"""How volumes of a real pod are mounted: in parts, over one another, read-only, shared; and images as volumes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.resources import CONFIGMAPS, PODS
from kubelet.images import ImageStore
from kubelet.images.importing import import_archive
from kubelet.images.unpackers import Unpackers
from kubelet.runtime import syscalls
from kubelet.volumes import mounts
from tests.support.layers import docker_archive, entry, tar
from tests.support.node import Node, node, pid_of
from tests.support.volumes import FOREVER, mount, put, refused, restarts, said, shell

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

GROUP = 4321


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        yield made


# Parts of volumes.


async def test_parts_of_volumes_are_made_as_the_volume_is(here: Node) -> None:
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    mounted = [
        mount("v", "/plain", subPath="a/b"),
        mount("v", "/named", subPathExpr="$(POD)/logs"),
        mount("v", "/all"),
    ]
    container = shell("stat -c '%a %g' /plain /all/a /named; ls /all", env=env, volumeMounts=mounted)
    volumes = [{"name": "v", "emptyDir": {}}]
    context = {"fsGroup": GROUP}
    lines = await said(here, "made", container, volumes=volumes, securityContext=context)
    assert lines == [*[f"2777 {GROUP}"] * 3, "a", "made"]
    for expression, message in (
        ("$(NONE)/x", 'missing value for "NONE"'),
        ("$(ROOT)", "error SubPath `/etc` must not be an absolute path"),
        ("$(UP)", "unable to provision SubPath `../up`: must not contain '..'"),
    ):
        env = [{"name": "ROOT", "value": "/etc"}, {"name": "UP", "value": "../up"}]
        container = shell("true", env=env, volumeMounts=[mount("v", "/v", subPathExpr=expression)])
        found = await refused(here, f"expr-{len(message)}", container, volumes=volumes)
        assert found == {"reason": "CreateContainerConfigError", "message": message}


async def test_a_part_that_lies_outside_of_its_volume_is_refused(here: Node) -> None:
    host = here.agent.folder / "outside"
    (host / "v" / "inside").mkdir(parents=True)
    (host / "v" / "inside" / "file").write_text("in\n")
    (host / "secret").write_text("out\n")
    links = {
        "absolute": "/etc",
        "relative": "../secret",
        "nowhere": "/none/such",
        "good": "inside/file",
        "own": str(host / "v" / "inside"),
    }
    for name, aim in links.items():
        (host / "v" / name).symlink_to(aim)
    volumes = [{"name": "v", "hostPath": {"path": str(host / "v")}}]
    for part in ("absolute", "absolute/passwd", "relative", "nowhere/deep", "good/below"):
        container = shell("true", volumeMounts=[mount("v", "/v", subPath=part)])
        found = await refused(here, f"out-{part.replace('/', '-')}", container, volumes=volumes)
        words = 'failed to prepare subPath for volumeMount "v" of container "web"'
        assert found == {"reason": "CreateContainerConfigError", "message": words}
    assert not Path("/none").exists()
    mounted = [mount("v", "/f", subPath="good"), mount("v", "/d", subPath="own")]
    assert await said(here, "within", shell("cat /f /d/file", volumeMounts=mounted), volumes=volumes) == ["in", "in"]


async def test_parts_outlive_restarts_of_their_container_and_their_own_removal(here: Node) -> None:
    mounted = [mount("v", "/all"), mount("v", "/dir", subPath="dir"), mount("c", "/conf", subPath="conf")]
    script = (
        "echo run >> /dir/runs; cat /conf; [ $(wc -l < /dir/runs) = 3 ] || exit 1;"
        f"cat /all/dir/runs; rm -r /all/dir; ls -d /all/dir /dir 2> /dev/null; {FOREVER}"
    )
    await put(here, CONFIGMAPS, "restarts", data={"conf": "same\n"})
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "restarts"}}]
    init = shell("echo run >> /dir/runs", "init", volumeMounts=mounted)
    await here.create("restarts", shell(script, volumeMounts=mounted), initContainers=[init], volumes=volumes)
    # The second run of the container is the third that adds a line.
    pod = await here.wait_for("restarts", lambda pod: restarts(pod) == 1)
    await here.eventually(lambda: here.output(pod, attempt=1).endswith("/dir\n"))
    assert here.output(pod, attempt=1).splitlines() == ["same", "run", "run", "run", "/dir"]
    await here.delete("restarts", grace_period_seconds=0)
    await here.wait_gone("restarts")
    await here.eventually(lambda: not here.traces(pod))
    assert mounts.mounts_below(here.agent.root / "volumes") == []


# Mounts in the container.


async def test_mounts_may_lie_within_mounts_over_files_and_behind_links_of_the_image(here: Node) -> None:
    host = here.agent.folder / "image"
    host.mkdir()
    files = [
        entry("data", link="/etc"),
        entry("real", None),
        entry("indirect", link="real"),
        entry("conf", b"image's\n"),
        entry("up", link="../../../../.."),
    ]
    archive = docker_archive(host / "links.tar", [tar(*files)], ["links:1"])
    unpackers = Unpackers()
    try:
        import_archive(ImageStore(here.agent.images), unpackers, archive)
    finally:
        unpackers.close()
    programs = [{"name": name, "hostPath": {"path": f"/{name}"}} for name in ("usr", "bin", "lib", "lib64")]
    await put(here, CONFIGMAPS, "conf", data={"conf": "mine\n"})
    volumes = [
        {"name": "v", "emptyDir": {}},
        {"name": "w", "emptyDir": {}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
        {"name": "c", "configMap": {"name": "conf"}},
        *[volume for volume in programs if Path(volume["hostPath"]["path"]).exists()],
    ]
    mounted = [
        mount("w", "/deep/new/folder/inner"),
        mount("v", "/deep/new/folder"),
        mount("c", "/conf", subPath="conf"),
        mount("c", "/objects"),
        mount("w", "/objects/in/side"),
        mount("m", "/dev/shm"),
        mount("v", "/data/evil"),
        mount("v", "/indirect/x"),
        mount("v", "/up/outside"),
        *[mount(name, f"/{name}", readOnly=True) for name in ("usr", "bin", "lib", "lib64")][: len(volumes) - 4],
    ]
    script = (
        "touch /deep/new/folder/inner/i /deep/new/folder/o; ls /deep/new/folder /deep/new/folder/inner; cat /conf;"
        "ls /etc/evil /real/x /outside; ls /objects /objects/in/side;"
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=70 2> /dev/null && stat -fc %T /dev/shm"
    )
    container = {**shell(script, volumeMounts=mounted), "image": "localhost/links:1"}
    container["image"] = "links:1"
    lines = await said(here, "nested", {**container, "imagePullPolicy": "Never"}, volumes=volumes)
    assert [line for line in lines if line and not line.endswith(":")] == [
        "inner",
        "o",
        "i",
        "mine",
        *["inner", "o"] * 3,
        *["conf", "in", "i"],
        "tmpfs",
    ]
    assert not Path("/etc/evil").exists() and not Path("/outside").exists()


async def test_what_is_read_only_is_so_down_to_the_mounts_below_if_asked_for(here: Node) -> None:
    host = here.agent.folder / "tree"
    (host / "below").mkdir(parents=True)
    mounts.mount_tmpfs(host / "below", mode=0o777)
    try:
        volumes = [{"name": "v", "hostPath": {"path": str(host)}}]
        mounted = [
            mount("v", "/plain", readOnly=True),
            mount("v", "/whole", readOnly=True, recursiveReadOnly="Enabled"),
            mount("v", "/may", readOnly=True, recursiveReadOnly="IfPossible"),
        ]
        script = (
            "for d in plain whole may; do for p in $d $d/below; do touch /$p/x 2> /dev/null; echo $p $?; done; done;"
            f"{FOREVER}"
        )
        await here.create("read-only", shell(script, volumeMounts=mounted), volumes=volumes)
        pod = await here.running("read-only")
        await here.eventually(lambda: len(here.output(pod).splitlines()) == 6)
        assert here.output(pod).splitlines() == [
            "plain 1",
            "plain/below 0",
            "whole 1",
            "whole/below 1",
            "may 1",
            "may/below 1",
        ]
        shown = [entry for entry in pod["status"]["containerStatuses"][0]["volumeMounts"]]
        assert shown == [
            mount("v", "/plain", readOnly=True, recursiveReadOnly="Disabled"),
            mount("v", "/whole", readOnly=True, recursiveReadOnly="Enabled"),
            mount("v", "/may", readOnly=True, recursiveReadOnly="Enabled"),
        ]
        await here.delete("read-only", grace_period_seconds=0)
        await here.wait_gone("read-only")
    finally:
        mounts.unmount_below(host / "below")


async def test_mounts_propagate_as_asked_for_and_leave_with_the_pod(here: Node) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]

    def container(name: str, mode: str, **fields: Any) -> dict[str, Any]:
        return shell(FOREVER, name, volumeMounts=[mount("v", "/v", mountPropagation=mode)], **fields)

    await here.create(
        "spread",
        container("apart", "None"),
        container("follows", "HostToContainer"),
        container("leads", "Bidirectional", securityContext={"privileged": True}),
        volumes=volumes,
    )
    pod = await here.running("spread")
    folder = here.agent.root / "volumes" / pod["metadata"]["uid"] / "v"
    pids = {name: pid_of(here, pod, name) for name in ("apart", "follows", "leads")}

    def mounted_at(path: str) -> dict[str, bool]:
        return {name: f" {path} " in Path(f"/proc/{pid}/mountinfo").read_text() for name, pid in pids.items()}

    for name in ("of-node", "of-pod"):
        (folder / name).mkdir()
    mounts.mount_tmpfs(folder / "of-node", mode=0o755)
    assert mounted_at("/v/of-node") == {"apart": False, "follows": True, "leads": True}
    made = await asyncio.create_subprocess_exec(
        "nsenter", "-t", str(pids["leads"]), "-m", "mount", "-t", "tmpfs", "none", "/v/of-pod"
    )
    assert await made.wait() == 0
    assert mounted_at("/v/of-pod") == {"apart": False, "follows": True, "leads": True}
    assert os.path.ismount(folder / "of-pod")
    assert len(mounts.mounts_below(folder / "of-pod")) == 1
    made = await asyncio.create_subprocess_exec(
        "nsenter", "-t", str(pids["follows"]), "-m", "mount", "-t", "tmpfs", "none", "/v/of-pod"
    )
    assert await made.wait() == 0
    assert len(mounts.mounts_below(folder / "of-pod")) == 1
    await here.delete("spread", grace_period_seconds=0)
    await here.wait_gone("spread")
    await here.eventually(lambda: not here.traces(pod))
    assert mounts.mounts_below(here.agent.root / "volumes") == []


async def test_a_mount_of_the_node_that_is_not_shared_propagates_nothing(here: Node) -> None:
    host = here.agent.folder / "private"
    host.mkdir()
    mounts.mount_tmpfs(host, mode=0o755)
    syscalls.mount(None, str(host), None, syscalls.MS_PRIVATE)
    try:
        volumes = [{"name": "v", "hostPath": {"path": str(host)}}]
        container = shell("true", volumeMounts=[mount("v", "/v", mountPropagation="HostToContainer")])
        found = await refused(here, "private", container, volumes=volumes)
        words = f'path "{host}" is mounted on "{host}" but it is not a shared or slave mount'
        assert found["reason"] == "CreateContainerError" and found["message"].endswith(words)
    finally:
        mounts.unmount_below(host)


async def test_a_device_can_not_be_made_of_a_folder(here: Node) -> None:
    devices = [{"name": "v", "devicePath": "/dev/v"}]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "device"},
        "spec": {
            "nodeName": "node-1",
            "containers": [shell("true", volumeDevices=devices)],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}],
        },
    }
    await here.client.create(PODS, body, "default")
    assert 'for volume "v"' in await here.event("device", "FailedMount")
    await here.delete("device", grace_period_seconds=0)


# Images as volumes.


async def test_an_image_is_a_volume_that_nobody_can_write_to_or_run(here: Node) -> None:
    host = here.agent.folder / "volume-image"
    host.mkdir()
    lower = tar(
        entry("dir", None),
        entry("dir/file", b"lower\n"),
        entry("dir/gone", b"x"),
        entry("tool", b"#!/bin/sh\n", mode=0o755),
    )
    upper = tar(entry("dir/file", b"upper\n"), entry("dir/.wh.gone", b""))
    archive = docker_archive(host / "data.tar", [lower, upper], ["localhost/data:1"])
    unpackers = Unpackers()
    try:
        import_archive(ImageStore(here.agent.images), unpackers, archive)
    finally:
        unpackers.close()
    volumes = [{"name": "v", "image": {"reference": "localhost/data:1", "pullPolicy": "Never"}}]
    script = "ls /v /v/dir; cat /v/dir/file /part/file; touch /v/x 2>&1 | tail -c 22; /v/tool 2> /dev/null; echo $?"
    mounted = [mount("v", "/v"), mount("v", "/part", subPath="dir")]
    other = shell(FOREVER, "other", volumeMounts=[mount("v", "/v")])
    await here.create("imaged", other, shell(f"{script}; {FOREVER}", volumeMounts=mounted), volumes=volumes)
    pod = await here.running("imaged")
    await here.eventually(lambda: here.output(pod).endswith("126\n"))
    lines = here.output(pod).splitlines()
    assert [line for line in lines if line and not line.endswith(":")] == [
        "dir",
        "tool",
        "file",
        "upper",
        "upper",
        "Read-only file system",
        "126",
    ]
    await here.delete("imaged", grace_period_seconds=0)
    await here.wait_gone("imaged")
    await here.eventually(lambda: not here.traces(pod))
    assert mounts.mounts_below(here.agent.root / "volumes") == []
    container = shell("true", volumeMounts=[mount("v", "/v", subPath="none")])
    found = await refused(here, "no-part", container, volumes=volumes)
    assert found["reason"] == "CreateContainerError" and "ImageVolumeMountFailed" in found["message"]
    absent = [{"name": "v", "image": {"reference": "localhost/absent:1", "pullPolicy": "Never"}}]
    container = shell("true", volumeMounts=[mount("v", "/v")])
    assert (await refused(here, "absent", container, volumes=absent))["reason"] == "ErrImageNeverPull"
