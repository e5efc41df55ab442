"""What the runtime is asked for: command lines, environments, mounts and protection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubelet.containers.container_config import (
    ConfigFailure,
    Ingredients,
    Mount,
    command,
    container_spec,
    sandbox_hostname,
    sandbox_spec,
)
from kubelet.containers.security import User
from kubelet.images import Image
from tests.support.pods import container, pod

ROOT = User(0, 0, ())


def image(**config: Any) -> Image:
    return Image("sha256:1", ["localhost/x:latest"], [], [Path("/layers/b"), Path("/layers/a")], config, 0, "")


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "own", "args", "expected"),
    [
        (["/ep"], ["foo", "bar"], None, None, ["/ep", "foo", "bar"]),
        (["/ep"], ["foo", "bar"], ["/ep-2"], None, ["/ep-2"]),
        (["/ep"], ["foo", "bar"], None, ["zoo", "boo"], ["/ep", "zoo", "boo"]),
        (["/ep"], ["foo", "bar"], ["/ep-2"], ["zoo", "boo"], ["/ep-2", "zoo", "boo"]),
    ],
)
def test_the_table_of_commands_and_arguments_of_kubernetes_documents(
    entrypoint: list[str], cmd: list[str], own: list[str] | None, args: list[str] | None, expected: list[str]
) -> None:
    judged = container(command=own, args=args)
    assert command(judged, image(Entrypoint=entrypoint, Cmd=cmd), []) == expected


def test_variables_in_commands_are_expanded_from_the_containers_own_environment() -> None:
    judged = container(command=["echo", "$(NAME)"], args=["$(OTHER)", "$$(NAME)"])
    assert command(judged, image(), [("NAME", "value")]) == ["echo", "value", "$(OTHER)", "$(NAME)"]


def test_a_container_without_any_command_is_refused() -> None:
    with pytest.raises(ConfigFailure, match="no command specified"):
        command(container(command=None), image(), [])


def made(judged: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    judged = judged or container()
    ingredients = Ingredients(**{"image": image(), "user": ROOT, **given})
    whole = pod(judged, **(spec or {}))
    made_spec = container_spec(whole, judged, ingredients, container_id="c1", attempt=0, log_path="/log")
    config: dict[str, Any] = made_spec.config
    return config


def test_the_containers_environment_wins_over_the_images() -> None:
    env = made(image=image(Env=["PATH=/bin", "A=1", "B=1"]), environment=[("B", "2"), ("C", "3")])["process"]["env"]
    assert env == ["PATH=/bin", "HOSTNAME=web", "A=1", "B=2", "C=3"]


def test_there_is_a_path_even_if_the_image_has_none() -> None:
    assert made()["process"]["env"][0] == "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def test_the_working_directory_is_the_containers_then_the_images() -> None:
    assert made()["process"]["cwd"] == "/"
    assert made(image=image(WorkingDir="/srv"))["process"]["cwd"] == "/srv"
    assert made(container(workingDir="/own"), image=image(WorkingDir="/srv"))["process"]["cwd"] == "/own"


def test_user_layers_terminal_and_read_only_root() -> None:
    judged = container(tty=True, stdin=True, stdinOnce=True, securityContext={"readOnlyRootFilesystem": True})
    ingredients = Ingredients(image=image(), user=User(5, 6, (7, 8)))
    spec = container_spec(pod(judged), judged, ingredients, container_id="c1", attempt=3, log_path="/log")
    assert spec.lower_dirs == ["/layers/b", "/layers/a"] and spec.tty and spec.stdin and spec.stdin_once
    assert (spec.id, spec.name, spec.attempt, spec.log_path) == ("c1", "web", 3, "/log")
    assert spec.config["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [7, 8]}
    assert spec.config["process"]["terminal"] is True and spec.config["root"]["readonly"] is True
    assert "TERM=xterm" in spec.config["process"]["env"]


def test_outer_mounts_come_first_and_of_one_place_the_last_counts() -> None:
    mounts = [
        Mount("/deep", "/a/b/c"),
        Mount("/hosts", "/etc/hosts"),
        Mount("/a", "/a/"),
        Mount("/mine", "/etc/hosts"),
    ]
    added = [entry for entry in made(mounts=mounts)["mounts"] if entry["options"][0] == "rbind"]
    binds = [(entry["source"], entry["destination"]) for entry in added if entry["source"] != "shm"]
    assert binds == [("/a", "/a/"), ("/mine", "/etc/hosts"), ("/deep", "/a/b/c")]


def test_what_a_mount_allows() -> None:
    assert Mount("/s", "/d").oci()["options"] == ["rbind", "rw", "rprivate"]
    assert Mount("/s", "/d", read_only=True).oci()["options"] == ["rbind", "ro", "rprivate"]
    assert Mount("/s", "/d", read_only=True, recursively=True).oci()["options"][1] == "rro"
    assert Mount("/s", "/d", propagation="HostToContainer").oci()["options"][2] == "rslave"
    assert Mount("/s", "/d", propagation="Bidirectional").oci()["options"][2] == "rshared"


def test_the_nodes_own_programs_are_read_only_to_the_last_mount_among_them() -> None:
    host = Image("sha256:1", ["localhost/host:latest"], [], [Path("/l")], {}, 0, "", [("/usr", "/usr")])
    entry = next(entry for entry in made(image=host)["mounts"] if entry["destination"] == "/usr")
    assert "rro" in entry["options"]


def test_seccomp_and_masked_paths_are_on_by_default() -> None:
    linux = made()["linux"]
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO" and "/proc/kcore" in linux["maskedPaths"]


def test_seccomp_can_be_set_off_or_to_a_profile_of_ones_own() -> None:
    off = {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}
    assert "seccomp" not in made(spec=off)["linux"]
    mine = {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}}
    profile = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert made(spec=mine, seccomp=profile)["linux"]["seccomp"] == profile


def test_a_privileged_container_is_not_held_back() -> None:
    config = made(container(securityContext={"privileged": True}))
    assert "seccomp" not in config["linux"] and config["linux"]["maskedPaths"] == []
    assert "CAP_SYS_ADMIN" in config["process"]["capabilities"]["bounding"]


def test_an_unmasked_proc() -> None:
    assert made(container(securityContext={"procMount": "Unmasked"}))["linux"]["maskedPaths"] == []


def test_the_sandbox_is_shared_as_the_pod_says() -> None:
    shared = pod(
        hostNetwork=True,
        hostPID=True,
        hostIPC=True,
        shareProcessNamespace=True,
        securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]},
    )
    spec = sandbox_spec(shared, pids_max=100, cluster_domain="cluster.local")
    assert (spec.host_network, spec.host_pid, spec.host_ipc, spec.share_process_namespace) == (True,) * 4
    assert spec.sysctls == {"net.core.somaxconn": "1024"}
    assert spec.cgroup_resources["pids"] == {"limit": 100}
    assert spec.cgroup_parent == f"besteffort/pod{shared['metadata']['uid']}"


def test_the_host_name_of_a_pod() -> None:
    assert sandbox_hostname(pod(name="a" * 70), "cluster.local") == "a" * 63
    assert sandbox_hostname(pod(hostname="db-0", subdomain="db"), "cluster.local") == "db-0"
    full = pod(hostname="db-0", subdomain="db", setHostnameAsFQDN=True)
    assert sandbox_hostname(full, "cluster.local") == "db-0.db.default.svc.cluster.local"
    with pytest.raises(ConfigFailure) as failed:
        sandbox_hostname(pod(hostname="h" * 40, subdomain="db", setHostnameAsFQDN=True), "cluster.local")
    fqdn = f"{'h' * 40}.db.default.svc.cluster.local"
    assert failed.value.message == (
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long "
        "(64 characters is the max, 69 characters requested)"
    )


def test_an_overridden_host_name_goes_before_all_others() -> None:
    named = pod(hostname="db-0", subdomain="db", hostnameOverride="override.example.host")
    assert sandbox_hostname(named, "cluster.local") == "override.example.host"
