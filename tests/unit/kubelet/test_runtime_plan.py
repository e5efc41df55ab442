"""From OCI configs to plans: what is resolved, and what is refused before anything is made."""

import resource
from collections.abc import Mapping
from typing import Any

import pytest

from kubelet.runtime import ContainerSpec, RuntimeFailure, SandboxSpec, capabilities, oci, plan, seccomp
from kubelet.runtime import syscalls as sc

POD = SandboxSpec("uid", "web", "default", "web-0")
GROUP = {"directories": ["/cg/pod/c"], "unified": "", "join": []}
PAUSE = {"directories": ["/cg/pod/pause"], "unified": "/cg/pod/pause", "join": ["/v1/pod/pause"]}


def container(config: Mapping[str, Any] | None = None, pod: SandboxSpec = POD, **spec: Any) -> dict[str, Any]:
    wanted = oci.default_spec()
    wanted["process"]["args"] = ["true"]
    for key, value in (config or {}).items():
        wanted[key] = {**wanted[key], **value} if isinstance(value, dict) else value
    fields = {"id": "c1", "name": "c", "attempt": 0, "config": wanted, "lower_dirs": ["/layer"], **spec}
    return plan.container(
        ContainerSpec(**fields),
        pod,
        pod_dir="/pods/uid",
        group=GROUP,
        shown_cgroups=[],
        seccomp_program=lambda profile: "/filters/x.bpf",
    )


def mount(**entry: Any) -> dict[str, Any]:
    return plan.mount({"destination": "/data", "type": "bind", "source": "/src", **entry}, [], "/pods/uid/shm")


def refused(reason: str, match: str) -> Any:
    return pytest.raises(RuntimeFailure, match=f"{reason}: .*{match}")


def test_the_default_config_is_a_container_as_docker_makes_it() -> None:
    made = container()
    assert made["capabilities"]["bounding"] == made["capabilities"]["effective"] == 0xA80425FB
    assert made["capabilities"]["inheritable"] == made["capabilities"]["ambient"] == 0
    assert made["seccomp"] == "/filters/x.bpf"
    assert "/proc/kcore" in made["masked_paths"] and "/proc/sys" in made["readonly_paths"]
    assert [entry["destination"] for entry in made["mounts"]][:3] == ["/proc", "/dev", "/dev/pts"]
    assert {node["path"] for node in made["devices"]} >= {"/dev/null", "/dev/urandom", "/dev/tty"}
    assert made["pid"] == "private"


def test_shared_memory_is_the_pods_own() -> None:
    shm = next(entry for entry in container()["mounts"] if entry["destination"] == "/dev/shm")
    assert shm["source"] == "/pods/uid/shm"
    host = container(pod=SandboxSpec("uid", "web", "default", "h", host_ipc=True))
    assert next(entry for entry in host["mounts"] if entry["destination"] == "/dev/shm")["source"] == "/dev/shm"


def test_a_privileged_container_has_every_capability_and_no_filter() -> None:
    config = oci.default_spec()
    oci.set_privileged(config)
    config["process"]["args"] = ["true"]
    made = plan.container(
        ContainerSpec("c1", "c", 0, config, ["/layer"]),
        POD,
        pod_dir="/pods/uid",
        group=GROUP,
        shown_cgroups=[],
        seccomp_program=lambda profile: "/filters/x.bpf",
    )
    assert made["capabilities"]["bounding"] == (1 << len(capabilities.NAMES)) - 1
    assert made["seccomp"] == "" and made["masked_paths"] == made["readonly_paths"] == []
    sysfs = next(entry for entry in made["mounts"] if entry["destination"] == "/sys")
    assert not sysfs["flags"] & sc.MS_RDONLY


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"process": {"args": []}}, "no command"),
        ({"process": {"args": ["a\0b"]}}, "NUL"),
        ({"process": {"args": ["a"], "cwd": "relative"}}, "not absolute"),
        ({"process": {"args": ["a"], "capabilities": {"bounding": ["CAP_FLY"]}}}, "CAP_FLY"),
        ({"process": {"args": ["a"], "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}}, "RLIMIT_X"),
        ({"process": {"args": ["a"], "user": {"uid": -1}}}, "ids must be between"),
        ({"process": {"args": ["a"], "user": {"uid": 1 << 32}}}, "ids must be between"),
        ({"mounts": [{"destination": "/x", "type": "ext4", "source": "/dev/sda"}]}, "'ext4'"),
        ({"mounts": [{"destination": "/", "type": "bind", "source": "/x"}]}, "destination"),
        ({"mounts": [{"destination": "x", "type": "bind", "source": "/x"}]}, "destination"),
        ({"mounts": [{"destination": "/x", "type": "bind", "source": "x"}]}, "not absolute"),
    ],
)
def test_what_can_not_be_done_is_refused_with_the_reason(config: dict[str, Any], match: str) -> None:
    with refused("CreateContainerConfigError", match):
        container(config)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 129])
