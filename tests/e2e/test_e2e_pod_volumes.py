"""What containers of a real pod see of their environment and volumes, and what they are told that they lack."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, PODS, SECRETS, SERVICES
from tests.support.node import Node, node, pid_of
from tests.support.volumes import FOREVER, mount, put, refused, said, shell, text

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


# The environment.


async def test_an_environment_comes_from_objects_fields_and_resources(here: Node) -> None:
    await put(here, CONFIGMAPS, "plain", data={"A": "1", "some.key-2": "2"})
    await put(here, SECRETS, "hidden", data={"B": text("3")})
    sources = [
        {"configMapRef": {"name": "plain"}, "prefix": "P_"},
        {"secretRef": {"name": "hidden"}},
        {"secretRef": {"name": "none", "optional": True}},
    ]
    env = [
        {"name": "BOTH", "value": "$(P_A)-$(B)-$(NONE)-$$(B)"},
        {"name": "MINE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app.io/x']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "ALL", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    limits = {"limits": {"cpu": "250m"}}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "env", "labels": {"app.io/x": "label"}},
        "spec": {
            "nodeName": "node-1",
            "restartPolicy": "Never",
            "containers": [{**shell(""), "command": ["env"], "env": env, "envFrom": sources, "resources": limits}],
        },
    }
    await here.client.create(PODS, body, "default")
    pod = await here.phase("env", "Succeeded")
    found = set(here.output(pod).splitlines())
    memory = (await here.get_node("node-1"))["status"]["allocatable"]["memory"]
    allocatable = -(-int(memory.removesuffix("Ki")) // 1024)
    assert {"P_A=1", "P_some.key-2=2", "B=3", "BOTH=1-3-$(NONE)-$(B)", "MINE=label", "MILLI=250"} <= found
    assert f"IP={pod['status']['podIP']}" in found and f"ALL={allocatable}" in found


async def test_services_of_the_namespace_are_told_unless_the_pod_wants_no_links(here: Node) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "dns-udp", "port": 53, "protocol": "UDP"}]
    await put(here, SERVICES, "data-base", spec={"ports": ports, "selector": {"app": "x"}})
    await put(here, SERVICES, "headless", spec={"ports": ports, "clusterIP": "None"})
    address = (await here.client.get(SERVICES, "data-base", "default"))["spec"]["clusterIP"]
    refers = [{"name": "URL", "value": "$(DATA_BASE_PORT_80_TCP)/x"}]

    async def linked() -> bool:
        lines = await said(here, f"links-{os.urandom(3).hex()}", shell("env", env=refers))
        return {
            f"DATA_BASE_SERVICE_HOST={address}",
            "DATA_BASE_SERVICE_PORT_DNS_UDP=53",
            f"DATA_BASE_PORT_53_UDP=udp://{address}:53",
            f"URL=tcp://{address}:80/x",
        } <= set(lines) and not any(line.startswith("HEADLESS") for line in lines)

    async with asyncio.timeout(30):
        while not await linked():  # the node hears of a new service a moment later
            pass
    lines = await said(here, "unlinked", shell("env"), enableServiceLinks=False)
    assert not any(line.startswith("DATA_BASE") for line in lines)


async def test_an_init_container_writes_variables_for_those_that_follow(here: Node) -> None:
    def from_file(key: str, **fields: Any) -> dict[str, Any]:
        return {"fileKeyRef": {"volumeName": "v", "path": "made/env", "key": key, **fields}}

    script = "mkdir /v/made; printf \"# made here\\nONE='1 \\$x'\\nTWO='a\\nb' # two lines\\n\" > /v/made/env"
    init = shell(script, "init", volumeMounts=[mount("v", "/v")])
    env = [
        {"name": "FIRST", "valueFrom": from_file("ONE")},
        {"name": "SECOND", "valueFrom": from_file("TWO")},
        {"name": "THIRD", "valueFrom": from_file("NONE", optional=True)},
    ]
    main = shell('echo "$FIRST|$SECOND|${THIRD-unset}"', env=env)
    volumes = [{"name": "v", "emptyDir": {}}]
    assert await said(here, "env-file", main, initContainers=[init], volumes=volumes) == ["1 $x|a", "b|unset"]
    env = [{"name": "FIRST", "valueFrom": from_file("NONE")}]
    found = await refused(here, "no-key", shell("true", env=env), initContainers=[init], volumes=volumes)
    assert found["reason"] == "CreateContainerConfigError"
    assert found["message"] == 'environment variable key "NONE" not found in file "made/env"'
    # What a container has put in the place of its file leads nowhere and holds nothing up.
    trap = shell("mkdir /v/made; mkfifo /v/made/env", "init", volumeMounts=[mount("v", "/v")])
    found = await refused(here, "fifo", shell("true", env=env), initContainers=[trap], volumes=volumes)
    assert found["message"] == "couldn't parse env file"


# Volumes that show objects.


async def test_all_objects_are_shown_with_their_modes_to_the_pods_group(here: Node) -> None:
    await put(here, CONFIGMAPS, "shown", data={"a": "text"}, binaryData={"raw": text("bytes")})
    await put(here, SECRETS, "kept", data={"key": text("secret")})
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    memory = {"path": "m", "resourceFieldRef": {"containerName": "web", "resource": "requests.memory"}}
    sources = [
        {"configMap": {"name": "shown", "items": [{"key": "a", "path": "deep/er/a"}]}},
        {"secret": {"name": "kept", "items": [{"key": "key", "path": "key", "mode": 0o600}]}},
        {"downwardAPI": {"items": [labels, memory]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
    ]
    volumes = [
        {"name": "config", "configMap": {"name": "shown", "defaultMode": 0o400}},
        {"name": "all", "projected": {"sources": sources, "defaultMode": 0o440}},
        {"name": "maybe", "secret": {"secretName": "none", "optional": True}},
    ]
    script = (
        "cd /v; cat config/a config/raw all/deep/er/a all/key all/m; echo; wc -c < all/token;"
        "stat -Lc '%n %a %g' config/a all/key all/deep/er/a all/token; ls maybe; touch config/x 2>&1 | tail -c 22"
    )
    container = shell(
        script,
        resources={"requests": {"memory": "10Mi"}},
        volumeMounts=[mount(name, f"/v/{name}") for name in ("config", "all", "maybe")],
    )
    first, size, *rest = await said(here, "shown", container, volumes=volumes, securityContext={"fsGroup": GROUP})
    assert first == "textbytestextsecret10485760" and int(size) > 100
    assert rest == [
        f"config/a 440 {GROUP}",
        f"all/key 640 {GROUP}",
        f"all/deep/er/a 440 {GROUP}",
        f"all/token 640 {GROUP}",
        "Read-only file system",
    ]


async def test_what_changes_is_seen_by_containers_that_run_as_a_whole_but_not_in_parts(here: Node) -> None:
    await put(here, CONFIGMAPS, "moving", data={"a": "1", "b": "1"})
    # Every reader of the folder sees all new files or none; a part of the volume stays what it was.
    script = (
        "while ! grep -q 2 /v/a; do exec 9< /v/..data/a; sleep 0.01; done; cat /v/a /v/b /part; echo; ls /v;"
        f"readlink /v/a; {FOREVER}"
    )
    mounted = [mount("v", "/v"), mount("v", "/part", subPath="a")]
    await here.create(
        "moving",
        shell(script, volumeMounts=mounted),
        volumes=[{"name": "v", "configMap": {"name": "moving"}}],
    )
    pod = await here.running("moving")
    await here.client.patch(CONFIGMAPS, "moving", {"data": {"a": "2", "b": "2", "c": "2"}}, "default")
    await here.eventually(lambda: here.output(pod).endswith("..data/a\n"))
    assert here.output(pod).splitlines() == ["221", "a", "b", "c", "..data/a"]
    # What is gone is said, and the pod keeps what it has.
    await here.client.delete(CONFIGMAPS, "moving", "default")
    message = await here.event("moving", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "v" : configmap "moving" not found'
    assert Path(f"/proc/{pid_of(here, pod)}/root/v/a").read_text() == "2"
    await here.delete("moving", grace_period_seconds=0)


async def test_a_pod_sees_its_own_labels_change_however_fast_they_do(here: Node) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
    ]
    container = shell(FOREVER, volumeMounts=[mount("v", "/v")])
    await here.create("labelled", container, volumes=[{"name": "v", "downwardAPI": {"items": items}}])
    pod = await here.running("labelled")
    shown = Path(f"/proc/{pid_of(here, pod)}/root/v")
    for number in range(20):
        change = {"labels": {"v": str(number)}, "annotations": {"note": f"n{number}"}}
        await here.client.patch(PODS, "labelled", {"metadata": change}, "default")
    await here.eventually(lambda: (shown / "labels").read_text() == 'v="19"')
    assert (shown / "note").read_text() == "n19"
    await here.delete("labelled", grace_period_seconds=0)


async def test_a_pod_waits_for_its_objects_and_says_for_which(here: Node) -> None:
    volumes = [{"name": name, "secret": {"secretName": name}} for name in ("late-1", "late-2")]
    container = shell("cat /late-1/key", volumeMounts=[mount("late-1", "/late-1"), mount("late-2", "/late-2")])
    await here.create("late", container, volumes=volumes, restartPolicy="Never")
    wanted = {
        ("FailedMount", f'MountVolume.SetUp failed for volume "{name}" : secret "{name}" not found')
        for name in ("late-1", "late-2")
    }
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(30):
        while not wanted <= set(told):
            await asyncio.sleep(0.05)
            told = await here.events("late")
    for name in ("late-1", "late-2"):
        await put(here, SECRETS, name, data={"key": text("there")})
    assert here.output(await here.phase("late", "Succeeded")) == "there\n"


# Folders and files of the node and of the pod.


async def test_memory_and_disk_belong_to_the_pod_and_are_as_large_as_it_may_be(here: Node) -> None:
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    script = (
        "cd /v; stat -c '%n %a %u:%g' *; stat -fc %T memory;"
        "df --output=size -B1M memory small | tail -n +2 | tr -d ' ';"
        "head -c 2000000 /dev/zero > small/x 2> /dev/null; wc -c < small/x;"
        "touch disk/mine; stat -c '%u:%g' disk/mine"
    )
    container = shell(
        script,
        resources={"limits": {"memory": "64Mi"}},
        volumeMounts=[mount(volume["name"], f"/v/{volume['name']}") for volume in volumes],
    )
    context = {"fsGroup": GROUP, "runAsUser": 1234}
    assert await said(here, "own", container, volumes=volumes, securityContext=context) == [
        f"disk 2777 0:{GROUP}",
        f"memory 2777 0:{GROUP}",
        f"small 2777 0:{GROUP}",
        "tmpfs",
        "64",
        "1",
        str(1 << 20),
        f"1234:{GROUP}",
    ]


async def test_paths_of_the_node_are_what_the_pod_says_or_it_waits(here: Node) -> None:
    host = here.agent.folder / "paths"
    host.mkdir()
    (host / "file").write_text("x\n")
    (host / "link").symlink_to("file")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(host / "socket"))
    os.mknod(host / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    wanted = {
        "file": "File",
        "link": "File",
        "socket": "Socket",
        "disk": "BlockDevice",
        "made/folder": "DirectoryOrCreate",
        "made-file": "FileOrCreate",
        "unchecked": "",
    }
    volumes: list[Object] = [{"name": "null", "hostPath": {"path": "/dev/null", "type": "CharDevice"}}]
    for number, (path, kind) in enumerate(wanted.items()):
        volumes.append({"name": f"v{number}", "hostPath": {"path": str(host / path), "type": kind}})
    mounted = [mount(volume["name"], f"/v/{volume['name']}") for volume in volumes]
    script = "cd /v; stat -c '%n %F' *; cat v1; echo y > v0; echo gone > null"
    assert await said(here, "paths", shell(script, volumeMounts=mounted), volumes=volumes) == [
        "null character special file",
        "v0 regular file",
        "v1 regular file",
        "v2 socket",
        "v3 block special file",
        "v4 directory",
        "v5 regular empty file",
        "v6 directory",
        "x",
    ]
    assert (host / "file").read_text() == "y\n"
    wrong = [{"name": "v", "hostPath": {"path": str(host / "file"), "type": "Directory"}}]
    await here.create("wrong", shell("true", volumeMounts=[mount("v", "/v")]), volumes=wrong)
    words = f"hostPath type check failed: {host / 'file'} is not a directory"
    assert await here.event("wrong", "FailedMount") == f'MountVolume.SetUp failed for volume "v" : {words}'
    await here.delete("wrong", grace_period_seconds=0)


async def test_what_needs_a_driver_is_said_to_lack_it(here: Node) -> None:
    volumes = [
        {"name": "git", "gitRepo": {"repository": "https://example.com/x.git"}},
        {"name": "inline", "csi": {"driver": "inline.example.com"}},
        {"name": "shared", "nfs": {"server": "192.0.2.1", "path": "/export"}},
    ]
    mounted = [mount(volume["name"], f"/{volume['name']}") for volume in volumes]
    await here.create("drivers", shell("true", volumeMounts=mounted), volumes=volumes)
    wanted = (
        'volume "git" : git-repo volume plugin has been disabled',
        "driver name inline.example.com not found in the list of registered CSI drivers",
        "mount failed: exit status 32\\nMounting command: mount\\nMounting arguments: -t nfs 192.0.2.1:/export",
    )
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(30):
        while not all(words in str(told) for words in wanted):
            await asyncio.sleep(0.05)
            told = await here.events("drivers")
    await here.delete("drivers", grace_period_seconds=0)
