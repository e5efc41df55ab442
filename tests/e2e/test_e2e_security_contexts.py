"""What pods and containers say of their security, and what comes of it: users, rights, filters, sysctls."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import Object, get_path
from tests.support.node import NODE, Node, node

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), "--allowed-unsafe-sysctls", "kernel.msg*") as made:
        yield made


def shell(script: str, name: str = "web", **context: Any) -> dict[str, Any]:
    command = ["sh", "-c", script]
    return {"name": name, "image": "localhost/host", "command": command, "securityContext": context}


async def output(here: Node, name: str, *containers: dict[str, Any], **spec: Any) -> str:
    """What the first container of a pod writes, to its end."""
    await here.create(name, *containers, restartPolicy="Never", **spec)
    return here.output(await here.wait_for(name, has_ended))


def has_ended(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


async def test_a_containers_context_goes_before_the_pods(here: Node) -> None:
    pod = {"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000], "fsGroup": 4000}
    seen = await output(here, "users", shell("id -u; id -g; id -G", runAsUser=1001), securityContext=pod)
    assert seen.split("\n")[:2] == ["1001", "2000"] and set(seen.split("\n")[2].split()) == {"2000", "3000", "4000"}
    shown = await here.get("users")
    assert get_path(shown or {}, "status", "containerStatuses")[0]["user"] == {
        "linux": {"uid": 1001, "gid": 2000, "supplementalGroups": [3000, 4000]}
    }


async def test_rights_are_added_and_dropped_by_name(here: Node) -> None:
    script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status | cut -f2"
    drop_all = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "allowPrivilegeEscalation": False}
    assert await output(here, "dropped", shell(script, **drop_all)) == "0000000000000400\n1\n"
    assert await output(here, "added", shell(script, capabilities={"add": ["SYS_TIME"]})) == "00000000aa0425fb\n0\n"


async def test_a_read_only_root_leaves_volumes_writable(here: Node) -> None:
    script = "for file in /x /etc/hosts /etc/resolv.conf /etc/hostname; do echo >>$file; done 2>&1"
    container = shell(f"({script}) 2>&1; touch /tmp/x && echo volume", readOnlyRootFilesystem=True)
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    seen = await output(here, "readonly", container, volumes=[{"name": "tmp", "emptyDir": {}}])
    assert seen.count("Read-only file system") == 4 and seen.endswith("volume\n")


async def test_a_filter_of_the_nodes_owner_is_found_by_its_name(here: Node) -> None:
    folder = here.agent.root / "seccomp" / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "no-mkdir.json").write_text(json.dumps(NO_MKDIR))
    (folder / "none.json").write_text("[]")
    local = {"type": "Localhost", "localhostProfile": "profiles/no-mkdir.json"}
    script = "mkdir /tmp/x 2>&1; unshare --uts true && echo allowed; grep Seccomp: /proc/self/status"
    seen = await output(here, "filtered", shell(script, seccompProfile=local, capabilities={"add": ["SYS_ADMIN"]}))
    assert "Disk quota exceeded" in seen and seen.endswith("allowed\nSeccomp:\t2\n")
    for name, file in (("lost", "profiles/lost.json"), ("shapeless", "profiles/none.json")):
        profile = {"type": "Localhost", "localhostProfile": file}
        await here.create(name, shell("true", seccompProfile=profile))
        assert "Error:" in await here.event(name, "Failed")
    seen = await output(here, "free", shell("grep Seccomp: /proc/self/status", seccompProfile={"type": "Unconfined"}))
    assert seen == "Seccomp:\t0\n"


async def test_sysctls_of_a_pods_own_are_set_before_its_containers_begin(here: Node) -> None:
    sysctls = [
        {"name": "net.ipv4.tcp_keepalive_time", "value": "123"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
        {"name": "kernel.msgmax", "value": "16384"},
        {"name": "net.ipv4.ping_group_range", "value": "5 6"},
    ]
    script = (
        "cd /proc/sys; cat net/ipv4/tcp_keepalive_time kernel/shm_rmid_forced kernel/msgmax net/ipv4/ping_group_range"
    )
    seen = await output(here, "sysctls", shell(script), securityContext={"sysctls": sysctls})
    assert seen == "123\n1\n16384\n5\t6\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("net.core.somaxconn", '"net.core.somaxconn" not allowlisted'),
        ("vm.swappiness", '"vm.swappiness" not allowlisted'),
    ],
)
async def test_other_sysctls_fail_the_pod(here: Node, name: str, why: str) -> None:
    pod_name = f"forbidden-{name.partition('.')[0]}"
    await here.create(pod_name, shell("true"), securityContext={"sysctls": [{"name": name, "value": "1"}]})
    pod = await here.phase(pod_name, "Failed")
    assert pod["status"]["reason"] == "SysctlForbidden"
    assert pod["status"]["message"] == f"Pod was rejected: forbidden sysctl: {why}"
    assert await here.event(pod_name, "SysctlForbidden") == f"forbidden sysctl: {why}"


async def test_a_profile_of_apparmor_fails_the_pod_and_one_of_selinux_is_passed_over(here: Node) -> None:
    await here.create("armoured", shell("true", appArmorProfile={"type": "RuntimeDefault"}))
    pod = await here.phase("armoured", "Failed")
    assert pod["status"]["reason"] == "AppArmor"
    assert "AppArmor is not enabled on the host" in pod["status"]["message"]
    assert await output(here, "labelled", shell("echo runs", seLinuxOptions={"level": "s0:c1,c2"})) == "runs\n"


async def test_an_ordinary_user_may_ping_and_listen_below_1024(here: Node) -> None:
    script = (
        "perl -MSocket -e 'socket(S,AF_INET,SOCK_DGRAM,1) or die $!;"
        "socket(T,AF_INET,SOCK_STREAM,0); bind(T,sockaddr_in(80,INADDR_ANY)) or die $!; print qq(both\\n)'"
    )
    no_rights = {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}}
    assert await output(here, "ordinary", shell(script, **no_rights)) == "both\n"


async def test_the_node_tells_what_it_does_of_this(here: Node) -> None:
    status = (await here.get_node(NODE))["status"]
    assert status["features"] == {"supplementalGroupsPolicy": True}
    own = next(handler for handler in status["runtimeHandlers"] if handler["name"] == "")
    assert own["features"] == {"recursiveReadOnlyMounts": True, "userNamespaces": True}