def test_a_container_id_is_a_file_name(name: str) -> None:
    with refused("CreateContainerConfigError", "container id"):
        container(id=name)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["rbind", "ro"], {"set": sc.MOUNT_ATTR_RDONLY, "recursive_attributes": False, "recursive": True}),
        (["rbind", "rro"], {"set": sc.MOUNT_ATTR_RDONLY, "recursive_attributes": True}),
        (["bind", "rw"], {"set": 0, "clear": 0, "recursive": False}),
        (["rbind", "nosuid", "nodev"], {"set": sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV}),
        (["rbind", "exec"], {"clear": sc.MOUNT_ATTR_NOEXEC}),
        (["rbind", "ro", "rw"], {"set": 0}),
        (["rbind"], {"propagation": sc.MS_PRIVATE}),
        (["rbind", "rslave"], {"propagation": sc.MS_SLAVE}),
        (["rbind", "rshared"], {"propagation": sc.MS_SHARED}),
    ],
)
def test_mount_options_of_binds(options: list[str], expected: dict[str, Any]) -> None:
    made = mount(options=options)
    assert {key: made[key] for key in expected} == expected


def test_mount_options_of_file_systems() -> None:
    made = mount(type="tmpfs", source="tmpfs", options=["nosuid", "ro", "size=64k", "mode=755"])
    assert made["flags"] == sc.MS_NOSUID | sc.MS_RDONLY
    assert made["data"] == "size=64k,mode=755"


def test_a_destination_can_not_climb_out() -> None:
    assert mount(destination="/a/../../etc")["destination"] == "/etc"


