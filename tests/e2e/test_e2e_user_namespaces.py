"""Pods with `hostUsers: false`: root inside, nobody on the node. What they can do all the same, and what not."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import SECRETS
from tests.support.node import Node, node, pid_of, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
IDS = 65536
FOREVER = "sleep 1000 & wait"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        yield made


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    trapped = f"trap 'exit 0' TERM; {script}"
    return {"name": name, "image": "localhost/host", "command": ["sh", "-c", trapped], **fields}


async def ended(here: Node, name: str, *containers: dict[str, Any], **spec: Any) -> Object:
    """A pod with its own users that has run to its end."""
    await here.create(name, *containers, hostUsers=False, restartPolicy="Never", **spec)
    return await here.wait_for(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))


async def output(here: Node, name: str, script: str, container: dict[str, Any] | None = None, **spec: Any) -> str:
    pod = await ended(here, name, shell(script, **(container or {})), **spec)
    return here.output(pod)


def first_id(here: Node, pod: Object) -> int:
    record = json.loads((here.agent.root / "pods" / pod["metadata"]["uid"] / "sandbox.json").read_text())
    return int(record["spec"]["first_id"])


def owner_on_node(pid: int) -> int:
    return os.stat(f"/proc/{pid}").st_uid


async def test_root_of_a_pod_is_nobody_on_the_node_and_nobody_in_another_pod(here: Node) -> None:
    await here.create("first", shell(f"id -u; {FOREVER}"), hostUsers=False)
    await here.create("second", shell(FOREVER, securityContext={"runAsUser": 1000}), hostUsers=False)
    first, second = await here.running("first"), await here.running("second")
    root, other = owner_on_node(pid_of(here, first)), owner_on_node(pid_of(here, second))
    assert root == first_id(here, first) and other == first_id(here, second) + 1000
    assert root >= IDS and abs(root - (other - 1000)) >= IDS
    await here.eventually(lambda: here.output(first) == "0\n")


async def test_its_ranges_outlive_the_node_agent_and_are_given_to_nobody_else(here: Node) -> None:
    await here.create("stays", shell(FOREVER), hostUsers=False)
    stays = await here.running("stays")
    before = first_id(here, stays)
    here.agent.stop()
    here.agent.start()
    seen = await output(here, "later", "cat /proc/self/uid_map; cat /proc/self/gid_map")
    lines = [line.split() for line in seen.splitlines()]
    assert [line[0] for line in lines] == ["0", "0"] and [line[2] for line in lines] == [str(IDS)] * 2
    assert lines[0] == lines[1] and int(lines[0][1]) != before == owner_on_node(pid_of(here, stays))


async def test_files_of_image_and_volumes_are_the_pods_own_and_stay_roots_on_the_disk(here: Node) -> None:
    secret = {"metadata": {"name": "key"}, "apiVersion": "v1", "kind": "Secret", "data": {"k": "c2VjcmV0"}}
    await here.client.create(SECRETS, secret, "default")
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "secret", "secret": {"secretName": "key", "defaultMode": 0o400}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    mounts.append({"name": "disk", "mountPath": "/part", "subPath": "part"})
    script = (
        "for place in / /etc/hosts /usr/bin/env /disk /memory /secret/k /part /dev/shm; do"
        "  stat -Lc '%n %u:%g' $place; done;"
        "cat /secret/k; echo; echo x >/disk/file; echo x >/memory/file; echo x >/part/file; chown 5:6 /disk/file;"
        f"stat -c %u:%g /disk/file; touch /mine && stat -c %u:%g /mine; {FOREVER}"
    )
    await here.create("files", shell(script, volumeMounts=mounts), hostUsers=False, volumes=volumes)
    pod = await here.running("files")
    await here.eventually(lambda: here.output(pod).count("\n") >= 11)
    lines = here.output(pod).splitlines()
    assert all(line.endswith(" 0:0") for line in lines[:8]), lines
    assert lines[8:] == ["secret", "5:6", "0:0"]
    folder = here.agent.root / "volumes" / pod["metadata"]["uid"]
    owners = [
        (status.st_uid, status.st_gid) for status in map(os.stat, (folder / "disk/file", folder / "disk/part/file"))
    ]
    assert owners == [(5, 6), (0, 0)]


async def test_a_group_for_volumes_and_a_read_only_root_go_with_it(here: Node) -> None:
    container = {
        "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 1000, "runAsGroup": 1000},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    script = "id -G; echo x >/data/x && stat -c %u:%g /data/x; touch /x"
    volumes = [{"name": "data", "emptyDir": {}}]
    context = {"fsGroup": 2000, "supplementalGroups": [65535]}
    seen = await output(here, "groups", script, container, volumes=volumes, securityContext=context)
    assert seen.splitlines()[:2] == ["1000 2000 65535", "1000:2000"] and "Read-only file system" in seen


async def test_rights_that_a_pod_adds_hold_for_its_own_network_mounts_and_name_and_for_no_more(here: Node) -> None:
    capable = {"securityContext": {"capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN"]}}}
    script = (
        "ip address add 10.9.9.9/32 dev lo && echo address; hostname renamed && hostname;"
        "mount -t tmpfs none /mnt && echo mounted; mount -o remount,rw /sys || echo sys stays;"
        "mknod /tmp/d b 7 0 || echo no device; echo 1 >/proc/sys/net/ipv4/ip_forward || echo read-only;"
        "mkdir /tmp/c; mount -t cgroup -o memory none /tmp/c; echo 1 >/tmp/c/cgroup.procs || echo no cgroup;"
        "mount /dev/vda /tmp/c || echo no disk"
    )
    seen = await output(here, "capable", script, capable)
    assert [word for word in ("address\n", "renamed\n", "mounted\n") if word not in seen] == [], seen
    for refusal in ("sys stays", "no device", "read-only", "no cgroup", "no disk"):
        assert f"{refusal}\n" in seen, seen
    assert os.uname().nodename != "renamed"


async def test_a_privileged_pod_with_its_own_users_has_no_rights_over_the_node(here: Node) -> None:
    script = (
        "mount -t tmpfs none /mnt && echo mounted; mknod /tmp/d b 7 0 || echo no device;"
        "echo x >/proc/sys/kernel/core_pattern || echo no core_pattern; echo b >/proc/sysrq-trigger || echo no sysrq;"
        "dd if=/dev/vda of=/dev/null count=1 2>&1 || echo no disk; dmesg >/dev/null || echo no log;"
        "chmod 777 /dev/null || echo not mine"
    )
    seen = await output(here, "privileged", script, {"securityContext": {"privileged": True}})
    for expected in ("mounted", "no device", "no core_pattern", "no sysrq", "not mine"):
        assert f"{expected}\n" in seen, seen
    assert not Path("/dev/vda").exists() or "no disk\n" in seen


async def test_proc_can_be_had_whole_by_such_pods_alone(here: Node) -> None:
    unmasked = shell("grep -c ' /proc/' /proc/self/mountinfo", securityContext={"procMount": "Unmasked"})
    assert here.output(await ended(here, "unmasked", unmasked)) == "0\n"
    with pytest.raises(ApiError, match="`hostUsers` must be false to use `Unmasked`"):
        await here.create("masked", unmasked)


@pytest.mark.parametrize("shared", ["hostNetwork", "hostPID", "hostIPC"])
async def test_the_nodes_namespaces_can_not_be_had_beside_it(here: Node, shared: str) -> None:
    with pytest.raises(ApiError, match="when `hostUsers` is false"):
        await here.create("shares", shell(FOREVER), hostUsers=False, **{shared: True})


async def test_processes_that_enter_have_the_pods_users_and_no_more_rights_than_it(here: Node) -> None:
    look = "id -u; grep -E 'CapBnd|Seccomp:' /proc/self/status; cat /proc/self/uid_map"
    probe = {"exec": {"command": ["sh", "-c", f"({look}) >/new; mv /new /seen"]}}
    script = f"{look}; until [ -e /seen ]; do sleep 0.05; done; cat /seen; {FOREVER}"
    await here.create("probed", shell(script, readinessProbe=probe), hostUsers=False)
    pod = await here.running("probed")
    await here.eventually(lambda: here.output(pod).count("\n") >= 8)
    lines = here.output(pod).splitlines()
    assert lines[0] == "0" and lines[4:] == lines[:4]


async def test_containers_that_share_their_processes_share_their_users(here: Node) -> None:
    spec = {"shareProcessNamespace": True}
    other = shell("sleep 1000 & wait", name="other")
    script = (
        "until pgrep -f '^sleep 1000' >/dev/null; do sleep 0.05; done; ps -o uid= -p 1;"
        "pkill -f '^sleep 1000' && echo killed"
    )
    await here.create("shared", shell(f"{script}; sleep 2000 & wait"), other, hostUsers=False, **spec)
    pod = await here.running("shared")
    await here.eventually(lambda: "killed" in here.output(pod))
    assert here.output(pod).split()[0] == "0"


async def test_anybody_in_it_may_ping_and_listen_below_1024(here: Node) -> None:
    script = (
        "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start;"
        "perl -MSocket -e 'socket(S,AF_INET,SOCK_DGRAM,1) or die $!; print qq(ping\\n);"
        "socket(T,AF_INET,SOCK_STREAM,0); bind(T,sockaddr_in(80,INADDR_ANY)) or die $!; print qq(bound\\n)'"
    )
    seen = await output(here, "ping", script, {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}})
    assert seen == f"0\t{IDS - 1}\n0\nping\nbound\n"


async def test_a_user_beyond_its_ids_is_refused_with_the_reason(here: Node) -> None:
    await here.create("beyond", shell(FOREVER, securityContext={"runAsUser": IDS}), hostUsers=False)
    message = await here.event("beyond", "Failed")
    assert "65536 is none of the pod's own 65536 (hostUsers: false)" in message


async def test_a_volume_that_can_not_be_shown_to_its_users_is_refused_with_the_reason(here: Node) -> None:
    container = shell(FOREVER, volumeMounts=[{"name": "sys", "mountPath": "/mnt"}])
    volumes = [{"name": "sys", "hostPath": {"path": "/sys/kernel"}}]
    await here.create("foreign", container, hostUsers=False, volumes=volumes)
    message = await here.event("foreign", "Failed")
    assert "/sys/kernel at /mnt: its file system can't be shown to a pod's own users" in message


async def test_a_terminal_is_the_users(here: Node) -> None:
    script = "tty; stat -c %u /dev/pts/0; echo x >/dev/console && echo console"
    container = {"tty": True, "securityContext": {"runAsUser": 1000}}
    pod = await ended(here, "terminal", shell(script, **container))
    assert here.output(pod).replace("\r", "").split() == ["/dev/pts/0", "1000", "x", "console"]
    assert terminated(pod)["exitCode"] == 0
