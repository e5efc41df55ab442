"""Runtime handlers: which there are, what they can do, and what another runtime is told to make."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.runtime import ContainerSpec, RuntimeFailure, SandboxSpec, capabilities, oci
from kubelet.runtime.cgroups import Hierarchies
from kubelet.runtime.handlers import bundle, registry
from kubelet.runtime.handlers.container import namespaces, process_of
from kubelet.runtime.handlers.registry import Features, UnknownHandler

V1 = {name: f"/sys/fs/cgroup/{name}" for name in ("cpu", "memory", "pids", "devices", "cpuset", "freezer")}
HYBRID = Hierarchies(1, V1, "/sys/fs/cgroup/unified")
V2 = Hierarchies(2, unified="/sys/fs/cgroup")
ALL = capabilities.mask(capabilities.NAMES)
MOUNTED = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def plan(hierarchies: Hierarchies = HYBRID, permitted: int = ALL, **changes: Any) -> dict[str, Any]:
    config = oci.default_spec()
    config["process"].update(args=["/bin/true"], env=["A=1"], oomScoreAdj=-997)
    config["mounts"] += changes.pop("mounts", [])
    config["linux"]["resources"] = changes.pop("resources", {})
    if changes.pop("privileged", False):
        oci.set_privileged(config)
    pod = SandboxSpec(pod_uid="u", pod_name="p", pod_namespace="n", hostname="h", **changes.pop("pod", {}))
    return bundle.container(
        ContainerSpec(
            id=changes.pop("container_id", "c1"), name="main", attempt=0, config=config, lower_dirs=["/l"], **changes
        ),
        pod,
        command=["/usr/sbin/runc"],
        pod_dir="/pods/u",
        hierarchies=hierarchies,
        group_path="wherry/node/podu/c1",
        permitted=permitted,
        mountinfo=MOUNTED,
    )


def test_no_handler_and_wherry_are_the_nodes_own_runtime() -> None:
    handlers = registry.configured([("kata", ("/opt/kata", "--quiet"))])
    assert registry.resolve(handlers, "") == registry.resolve(handlers, "wherry") == ""
    assert registry.resolve(handlers, "kata") == "kata" and handlers["kata"] == ("/opt/kata", "--quiet")


def test_a_handler_that_nobody_configured_is_refused_in_the_words_of_other_runtimes() -> None:
    with pytest.raises(UnknownHandler, match='no runtime for "gvisor" is configured'):
        registry.resolve({}, "gvisor")


def test_a_flag_wins_over_what_is_installed() -> None:
    assert registry.configured([registry.parse("runc=/opt/runc --debug")])["runc"] == ("/opt/runc", "--debug")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, Features()),
        ({"mountOptions": ["ro", "rro"]}, Features(recursive_read_only_mounts=True)),
        ({"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": True}}}}, Features()),
    ],
)
def test_features_are_what_the_runtime_tells_and_this_node_makes_use_of(
    told: dict[str, Any], found: Features
) -> None:
    assert registry.features(told) == found


async def test_a_runtime_that_knows_no_features_or_does_not_exist_has_none() -> None:
    assert await registry.ask(("/bin/false",)) == Features()
    assert await registry.ask(("/nowhere/runtime",)) == Features()
    assert await registry.ask(("/bin/echo",)) == Features()


def test_the_node_shows_its_default_handler_without_a_name() -> None:
    listed = registry.status(Features(recursive_read_only_mounts=True), {"runc": Features()})
    assert [entry["name"] for entry in listed] == ["", "runc", "wherry"]
    assert listed[0]["features"] == {"recursiveReadOnlyMounts": True, "userNamespaces": False}
    assert listed[1]["features"] == {"recursiveReadOnlyMounts": False, "userNamespaces": False}


def test_another_runtime_sees_the_hierarchies_that_limits_are_in() -> None:
    made = plan()
    assert made["cgroup_mounts"] == {
        "all": ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/cpu"],
        "kept": V1,
    }
    assert made["cgroup"]["unified"] == "" and made["cgroup"]["memory"] == "/sys/fs/cgroup/memory/wherry/node/podu/c1"
    assert "/sys/fs/cgroup/freezer/wherry/node/podu/c1" in made["all_cgroups"]
    assert plan(V2)["cgroup_mounts"] == {"all": [], "kept": {}}
    assert plan(V2)["cgroup"]["device_program"] is None


def test_devices_are_denied_but_for_those_of_privileged_containers() -> None:
    assert plan()["config"]["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    allowed = plan(privileged=True)["config"]["linux"]["resources"]["devices"]
    assert allowed == [{"allow": True, "access": "rwm"}]


def test_capabilities_that_the_node_lacks_are_left_out() -> None:
    lacking = ALL & ~capabilities.mask(["CAP_SYS_RESOURCE"])
    held = plan(permitted=lacking, privileged=True)["config"]["process"]["capabilities"]["permitted"]
    assert "CAP_SYS_RESOURCE" not in held and "CAP_SYS_ADMIN" in held


def test_what_the_node_may_refuse_is_not_left_to_the_other_runtime() -> None:
    made = plan()
    assert "oomScoreAdj" not in made["config"]["process"] and made["oom_score_adj"] == -997


def test_mounts_say_whether_they_are_recursive_and_shared_memory_is_the_pods() -> None:
    bare = {"destination": "/data", "type": "bind", "source": "/d", "options": ["ro"]}
    mounts = {entry["destination"]: entry for entry in plan(mounts=[bare])["config"]["mounts"]}
    assert mounts["/data"]["options"] == ["rbind", "ro"]
    assert mounts["/dev/shm"]["source"] == "/pods/u/shm"
    mounts = {entry["destination"]: entry for entry in plan(pod={"host_ipc": True})["config"]["mounts"]}
    assert mounts["/dev/shm"]["source"] == "/dev/shm"


@pytest.mark.parametrize("propagation", ["rshared", "rslave"])
def test_volumes_that_propagate_need_a_root_that_does(propagation: str) -> None:
    volume = {"destination": "/data", "type": "bind", "source": "/d", "options": ["rbind", propagation]}
    assert plan(mounts=[volume])["config"]["linux"]["rootfsPropagation"] == propagation
    assert "rootfsPropagation" not in plan()["config"]["linux"]


def test_what_our_own_runtime_refuses_is_refused_before_another_sees_it() -> None:
    with pytest.raises(RuntimeFailure, match="invalid container id") as refused:
        plan(container_id="../c1")
    assert refused.value.reason == "CreateContainerConfigError"


def test_namespaces_are_the_pods_where_the_pod_has_its_own() -> None:
    pod = {"host_network": False, "host_ipc": False}
    private = namespaces(pod, 1, kind="private", pid=0)
    assert {"type": "network", "path": "/proc/1/ns/net"} in private and {"type": "pid"} in private
    shared = namespaces(pod, 1, kind="shared", pid=7)
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in shared
    host = namespaces({"host_network": True, "host_ipc": True}, 9, kind="host", pid=0)
    assert [entry["type"] for entry in host] == ["mount", "cgroup"]


def test_an_exec_is_the_containers_process_with_what_it_says_otherwise() -> None:
    process = plan()["config"]["process"]
    wanted = process_of(process, {"argv": ["id"], "env": ["A=1", "A=2"], "tty": True, "cwd": "/tmp"})
    assert (wanted["args"], wanted["env"], wanted["terminal"], wanted["cwd"]) == (["id"], ["A=2"], True, "/tmp")
    assert wanted["user"] == process["user"] and wanted["capabilities"] == process["capabilities"]
    other = {"argv": ["id"], "env": [], "tty": False, "uid": 5, "gid": 6, "groups": [7], "umask": None}
    assert process_of(process, other)["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