def test_unlimited_is_the_largest_number() -> None:
    entry = {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": (1 << 64) - 1}
    assert plan.rlimit(entry) == (resource.RLIMIT_NOFILE, 1024, resource.RLIM_INFINITY)


def test_a_pod_has_namespaces_of_its_own_unless_it_asks_for_the_nodes() -> None:
    def namespaces(**fields: Any) -> int:
        return int(plan.sandbox(SandboxSpec("u", "p", "n", "h", **fields), GROUP, PAUSE)["namespaces"])

    assert namespaces() == sc.CLONE_NEWNET | sc.CLONE_NEWUTS | sc.CLONE_NEWIPC
    assert namespaces(host_network=True) == sc.CLONE_NEWIPC
    assert namespaces(host_ipc=True) == sc.CLONE_NEWNET | sc.CLONE_NEWUTS


def test_processes_are_shared_by_the_pod_or_with_the_node_as_it_says() -> None:
    shared = SandboxSpec("u", "p", "n", "h", share_process_namespace=True)
    assert plan.sandbox(shared, GROUP, PAUSE)["shared_pid"]
    assert container(pod=shared)["pid"] == "shared"
    host = SandboxSpec("u", "p", "n", "h", host_pid=True, share_process_namespace=True)
    assert not plan.sandbox(host, GROUP, PAUSE)["shared_pid"]
    assert container(pod=host)["pid"] == "host"
    assert container(target_container_id="other")["pid"] == "container:other"


@pytest.mark.parametrize("key", ["net.ipv4.ip_unprivileged_port_start", "net/core/somaxconn", "kernel.shmmax"])
def test_sysctls_of_the_pods_own_namespaces_are_set(key: str) -> None:
    made = plan.sandbox(SandboxSpec("u", "p", "n", "h", sysctls={key: "1"}), GROUP, PAUSE)
    assert made["sysctls"] == [(f"/proc/sys/{key.replace('.', '/')}", "1")]


@pytest.mark.parametrize("key", ["vm.swappiness", "kernel.core_pattern", "net/../vm/swappiness", "kernel.modprobe"])
def test_sysctls_of_the_node_are_refused(key: str) -> None:
    with refused("CreatePodSandboxError", "would tune the node"):
        plan.sandbox(SandboxSpec("u", "p", "n", "h", sysctls={key: "1"}), GROUP, PAUSE)


def test_network_sysctls_of_a_pod_on_the_nodes_network_are_refused() -> None:
    with refused("CreatePodSandboxError", "would tune the node"):
        spec = SandboxSpec("u", "p", "n", "h", host_network=True, sysctls={"net.core.somaxconn": "1"})
        plan.sandbox(spec, GROUP, PAUSE)


def test_cgroups_lie_below_the_root_and_nowhere_else() -> None:
    spec = SandboxSpec("u", "p", "n", "h", cgroup_parent="/burstable/podu/")
    assert plan.group_path("wherry/n1", spec, "c1") == "wherry/n1/burstable/podu/c1"
    assert plan.group_path("wherry/n1", SandboxSpec("u", "p", "n", "h")) == "wherry/n1/podu"
    with refused("CreatePodSandboxError", "cgroup path"):
        plan.group_path("wherry/n1", SandboxSpec("u", "p", "n", "h", cgroup_parent="../../x"))


def test_a_terminal_is_named_to_the_program_unless_it_knows_better() -> None:
    assert "TERM=xterm" in container(tty=True)["env"]
    process = {"args": ["sh"], "env": ["TERM=dumb"]}
    assert container({"process": process}, tty=True)["env"] == ["TERM=dumb"]


def test_an_exec_changes_only_what_it_is_asked_to() -> None:
    changes = plan.session(["ls"], env={"A": "1"}, cwd=None, user_wanted=None, tty=False, stdio=[False, True, True])
    assert changes == {"argv": ["ls"], "env": ["A=1"], "tty": False, "null_fds": [0]}
    with refused("ExecError", "no command"):
        plan.session([], env=None, cwd=None, user_wanted=None, tty=False, stdio=[False] * 3)


def test_a_pod_with_users_of_its_own_has_no_others() -> None:
    own = SandboxSpec("uid", "web", "default", "h", host_users=False, first_id=196608)
    assert container(pod=own)["first_id"] == 196608
    for user in ({"uid": 65536}, {"gid": 70000}, {"additionalGids": [1, 65536]}):
        with refused("CreateContainerConfigError", "is none of the pod's own 65536"):
            container({"process": {"user": {"uid": 1, "gid": 1, **user}}}, pod=own)
    container({"process": {"user": {"uid": 65535, "gid": 65535}}}, pod=own)


def test_only_what_has_to_be_the_pods_is_refused_when_it_can_not_be_shown_so() -> None:
    assert mount(options=["rbind", "idmap"])["must_map"] and not mount(options=["rbind"])["must_map"]


def test_groups_that_may_ping_are_those_of_the_pod() -> None:
    own = SandboxSpec("uid", "web", "default", "h", host_users=False, first_id=196608)
    own.sysctls = {"net.ipv4.ping_group_range": "0 2147483647"}
    assert plan.sandbox(own, GROUP, PAUSE)["sysctls"] == [("/proc/sys/net/ipv4/ping_group_range", "196608 262143")]


def test_an_empty_filter_is_a_mistake_and_not_none_at_all() -> None:
    def compiled(profile: Mapping[str, Any]) -> str:
        seccomp.compile_profile(profile, "x86_64")
        return "/x.bpf"

    assert plan.seccomp_of(None, compiled) == {"seccomp": "", "seccomp_flags": 0}
    with refused("CreateContainerConfigError", "unsupported seccomp action ''"):
        plan.seccomp_of({}, compiled)


@pytest.mark.parametrize("shared", ["host_network", "host_ipc", "host_pid"])
def test_users_of_a_pods_own_are_not_had_beside_what_is_the_nodes(shared: str) -> None:
    own = SandboxSpec("uid", "web", "default", "h", host_users=False, first_id=196608, **{shared: True})
    with refused("CreatePodSandboxError", "can't have the node's network, IPC or processes"):
        plan.sandbox(own, GROUP, PAUSE)
